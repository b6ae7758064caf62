//! What an instance runs: the seam between the cloud's record of a machine and
//! a machine.
//!
//! The cloud decides when a machine starts and ends; a [`Machines`] makes it
//! so. [`Hollow`] makes nothing: its instances boot, run and answer nobody.
//! [`Processes`] makes processes of this host, which listen on the addresses
//! that the API tells; what such a process is, a [`Guest`] says: our agent by
//! the very user data ([`AgentGuest`]), or an emulator that boots a disk's image
//! ([`BootedGuest`]).

mod booted;
mod guest;
mod metadata;
mod process;
mod user_data;

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::server::Control;

pub use self::booted::BootedGuest;
pub use self::guest::{AgentGuest, Guest, GuestError};
pub use self::metadata::MetadataService;
pub use self::process::Processes;
pub use self::user_data::{File, UserData, UserDataError};

/// An instance that now runs.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Its id.
    pub instance: String,
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its zone.
    pub zone: String,
    /// Its type.
    pub instance_type: String,
    /// The image that it boots.
    pub image: String,
    /// The address that it has: a loopback address, so that a process of this
    /// host can listen on it.
    pub private_address: Ipv4Addr,
    /// What the metadata service gives it, as it was before base64. Absent or
    /// unchanged at a start after a stop: cloud-init runs it once.
    pub user_data: Option<Arc<[u8]>>,
    /// Why it starts.
    pub cause: Cause,
}

/// Why a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is new.
    Launched,
    /// It was stopped: same disk, new boot.
    Started,
    /// It was hibernated: same disk, same memory.
    Resumed,
}

/// What the cloud does to machines, in the order in which it does it.
#[derive(Debug, Clone)]
pub enum Effect {
    /// An instance is now `running`.
    Start(Box<Birth>),
    /// An instance is being stopped.
    Stop {
        /// Its id.
        instance: String,
        /// Whether its memory is kept.
        hibernate: bool,
    },
    /// An instance is being terminated.
    Terminate {
        /// Its id.
        instance: String,
    },
    /// The metadata service tells a spot interruption.
    Notice {
        /// Its id.
        instance: String,
        /// When it will be ended.
        at: Timestamp,
    },
}

/// Runs machines. One call at a time, in the cloud's order; a slow one holds
/// up the others, so long work belongs into a task of the implementation.
#[async_trait]
pub trait Machines: Send + Sync + 'static {
    /// Starts a machine. `control` is how it tells the cloud what its guest
    /// did: [`Control::powered_off`], [`Control::console`].
    async fn start(&self, birth: Birth, control: &Control);

    /// Stops a machine; its disk stays, with `hibernate` its memory too.
    async fn stop(&self, instance: &str, hibernate: bool);

    /// Ends a machine for good. Also for one that is stopped or unknown.
    async fn terminate(&self, instance: &str);

    /// The machine's metadata service now tells that it will be ended.
    async fn notice(&self, instance: &str, at: Timestamp);

    /// The cloud ends, and every machine with it. Nothing comes after.
    async fn end(&self);
}

/// Machines that don't exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hollow;

#[async_trait]
impl Machines for Hollow {
    async fn start(&self, _: Birth, _: &Control) {}
    async fn stop(&self, _: &str, _: bool) {}
    async fn terminate(&self, _: &str) {}
    async fn notice(&self, _: &str, _: Timestamp) {}
    async fn end(&self) {}
}
