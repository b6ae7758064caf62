//! The disks of a launch: the image's root, and what the request says of it and
//! of others.

use crate::catalog::Image;
use crate::cloud::Context;
use crate::error::ApiError;
use crate::params::Params;

/// A disk to make.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) device: String,
    pub(super) gib: u32,
    pub(super) kind: String,
    pub(super) iops: Option<u32>,
    pub(super) throughput: Option<u32>,
    pub(super) encrypted: bool,
    pub(super) kms_key: Option<String>,
    pub(super) snapshot: Option<String>,
    pub(super) goes: bool,
}

pub(super) fn read(
    context: &Context<'_>,
    params: &Params,
    image: &Image,
) -> Result<Vec<Disk>, ApiError> {
    let mut disks = vec![Disk {
        device: image.root_device.clone(),
        gib: image.root_gib,
        kind: "gp3".to_owned(),
        iops: None,
        throughput: None,
        encrypted: false,
        kms_key: None,
        snapshot: Some(image.snapshot(&context.place.name)),
        goes: true,
    }];
    for mapping in params.list("BlockDeviceMapping") {
        let device = mapping.required("DeviceName")?;
        let Some(ebs) = mapping.at("Ebs") else {
            continue;
        };
        if disks.iter().all(|disk| disk.device != device) {
            disks.push(Disk {
                device: device.to_owned(),
                gib: 0,
                snapshot: None,
                ..disks[0].clone()
            });
        }
        let Some(disk) = disks.iter_mut().find(|disk| disk.device == device) else {
            continue;
        };
        if let Some(gib) = ebs.number("VolumeSize")? {
            let smallest = if disk.snapshot.is_some() { disk.gib } else { 1 };
            if gib < smallest {
                return Err(ApiError::new(
                    "InvalidBlockDeviceMapping",
                    format!(
                        "Volume of size {gib}GB is smaller than snapshot '{}', expect size >= \
                         {smallest}GB",
                        disk.snapshot.as_deref().unwrap_or_default()
                    ),
                ));
            }
            disk.gib = gib;
        }
        if disk.gib == 0 {
            return Err(ApiError::missing("BlockDeviceMapping.Ebs.VolumeSize"));
        }
        if let Some(kind) = ebs.text("VolumeType") {
            if !["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].contains(&kind) {
                return Err(ApiError::invalid("VolumeType", kind));
            }
            kind.clone_into(&mut disk.kind);
        }
        disk.iops = ebs.number("Iops")?.or(disk.iops);
        if disk.iops.is_none() && disk.kind.starts_with("io") {
            return Err(ApiError::new(
                "MissingParameter",
                format!(
                    "The parameter iops must be specified for {} volumes.",
                    disk.kind
                ),
            ));
        }
        disk.throughput = ebs.number("Throughput")?.or(disk.throughput);
        disk.encrypted = ebs.flag("Encrypted")?.unwrap_or(disk.encrypted);
        disk.kms_key = ebs.text("KmsKeyId").map(str::to_owned);
        disk.goes = ebs.flag("DeleteOnTermination")?.unwrap_or(true);
    }
    Ok(disks)
}
