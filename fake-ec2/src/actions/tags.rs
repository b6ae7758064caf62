//! Tags: with what a call makes, and later.
//!
//! Limits of "Tag restrictions" (docs.aws.amazon.com/AWSEC2/latest/UserGuide/
//! Using_Tags.html): 50 a resource, keys of 128 and values of 256 characters,
//! keys that begin with `aws:` are Amazon's.

use std::collections::{BTreeMap, BTreeSet};

use crate::actions::answer;
use crate::cloud::{Context, Tags};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// Tags by the kind of resource.
pub(crate) type ByKind = BTreeMap<String, Tags>;

/// Reads `TagSpecification`s, for kinds that the call can make.
///
/// # Errors
/// `InvalidParameterValue`, `TagLimitExceeded`.
pub(crate) fn specifications(params: &Params, kinds: &[&str]) -> Result<ByKind, ApiError> {
    let mut all = ByKind::new();
    for specification in params.list("TagSpecification") {
        let kind = specification.required("ResourceType")?;
        if !kinds.contains(&kind) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("'{kind}' is not a valid taggable resource type for this operation."),
            ));
        }
        if all.contains_key(kind) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("The resource type '{kind}' is specified more than once."),
            ));
        }
        all.insert(kind.to_owned(), read(specification)?);
    }
    Ok(all)
}

fn read(params: &Params) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in params.list("Tag") {
        let key = tag.required("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        if key.starts_with("aws:") {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' \
                     are reserved for internal use"
                ),
            ));
        }
        if key.is_empty() || key.chars().count() > 128 {
            return Err(ApiError::new(
                "InvalidParameterValue",
                "Tag keys must have between 1 and 128 characters",
            ));
        }
        if value.chars().count() > 256 {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("The value of tag '{key}' exceeds the maximum length of 256 characters"),
            ));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Duplicate tag key '{key}' specified."),
            ));
        }
    }
    check_count(&tags)?;
    Ok(tags)
}

fn check_count(tags: &Tags) -> Result<(), ApiError> {
    if tags.keys().filter(|key| !key.starts_with("aws:")).count() > 50 {
        return Err(ApiError::new(
            "TagLimitExceeded",
            "The maximum number of Tags for a resource has been reached.",
        ));
    }
    Ok(())
}

/// Tags as `tagSet`.
pub(crate) fn set(tags: &Tags) -> Element {
    Element::new("tagSet").children(
        tags.iter()
            .map(|(key, value)| Element::new("item").with("key", key).with("value", value)),
    )
}

/// `CreateTags`: all named resources, or none.
pub(crate) fn create_tags(context: &mut Context<'_>, params: &Params) -> Result<Element, ApiError> {
    let tags = read(params)?;
    let ids: BTreeSet<&str> = params.texts("ResourceId").into_iter().collect();
    if ids.is_empty() {
        return Err(ApiError::missing("ResourceId"));
    }
    for id in &ids {
        let known = if id.starts_with("i-") {
            context.named_instances(&[id])?;
            true
        } else {
            let here = &context.region;
            here.volumes.contains_key(*id)
                || here.interfaces.contains_key(*id)
                || here.spot_requests.contains_key(*id)
                || here.templates.contains_key(*id)
                || here.groups.contains_key(*id)
        };
        if !known {
            return Err(ApiError::new(
                "InvalidID",
                format!("The ID '{id}' is not valid"),
            ));
        }
        let mut after = context.tags_of(id);
        after.extend(tags.clone());
        check_count(&after)?;
    }
    for id in ids {
        context.add_tags(id, &tags);
    }
    Ok(answer("CreateTagsResponse").with("return", true))
}

impl Context<'_> {
    fn tags_of(&self, id: &str) -> Tags {
        let here = &self.region;
        if let Some(instance) = here.instances.get(id) {
            return instance.current().tags.clone();
        }
        if let Some(volume) = here.volumes.get(id) {
            return volume.tags.clone();
        }
        if let Some(interface) = here.interfaces.get(id) {
            return interface.tags.clone();
        }
        Tags::new()
    }

    fn add_tags(&mut self, id: &str, tags: &Tags) {
        self.change(id, |instance| instance.tags.extend(tags.clone()));
        let (now, seen_from) = (self.now, self.seen_from());
        let here = &mut *self.region;
        if let Some(volume) = here.volumes.get_mut(id) {
            volume.tags.extend(tags.clone());
        }
        if let Some(interface) = here.interfaces.get_mut(id) {
            interface.tags.extend(tags.clone());
        }
        if let Some(request) = here.spot_requests.get_mut(id) {
            request.tags.extend(tags.clone());
        }
        if let Some(template) = here.templates.get_mut(id) {
            template.change(now, seen_from, |template| {
                if let Some(template) = template {
                    template.tags.extend(tags.clone());
                }
            });
        }
        if let Some(group) = here.groups.get_mut(id) {
            group.change(now, seen_from, |group| group.tags.extend(tags.clone()));
        }
    }
}
