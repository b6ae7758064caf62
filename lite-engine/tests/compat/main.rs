//! The incumbent's protocol as its callers meet it: the real binary, over real
//! TLS. The names of tests begin with the numbers of the cases that they are.

mod ends;
mod hostile;
mod identity;
mod limits;
mod load;
mod logs;
mod masks;
mod nothing_left;
mod output;
mod restart;
mod returns;
mod setup;
mod steps;
mod support;
mod survives;
mod tls;
mod wire;
