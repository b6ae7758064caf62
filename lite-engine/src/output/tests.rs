//! Output files as builds write them, and captures by real shells.

mod captures;
mod files;
