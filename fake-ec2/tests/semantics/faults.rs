//! The fault plan.

use fake_ec2::{Delivery, Fault, Rule};
use jiff::SignedDuration;

use crate::sky::Sky;

fn error(code: &str) -> Fault {
    Fault::Error {
        code: code.to_owned(),
        message: String::new(),
    }
}

#[test]
fn a_lost_answer_has_its_effect_and_a_lost_request_has_none() {
    let mut sky = Sky::new();
    let launch = sky.launch_pairs(&[("ClientToken", "t")]);
    let launch: Vec<_> = launch
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    sky.cloud
        .faults
        .add(Rule::on("RunInstances", Fault::LoseRequest).times(1));
    sky.cloud
        .faults
        .add(Rule::on("RunInstances", Fault::LoseAnswer).times(1));
    assert_eq!(sky.reply("RunInstances", &launch).delivery, Delivery::Lost);
    assert_eq!(sky.count(), 0);
    assert_eq!(sky.reply("RunInstances", &launch).delivery, Delivery::Lost);
    assert_eq!(sky.count(), 1);
    // The retry finds what the lost call made.
    let reply = sky.reply("RunInstances", &launch);
    assert_eq!(reply.delivery, Delivery::Answered);
    assert_eq!(sky.count(), 1);
}

#[test]
fn an_error_may_come_before_or_after_the_effect() {
    let mut sky = Sky::new();
    let after = Fault::ErrorAfterEffect {
        code: "InternalError".to_owned(),
    };
    sky.cloud
        .faults
        .add(Rule::on("RunInstances", error("Unavailable")).times(1));
    sky.cloud
        .faults
        .add(Rule::on("RunInstances", after).times(1));
    assert_eq!(sky.launch_refused(&[]), "Unavailable");
    assert_eq!(sky.count(), 0);
    assert_eq!(sky.launch_refused(&[]), "InternalError");
    assert_eq!(sky.count(), 1);
}

#[test]
fn a_rule_waits_counts_and_ends() {
    let mut sky = Sky::new();
    let rule = Rule::on("DescribeInstances", error("InternalError"));
    sky.cloud.faults.add(rule.clone().after(2).times(1));
    let outcome = |sky: &mut Sky| sky.call("DescribeInstances", &[]).is_ok();
    let outcomes: Vec<bool> = (0..5).map(|_| outcome(&mut sky)).collect();
    assert_eq!(outcomes, [true, true, false, true, true]);
    let minute = sky.now + SignedDuration::from_secs(60);
    sky.cloud.faults.add(rule.until(minute));
    assert!(!outcome(&mut sky));
    sky.pass(60);
    assert!(outcome(&mut sky));
    assert!(sky.cloud.faults.rules().is_empty(), "what is over is gone");
}

#[test]
fn chance_is_the_seeds() {
    let outcomes = || {
        let mut sky = Sky::new();
        sky.cloud
            .faults
            .add(Rule::any(error("InternalError")).with_chance(0.5));
        (0..40)
            .map(|_| sky.call("DescribeVpcs", &[]).is_ok())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(), outcomes());
    assert!(outcomes().contains(&true) && outcomes().contains(&false));
}

#[test]
fn every_call_is_in_the_record_with_its_outcome() {
    let mut sky = Sky::new();
    sky.launch(&[]);
    sky.launch_refused(&[("InstanceType", "none")]);
    sky.call("DescribeInstances", &[]).unwrap();
    assert_eq!(sky.cloud.record.count("RunInstances"), 2);
    let refused = (
        "RunInstances".to_owned(),
        "InvalidParameterValue".to_owned(),
    );
    assert_eq!(sky.cloud.record.counts()[&refused], 1);
    let needs: Vec<_> = sky.cloud.record.needs().iter().cloned().collect();
    assert_eq!(needs, ["ec2:DescribeInstances", "ec2:RunInstances"]);
}
