//! Machine images.

use super::{Architecture, fixed_id};

/// How an image starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootMode {
    /// BIOS only.
    LegacyBios,
    /// UEFI only.
    Uefi,
    /// UEFI where the type can, else BIOS.
    UefiPreferred,
}

impl BootMode {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
            Self::UefiPreferred => "uefi-preferred",
        }
    }
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name, unique for its owner.
    pub name: String,
    /// The account that owns it.
    pub owner: String,
    /// `amazon`, where AWS shows its owner by a word.
    pub owner_alias: Option<String>,
    /// What it runs on.
    pub architecture: Architecture,
    /// Whether it is Windows.
    pub windows: bool,
    /// How it starts.
    pub boot_mode: BootMode,
    /// The root device's name.
    pub root_device: String,
    /// The root volume's smallest size in GiB.
    pub root_gib: u32,
    /// When it was made, ISO 8601 in UTC.
    pub created: String,
    /// When it is deprecated, if ever.
    pub deprecated: Option<String>,
    /// The public SSM parameter that names it.
    pub parameter: Option<String>,
    /// Whether accounts other than the owner see it.
    pub public: bool,
}

impl Image {
    /// Its id in a region.
    pub fn id(&self, region: &str) -> String {
        fixed_id("ami", &[region, &self.owner, &self.name])
    }

    /// The id of its root volume's snapshot in a region.
    pub fn snapshot(&self, region: &str) -> String {
        fixed_id("snap", &[region, &self.owner, &self.name])
    }

    /// Whether an account may see and start it.
    pub fn visible_to(&self, account: &str) -> bool {
        self.public || self.owner == account
    }

    fn linux(
        owner: &str,
        name: &str,
        architecture: Architecture,
        root: (&str, u32),
        created: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            owner: owner.to_owned(),
            owner_alias: None,
            architecture,
            windows: false,
            boot_mode: match architecture {
                Architecture::X86_64 => BootMode::UefiPreferred,
                Architecture::Arm64 => BootMode::Uefi,
            },
            root_device: root.0.to_owned(),
            root_gib: root.1,
            created: created.to_owned(),
            deprecated: None,
            parameter: None,
            public: true,
        }
    }
}

const CANONICAL: &str = "099720109477";
const AMAZON: &str = "137112412989";
const DEBIAN: &str = "136693071363";
const MICROSOFT_BY_AMAZON: &str = "801119661308";

/// Ubuntu, Amazon Linux, Debian in both architectures, an older one of each
/// Ubuntu (so that "newest" can be told), Windows, and one deprecated image.
pub(super) fn images() -> Vec<Image> {
    let mut images = Vec::new();
    for (architecture, canonical, plain) in [
        (Architecture::X86_64, "amd64", "x86_64"),
        (Architecture::Arm64, "arm64", "arm64"),
    ] {
        for (series, version, disk) in [
            ("jammy", "22.04", "hvm-ssd"),
            ("noble", "24.04", "hvm-ssd-gp3"),
        ] {
            for (serial, created, newest) in [
                ("20250115", "2025-01-15T05:10:31.000Z", false),
                ("20250610", "2025-06-10T06:02:44.000Z", true),
            ] {
                let folder = if disk == "hvm-ssd" { "gp2" } else { "gp3" };
                images.push(Image {
                    parameter: newest.then(|| {
                        format!(
                            "/aws/service/canonical/ubuntu/server/{version}/stable/current/\
                             {canonical}/hvm/ebs-{folder}/ami-id"
                        )
                    }),
                    ..Image::linux(
                        CANONICAL,
                        &format!(
                            "ubuntu/images/{disk}/ubuntu-{series}-{version}-{canonical}-server-\
                             {serial}"
                        ),
                        architecture,
                        ("/dev/sda1", 8),
                        created,
                    )
                });
            }
        }
        images.push(Image {
            owner_alias: Some("amazon".to_owned()),
            parameter: Some(format!(
                "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{plain}"
            )),
            ..Image::linux(
                AMAZON,
                &format!("al2023-ami-2023.7.20250609.0-kernel-6.1-{plain}"),
                architecture,
                ("/dev/xvda", 8),
                "2025-06-09T19:20:11.000Z",
            )
        });
        images.push(Image {
            parameter: Some(format!("/aws/service/debian/release/12/latest/{canonical}")),
            ..Image::linux(
                DEBIAN,
                &format!("debian-12-{canonical}-20250530-2128"),
                architecture,
                ("/dev/xvda", 8),
                "2025-05-30T21:40:00.000Z",
            )
        });
    }
    images.push(Image {
        owner_alias: Some("amazon".to_owned()),
        windows: true,
        boot_mode: BootMode::LegacyBios,
        parameter: Some(
            "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base".to_owned(),
        ),
        ..Image::linux(
            MICROSOFT_BY_AMAZON,
            "Windows_Server-2022-English-Full-Base-2025.06.11",
            Architecture::X86_64,
            ("/dev/sda1", 30),
            "2025-06-11T02:12:23.000Z",
        )
    });
    images.push(Image {
        deprecated: Some("2024-06-30T23:59:00.000Z".to_owned()),
        boot_mode: BootMode::LegacyBios,
        ..Image::linux(
            CANONICAL,
            "ubuntu/images/hvm-ssd/ubuntu-bionic-18.04-amd64-server-20230607",
            Architecture::X86_64,
            ("/dev/sda1", 8),
            "2023-06-07T04:00:00.000Z",
        )
    });
    images
}
