//! Finding a pool's image, and whether its types of machine can run it: once,
//! before the first launch, so that a bad pool file fails at start (P13).

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    Filter, Image as Found, ImageState, InstanceType, InstanceTypeInfo, ProcessorInfo,
};
use vmpool_core::{ErrorKind, ProviderError};

use crate::failure::failed;

/// What names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// `ami-…`
    Id(String),
    /// The newest of that name; `*` stands for anything.
    Name {
        /// The name.
        name: String,
        /// Whose: account ids, `amazon`, `self`. Empty: `amazon` and `self`,
        /// the incumbent's choice; anybody may publish an image of any name.
        owners: Vec<String>,
    },
    /// `resolve:ssm:PARAMETER`: the id that a parameter holds.
    Parameter(String),
}

/// An image that machines can be launched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Its root device: `/dev/sda1`.
    pub device: String,
    /// The size of its root volume in GiB: a machine's is not smaller.
    pub gib: u32,
    architecture: String,
    boot_mode: Option<String>,
}

/// An image that can't be used as it was asked for.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("there is no image of that name; owners: {owners}")]
    NoSuchName { owners: String },
    #[error("EC2 did not describe it: it does not exist, or this account may not use it")]
    NotShown,
    #[error("the image is {state}")]
    NotAvailable { state: String },
    #[error("the parameter holds no value")]
    EmptyParameter,
    #[error("{machine_type} is no type of machine in this region")]
    NoSuchType { machine_type: String },
    #[error("the image is for {image}, and {machine_type} runs {runs}")]
    Architecture {
        image: String,
        machine_type: String,
        runs: String,
    },
    #[error("the image boots by {image}, and {machine_type} by {boots}")]
    BootMode {
        image: String,
        machine_type: String,
        boots: String,
    },
}

impl ImageName {
    /// The image that `text` of a pool file names.
    pub fn of(text: &str, owners: Vec<String>) -> Self {
        if let Some(parameter) = text.strip_prefix("resolve:ssm:") {
            return Self::Parameter(parameter.to_owned());
        }
        if text.starts_with("ami-") {
            return Self::Id(text.to_owned());
        }
        let name = text.to_owned();
        Self::Name { name, owners }
    }

    /// Finds the image.
    ///
    /// # Errors
    /// There is none that could be used, or EC2 did not say.
    pub async fn find(
        &self,
        ec2: &Client,
        ssm: &aws_sdk_ssm::Client,
    ) -> Result<Image, ProviderError> {
        let found = match self {
            Self::Id(id) => by_id(ec2, id).await?,
            Self::Name { name, owners } => newest(ec2, name, owners).await?,
            Self::Parameter(name) => by_id(ec2, &parameter(ssm, name).await?).await?,
        };
        image(found)
    }
}

async fn by_id(ec2: &Client, id: &str) -> Result<Found, ProviderError> {
    let attempted = || format!("find image {id}");
    let sent = ec2.describe_images().image_ids(id).send().await;
    let answer = sent.map_err(|error| failed(attempted(), &error))?;
    let image = answer.images.unwrap_or_default().pop();
    image.ok_or_else(|| bad(attempted(), Unfit::NotShown))
}

async fn newest(ec2: &Client, name: &str, owners: &[String]) -> Result<Found, ProviderError> {
    let attempted = || format!("find an image named {name}");
    let usual = || vec!["amazon".to_owned(), "self".to_owned()];
    let owners = if owners.is_empty() {
        usual()
    } else {
        owners.to_vec()
    };
    let named = |key: &str, value: &str| Filter::builder().name(key).values(value).build();
    let mut pages = ec2
        .describe_images()
        .set_owners(Some(owners.clone()))
        .filters(named("name", name))
        .filters(named("state", "available"))
        .into_paginator()
        .stop_on_duplicate_token(false)
        .items()
        .send();
    let mut newest: Option<Found> = None;
    while let Some(image) = pages.next().await {
        let image = image.map_err(|error| failed(attempted(), &error))?;
        // Dates of one form, which compare as texts.
        let is_newer = newest
            .as_ref()
            .is_none_or(|known| image.creation_date() > known.creation_date());
        if is_newer {
            newest = Some(image);
        }
    }
    newest.ok_or_else(|| {
        let owners = owners.join(", ");
        bad(attempted(), Unfit::NoSuchName { owners })
    })
}

