//! Stories, from journals that were written by hand.

use std::fmt::Write as _;
use std::sync::Arc;

use super::words::shortly;
use super::{ExplainError, Story, explain, words};
use crate::clock::Timestamp;
use crate::id::{Attempt, PoolName, Term, Version};
use crate::journal::{
    Batch, Change, Journal as _, MachineRow, MemoryJournal, Note, OrderRow, Row, RowKey, StageRow,
    StepRow,
};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::order::{OrderEvent, OrderState, next};
use crate::pool::{Evidence, PoolStatus, Waiter};
use crate::stage::{StageEnd, StageState};
use crate::step::{StepOutcome, StepStatus};

/// A journal whose writer knows no rules.
#[derive(Default)]
struct Hand {
    journal: MemoryJournal,
}

impl Hand {
    async fn batch(&self, at: u64, changes: Vec<Change>, notes: Vec<Note>) {
        let batch = Batch {
            at: Timestamp(at),
            pool: "linux".into(),
            term: Term(1),
            limit: None,
            changes,
            notes,
        };
        self.journal.commit(batch).await.expect("it is written");
    }

    async fn change(&self, at: u64, row: impl Into<Row>, what: &'static str, cause: &'static str) {
        self.batch(at, vec![Change::new(row, what, cause)], Vec::new())
            .await;
    }

    async fn note(&self, at: u64, stage: &str, what: &'static str, cause: &'static str) {
        let note = Note {
            key: RowKey::Stage(stage.into()),
            what,
            cause: cause.into(),
        };
        self.batch(at, Vec::new(), vec![note]).await;
    }

    async fn machine(&self, at: u64, version: u64, state: MachineState, cause: &'static str) {
        let stage = (version > 2).then(|| "17".into());
        let row = MachineRow {
            machine: Arc::new(Machine {
                id: "i-0abc".into(),
                pool: "linux".into(),
                order: "o1".into(),
                attempt: Attempt(1),
                address: None,
                key: None,
            }),
            state,
            since: Timestamp(at),
            cause: cause.into(),
            stage,
            spec: None,
            launched_at: Timestamp(2_000),
            expires_at: Timestamp(9_000_000),
            called_at: None,
            hold: None,
            version: Version(version),
        };
        self.change(at, Arc::new(row), state.as_str(), cause).await;
    }

    async fn order(
        &self,
        at: u64,
        version: u64,
        state: OrderState,
        what: &'static str,
        cause: &'static str,
    ) {
        let row = OrderRow {
            id: "o1".into(),
            pool: "linux".into(),
            attempt: Attempt(1),
            spec: "t3.micro".into(),
            state,
            sealed: Arc::from([]),
            created_at: Timestamp(1_000),
            called_at: None,
            expires_at: Timestamp(9_000_000),
            version: Version(version),
        };
        self.change(at, Arc::new(row), what, cause).await;
    }

    async fn stage(&self, at: u64, version: u64, state: StageState, cause: &'static str) {
        let what = state.as_str();
        let row = StageRow {
            id: "17".into(),
            pool: "linux".into(),
            machine: "i-0abc".into(),
            term: Term(1),
            state,
            hash: None,
            claimed_at: Timestamp(42_000),
            deadline: Timestamp(9_000_000),
            tried: Vec::new(),
            version: Version(version),
        };
        self.change(at, Arc::new(row), what, cause).await;
    }

    async fn step(&self, at: u64, version: u64, id: &str, outcome: Option<StepOutcome>) {
        let what = if outcome.is_some() { "ended" } else { "sent" };
        let row = StepRow {
            stage: "17".into(),
            id: id.into(),
            hash: None,
            outcome,
            version: Version(version),
        };
        self.change(at, Arc::new(row), what, "the stage goes on")
            .await;
    }

