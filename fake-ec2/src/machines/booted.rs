//! An instance that really boots: a disk's image under QEMU, with firmware,
//! kernel and cloud-init, and nothing of ours but what user data brings.
//!
//! It is emulated without KVM, which not every host has. What the guest finds
//! is EC2's: the identification that cloud-init's own data source looks for,
//! and the metadata service at 169.254.169.254, through QEMU's own network,
//! which needs no rights. The agent's port on the address that the API tells is
//! carried to the guest. The host's loopback is 10.0.2.2 to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;

use super::guest::{Guest, GuestError};
use super::metadata::MetadataService;
use super::{Birth, Cause};

/// The card's address; in a network of its own, so the same for all.
const MAC: &str = "06:00:0a:00:02:0f";

/// An instance of a disk's image.
#[derive(Debug, Clone)]
pub struct BootedGuest {
    /// A folder with `disk.img` (an ext4 file system, all of it), its `vmlinuz`
    /// and its `initrd.img`. Never written to.
    pub image: PathBuf,
    /// The guest's memory, in MiB.
    pub memory: u32,
    /// The port that the agent listens on.
    pub port: u16,
    /// Tells it who it is. It must be at 169.254.169.254:80, as the guest sees
    /// this host.
    pub metadata: Arc<MetadataService>,
}

impl Guest for BootedGuest {
    fn program(&self, birth: &Birth, disk: &Path) -> Result<Command, GuestError> {
        let root = disk.join("root.qcow2");
        if birth.cause == Cause::Launched {
            overlay(&self.image.join("disk.img"), &root)?;
        }
        self.metadata.tell_of(birth, MAC);
        let uuid = uuid(&birth.instance);
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-smp", "2"])
            .args(["-m", &self.memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-serial", "stdio"])
            .args(["-uuid", &uuid, "-smbios"])
            .arg(format!(
                "type=1,manufacturer=Amazon EC2,product={},serial={uuid},uuid={uuid}",
                birth.instance_type
            ))
            .arg("-kernel")
            .arg(self.image.join("vmlinuz"))
            .arg("-initrd")
            .arg(self.image.join("initrd.img"))
            .args(["-append", "root=/dev/vda rw console=ttyS0"])
            .arg("-drive")
            .arg(format!(
                "file={},if=virtio,format=qcow2,cache=unsafe",
                root.display()
            ))
            .arg("-netdev")
            .arg(format!(
                "user,id=net,hostfwd=tcp:{}:{port}-:{port}",
                birth.private_address,
                port = self.port
            ))
            .arg("-device")
            .arg(format!("virtio-net-pci,netdev=net,mac={MAC},romfile="))
            .args(["-device", "virtio-rng-pci"]);
        Ok(qemu)
    }
}

/// A disk that begins as the image, and keeps only what is changed.
fn overlay(image: &Path, disk: &Path) -> Result<(), GuestError> {
    let place = |source| GuestError::Place {
        path: disk.to_owned(),
        source,
    };
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(image)
        .arg(disk)
        .stdin(Stdio::null())
        .output()
        .map_err(place)?;
    if made.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&made.stderr);
    Err(place(std::io::Error::other(said.trim().to_owned())))
}

/// By its first three digits cloud-init knows an instance of EC2.
fn uuid(instance: &str) -> String {
    let digits = instance.chars().filter(char::is_ascii_hexdigit);
    let digits: String = "ec2"
        .chars()
        .chain(digits)
        .chain(std::iter::repeat('0'))
        .take(32)
        .collect();
    let mut rest = digits.as_str();
    let mut parts = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        let (part, others) = rest.split_at(length);
        parts.push(part);
        rest = others;
    }
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_uuid_that_begins_as_on_ec2() {
        assert_eq!(
            uuid("i-0123456789abcdef0"),
            "ec201234-5678-9abc-def0-000000000000"
        );
        assert_eq!(uuid("i-1"), "ec210000-0000-0000-0000-000000000000");
    }
}
