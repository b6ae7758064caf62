//! Random histories, played on the journals in memory, in SQLite and in
//! PostgreSQL: each answers the same, and has the same rows and events after.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;
use vmpool_core::Machine;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, Change, Event, Holder, MachineRow, MemoryJournal, Note, OrderRow, Row, RowKey, StageRow,
    StepRow, Taken,
};
use vmpool_core::machine::MachineState;
use vmpool_core::order::{self, OrderEvent, OrderState};
use vmpool_core::pool::RequestHash;
use vmpool_core::stage::{StageEnd, StageState};
use vmpool_core::{
    Attempt, Journal, MachineId, OrderId, PoolName, RunnerId, StageId, StepId, Term, Version,
};
use vmpool_store::testkit::Cluster;
use vmpool_store::{PostgresJournal, SqliteJournal};

const NOW: Timestamp = Timestamp(1_000);
const HOUR: Duration = Duration::from_hours(1);

/// What is done to a journal. Small numbers, so that things meet.
#[derive(Debug, Clone)]
enum Act {
    Commit {
        pool: u8,
        /// Above or below the pool's last known term.
        term: i8,
        limit: Option<u32>,
        changes: Vec<Changed>,
        notes: Vec<String>,
    },
    Raise {
        pool: u8,
        now: u64,
    },
    Take {
        pool: u8,
        runner: u8,
    },
    Renew {
        pool: u8,
        term: i8,
    },
    GiveUp {
        pool: u8,
        term: i8,
    },
}

#[derive(Debug, Clone)]
struct Changed {
    kind: u8,
    number: u8,
    /// Above or below the version that would be right.
    version: i8,
    state: u8,
    cause: String,
}

fn act() -> impl Strategy<Value = Act> {
    let near = || prop_oneof![8 => Just(0_i8), 1 => Just(1), 1 => Just(-1)];
    let text = || "[^\\x00]{0,12}";
    let changed = (0..4_u8, 0..3_u8, near(), 0..6_u8, text()).prop_map(
        |(kind, number, version, state, cause)| Changed {
            kind,
            number,
            version,
            state,
            cause,
        },
    );
    let commit = (
        0..2_u8,
        near(),
        prop::option::of(0..6_u32),
        prop::collection::vec(changed, 0..4),
        prop::collection::vec(text().prop_map(String::from), 0..2),
    )
        .prop_map(|(pool, term, limit, changes, notes)| Act::Commit {
            pool,
            term,
            limit,
            changes,
            notes,
        });
    prop_oneof![
        12 => commit,
        1 => (0..2_u8, 0..3_000_u64).prop_map(|(pool, now)| Act::Raise { pool, now }),
        2 => (0..2_u8, 0..3_u8).prop_map(|(pool, runner)| Act::Take { pool, runner }),
        1 => (0..2_u8, near()).prop_map(|(pool, term)| Act::Renew { pool, term }),
        1 => (0..2_u8, near()).prop_map(|(pool, term)| Act::GiveUp { pool, term }),
    ]
}

/// A journal, and what of it is not of this history.
struct Played {
    journal: Arc<dyn Journal>,
    events_before: u64,
}

/// One history; its ids are its own.
struct History {
    name: String,
    memory: Arc<dyn Journal>,
    others: [Played; 2],
}

impl History {
    fn pool(&self, pool: u8) -> PoolName {
        PoolName::new(format!("{}-{pool}", self.name))
    }

    /// Ids that no two pools share.
    fn id(&self, pool: u8, number: u8) -> String {
        format!("{}-{pool}-{number}", self.name)
    }

    async fn term(&self, pool: u8, off: i8) -> Term {
        let pools = self.memory.pools(NOW).await.expect("memory can be read");
        let name = self.pool(pool);
        let known = pools.iter().find(|known| known.pool == name);
        let term = known.map_or(1, |known| known.term.0);
        Term(term.saturating_add_signed(i64::from(off)).max(1))
    }