    /// A stage that waited, ran two steps, the second of which goes on.
    async fn running(&self) {
        self.note(500, "17", "waits", "no machine of pool linux is ready")
            .await;
        let launching = next(OrderState::planned(1), OrderEvent::Call).expect("it can be called");
        self.order(1_000, 1, launching, "launching", "machines are missing")
            .await;
        let bound = next(launching, OrderEvent::Bind(1)).expect("it can be bound");
        self.order(2_000, 2, bound, "bound", "the provider launched it")
            .await;
        self.machine(2_000, 1, MachineState::Booting, "the provider launched it")
            .await;
        self.machine(41_900, 2, MachineState::Ready, "its agent is connected")
            .await;
        self.machine(42_000, 3, MachineState::Claimed, "a stage asked for it")
            .await;
        self.stage(
            42_000,
            1,
            StageState::Claimed,
            "a stage asked for a machine",
        )
        .await;
        self.stage(42_150, 2, StageState::Prepared, "the stage goes on")
            .await;
        self.step(42_200, 1, "build", None).await;
        let outcome = StepOutcome {
            status: StepStatus::Exited { code: 2 },
            started_at: Timestamp(42_201),
            ended_at: Timestamp(105_201),
            log_end: 0,
        };
        self.step(105_300, 2, "build", Some(outcome)).await;
        self.step(105_400, 1, "test", None).await;
    }

    /// The same, to its end.
    async fn ended(&self) {
        self.running().await;
        let end = StageState::Ended(StageEnd::OverTime("its deadline of 12 h".into()));
        self.stage(200_000, 3, end, "over its deadline").await;
        self.machine(
            200_000,
            4,
            MachineState::Draining,
            "stage 17 is over its deadline",
        )
        .await;
        self.machine(201_500, 5, MachineState::Terminating, "it is drained")
            .await;
        self.machine(
            240_000,
            6,
            MachineState::Gone,
            "the provider says that it is terminated",
        )
        .await;
    }

    async fn explain(&self, subject: &str, now: u64, live: &[PoolStatus]) -> Story {
        explain(&self.journal, subject, Timestamp(now), live)
            .await
            .expect("it is known")
    }
}

/// A story as lines.
fn told(story: &Story) -> String {
    let mut text = format!("{}: {}\n", story.kind, story.summary);
    for moment in &story.moments {
        let at = moment.at.0;
        let _ = writeln!(
            text,
            "{at:>7} {} {}: {}",
            moment.of, moment.what, moment.cause
        );
    }
    for phase in &story.phases {
        let open = if phase.over { "" } else { ", goes on" };
        let _ = writeln!(text, "{} {}{open}", phase.name, words::span(phase.took));
    }
    text
}

/// A pool, for tests of what reads its status.
pub(crate) fn pool() -> PoolStatus {
    PoolStatus {
        name: PoolName::new("linux"),
        term: Term(1),
        warm: 2,
        limit: 10,
        ready: 0,
        booting: 2,
        ordered: 1,
        claimed: 3,
        held: 0,
        ending: 0,
        waiting: 2,
        stopped: None,
        cordon: None,
        held_off: None,
        unaccounted: Vec::new(),
        checked_at: None,
        waiters: vec![Waiter {
            stage: "18".into(),
            since: Timestamp(3_000),
        }],
        machines: Vec::new(),
        evidence: Vec::new(),
    }
}

#[tokio::test]
async fn a_stage_that_runs_says_what_it_waited_for_and_where_it_is() {
    let hand = Hand::default();
    hand.running().await;
    let story = hand.explain("17", 165_400, &[]).await;
    insta::assert_snapshot!(told(&story));
}

#[tokio::test]
async fn a_stage_that_ended_says_why_and_what_became_of_its_machine() {
    let hand = Hand::default();
    hand.ended().await;
    let story = hand.explain("17", 300_000, &[]).await;
    insta::assert_snapshot!(told(&story));
}

#[tokio::test]
async fn a_machine_that_is_gone_says_why_it_was_ended() {
    let hand = Hand::default();
    hand.ended().await;
    let story = hand.explain("i-0abc", 300_000, &[]).await;
    insta::assert_snapshot!(told(&story));
}

#[tokio::test]
async fn an_order_says_what_it_got() {
    let hand = Hand::default();
    let launching = next(OrderState::planned(3), OrderEvent::Call).expect("it can be called");
    hand.order(1_000, 1, launching, "launching", "machines are missing")
        .await;
    let absent = next(launching, OrderEvent::ProveAbsent(2)).expect("they can be absent");
    let cause = "launch 3 t3.micro in eu-west-1a: the provider has no capacity";
    hand.order(2_000, 2, absent, "launching", cause).await;
    let story = hand.explain("o1", 4_000, &[]).await;
    insta::assert_snapshot!(told(&story));
}

