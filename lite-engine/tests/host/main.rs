//! Steps on this very machine, with real processes, under real holders.

mod ends;
mod limits;
mod logs;
mod nothing_left;
mod stages;
mod support;
mod survival;
