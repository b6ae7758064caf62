//! Orders as Drone has them, and the machine's two invariants for any order.

use proptest::prelude::*;

use super::*;
use crate::{Dialect, Variables, parse};

fn schedule(steps: &str) -> Schedule {
    let text = format!("kind: pipeline\n{steps}");
    let parsed = parse("f", &text, Dialect::Drone, &Variables::new()).unwrap();
    let facts = Facts {
        event: "push".into(),
        branch: "main".into(),
        ..Facts::default()
    };
    Schedule::of_steps(&parsed.file.pipelines[0], &facts, &Choice::default()).unwrap()
}

/// What starts, in rounds: each round's tasks end as `outcome` says before the
/// next one is asked for. Then what was skipped, and why.
fn run(mut schedule: Schedule, outcome: impl Fn(&str) -> Outcome) -> (Vec<String>, Vec<String>) {
    let mut rounds = Vec::new();
    loop {
        let ready = schedule.ready();
        if ready.is_empty() {
            break;
        }
        let names: Vec<_> = ready
            .iter()
            .map(|&n| schedule.nodes[n].task.name.clone())
            .collect();
        rounds.push(names.join(" "));
        for n in ready {
            if schedule.nodes[n].task.detached {
                schedule.started(n);
            } else {
                assert!(schedule.finished(n, outcome(&schedule.nodes[n].task.name.clone())));
            }
        }
    }
    assert!(schedule.is_done());
    let skipped = schedule.tasks().filter_map(|(task, state)| match state {
        State::Skipped(why) => Some(format!("{}: {why}", task.name)),
        _ => None,
    });
    (rounds, skipped.collect())
}

fn all_well(_: &str) -> Outcome {
    Outcome::Succeeded
}

fn fails(which: &'static str) -> impl Fn(&str) -> Outcome {
    move |name| {
        if name == which {
            Outcome::Failed
        } else {
            Outcome::Succeeded
        }
    }
}

const SEQUENCE: &str = "
steps:
- {name: a, commands: [x]}
- {name: b, commands: [x]}
- {name: c, commands: [x], when: {status: [failure]}}
- {name: d, commands: [x], when: {status: [success, failure]}}
- {name: e, commands: [x]}
";

#[test]
fn without_depends_on_steps_run_one_after_the_other() {
    let (rounds, skipped) = run(schedule(SEQUENCE), all_well);
    assert_eq!(rounds, ["a", "b", "d", "e"]);
    assert_eq!(skipped, ["c: nothing has failed"]);
}

#[test]
fn after_a_failure_only_those_run_that_ask_for_it() {
    let (rounds, skipped) = run(schedule(SEQUENCE), fails("a"));
    assert_eq!(rounds, ["a", "c", "d"]);
    assert_eq!(skipped, ["b: a failed", "e: a failed"]);
}

#[test]
fn an_ignored_failure_is_none() {
    let steps = "steps: [{name: a, commands: [x], failure: ignore}, {name: b, commands: [x]}]";
    let (rounds, skipped) = run(schedule(steps), fails("a"));
    assert_eq!((rounds.len(), skipped.len()), (2, 0));
}

const FAN: &str = "
services: [{name: db, image: postgres}]
steps:
- {name: start, commands: [x]}
- {name: left, commands: [x], depends_on: [start]}
- {name: right, commands: [x], depends_on: [start], when: {branch: other}}
- {name: join, commands: [x], depends_on: [left, right]}
- {name: late, commands: [x], depends_on: [right, db]}
";

#[test]
fn with_depends_on_steps_make_a_graph_that_skipped_ones_do_not_break() {
    let (rounds, skipped) = run(schedule(FAN), all_well);
    assert_eq!(rounds, ["db", "start", "left late", "join"]);
    assert_eq!(skipped, ["right: branch main is not in [other]"]);
}

#[test]
fn a_failure_stops_the_other_branches_too() {
    let (rounds, skipped) = run(schedule(FAN), fails("start"));
    assert_eq!(rounds, ["db", "start"]);
    assert_eq!(skipped.len(), 4);
    assert_eq!(skipped[3], "late: start failed");
}

