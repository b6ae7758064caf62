//! `DescribeImages`.

use jiff::Timestamp;

use crate::actions::answer;
use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::catalog::Image;
use crate::cloud::{Context, Tags, check_id};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// Images by id, owner (account, alias, `self`) and filter. Deprecated ones
/// are listed only where asked for ("DescribeImages", `IncludeDeprecated`), or
/// for their owner.
pub(crate) fn describe_images(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    const FILTERS: &[&str] = &[
        "architecture",
        "boot-mode",
        "creation-date",
        "hypervisor",
        "image-id",
        "image-type",
        "is-public",
        "name",
        "owner-alias",
        "owner-id",
        "platform",
        "root-device-name",
        "root-device-type",
        "state",
        "tag-key",
        "virtualization-type",
    ];
    let filters = Filters::read(params, FILTERS)?;
    let deprecated = params.flag("IncludeDeprecated")?.unwrap_or(false);
    let region = context.place.name.clone();
    let (account, now) = (context.account, context.now);
    let ids = params.texts("ImageId");
    for id in &ids {
        check_id("ami", "InvalidAMIID", id)?;
        let image = context.catalog.image(&region, id);
        if !image.is_some_and(|image| image.visible_to(account)) {
            return Err(ApiError::new(
                "InvalidAMIID.NotFound",
                format!("The image id '[{id}]' does not exist"),
            ));
        }
    }
    let owners = params.texts("Owner");
    let found: Vec<Image> = context
        .catalog
        .images
        .iter()
        .filter(|image| image.visible_to(account))
        .filter(|image| ids.is_empty() || ids.contains(&image.id(&region).as_str()))
        .filter(|image| owners.is_empty() || owners.iter().any(|owner| owns(owner, account, image)))
        .filter(|image| {
            deprecated || !ids.is_empty() || image.owner == account || !is_past(image, now)
        })
        .filter(|image| filters.pass(&Tags::new(), |name| field(&region, image, name)))
        .cloned()
        .collect();
    let page = page(context, params, 1..=1000, found, |image| image.id(&region))?;
    Ok(answer("DescribeImagesResponse")
        .list(
            "imagesSet",
            page.items.iter().map(|one| image(&region, one)),
        )
        .maybe("nextToken", page.next))
}

fn owns(owner: &str, account: &str, image: &Image) -> bool {
    match owner {
        "self" => image.owner == account,
        "amazon" | "aws-marketplace" | "aws-backup-vault" => {
            image.owner_alias.as_deref() == Some(owner)
        }
        id => image.owner == id,
    }
}

fn is_past(image: &Image, now: Timestamp) -> bool {
    image
        .deprecated
        .as_ref()
        .and_then(|at| at.parse::<Timestamp>().ok())
        .is_some_and(|at| at <= now)
}

fn field(region: &str, image: &Image, name: &str) -> Vec<String> {
    let value = match name {
        "architecture" => image.architecture.name(),
        "boot-mode" => image.boot_mode.name(),
        "creation-date" => &image.created,
        "hypervisor" => "xen",
        "image-id" => return vec![image.id(region)],
        "image-type" => "machine",
        "is-public" => return vec![image.public.to_string()],
        "name" => &image.name,
        "owner-alias" => return image.owner_alias.iter().cloned().collect(),
        "owner-id" => &image.owner,
        "platform" if image.windows => "windows",
        "root-device-name" => &image.root_device,
        "root-device-type" => "ebs",
        "state" => "available",
        "virtualization-type" => "hvm",
        _ => return Vec::new(),
    };
    vec![value.to_owned()]
}

fn image(region: &str, image: &Image) -> Element {
    Element::new("item")
        .with("imageId", image.id(region))
        .with("imageLocation", format!("{}/{}", image.owner, image.name))
        .with("imageState", "available")
        .with("imageOwnerId", &image.owner)
        .with("creationDate", &image.created)
        .with("isPublic", image.public)
        .with("architecture", image.architecture.name())
        .with("imageType", "machine")
        .maybe("platform", image.windows.then_some("windows"))
        .with(
            "platformDetails",
            if image.windows {
                "Windows"
            } else {
                "Linux/UNIX"
            },
        )
        .with(
            "usageOperation",
            if image.windows {
                "RunInstances:0002"
            } else {
                "RunInstances"
            },
        )
        .maybe("imageOwnerAlias", image.owner_alias.as_ref())
        .with("name", &image.name)
        .with("description", "")
        .with("rootDeviceType", "ebs")
        .with("rootDeviceName", &image.root_device)
        .list(
            "blockDeviceMapping",
            [Element::new("item")
                .with("deviceName", &image.root_device)
                .child(
                    Element::new("ebs")
                        .with("snapshotId", image.snapshot(region))
                        .with("volumeSize", image.root_gib)
                        .with("deleteOnTermination", true)
                        .with("volumeType", "gp3")
                        .with("encrypted", false),
                )],
        )
        .with("virtualizationType", "hvm")
        .with("hypervisor", "xen")
        .with("enaSupport", true)
        .with("sriovNetSupport", "simple")
        .with("bootMode", image.boot_mode.name())
        .maybe("deprecationTime", image.deprecated.as_ref())
}
