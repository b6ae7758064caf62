//! Instance types: what they have, where they are offered, what they cost.

use std::collections::BTreeMap;

/// What a processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD.
    X86_64,
    /// Graviton.
    Arm64,
}

impl Architecture {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// One instance type.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceType {
    /// `m6i.large`.
    pub name: String,
    /// Default vCPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The one architecture that it runs.
    pub architecture: Architecture,
    /// On-demand price an hour in the millionth part of a dollar.
    pub price: u64,
    /// Built on Nitro (else Xen); only Nitro boots by UEFI.
    pub nitro: bool,
    /// Whether its machines can be hibernated.
    pub hibernates: bool,
    /// Zones, by their last letter, that don't offer it.
    pub absent_from: Vec<char>,
    /// Spot prices an hour in millionths of a dollar, by zone, where they are
    /// not the usual ones.
    pub spot_prices: BTreeMap<String, u64>,
}

impl InstanceType {
    /// Whether a zone offers it.
    pub fn offered_in(&self, zone: &str) -> bool {
        !zone.ends_with(self.absent_from.as_slice())
    }

    /// CPU credits: the `t` families.
    pub fn burstable(&self) -> bool {
        self.name.starts_with('t')
    }

    /// Bare metal.
    pub fn metal(&self) -> bool {
        self.name.contains(".metal")
    }

    /// The spot price an hour in a zone, in millionths of a dollar: near a
    /// third of on-demand, another one in each zone, unless set.
    pub fn spot_price(&self, zone: &str) -> u64 {
        if let Some(price) = self.spot_prices.get(zone) {
            return *price;
        }
        let letter = zone.bytes().last().unwrap_or(b'a');
        let percent = 30 + u64::from(letter.wrapping_sub(b'a') % 6) * 3;
        self.price * percent / 100
    }
}

/// A price as the API writes it.
pub(crate) fn dollars(millionths: u64) -> String {
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

type Row = (&'static str, u32, u64, Architecture, u64, bool);

/// Name, vCPUs, GiB of memory, architecture, millionths of a dollar an hour,
/// whether it hibernates.
const ROWS: &[Row] = &[
    ("t3.micro", 2, 1, Architecture::X86_64, 10_400, true),
    ("t3.small", 2, 2, Architecture::X86_64, 20_800, true),
    ("t3.medium", 2, 4, Architecture::X86_64, 41_600, true),
    ("t3.large", 2, 8, Architecture::X86_64, 83_200, true),
    ("t3.xlarge", 4, 16, Architecture::X86_64, 166_400, true),
    ("t3.2xlarge", 8, 32, Architecture::X86_64, 332_800, true),
    ("t4g.small", 2, 2, Architecture::Arm64, 16_800, true),
    ("t4g.medium", 2, 4, Architecture::Arm64, 33_600, true),
    ("t4g.large", 2, 8, Architecture::Arm64, 67_200, true),
    ("m5.large", 2, 8, Architecture::X86_64, 96_000, true),
    ("m5.xlarge", 4, 16, Architecture::X86_64, 192_000, true),
    ("m5.2xlarge", 8, 32, Architecture::X86_64, 384_000, true),
    ("m5.4xlarge", 16, 64, Architecture::X86_64, 768_000, true),
    ("m5.metal", 96, 384, Architecture::X86_64, 4_608_000, false),
    ("m6i.large", 2, 8, Architecture::X86_64, 96_000, true),
    ("m6i.xlarge", 4, 16, Architecture::X86_64, 192_000, true),
    ("m6i.2xlarge", 8, 32, Architecture::X86_64, 384_000, true),
    ("m6a.large", 2, 8, Architecture::X86_64, 86_400, true),
    ("m6g.large", 2, 8, Architecture::Arm64, 77_000, true),
    ("m6g.xlarge", 4, 16, Architecture::Arm64, 154_000, true),
    ("m7i.large", 2, 8, Architecture::X86_64, 100_800, true),
    ("m7g.large", 2, 8, Architecture::Arm64, 81_600, true),
    ("m7g.xlarge", 4, 16, Architecture::Arm64, 163_200, true),
    ("c5.large", 2, 4, Architecture::X86_64, 85_000, true),
    ("c5.xlarge", 4, 8, Architecture::X86_64, 170_000, true),
    ("c6i.large", 2, 4, Architecture::X86_64, 85_000, true),
    ("c6i.xlarge", 4, 8, Architecture::X86_64, 170_000, true),
    ("c6i.2xlarge", 8, 16, Architecture::X86_64, 340_000, true),
    ("c6g.large", 2, 4, Architecture::Arm64, 68_000, true),
    ("c7g.large", 2, 4, Architecture::Arm64, 72_500, true),
    ("c7g.xlarge", 4, 8, Architecture::Arm64, 145_000, true),
    ("r6i.large", 2, 16, Architecture::X86_64, 126_000, true),
    ("r6g.large", 2, 16, Architecture::Arm64, 100_800, true),
];

pub(super) fn types() -> Vec<InstanceType> {
    let nitro =
        ROWS.iter().map(
            |&(name, vcpus, gib, architecture, price, hibernates)| InstanceType {
                name: name.to_owned(),
                vcpus,
                memory_mib: gib * 1024,
                architecture,
                price,
                nitro: true,
                hibernates,
                // Newer types are missing from some zones of every region.
                absent_from: if name.starts_with("m7") || name.starts_with("c7") {
                    vec!['c']
                } else {
                    Vec::new()
                },
                spot_prices: BTreeMap::new(),
            },
        );
    // One of the older kind, so that what Xen can't do can be met.
    let xen = InstanceType {
        name: "t2.micro".to_owned(),
        vcpus: 1,
        memory_mib: 1024,
        architecture: Architecture::X86_64,
        price: 11_600,
        nitro: false,
        hibernates: true,
        absent_from: Vec::new(),
        spot_prices: BTreeMap::new(),
    };
    nitro.chain([xen]).collect()
}
