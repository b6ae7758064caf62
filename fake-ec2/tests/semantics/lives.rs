//! Stop, start, terminate, reclaim: and how soon others see it.

use std::time::Duration;

use fake_ec2::{Cause, Config, Effect, Span, State, Timing};

use crate::sky::Sky;

fn lagging() -> Sky {
    Sky::with(Config {
        timing: Timing {
            consistency: Span::exactly(Duration::from_secs(3)),
            pending: Span::exactly(Duration::from_secs(40)),
            shutting_down: Span::exactly(Duration::from_secs(10)),
            ..Timing::instant()
        },
        ..Config::default()
    })
}

#[test]
fn a_new_machine_is_unknown_for_a_while_to_reads_and_to_changes() {
    let mut sky = lagging();
    let id = sky.launch(&[]).remove(0);
    assert_eq!(sky.state(&id), Err("InvalidInstanceID.NotFound".to_owned()));
    let ended = sky.refused("TerminateInstances", &[("InstanceId.1", &id)]);
    assert_eq!(ended, "InvalidInstanceID.NotFound");
    let listed = sky.ok("DescribeInstances", &[]);
    assert!(listed.all("reservationSet/item").is_empty());
    sky.pass(3);
    assert_eq!(sky.state(&id).unwrap(), "pending");
}

#[test]
fn a_changed_state_is_seen_late_and_answered_at_once() {
    let mut sky = lagging();
    let id = sky.launch(&[]).remove(0);
    sky.pass(50);
    assert_eq!(sky.state(&id).unwrap(), "running");
    let ended = sky.ok("TerminateInstances", &[("InstanceId.1", &id)]);
    let now = ended.text_at("instancesSet/item/currentState/name");
    assert_eq!(now, Some("shutting-down"));
    assert_eq!(sky.state(&id).unwrap(), "running");
    sky.pass(3);
    assert_eq!(sky.state(&id).unwrap(), "shutting-down");
    sky.pass(20);
    assert_eq!(sky.state(&id).unwrap(), "terminated");
}

#[test]
fn a_slow_boot_is_pending_until_its_time() {
    let mut sky = lagging();
    let id = sky.launch(&[]).remove(0);
    sky.pass(39);
    assert_eq!(sky.truth(&id).state, State::Pending);
    sky.pass(1);
    assert_eq!(sky.truth(&id).state, State::Running);
}

#[test]
fn one_bad_id_ends_none_of_a_batch() {
    let mut sky = Sky::new();
    let ids = sky.launch(&[("MaxCount", "2")]);
    for (bad, code) in [
        ("i-00000000000000000", "InvalidInstanceID.NotFound"),
        ("i-1", "InvalidInstanceID.Malformed"),
    ] {
        let refused = sky.refused(
            "TerminateInstances",
            &[
                ("InstanceId.1", &ids[0]),
                ("InstanceId.2", bad),
                ("InstanceId.3", &ids[1]),
            ],
        );
        assert_eq!(refused, code);
    }
    sky.pass(1);
    assert!(ids.iter().all(|id| sky.truth(id).state == State::Running));
}

#[test]
fn terminating_again_is_fine_until_the_machine_is_forgotten() {
    let mut sky = Sky::new();
    let id = sky.launch(&[]).remove(0);
    for _ in 0..3 {
        sky.ok("TerminateInstances", &[("InstanceId.1", &id)]);
        sky.pass(1);
    }
    assert_eq!(sky.state(&id).unwrap(), "terminated");
    sky.pass(3600);
    assert_eq!(sky.state(&id), Err("InvalidInstanceID.NotFound".to_owned()));
}

#[test]
fn a_terminated_machine_loses_its_tags_before_it_is_forgotten() {
    let mut sky = Sky::with(Config {
        timing: Timing {
            terminated_tagged: Duration::from_secs(600),
            ..Timing::instant()
        },
        ..Config::default()
    });
    let id = sky
        .launch(&[
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "pool"),
            ("TagSpecification.1.Tag.1.Value", "p"),
        ])
        .remove(0);
    sky.ok("TerminateInstances", &[("InstanceId.1", &id)]);
    let mut listed = |after: i64| {
        sky.pass(after);
        let filter = [("Filter.1.Name", "tag:pool"), ("Filter.1.Value.1", "p")];
        let answer = sky.ok("DescribeInstances", &filter);
        (
            answer.all("reservationSet/item").len(),
            sky.state(&id).is_ok(),
        )
    };
    assert_eq!(listed(1), (1, true));
    assert_eq!(listed(600), (0, true));
    assert_eq!(listed(3600), (0, false));
}