    /// The change as the rows stand. None: a step of a stage that is not there.
    async fn change(&self, pool: u8, changed: &Changed) -> Option<Change> {
        let id = self.id(pool, changed.number);
        let machine = MachineId::new(id.as_str());
        let stage = StageId::new(id.as_str());
        let step = StepId::new("step");
        let memory = &self.memory;
        let stages = memory.stage(&stage).await.expect("memory can be read");
        let found = match changed.kind {
            0 => {
                let row = memory.order(&OrderId::new(id.as_str())).await;
                row.expect("memory can be read").map(|row| row.version)
            }
            1 => {
                let row = memory.machine(&machine).await;
                row.expect("memory can be read").map(|row| row.version)
            }
            2 => stages.as_ref().map(|found| found.stage.version),
            _ => stages.as_ref()?.steps.first().map(|step| step.version),
        };
        let right = found.map_or(1, |found| found.0 + 1);
        let version = Version(right.saturating_add_signed(i64::from(changed.version)));
        let pool = self.pool(pool);
        let row: Row = match changed.kind {
            0 => {
                let planned = OrderState::planned(u32::from(changed.number) + 1);
                let called = order::next(planned, OrderEvent::Call).expect("it is planned");
                let absent = OrderEvent::ProveAbsent(planned.open);
                let state = match changed.state {
                    0 | 1 => planned,
                    2 | 3 => called,
                    _ => order::next(called, absent).expect("it is called"),
                };
                Row::Order(Arc::new(OrderRow {
                    id: OrderId::new(id),
                    pool,
                    attempt: Attempt(1),
                    spec: changed.cause.as_str().into(),
                    state,
                    sealed: Arc::from([0, changed.state, 255].as_slice()),
                    created_at: NOW,
                    called_at: None,
                    expires_at: NOW,
                    version,
                }))
            }
            1 => Row::Machine(Arc::new(MachineRow {
                machine: Arc::new(Machine {
                    id: machine,
                    pool,
                    order: OrderId::new("order"),
                    attempt: Attempt(1),
                    address: None,
                    key: None,
                }),
                state: [
                    MachineState::Booting,
                    MachineState::Ready,
                    MachineState::Claimed,
                    MachineState::Draining,
                    MachineState::Gone,
                    MachineState::Lost,
                ][usize::from(changed.state)],
                since: NOW,
                cause: changed.cause.clone().into(),
                stage: None,
                spec: None,
                launched_at: NOW,
                expires_at: NOW,
                called_at: None,
                hold: None,
                version,
            })),
            2 => Row::Stage(Arc::new(StageRow {
                id: stage,
                pool,
                machine,
                term: Term(1),
                state: match changed.state {
                    0 | 1 => StageState::Claimed,
                    2 | 3 => StageState::Prepared,
                    _ => StageState::Ended(StageEnd::Released),
                },
                hash: Some(RequestHash::default()),
                claimed_at: NOW,
                deadline: NOW,
                tried: Vec::new(),
                version,
            })),
            _ => Row::Step(Arc::new(StepRow {
                stage,
                id: step,
                hash: None,
                outcome: None,
                version,
            })),
        };
        Some(Change::new(row, "changed", changed.cause.clone()))
    }

    async fn batch(&self, act: &Act) -> Option<Batch> {
        let Act::Commit {
            pool,
            term,
            limit,
            changes: changed,
            notes,
        } = act
        else {
            return None;
        };
        let mut changes = Vec::new();
        for changed in changed {
            changes.extend(self.change(*pool, changed).await);
        }
        let note = |cause: &String| Note {
            key: RowKey::Stage(StageId::new(self.id(*pool, 0))),
            what: "noted",
            cause: cause.clone().into(),
        };
        Some(Batch {
            at: NOW,
            pool: self.pool(*pool),
            term: self.term(*pool, *term).await,
            limit: *limit,
            changes,
            notes: notes.iter().map(note).collect(),
        })
    }

    /// Does it to all of them, and holds their answers against each other.
    async fn play(&self, act: &Act) -> Result<(), TestCaseError> {
        let batch = self.batch(act).await;
        let term = match act {
            Act::Renew { pool, term } | Act::GiveUp { pool, term } => self.term(*pool, *term).await,
            _ => Term(0),
        };
        let expected = self.answer(&self.memory, act, batch.clone(), term).await;
        for other in &self.others {
            let answer = self.answer(&other.journal, act, batch.clone(), term).await;
            prop_assert_eq!(answer, expected.as_str(), "{:?}", act);
        }
        Ok(())
    }

