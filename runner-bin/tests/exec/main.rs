//! `vmpool exec` as its users meet it: the binary, real machines, real steps.

mod ends;
mod events;
mod examples;
mod input;
mod kills;
mod logs;
mod pipelines;
mod signals;
mod steps;
mod support;
mod terminal;
mod variables;
mod workspace;
