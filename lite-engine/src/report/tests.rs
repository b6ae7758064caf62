//! Reports as tools write them, and as somebody who means harm would.

mod hostile;
mod patterns;
mod reading;
