//! Whole pools on the real provider: what they cost EC2, and what EC2's faults
//! cost them.

mod faults;
mod kills;
mod mix;
mod size;
mod wire;
mod world;

use vmpool_aws::Template;

use crate::support::{template, zones};

/// Two types in two zones: EC2 picks, by a fleet.
fn wide() -> Template {
    Template {
        types: vec!["m6i.large".to_owned(), "m5.large".to_owned()],
        zones: zones("ab"),
        ..template()
    }
}
