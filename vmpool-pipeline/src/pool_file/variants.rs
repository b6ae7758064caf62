//! `variants`: other shapes of a pool's machine, each with its own count.

use super::family::Variant;
use super::keys::VARIANT;
use super::{Source, ZoneSpec, limit, warm};
use crate::diagnostic::quoted;
use crate::fields::{At, Fields, Reader};

/// What makes an EC2 machine of another shape.
const SHAPE: [&str; 6] = [
    "machine_type",
    "image_name",
    "disk_size",
    "disk_type",
    "hibernate",
    "zones",
];

/// A variant as its pool's entry, or a tenant's, has it.
#[derive(Debug, Clone)]
pub(super) struct VariantSpec<'n> {
    pub(super) is_for: Variant,
    pub(super) warm: u32,
    pub(super) limit: u32,
    fields: Fields<'n>,
}

/// Reads the variants of a pool or a tenant; each id is there once.
pub(super) fn variants<'n>(r: &mut Reader, at: &At<'n>) -> Option<Vec<VariantSpec<'n>>> {
    let items = r.items(at, "a list of variants")?;
    let mut variants: Vec<VariantSpec<'_>> = Vec::new();
    for item in items {
        let Some(variant) = variant(r, &item) else {
            continue;
        };
        let id = &variant.is_for.id;
        if variants.iter().any(|known| known.is_for.id == *id) {
            r.error(&item, format!("variant {} already defined", quoted(id)));
        } else {
            variants.push(variant);
        }
    }
    Some(variants)
}

fn variant<'n>(r: &mut Reader, at: &At<'n>) -> Option<VariantSpec<'n>> {
    let fields = r.fields(at, &VARIANT.keys)?;
    let id = fields.require(r, "variant_id", Reader::name);
    let warm = fields.read(r, "pool", warm).unwrap_or(0);
    let limit = limit(r, &fields, warm);
    let flag = "enable_nested_virtualization";
    let is_for = Variant {
        id: id?,
        resource_class: fields
            .read(r, "resource_class", Reader::text)
            .unwrap_or_default(),
        nested_virtualization: fields.read(r, flag, Reader::flag).unwrap_or(false),
        image: fields.read(r, "image_name", text),
    };
    Some(VariantSpec {
        is_for,
        warm,
        limit,
        fields,
    })
}

impl VariantSpec<'_> {
    /// The machines of the pool in the variant's shape.
    pub(super) fn shape(&self, r: &mut Reader, of_pool: &Source) -> Source {
        let mut source = of_pool.clone();
        let Source::Amazon(spec) = &mut source else {
            for key in SHAPE {
                if let Some(at) = self.fields.get(key) {
                    r.warn(&at, "local machines have one shape: no effect here");
                }
            }
            return source;
        };
        let fields = &self.fields;
        if let Some(size) = fields.read(r, "machine_type", text) {
            spec.sizes = vec![size];
        }
        if let Some(image) = &self.is_for.image {
            spec.ami.clone_from(image);
        }
        let gib = |r: &mut Reader, at: &At<'_>| r.number(at).filter(|gib| *gib > 0);
        if let Some(gib) = fields.read(r, "disk_size", gib) {
            spec.disk.gib = Some(gib);
        }
        if let Some(kind) = fields.read(r, "disk_type", text)
            && spec.disk.kind.as_ref() != Some(&kind)
        {
            // They were meant for the other kind.
            spec.disk.iops = None;
            spec.disk.kind = Some(kind);
        }
        if let Some(hibernate) = fields.read(r, "hibernate", Reader::flag) {
            spec.hibernate = hibernate;
        }
        if let Some(names) = fields.read(r, "zones", Reader::texts)
            && !names.is_empty()
        {
            let zones = &mut spec.network.zones;
            let has_subnets = zones.iter().any(|zone| zone.subnet.is_some());
            let mut ours = Vec::with_capacity(names.len());
            for name in names {
                let named = |zone: &&ZoneSpec| zone.name.as_ref() == Some(&name);
                let known = zones.iter().find(named).cloned();
                if known.is_none()
                    && has_subnets
                    && let Some(at) = fields.get("zones")
                {
                    let zone = quoted(&name);
                    let message = format!(
                        "the pool's zone_details have no subnet in {zone}: machines go to the \
                         zone's default one"
                    );
                    r.warn(&at, message);
                }
                ours.push(known.unwrap_or(ZoneSpec {
                    name: Some(name),
                    subnet: None,
                }));
            }
            *zones = ours;
        }
        source
    }
}

fn text(r: &mut Reader, at: &At<'_>) -> Option<String> {
    r.text(at).filter(|text| !text.is_empty())
}
