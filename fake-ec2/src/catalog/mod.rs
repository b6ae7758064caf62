//! What every account finds in the fake cloud: regions, instance types,
//! public images, and how identifiers of such things are made.
//!
//! Sizes, architectures, owners and name patterns are the real ones; prices
//! are near the real ones of us-east-1; identifiers are the fake's own, the
//! same in every run.

mod image;
mod place;
mod types;

use std::hash::BuildHasher as _;

pub use image::{BootMode, Image};
pub(crate) use place::USABLE;
pub use place::{Place, Zone};
pub(crate) use types::dollars;
pub use types::{Architecture, InstanceType};

/// The world as a test may change it before the cloud starts.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Regions with their zones.
    pub regions: Vec<Place>,
    /// Instance types, offered in every zone but those that they name.
    pub types: Vec<InstanceType>,
    /// Images, in every region, with another id in each.
    pub images: Vec<Image>,
    /// Names of key pairs; where the list is empty every name is one.
    pub key_pairs: Vec<String>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            regions: place::regions(),
            types: types::types(),
            images: image::images(),
            key_pairs: Vec::new(),
        }
    }
}

impl Catalog {
    /// The region of that name.
    pub fn region(&self, name: &str) -> Option<&Place> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// The type of that name.
    pub fn instance_type(&self, name: &str) -> Option<&InstanceType> {
        self.types.iter().find(|known| known.name == name)
    }

    /// The image with that id in a region.
    pub fn image(&self, region: &str, id: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.id(region) == id)
    }

    /// The id of the image that a public SSM parameter names.
    pub fn parameter(&self, region: &str, name: &str) -> Option<String> {
        self.images
            .iter()
            .find(|image| image.parameter.as_deref() == Some(name))
            .map(|image| image.id(region))
    }
}

/// An identifier that is the same in every run: `vpc-` and 17 hexadecimal
/// digits from what it names.
pub(crate) fn fixed_id(prefix: &str, named: &[&str]) -> String {
    let digest = foldhash::quality::FixedState::with_seed(0xec2).hash_one(named);
    format!("{prefix}-0{digest:016x}")
}
