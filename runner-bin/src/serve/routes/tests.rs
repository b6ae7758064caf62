//! The document of the routes, as it is checked in.

use std::path::Path;

use super::openapi::document;

/// Where it is; `UPDATE_EXPECT=1` writes it anew.
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

#[test]
fn the_document_of_the_routes_is_checked_in_as_it_is_served() {
    let mut served = document().to_pretty_json().expect("it is JSON");
    served.push('\n');
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(Path::new(CHECKED_IN), &served).expect("write the document");
    }
    let checked_in = std::fs::read_to_string(CHECKED_IN).expect("docs/openapi.json is there");
    assert!(
        served == checked_in,
        "docs/openapi.json is not what is served: UPDATE_EXPECT=1 writes it anew"
    );
}
