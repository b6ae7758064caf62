//! The cases. Each leaves the pool as it found it: with no stage.

use tokio::join;

use super::{Acquire, Builds, Does, Ended, LIMIT, Refusal};
use crate::step::StepStatus;

/// All of them, one after the other.
///
/// # Panics
/// One does not hold.
pub async fn all(at: &dyn Builds) {
    an_acquire_that_is_made_again_gets_the_same_machine(at).await;
    another_setup_of_a_stage_is_a_conflict(at).await;
    an_unknown_pool_is_refused(at).await;
    a_stage_is_released_twice_and_has_no_second_machine(at).await;
    what_was_never_there_is_unknown(at).await;
    a_step_that_is_asked_for_again_runs_once(at).await;
    another_step_of_the_same_id_is_a_conflict(at).await;
    a_step_that_fails_is_a_result(at).await;
    two_readers_of_a_step_are_given_the_same(at).await;
    who_went_away_goes_on_where_it_was(at).await;
    a_step_is_cancelled_once(at).await;
    a_released_stage_answers_what_it_answered_and_runs_nothing_more(at).await;
    a_running_step_ends_with_its_stage(at).await;
    at_the_limit_a_request_ends_by_its_deadline(at).await;
    at_the_limit_a_request_gets_the_machine_s_successor(at).await;
    a_stage_that_is_released_while_it_waits_gets_nothing(at).await;
}

const EXITED: StepStatus = StepStatus::Exited { code: 0 };

async fn acquired(at: &dyn Builds, stage: &str) -> String {
    let machine = at.acquire(Acquire::of(stage)).await;
    machine.unwrap_or_else(|refusal| panic!("stage {stage} has no machine: {refusal:?}"))
}

async fn released(at: &dyn Builds, stage: &str) {
    let released = at.release(stage).await;
    assert_eq!(released, Ok(()), "release stage {stage}");
}

async fn ran(at: &dyn Builds, stage: &str, step: &str, does: Does) -> Ended {
    let ended = at.run(stage, step, does, 0).await;
    ended.unwrap_or_else(|refusal| panic!("step {step} of stage {stage}: {refusal:?}"))
}

fn ended(status: StepStatus, output: &str) -> Ended {
    Ended {
        status,
        output: output.to_owned(),
    }
}

/// P9, P2.
async fn an_acquire_that_is_made_again_gets_the_same_machine(at: &dyn Builds) {
    let (first, second) = join!(acquired(at, "again"), acquired(at, "again"));
    let third = acquired(at, "again").await;
    assert_eq!((&first, &first), (&second, &third));
    released(at, "again").await;
}

/// P5.
async fn another_setup_of_a_stage_is_a_conflict(at: &dyn Builds) {
    acquired(at, "conflict").await;
    let other = Acquire {
        variable: "2".to_owned(),
        ..Acquire::of("conflict")
    };
    assert_eq!(at.acquire(other).await, Err(Refusal::Conflict));
    released(at, "conflict").await;
}

/// P13.
async fn an_unknown_pool_is_refused(at: &dyn Builds) {
    let asked = Acquire {
        pool: "nowhere".to_owned(),
        ..Acquire::of("unknown-pool")
    };
    assert_eq!(at.acquire(asked).await, Err(Refusal::UnknownPool));
}

/// P9, P2.
async fn a_stage_is_released_twice_and_has_no_second_machine(at: &dyn Builds) {
    acquired(at, "twice").await;
    released(at, "twice").await;
    released(at, "twice").await;
    let again = at.acquire(Acquire::of("twice")).await;
    assert_eq!(again, Err(Refusal::StageOver));
}

/// P13.
async fn what_was_never_there_is_unknown(at: &dyn Builds) {
    released(at, "never").await;
    let ran = at.run("never", "step", Does::Print, 0).await;
    assert_eq!(ran, Err(Refusal::UnknownStage));
    let attached = at.attach("never", "step", 0).await;
    assert_eq!(attached, Err(Refusal::UnknownStage));
    let cancelled = at.cancel("never", "step").await;
    assert_eq!(cancelled, Err(Refusal::UnknownStage));

    acquired(at, "no-step").await;
    let attached = at.attach("no-step", "step", 0).await;
    assert_eq!(attached, Err(Refusal::UnknownStep));
    released(at, "no-step").await;
}

/// P9, P4: its output is there once.
async fn a_step_that_is_asked_for_again_runs_once(at: &dyn Builds) {
    acquired(at, "once").await;
    let (first, second) = join!(
        ran(at, "once", "step", Does::Print),
        ran(at, "once", "step", Does::Print),
    );
    let third = ran(at, "once", "step", Does::Print).await;
    assert_eq!(first, ended(EXITED, "one\ntwo\n"));
    assert_eq!((&first, &first), (&second, &third));
    released(at, "once").await;
}

/// P5.
async fn another_step_of_the_same_id_is_a_conflict(at: &dyn Builds) {
    acquired(at, "other-step").await;
    ran(at, "other-step", "step", Does::Fail).await;
    let other = at.run("other-step", "step", Does::Print, 0).await;
    assert_eq!(other, Err(Refusal::Conflict));
    released(at, "other-step").await;
    // After the stage's end, too.
    let other = at.run("other-step", "step", Does::Print, 0).await;
    assert_eq!(other, Err(Refusal::Conflict));
}