#[test]
fn depending_on_the_clone_alone_makes_steps_parallel() {
    let steps = "
steps:
- {name: a, commands: [x], depends_on: [clone]}
- {name: b, commands: [x], depends_on: [clone]}
";
    assert_eq!(run(schedule(steps), all_well).0, ["a b"]);
}

#[test]
fn a_detached_step_is_waited_for_until_it_has_started_and_its_failure_is_nobodys() {
    let steps = "steps: [{name: a, commands: [x], detach: true}, {name: b, commands: [x]}]";
    let mut schedule = schedule(steps);
    assert_eq!(schedule.ready(), [0]);
    assert_eq!(schedule.ready(), Vec::<usize>::new());
    schedule.started(0);
    assert_eq!(schedule.ready(), [1]);
    assert!(schedule.finished(0, Outcome::Failed));
    assert!(!schedule.finished(0, Outcome::Failed));
    assert!(!schedule.is_done());
    assert!(schedule.finished(1, Outcome::Succeeded));
    assert!(schedule.is_done());
    assert_eq!(schedule.failed(), None);
    assert!(!schedule.finished(7, Outcome::Failed));
}

#[test]
fn a_choice_leaves_the_services_in() {
    let text = format!("kind: pipeline\n{FAN}");
    let parsed = parse("f", &text, Dialect::Drone, &Variables::new()).unwrap();
    let choice = Choice {
        include: vec!["left".into()],
        exclude: vec![],
    };
    let schedule =
        Schedule::of_steps(&parsed.file.pipelines[0], &Facts::default(), &choice).unwrap();
    assert_eq!(run(schedule, all_well).0, ["db", "left"]);
    let choice = Choice {
        include: vec![],
        exclude: vec!["left".into(), "db".into()],
    };
    let schedule =
        Schedule::of_steps(&parsed.file.pipelines[0], &Facts::default(), &choice).unwrap();
    let (_, skipped) = run(schedule, all_well);
    assert_eq!(skipped[0], "db: excluded");
}

#[test]
fn pipelines_depend_on_pipelines_and_the_rest_starts_at_once() {
    let text = "
kind: pipeline
name: a
steps: [{name: x, commands: [x]}]
---
kind: pipeline
name: b
steps: [{name: x, commands: [x]}]
---
kind: pipeline
name: after
steps: [{name: x, commands: [x]}]
depends_on: [a, b]
---
kind: pipeline
name: report
steps: [{name: x, commands: [x]}]
depends_on: [after]
trigger: {status: [failure]}
";
    let parsed = parse("f", text, Dialect::Drone, &Variables::new()).unwrap();
    let schedule =
        Schedule::of_pipelines(&parsed.file, &Facts::default(), &Choice::default()).unwrap();
    let (rounds, skipped) = run(schedule.clone(), all_well);
    assert_eq!(rounds, ["a b", "after"]);
    assert_eq!(skipped, ["report: nothing has failed"]);
    let (rounds, skipped) = run(schedule, fails("b"));
    assert_eq!(rounds, ["a b", "report"]);
    assert_eq!(skipped, ["after: b failed"]);
}

#[test]
fn what_is_cancelled_does_not_start() {
    let mut schedule = schedule(SEQUENCE);
    assert_eq!(schedule.ready(), [0]);
    schedule.cancel("interrupted");
    assert!(schedule.finished(0, Outcome::Failed));
    assert_eq!(schedule.ready(), Vec::<usize>::new());
    assert!(schedule.is_done());
    assert_eq!(
        schedule.state(1),
        Some(&State::Skipped("interrupted".into()))
    );
}

fn task(name: &str, depends_on: &[&str]) -> Task {
    let depends_on = depends_on.iter().map(|&on| on.to_owned()).collect();
    Task {
        name: name.into(),
        depends_on,
        ..Task::default()
    }
}

