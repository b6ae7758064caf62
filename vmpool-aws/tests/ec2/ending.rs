//! Ending machines, putting them to sleep, and what EC2 tells of failed ones.

use fake_ec2::{Fault, Policy, Rule, State};
use vmpool_core::{ErrorKind, ListedState, MachineId, Provider};

use crate::support::{Site, launched, template};

fn machines(site: &Site) -> Vec<(String, State)> {
    site.cloud().with(|cloud, _| {
        let instances = cloud.instances();
        let states = instances.map(|(_, _, instance)| (instance.id.clone(), instance.state));
        states.collect()
    })
}

#[tokio::test]
async fn p9_ending_machines_that_are_gone_or_never_were_is_no_error() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let outcome = launched(&provider, "o", 3).await;
    let mut ids: Vec<_> = outcome.machines.into_iter().map(|m| m.id).collect();
    ids.push(MachineId::new("i-0123456789abcdef0"));
    for _ in 0..2 {
        provider.terminate(&ids).await.expect("ended");
    }
    let listing = provider.list(&"ci".into()).await.expect("a listing");
    let mut states = listing.machines.iter().map(|machine| machine.state);
    assert!(states.all(|state| state == ListedState::Terminated));
    assert_eq!(site.alive(), 0);
}

#[tokio::test]
async fn p1_one_machine_that_may_not_be_ended_keeps_no_other_alive() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let outcome = launched(&provider, "o", 2).await;
    let ids: Vec<_> = outcome.machines.into_iter().map(|m| m.id).collect();
    let code = "OperationNotPermitted".to_owned();
    let message = String::new();
    let refused = Fault::Error { code, message };
    // The batch is refused, then the first of its machines.
    site.cloud()
        .fault(Rule::on("TerminateInstances", refused).times(2));
    let error = provider.terminate(&ids).await.expect_err("one is refused");
    assert_eq!(error.kind, ErrorKind::Permission);
    assert_eq!(site.alive(), 1);
}

#[tokio::test]
async fn p8_terminations_that_are_throttled_are_not_pushed_on() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let code = "RequestLimitExceeded".to_owned();
    let message = String::new();
    let throttled = Fault::Error { code, message };
    site.cloud()
        .fault(Rule::on("TerminateInstances", throttled));
    let ids: Vec<_> = (0..1000)
        .map(|n| MachineId::new(format!("i-{n:017x}")))
        .collect();
    let error = provider.terminate(&ids).await.expect_err("throttled");
    assert!(matches!(error.kind, ErrorKind::Throttled { .. }), "{error}");
    assert_eq!(site.calls("TerminateInstances"), 1);
}

#[tokio::test]
async fn p8_a_missing_permission_is_told_with_what_was_attempted() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let outcome = launched(&provider, "o", 1).await;
    let id = outcome.machines[0].id.clone();
    site.cloud()
        .policy("AKIAFAKE", Policy::all_but(["ec2:TerminateInstances"]));
    let error = provider
        .terminate(std::slice::from_ref(&id))
        .await
        .expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Permission);
    assert_eq!(error.attempted, format!("terminate {id}"));
}

#[tokio::test]
async fn a_machine_sleeps_and_wakes() {
    let site = Site::new().await;
    let mut shape = template();
    shape.types = vec!["m5.large".to_owned()];
    shape.machine.hibernate = true;
    let provider = site.provider(shape);
    assert!(provider.capabilities().suspend);
    let outcome = launched(&provider, "o", 1).await;
    let id = &outcome.machines[0].id;
    provider.suspend(id).await.expect("hibernated");
    let listing = provider.list(&"ci".into()).await.expect("a listing");
    assert_eq!(listing.machines[0].state, ListedState::Suspended);
    provider.resume(id).await.expect("started");
    assert_eq!(machines(&site)[0].1.name(), "running");
}

#[tokio::test]
async fn p3_what_ec2_knows_of_a_failed_machine_is_told() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let code = "Server.InternalError".to_owned();
    site.cloud()
        .fault(Rule::on("RunInstances", Fault::FailedLaunch { code }).times(1));
    let outcome = launched(&provider, "o", 1).await;
    let id = &outcome.machines[0].id;
    site.cloud()
        .console(id.as_str(), b"vmpool: agent: not to be had\n");
    let told = provider.diagnose(id).await.expect("something");
    assert!(
        told.contains("EC2 says terminated: Server.InternalError"),
        "{told}"
    );
    assert!(told.contains("agent: not to be had"), "{told}");
}