async fn a_step_that_fails_is_a_result(at: &dyn Builds) {
    acquired(at, "fails").await;
    let failed = ran(at, "fails", "step", Does::Fail).await;
    assert_eq!(failed, ended(StepStatus::Exited { code: 3 }, "one\n"));
    released(at, "fails").await;
}

/// P4.
async fn two_readers_of_a_step_are_given_the_same(at: &dyn Builds) {
    acquired(at, "readers").await;
    let begun = at.run_and_leave("readers", "step", Does::Print, 4).await;
    assert_eq!(begun, "one\n");
    let (runs, attached) = join!(
        ran(at, "readers", "step", Does::Print),
        at.attach("readers", "step", 0),
    );
    assert_eq!(runs, ended(EXITED, "one\ntwo\n"));
    assert_eq!(attached, Ok(runs));
    released(at, "readers").await;
}

/// P4.
async fn who_went_away_goes_on_where_it_was(at: &dyn Builds) {
    acquired(at, "offset").await;
    let begun = at.run_and_leave("offset", "step", Does::Print, 4).await;
    assert_eq!(begun, "one\n");
    let rest = at.run("offset", "step", Does::Print, 4).await;
    assert_eq!(rest, Ok(ended(EXITED, "two\n")));
    // From within, and from the end.
    let some = at.run("offset", "step", Does::Print, 6).await;
    assert_eq!(some, Ok(ended(EXITED, "o\n")));
    let nothing = at.attach("offset", "step", 8).await;
    assert_eq!(nothing, Ok(ended(EXITED, "")));
    released(at, "offset").await;
    let whole = at.attach("offset", "step", 0).await;
    assert_eq!(whole, Ok(ended(EXITED, "one\ntwo\n")));
}

/// P10.
async fn a_step_is_cancelled_once(at: &dyn Builds) {
    acquired(at, "cancel").await;
    at.run_and_leave("cancel", "step", Does::Hang, 4).await;
    let (waited, cancelled) = join!(
        ran(at, "cancel", "step", Does::Hang),
        at.cancel("cancel", "step"),
    );
    assert_eq!(cancelled, Ok(()));
    assert_eq!(waited, ended(StepStatus::Cancelled, "one\n"));
    assert_eq!(at.cancel("cancel", "step").await, Ok(()));
    released(at, "cancel").await;
    assert_eq!(at.cancel("cancel", "step").await, Ok(()));
}

/// P5.
async fn a_released_stage_answers_what_it_answered_and_runs_nothing_more(at: &dyn Builds) {
    acquired(at, "after").await;
    let failed = ran(at, "after", "step", Does::Fail).await;
    released(at, "after").await;
    assert_eq!(ran(at, "after", "step", Does::Fail).await, failed);
    let later = at.run("after", "later", Does::Print, 0).await;
    assert_eq!(later, Err(Refusal::StageOver));
}

/// P10.
async fn a_running_step_ends_with_its_stage(at: &dyn Builds) {
    acquired(at, "ends").await;
    at.run_and_leave("ends", "step", Does::Hang, 4).await;
    let (waited, ()) = join!(ran(at, "ends", "step", Does::Hang), released(at, "ends"),);
    assert_eq!(waited, ended(StepStatus::Cancelled, "one\n"));
}

/// Stages have all machines that the pool may have.
async fn fill(at: &dyn Builds, name: &str) -> Vec<String> {
    let stages: Vec<_> = (0..LIMIT).map(|n| format!("{name}-{n}")).collect();
    for stage in &stages {
        acquired(at, stage).await;
    }
    stages
}

/// P3, P7.
async fn at_the_limit_a_request_ends_by_its_deadline(at: &dyn Builds) {
    let stages = fill(at, "deadline").await;
    let asked = Acquire {
        wait: Some(1),
        ..Acquire::of("deadline")
    };
    let refused = at.acquire(asked).await;
    assert_eq!(refused, Err(Refusal::NoMachineInTime));
    for stage in &stages {
        released(at, stage).await;
    }
    // It may be asked for again.
    acquired(at, "deadline").await;
    released(at, "deadline").await;
}

/// P7.
async fn at_the_limit_a_request_gets_the_machine_s_successor(at: &dyn Builds) {
    let stages = fill(at, "limit").await;
    let (waited, ()) = join!(acquired(at, "limit"), async {
        at.waits("limit").await;
        released(at, &stages[0]).await;
    });
    assert!(!waited.is_empty());
    released(at, "limit").await;
    for stage in &stages[1..] {
        released(at, stage).await;
    }
}

/// P9.
async fn a_stage_that_is_released_while_it_waits_gets_nothing(at: &dyn Builds) {
    let stages = fill(at, "waits").await;
    let (refused, ()) = join!(at.acquire(Acquire::of("waits")), async {
        at.waits("waits").await;
        released(at, "waits").await;
    });
    assert_eq!(refused, Err(Refusal::StageOver));
    for stage in &stages {
        released(at, stage).await;
    }
}
