//! What stays when an instance goes.

use crate::sky::Sky;

#[test]
fn what_goes_with_its_machine_goes_and_what_does_not_stays_with_its_tags() {
    let mut sky = Sky::new();
    let id = sky
        .launch(&[
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "100"),
            ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "false"),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.DeleteOnTermination", "false"),
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", "order"),
            ("TagSpecification.1.Tag.1.Value", "1"),
        ])
        .remove(0);
    assert_eq!(sky.cloud.volumes().count(), 2);
    sky.ok("TerminateInstances", &[("InstanceId.1", &id)]);
    sky.pass(1);
    let left = sky.ok(
        "DescribeVolumes",
        &[
            ("Filter.1.Name", "status"),
            ("Filter.1.Value.1", "available"),
            ("Filter.2.Name", "tag:order"),
            ("Filter.2.Value.1", "1"),
        ],
    );
    assert_eq!(left.texts("volumeSet/item/size"), ["100"]);
    let volume = left.text_at("volumeSet/item/volumeId").unwrap();
    let interfaces = sky.ok(
        "DescribeNetworkInterfaces",
        &[
            ("Filter.1.Name", "status"),
            ("Filter.1.Value.1", "available"),
        ],
    );
    let interface = interfaces
        .text_at("networkInterfaceSet/item/networkInterfaceId")
        .unwrap();
    sky.ok("DeleteVolume", &[("VolumeId", volume)]);
    sky.ok(
        "DeleteNetworkInterface",
        &[("NetworkInterfaceId", interface)],
    );
    assert_eq!(
        sky.cloud.volumes().count() + sky.cloud.interfaces().count(),
        0
    );
}

#[test]
fn what_is_in_use_cannot_be_deleted() {
    let mut sky = Sky::new();
    sky.launch(&[]);
    let volume = sky.cloud.volumes().next().unwrap().id.clone();
    let refused = sky.refused("DeleteVolume", &[("VolumeId", &volume)]);
    assert_eq!(refused, "VolumeInUse");
    let interface = sky.cloud.interfaces().next().unwrap().id.clone();
    let refused = sky.refused(
        "DeleteNetworkInterface",
        &[("NetworkInterfaceId", &interface)],
    );
    assert_eq!(refused, "InvalidNetworkInterface.InUse");
}