#[tokio::test]
async fn a_request_that_waits_is_told_by_what_its_pool_does_now() {
    let hand = Hand::default();
    hand.running().await;
    let trouble = |at, text: &str| Evidence {
        at: Timestamp(at),
        machine: None,
        text: text.to_owned(),
    };
    let live = PoolStatus {
        held_off: Some("until 12:31: the provider has no capacity".to_owned()),
        evidence: vec![
            trouble(2_000, "an agent did not come up"),
            trouble(9_000, "launch 1 t3.micro: the provider has no capacity"),
        ],
        ..pool()
    };
    let story = hand.explain("18", 15_000, &[live]).await;
    insta::assert_snapshot!(told(&story), @"
    request: stage 18 waits since 12 s: no machine of pool linux is ready, 2 booting, 1 ordered, 1 more waiting; no more is ordered until 12:31: the provider has no capacity
       9000 pool linux trouble: launch 1 t3.micro: the provider has no capacity
    waiting 12 s, goes on
    ");
}

#[tokio::test]
async fn a_request_waits_for_slots_where_all_are_taken() {
    let hand = Hand::default();
    let live = PoolStatus {
        limit: 6,
        waiting: 1,
        ..pool()
    };
    let story = hand.explain("18", 15_000, &[live]).await;
    insta::assert_snapshot!(story.summary, @"stage 18 waits since 12 s: no machine of pool linux is ready, 2 booting, 1 ordered; all 6 slots are taken: 3 claimed, 0 ending");
}

#[tokio::test]
async fn a_request_that_got_no_machine_says_why() {
    let hand = Hand::default();
    hand.note(1_000, "19", "waits", "no machine of pool linux is ready")
        .await;
    let story = hand.explain("19", 2_000, &[]).await;
    insta::assert_snapshot!(story.summary, @"stage 19 has no machine and waited when it was last heard of, 1 s ago: no machine of pool linux is ready");
    let why = "no machine of pool linux for stage 19 within 600.0s; last: no capacity";
    hand.note(601_000, "19", "refused", why).await;
    let story = hand.explain("19", 700_000, &[]).await;
    insta::assert_snapshot!(told(&story), @"
    request: stage 19 got no machine after 10 min: no machine of pool linux for stage 19 within 600.0s; last: no capacity
       1000 stage 19 waits: no machine of pool linux is ready
     601000 stage 19 refused: no machine of pool linux for stage 19 within 600.0s; last: no capacity
    waiting 10 min
    ");
}

#[test]
fn a_summary_is_one_sentence_whatever_a_console_said() {
    let lost = "it ended: its supervisor was killed; its agent's last words:\nA\nB";
    assert_eq!(shortly(lost), "it ended: its supervisor was killed");
    assert_eq!(shortly("no capacity: try later"), "no capacity: try later");
    assert_eq!(shortly("said nothing:"), "said nothing:");
    assert_eq!(shortly(""), "");
}

#[tokio::test]
async fn p13_what_is_not_known_and_what_is_no_id_are_told_apart() {
    let hand = Hand::default();
    let unknown = explain(&hand.journal, "20", Timestamp(1), &[pool()]).await;
    assert!(
        matches!(unknown, Err(ExplainError::Unknown { .. })),
        "{unknown:?}"
    );
    let bad = explain(&hand.journal, "a\nb", Timestamp(1), &[]).await;
    assert!(matches!(bad, Err(ExplainError::BadId { .. })), "{bad:?}");
}

#[tokio::test]
async fn what_a_machines_start_went_to_is_told_phase_by_phase() {
    let hand = Hand::default();
    hand.machine(2_000, 1, MachineState::Booting, "launched")
        .await;
    let note = |cause: &'static str| Note {
        key: RowKey::Machine("i-0abc".into()),
        what: "boot",
        cause: cause.into(),
    };
    hand.batch(3_000, Vec::new(), vec![note("system took 12.50 s")])
        .await;
    hand.batch(15_500, Vec::new(), vec![note("agent took 4.00 s")])
        .await;
    hand.machine(20_000, 2, MachineState::Ready, "its agent is connected")
        .await;
    let story = hand.explain("i-0abc", 300_000, &[]).await;
    let phases = story.phases.iter();
    let phases: Vec<_> = phases
        .map(|phase| (&*phase.name, phase.since.0, phase.took.as_millis()))
        .collect();
    assert_eq!(
        phases[..3],
        [
            ("booting", 2_000, 18_000),
            ("boot: system", 3_000, 12_500),
            ("boot: agent", 15_500, 4_000),
        ]
    );
}