#[test]
fn what_has_no_order_is_refused() {
    let refused = |tasks| Schedule::new(tasks).unwrap_err();
    assert_eq!(
        refused(vec![task("a", &[]), task("a", &[])]),
        OrderError::Twice("a".into())
    );
    let unknown = OrderError::Unknown {
        task: "a".into(),
        on: "b".into(),
    };
    assert_eq!(refused(vec![task("a", &["b"])]), unknown);
    let round = refused(vec![
        task("x", &["a"]),
        task("a", &["c"]),
        task("b", &["a"]),
        task("c", &["b"]),
    ]);
    assert_eq!(
        round.to_string(),
        "tasks wait for each other: a after c after b after a"
    );
    let itself = refused(vec![task("a", &["a"])]);
    assert_eq!(itself.to_string(), "tasks wait for each other: a after a");
}

/// Tasks in a random order that has no cycle, and what becomes of each.
fn any_tasks() -> impl Strategy<Value = Vec<(Task, Outcome)>> {
    let one = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        any::<(bool, bool, bool, bool)>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
    );
    prop::collection::vec(one, 0..20).prop_map(|drawn| {
        let task = |(n, (on, (detached, ignores_failure, success, failure), skip, fails))| {
            let on: Vec<prop::sample::Index> = on;
            let before = on
                .iter()
                .filter(|_| n > 0)
                .map(|index| index.index(n))
                .collect::<BTreeSet<_>>();
            let task = Task {
                name: n.to_string(),
                depends_on: before.iter().map(usize::to_string).collect(),
                runs_on: RunsOn { success, failure },
                skip: if skip { Some("chance".into()) } else { None },
                detached,
                ignores_failure,
            };
            (
                task,
                if fails {
                    Outcome::Failed
                } else {
                    Outcome::Succeeded
                },
            )
        };
        drawn.into_iter().enumerate().map(task).collect()
    })
}

proptest! {
    /// Every task ends exactly once, as run or as skipped, and none starts
    /// before all it depends on has ended or, if detached, started; whatever
    /// the order in which those that run come to an end.
    #[test]
    fn every_task_ends_once_and_starts_after_what_it_waits_for(
        tasks in any_tasks(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let (all, outcomes): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let mut schedule = Schedule::new(all.clone()).unwrap();
        let mut started = BTreeSet::new();
        let mut running: Vec<usize> = Vec::new();
        let mut picks = picks.into_iter().cycle();
        loop {
            for n in schedule.ready() {
                prop_assert!(started.insert(n), "{n} is handed out twice");
                for on in &all[n].depends_on {
                    let on: usize = on.parse().unwrap();
                    let over = match schedule.state(on).unwrap() {
                        State::Ended(_) | State::Skipped(_) => true,
                        State::Running => all[on].detached && started.contains(&on),
                        State::Waiting => false,
                    };
                    prop_assert!(over, "{n} starts before {on} is over");
                }
                prop_assert!(all[n].skip.is_none());
                schedule.started(n);
                running.push(n);
            }
            if running.is_empty() && schedule.is_done() {
                break;
            }
            prop_assert!(!running.is_empty() || !schedule.decidable.is_empty(), "nothing can go on");
            if !running.is_empty() {
                let n = running.swap_remove(picks.next().unwrap().index(running.len()));
                prop_assert!(schedule.finished(n, outcomes[n]));
                prop_assert!(!schedule.finished(n, outcomes[n]));
            }
        }
        for (n, (_, state)) in schedule.tasks().enumerate() {
            match state {
                State::Ended(outcome) => prop_assert!(started.contains(&n) && *outcome == outcomes[n]),
                State::Skipped(_) => prop_assert!(!started.contains(&n)),
                other => prop_assert!(false, "{n} is {other:?}"),
            }
        }
        let failed = (0..all.len()).any(|n| {
            started.contains(&n) && outcomes[n] == Outcome::Failed
                && !all[n].detached && !all[n].ignores_failure
        });
        prop_assert_eq!(schedule.failed().is_some(), failed);
    }
}