#[test]
fn a_protected_machine_keeps_those_of_its_zone() {
    let mut sky = Sky::new();
    let zone = |zone| ("Placement.AvailabilityZone", zone);
    let a = sky.launch(&[zone("us-east-1a")]).remove(0);
    let b = sky.launch(&[zone("us-east-1b")]).remove(0);
    let kept = sky
        .launch(&[zone("us-east-1b"), ("DisableApiTermination", "true")])
        .remove(0);
    let refused = sky.refused(
        "TerminateInstances",
        &[
            ("InstanceId.1", &a),
            ("InstanceId.2", &b),
            ("InstanceId.3", &kept),
        ],
    );
    assert_eq!(refused, "OperationNotPermitted");
    sky.pass(1);
    assert_eq!(sky.truth(&a).state, State::Terminated);
    assert_eq!(sky.truth(&b).state, State::Running);
    assert_eq!(sky.truth(&kept).state, State::Running);
}

#[test]
fn a_hibernated_machine_resumes_and_a_stopped_one_boots() {
    let mut sky = Sky::new();
    let id = sky
        .launch(&[
            ("HibernationOptions.Configured", "true"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ])
        .remove(0);
    sky.pass(1);
    let mut causes = Vec::new();
    for hibernate in ["true", "false"] {
        sky.ok(
            "StopInstances",
            &[("InstanceId.1", &id), ("Hibernate", hibernate)],
        );
        sky.pass(1);
        assert_eq!(sky.truth(&id).state, State::Stopped);
        sky.ok("StartInstances", &[("InstanceId.1", &id)]);
        sky.pass(1);
        assert_eq!(sky.truth(&id).state, State::Running);
    }
    for effect in sky.cloud.take_effects() {
        if let Effect::Start(birth) = effect {
            causes.push(birth.cause);
        }
    }
    assert_eq!(causes, [Cause::Launched, Cause::Resumed, Cause::Started]);
}

#[test]
fn hibernation_has_to_be_asked_for_at_the_launch() {
    let mut sky = Sky::new();
    let id = sky.launch(&[]).remove(0);
    sky.pass(1);
    let refused = sky.refused(
        "StopInstances",
        &[("InstanceId.1", &id), ("Hibernate", "true")],
    );
    assert_eq!(refused, "UnsupportedHibernationConfiguration");
    let plain_disk = sky.launch_refused(&[("HibernationOptions.Configured", "true")]);
    assert_eq!(plain_disk, "UnsupportedHibernationConfiguration");
}

#[test]
fn a_power_off_from_inside_terminates_or_stops_as_the_launch_said() {
    let mut sky = Sky::new();
    let goes = sky
        .launch(&[("InstanceInitiatedShutdownBehavior", "terminate")])
        .remove(0);
    let stays = sky.launch(&[]).remove(0);
    sky.pass(1);
    for id in [&goes, &stays] {
        sky.cloud.powered_off(sky.now, id);
        let reason = sky.truth(id).reason.clone().unwrap();
        assert_eq!(reason.code, "Client.InstanceInitiatedShutdown");
    }
    sky.pass(1);
    assert_eq!(sky.truth(&goes).state, State::Terminated);
    assert_eq!(sky.truth(&stays).state, State::Stopped);
}

#[test]
fn spot_is_reclaimed_with_a_notice_before() {
    let mut sky = Sky::new();
    let id = sky
        .launch(&[("InstanceMarketOptions.MarketType", "spot")])
        .remove(0);
    sky.pass(1);
    sky.cloud.take_effects();
    sky.cloud.reclaim(sky.now, &id, None);
    let effects = sky.cloud.take_effects();
    assert!(
        matches!(&effects[..], [Effect::Notice { .. }]),
        "{effects:?}"
    );
    let request = |sky: &Sky| {
        let request = sky.cloud.spot_requests().next().unwrap().clone();
        (request.state, request.status)
    };
    assert_eq!(request(&sky), ("active", "marked-for-termination"));
    sky.pass(119);
    assert_eq!(sky.truth(&id).state, State::Running);
    sky.pass(2);
    assert_eq!(sky.truth(&id).state, State::Terminated);
    let reason = sky.truth(&id).reason.clone().unwrap();
    assert_eq!(reason.code, "Server.SpotInstanceTermination");
    assert_eq!(request(&sky), ("closed", "instance-terminated-no-capacity"));
}

#[test]
fn what_is_not_spot_is_not_reclaimed() {
    let mut sky = Sky::new();
    let id = sky.launch(&[]).remove(0);
    sky.pass(1);
    sky.cloud.reclaim(sky.now, &id, Some(Duration::ZERO));
    sky.pass(1);
    assert_eq!(sky.truth(&id).state, State::Running);
}

#[test]
fn one_time_spot_cannot_be_stopped() {
    let mut sky = Sky::new();
    let market = ("InstanceMarketOptions.MarketType", "spot");
    let id = sky.launch(&[market]).remove(0);
    let kind = "InstanceMarketOptions.SpotOptions.SpotInstanceType";
    let persistent = sky.launch(&[market, (kind, "persistent")]).remove(0);
    sky.pass(1);
    let refused = sky.refused("StopInstances", &[("InstanceId.1", &id)]);
    assert_eq!(refused, "UnsupportedOperation");
    sky.ok("StopInstances", &[("InstanceId.1", &persistent)]);
}
