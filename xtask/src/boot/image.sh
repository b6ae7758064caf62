#!/bin/sh
# Makes the image that the test's machines boot, in the folder that is named:
# disk.img (one file system, no partitions), vmlinuz and initrd.img. Runs as
# root. The image is a plain Debian with cloud-init, as its makers configure it
# for EC2; nothing of ours is in it.
set -eu
folder=$1
root=$folder/root

# ifupdown and the DHCP client are what cloud-init configures a Debian's network
# with; python3-cffi-backend answers for a virtual package that debootstrap
# can't resolve.
debootstrap --variant=minbase --include=linux-image-cloud-amd64,\
systemd-sysv,udev,dbus,cloud-init,ifupdown,isc-dhcp-client,iproute2,\
ca-certificates,curl,python3,python3-cffi-backend,netplan.io \
    bookworm "$root" >"$folder/debootstrap.log" 2>&1 || {
    tail -n 20 "$folder/debootstrap.log" >&2
    exit 1
}

# Official images of EC2 name their data source, too.
printf '%s\n' 'datasource_list: [Ec2]' 'locale: false' >"$root/etc/cloud/cloud.cfg.d/90_ec2.cfg"
echo '/dev/vda / ext4 defaults 0 0' >"$root/etc/fstab"
# Nothing that is not the machine's own start takes its time.
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    ln -sf /dev/null "$root/etc/systemd/system/$timer.timer"
done
# A small initrd is unpacked soon, where every instruction is emulated.
echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/small"
printf '%s\n' virtio_pci virtio_blk ext4 >>"$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u >>"$folder/debootstrap.log" 2>&1
rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists"

cp "$root/vmlinuz" "$root/initrd.img" "$folder"
truncate -s 4G "$folder/disk.img"
mkfs.ext4 -q -F -d "$root" "$folder/disk.img"
chmod 0644 "$folder/vmlinuz" "$folder/initrd.img" "$folder/disk.img"
rm -rf "$root"
