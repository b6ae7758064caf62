//! Lines, blobs and files, and a log service on this machine that fails at will.

mod lines;
mod service;