async fn parameter(ssm: &aws_sdk_ssm::Client, name: &str) -> Result<String, ProviderError> {
    let attempted = || format!("read the parameter {name}");
    let sent = ssm.get_parameter().name(name).send().await;
    let answer = sent.map_err(|error| {
        let failure = failed(attempted(), &error);
        match &error {
            aws_sdk_ssm::error::SdkError::ServiceError(service)
                if service.err().is_parameter_not_found() =>
            {
                ProviderError {
                    kind: ErrorKind::BadSpec,
                    ..failure
                }
            }
            _ => failure,
        }
    })?;
    let value = answer.parameter.and_then(|parameter| parameter.value);
    value.ok_or_else(|| bad(attempted(), Unfit::EmptyParameter))
}

fn image(found: Found) -> Result<Image, ProviderError> {
    let id = found.image_id.unwrap_or_default();
    match found.state {
        None | Some(ImageState::Available) => {}
        Some(state) => {
            let state = state.to_string();
            return Err(bad(
                format!("use image {id}"),
                Unfit::NotAvailable { state },
            ));
        }
    }
    let device = found.root_device_name.unwrap_or_default();
    let mut mappings = found.block_device_mappings.unwrap_or_default().into_iter();
    let root = mappings.find(|mapping| mapping.device_name.as_ref() == Some(&device));
    let gib = root.and_then(|root| root.ebs?.volume_size);
    Ok(Image {
        id,
        device,
        gib: gib.and_then(|gib| gib.try_into().ok()).unwrap_or(0),
        architecture: found
            .architecture
            .map_or_else(String::new, |a| a.to_string()),
        boot_mode: found.boot_mode.map(|mode| mode.to_string()),
    })
}

impl Image {
    /// Checks that each of `types` exists here and can run the image.
    ///
    /// # Errors
    /// The first that can't, or EC2 did not say.
    pub async fn check_types(&self, ec2: &Client, types: &[String]) -> Result<(), ProviderError> {
        let attempted = || format!("launch image {} on {}", self.id, types.join(", "));
        let asked = types.iter().map(|name| InstanceType::from(name.as_str()));
        let sent = ec2
            .describe_instance_types()
            .set_instance_types(Some(asked.collect()))
            .send()
            .await;
        let answer = sent.map_err(|error| failed(attempted(), &error))?;
        for machine_type in types {
            let known = answer.instance_types().iter().find(|known| {
                let name = known.instance_type().map(InstanceType::as_str);
                name == Some(machine_type)
            });
            let machine_type = machine_type.clone();
            known
                .ok_or(Unfit::NoSuchType { machine_type })
                .and_then(|known| self.check(known))
                .map_err(|unfit| bad(attempted(), unfit))?;
        }
        Ok(())
    }

    fn check(&self, known: &InstanceTypeInfo) -> Result<(), Unfit> {
        let machine_type = || {
            known
                .instance_type()
                .map_or_else(String::new, ToString::to_string)
        };
        let processor = known.processor_info();
        let runs: Vec<_> = processor
            .map(ProcessorInfo::supported_architectures)
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        if !runs.is_empty() && !runs.contains(&self.architecture) {
            return Err(Unfit::Architecture {
                image: self.architecture.clone(),
                machine_type: machine_type(),
                runs: runs.join(", "),
            });
        }
        let boots: Vec<_> = known
            .supported_boot_modes()
            .iter()
            .map(ToString::to_string)
            .collect();
        match &self.boot_mode {
            // uefi-preferred boots by either.
            Some(mode)
                if mode != "uefi-preferred" && !boots.is_empty() && !boots.contains(mode) =>
            {
                Err(Unfit::BootMode {
                    image: mode.clone(),
                    machine_type: machine_type(),
                    boots: boots.join(", "),
                })
            }
            _ => Ok(()),
        }
    }
}

fn bad(attempted: String, unfit: Unfit) -> ProviderError {
    ProviderError::new(ErrorKind::BadSpec, attempted).because(unfit)
}