    async fn answer(
        &self,
        journal: &Arc<dyn Journal>,
        act: &Act,
        batch: Option<Batch>,
        term: Term,
    ) -> String {
        match act {
            Act::Commit { .. } => {
                let batch = batch.expect("it was made");
                format!("{:?}", journal.commit(batch).await)
            }
            Act::Raise { pool, now } => {
                let raised = journal.raise_term(&self.pool(*pool), Timestamp(*now)).await;
                format!("{raised:?}")
            }
            Act::Take { pool, runner } => {
                let holder = Holder {
                    runner: RunnerId::new(format!("runner-{runner}")),
                    url: "https://runner".into(),
                };
                let taken = journal.take(&self.pool(*pool), &holder, HOUR, NOW).await;
                match taken {
                    Ok(Taken::Ours(term)) => format!("ours under {term}"),
                    Ok(Taken::Theirs(theirs)) => format!("{:?} {}", theirs.holder, theirs.term),
                    Err(error) => error.to_string(),
                }
            }
            Act::Renew { pool, .. } => {
                let renewed = journal.renew(&self.pool(*pool), term, HOUR, NOW).await;
                format!("{renewed:?}")
            }
            Act::GiveUp { pool, .. } => {
                let given = journal.give_up(&self.pool(*pool), term, NOW).await;
                format!("{given:?}")
            }
        }
    }

    /// All rows and events, as text.
    async fn rows(&self, journal: &Arc<dyn Journal>, events_before: u64) -> String {
        let read = async {
            let mut told = Vec::new();
            for pool in 0..2 {
                let mut rows = journal.pool(&self.pool(pool)).await?;
                rows.orders.sort_by(|one, other| one.id.cmp(&other.id));
                rows.machines.sort_by(|one, other| one.id().cmp(other.id()));
                rows.stages
                    .sort_by(|one, other| one.stage.id.cmp(&other.stage.id));
                told.push(format!("{rows:?}"));
                for number in 0..3 {
                    let id = self.id(pool, number);
                    let machine = MachineId::new(id.as_str());
                    told.push(format!("{:?}", journal.machine(&machine).await?));
                    let order = OrderId::new(id.as_str());
                    told.push(format!("{:?}", journal.order(&order).await?));
                    let stage = StageId::new(id.as_str());
                    told.push(format!("{:?}", journal.stage(&stage).await?));
                    let history = journal.history(&RowKey::Stage(stage), 5).await?;
                    told.push(format!("{:?}", since(history, events_before)));
                }
            }
            let events = journal.events(events_before, 10_000).await?;
            told.push(format!("{:?}", since(events, events_before)));
            let mut owners = Vec::new();
            for known in journal.pools(NOW).await? {
                if known.pool.as_str().starts_with(&self.name) {
                    let is_held = !known.left.is_zero();
                    owners.push(format!(
                        "{:?}",
                        (known.pool, known.holder, known.term, is_held)
                    ));
                }
            }
            owners.sort();
            told.extend(owners);
            Ok::<_, vmpool_core::journal::JournalError>(told.join("\n"))
        };
        read.await.expect("the journal can be read")
    }
}

/// Numbered from the history's beginning.
fn since(events: Vec<Event>, before: u64) -> Vec<Event> {
    let events = events.into_iter();
    events
        .map(|event| Event {
            seq: event.seq - before,
            ..event
        })
        .collect()
}

#[test]
fn p2_p7_every_journal_answers_every_history_the_same() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let cluster = Cluster::start();
    let url = cluster.database("histories");
    let postgres: Arc<dyn Journal> = Arc::new(runtime.block_on(PostgresJournal::connect(&url))?);
    let folder = tempfile::tempdir()?;
    let sqlite: Arc<dyn Journal> = Arc::new(SqliteJournal::open(folder.path().join("a.db"))?);
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    runner.run(&prop::collection::vec(act(), 1..24), |acts| {
        runtime.block_on(async {
            let mut others = Vec::new();
            for journal in [&sqlite, &postgres] {
                let mut events_before = 0;
                while let Ok(more) = journal.events(events_before, 10_000).await
                    && let Some(last) = more.last()
                {
                    events_before = last.seq;
                }
                others.push(Played {
                    journal: journal.clone(),
                    events_before,
                });
            }
            let others = others.try_into().ok().expect("there are two");
            let history = History {
                name: uuid::Uuid::new_v4().simple().to_string(),
                memory: Arc::new(MemoryJournal::new()),
                others,
            };
            for act in &acts {
                history.play(act).await?;
            }
            let expected = history.rows(&history.memory, 0).await;
            for other in &history.others {
                let rows = history.rows(&other.journal, other.events_before).await;
                prop_assert_eq!(rows, expected.as_str());
            }
            Ok(())
        })
    })?;
    Ok(())
}
