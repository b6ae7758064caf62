//! What may be ended, and what never is.

use crate::clock::{Clock, Timestamp};
use crate::id::{Attempt, DeploymentId, Owner};
use crate::provider::{ErrorKind, Listed, ListedState, Tags};
use crate::sweep::{Question, SweepPlan, Why, carry_out, plan, sweep};
use crate::testkit::{Call, FakeProvider, Fault, FaultPlan};

const NOW: Timestamp = Timestamp(1_000);

fn listed(id: &str, deployment: &str, expires_at: u64, state: ListedState) -> Listed {
    Listed {
        id: id.into(),
        tags: Tags {
            owner: "ci".into(),
            deployment: deployment.into(),
            pool: "linux".into(),
            order: "order".into(),
            attempt: Attempt(1),
            expires_at: Timestamp(expires_at),
        },
        state,
        address: None,
    }
}

fn machines() -> Vec<Listed> {
    use ListedState as S;
    let mut foreign = listed("m9", "ours", 10, S::Alive);
    foreign.tags.owner = "somebody".into();
    vec![
        listed("m5", "theirs", 2_000, S::Suspended),
        listed("m1", "ours", 10, S::Alive),
        listed("m2", "ours", 2_000, S::Alive),
        listed("m3", "ours", 10, S::Ending),
        listed("m4", "theirs", 10, S::Alive),
        listed("m6", "theirs", 10, S::Terminated),
        listed("m7", "lost", 2_000, S::Alive),
        listed("m8", "ours", 1_000, S::Suspended),
        foreign,
    ]
}

fn swept(ours: Option<&str>, named: Option<&str>) -> SweepPlan {
    let owner = Owner::new("ci");
    let (ours, named) = (ours.map(DeploymentId::from), named.map(DeploymentId::from));
    plan(
        &machines(),
        &Question {
            owner: &owner,
            ours: ours.as_ref(),
            named: named.as_ref(),
            now: NOW,
        },
    )
}

fn ended(plan: &SweepPlan) -> Vec<(&str, Why)> {
    let ended = plan.end.iter();
    ended
        .map(|machine| (machine.id.as_str(), machine.why))
        .collect()
}

fn others(plan: &SweepPlan) -> Vec<(&str, u32, u32)> {
    let others = plan.others.iter();
    others
        .map(|other| (other.deployment.as_str(), other.machines, other.expired))
        .collect()
}

#[test]
fn p1_without_a_name_only_our_own_expired_machines_end() {
    let plan = swept(Some("ours"), None);
    assert_eq!(ended(&plan), [("m1", Why::Expired), ("m8", Why::Expired)]);
    assert_eq!(others(&plan), [("lost", 1, 0), ("theirs", 2, 1)]);
}

#[test]
fn p1_a_named_deployment_ends_whole_and_nothing_else_does() {
    let plan = swept(Some("ours"), Some("theirs"));
    assert_eq!(ended(&plan), [("m4", Why::Named), ("m5", Why::Named)]);
    assert_eq!(others(&plan), [("lost", 1, 0)]);
}

#[test]
fn p1_whose_id_is_lost_ends_nothing_and_sees_every_deployment() {
    let plan = swept(None, None);
    assert_eq!(ended(&plan), []);
    assert_eq!(
        others(&plan),
        [("lost", 1, 0), ("ours", 3, 2), ("theirs", 2, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_can_t_be_ended_saves_no_other() {
    // The batch fails, then the first of its machines.
    let fails = Fault::Fail(ErrorKind::Transient);
    let faults = FaultPlan::none()
        .at(Call::Terminate, 1, fails)
        .at(Call::Terminate, 2, fails);
    let provider = FakeProvider::with_plan(Clock::system(), faults);
    let swept = carry_out(&*provider, swept(Some("ours"), None).end).await;
    let failed: Vec<_> = swept.iter().map(|s| s.failed.as_deref()).collect();
    assert_eq!(
        failed,
        [Some("terminate 1 machines: a passing fault"), None]
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_ends_no_sweep_s_patience() {
    let faults = FaultPlan::none().always(Call::Terminate, Fault::Die);
    let provider = FakeProvider::with_plan(Clock::system(), faults);
    let swept = carry_out(&*provider, swept(Some("ours"), None).end).await;
    let unanswered = "the provider did not answer within 60s";
    assert!(
        swept
            .iter()
            .all(|s| s.failed.as_deref() == Some(unanswered))
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_can_t_be_asked_is_told_and_stops_no_other() {
    let fails = Fault::Fail(ErrorKind::Permission);
    let broken = FaultPlan::none().always(Call::List, fails);
    let broken = FakeProvider::with_plan(Clock::system(), broken);
    let dead = FaultPlan::none().always(Call::List, Fault::Die);
    let dead = FakeProvider::with_plan(Clock::system(), dead);
    let owner = Owner::new("ci");
    let question = Question {
        owner: &owner,
        ours: None,
        named: None,
        now: NOW,
    };
    let fine = FakeProvider::new(Clock::system());
    let report = sweep(&[broken, dead, fine], &question, true).await;
    assert!(!report.is_clean() && report.swept.is_empty());
    let [denied, unanswered] = report.troubles.as_slice() else {
        panic!("{report:?}");
    };
    assert!(denied.contains("list"), "{denied}");
    assert_eq!(unanswered, "the machines were not listed within 60s");
}
