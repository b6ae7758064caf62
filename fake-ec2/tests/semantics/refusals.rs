//! What is not honoured is refused; who may not, may not.

use fake_ec2::{Architecture, Identity, Policy};

use crate::sky::{ACCOUNT, Sky};

#[test]
fn what_the_fake_does_not_know_is_refused_and_never_ignored() {
    let mut sky = Sky::new();
    assert_eq!(sky.refused("MakeCoffee", &[]), "InvalidAction");
    for unknown in [
        "Colour",
        "Monitoring.Colour",
        "NetworkInterface.1.Ipv6AddressCount",
        "Placement.GroupName",
        "LaunchTemplate.Colour",
    ] {
        let refused = sky.launch_refused(&[(unknown, "1")]);
        assert_eq!(refused, "UnknownParameter", "{unknown}");
    }
    let filter = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    assert_eq!(
        sky.refused("DescribeInstances", &filter),
        "InvalidParameterValue"
    );
    assert_eq!(sky.count(), 0);
}

#[test]
fn a_launch_that_cannot_work_is_refused_with_the_reason() {
    let mut sky = Sky::new();
    let arm = sky.image(Architecture::Arm64);
    let long = "QUFB".repeat(6000);
    for (more, code) in [
        (
            &[("ImageId", "ami-00000000000000000")][..],
            "InvalidAMIID.NotFound",
        ),
        (&[("ImageId", "ubuntu")], "InvalidAMIID.Malformed"),
        (&[("InstanceType", "m6i.tiny")], "InvalidParameterValue"),
        (&[("ImageId", arm.as_str())], "InvalidParameterValue"),
        (
            &[("SubnetId", "subnet-00000000000000000")],
            "InvalidSubnetID.NotFound",
        ),
        (
            &[("SecurityGroupId.1", "sg-00000000000000000")],
            "InvalidGroup.NotFound",
        ),
        (
            &[("Placement.AvailabilityZone", "us-west-2a")],
            "InvalidParameterValue",
        ),
        (
            &[
                ("InstanceType", "m7i.large"),
                ("Placement.AvailabilityZone", "us-east-1c"),
            ],
            "Unsupported",
        ),
        (&[("UserData", "%%%")], "InvalidUserData.Malformed"),
        (&[("UserData", long.as_str())], "InvalidParameterValue"),
        (&[("MinCount", "2")], "InvalidParameterValue"),
        (&[("MaxCount", "many")], "InvalidParameterValue"),
        (
            &[
                ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
                ("BlockDeviceMapping.1.Ebs.VolumeSize", "1"),
            ],
            "InvalidBlockDeviceMapping",
        ),
        (
            &[
                ("NetworkInterface.1.DeviceIndex", "0"),
                ("SubnetId", "subnet-0"),
            ],
            "InvalidParameterCombination",
        ),
        (
            &[
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "aws:mine"),
            ],
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(sky.launch_refused(more), code, "{more:?}");
    }
    assert_eq!(sky.count(), 0);
}

#[test]
fn permissions_are_by_action_and_for_all_that_a_call_does() {
    let mut sky = Sky::new();
    sky.cloud
        .set_policy("any", Policy::only(["ec2:RunInstances", "ec2:Describe*"]));
    sky.launch(&[]);
    sky.ok("DescribeInstances", &[]);
    let tagged = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "pool"),
    ];
    assert_eq!(sky.launch_refused(&tagged), "UnauthorizedOperation");
    let role = [("IamInstanceProfile.Name", "builder")];
    assert_eq!(sky.launch_refused(&role), "UnauthorizedOperation");
    assert!(sky.cloud.record.needs().contains("iam:PassRole"));
    // Another key of the same account still may.
    sky.key = ACCOUNT.to_owned();
    sky.launch(&tagged);
}

#[test]
fn what_a_template_says_has_to_be_allowed_too() {
    let mut sky = Sky::new();
    let image = sky.image(Architecture::X86_64);
    sky.ok(
        "CreateLaunchTemplate",
        &[
            ("LaunchTemplateName", "one"),
            ("LaunchTemplateData.ImageId", &image),
            ("LaunchTemplateData.InstanceType", "m6i.large"),
            ("LaunchTemplateData.IamInstanceProfile.Name", "builder"),
            (
                "LaunchTemplateData.TagSpecification.1.ResourceType",
                "volume",
            ),
        ],
    );
    let fleet = [
        ("Type", "instant"),
        (
            "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName",
            "one",
        ),
        ("TargetCapacitySpecification.TotalTargetCapacity", "1"),
    ];
    sky.ok("CreateFleet", &fleet);
    let needs: Vec<_> = sky.cloud.record.needs().iter().cloned().collect();
    assert_eq!(
        needs,
        [
            "ec2:CreateFleet",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateTags",
            "ec2:RunInstances",
            "iam:PassRole"
        ]
    );
    sky.cloud
        .set_policy("any", Policy::all_but(["iam:PassRole"]));
    assert_eq!(sky.refused("CreateFleet", &fleet), "UnauthorizedOperation");
}

#[test]
fn a_dry_run_tells_whether_one_may_and_does_nothing() {
    let mut sky = Sky::new();
    let dry = [("DryRun", "true")];
    assert_eq!(sky.launch_refused(&dry), "DryRunOperation");
    sky.cloud
        .set_policy("any", Policy::all_but(["ec2:RunInstances"]));
    assert_eq!(sky.launch_refused(&dry), "UnauthorizedOperation");
    assert_eq!(sky.count(), 0);
}

#[test]
fn a_revoked_key_is_nobody() {
    let mut sky = Sky::new();
    sky.cloud.config_mut().identities.insert(
        "AKIAGONE".to_owned(),
        Identity {
            account: ACCOUNT.to_owned(),
            arn: format!("arn:aws:iam::{ACCOUNT}:user/gone"),
            policy: Policy::default(),
            revoked: true,
        },
    );
    sky.key = "AKIAGONE".to_owned();
    assert_eq!(sky.refused("DescribeInstances", &[]), "AuthFailure");
}

#[test]
fn accounts_do_not_see_each_other() {
    let mut sky = Sky::new();
    let id = sky.launch(&[]).remove(0);
    sky.pass(1);
    sky.key = "444455556666".to_owned();
    assert_eq!(sky.state(&id), Err("InvalidInstanceID.NotFound".to_owned()));
    let ended = sky.refused("TerminateInstances", &[("InstanceId.1", &id)]);
    assert_eq!(ended, "InvalidInstanceID.NotFound");
}
