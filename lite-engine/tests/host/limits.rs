//! What a step may take of the machine: memory and processes.
//!
//! These tests make groups of the kernel, so they need to be root, as agents are.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use lite_engine::host::{Cancel, Host, HostConfig, StepOrder};
use nix::sys::signal::{Signal, kill};
use vmpool_core::{Limits, StepStatus};

use crate::support::{EXITED_0, Machine, ended, is_alive, lines, pid, until, whole_log};

const MIB: u64 = 1024 * 1024;

/// Takes 256 MiB of memory.
const GREEDY: &str = "python3 -c 'bytearray(256 << 20)'";

fn memory(mut order: StepOrder) -> StepOrder {
    order.limits.memory = Some(64 * MIB);
    order
}

fn processes(mut order: StepOrder, most: u64) -> StepOrder {
    order.limits.processes = Some(most);
    order
}

/// The groups that were made for steps of this machine.
fn groups(machine: &Machine) -> Vec<PathBuf> {
    let list = std::fs::read_to_string(machine.path().join("host/groups")).unwrap_or_default();
    let groups = list.lines().map(serde_json::from_str);
    groups.collect::<Result<_, _>>().expect("a path a line")
}

fn groups_left(machine: &Machine) -> Vec<PathBuf> {
    let all = groups(machine).into_iter();
    all.filter(|group| group.exists()).collect()
}

#[tokio::test]
async fn a_step_that_the_kernel_kills_at_its_limit_of_memory_is_out_of_memory() {
    let machine = Machine::new();
    for script in [format!("exec {GREEDY}"), format!("{GREEDY} || exit 3")] {
        let name = if script.starts_with("exec") {
            "main"
        } else {
            "child"
        };
        let order = memory(machine.shell(name, &script));
        let (status, log) = machine.run_order(order).await;
        assert_eq!(status, StepStatus::OutOfMemory, "{log}");
        let said = "killed at this step's limit of 67108864 bytes of memory: 1 processes";
        assert!(log.contains(said), "{log}");
    }
    assert!(!groups(&machine).is_empty());
    assert_eq!(groups_left(&machine), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_step_that_copes_with_its_limit_of_memory_or_never_meets_it_ends_as_it_says() {
    let machine = Machine::new();
    let order = memory(machine.shell("copes", &format!("{GREEDY}; exit 0")));
    assert_eq!(machine.run_order(order).await.0, EXITED_0);
    let order = memory(machine.shell("modest", "echo modest; exit 7"));
    let (status, log) = machine.run_order(order).await;
    assert_eq!(
        (status, log.as_str()),
        (StepStatus::Exited { code: 7 }, "modest\n")
    );
}

#[tokio::test]
async fn beyond_its_limit_of_processes_a_step_can_make_none() {
    let machine = Machine::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo none refused";
    let (status, log) = machine
        .run_order(processes(machine.shell("step", script), 5))
        .await;
    assert!(
        matches!(status, StepStatus::Exited { code } if code != 0),
        "{log}"
    );
    assert!(
        log.contains("not made at this step's limit of 5 processes: "),
        "{log}"
    );
    let (status, log) = machine
        .run_order(processes(machine.shell("roomy", script), 20))
        .await;
    assert_eq!((status, log.as_str()), (EXITED_0, "none refused\n"));
    assert_eq!(groups_left(&machine), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn p10_a_step_with_limits_that_does_not_want_to_end_is_ended_with_its_group() {
    let mut machine = Machine::new();
    machine.grace = Duration::from_millis(100);
    let host = machine.host();
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & echo $!; sleep 1000";
    let order = processes(memory(machine.shell("step", script)), 20);
    let step = host.start(order).await.expect("started");
    let daemon = pid(&lines(&step, 1).await[0]);
    assert!(!groups_left(&machine).is_empty());
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    assert!(!is_alive(daemon));
    assert_eq!(groups_left(&machine), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn p10_a_killed_holder_leaves_a_group_by_which_the_rest_is_found() {
    let machine = Machine::new();
    let host = machine.host();
    // Without the mark, out of the session, and nobody's child once all is killed.
    let script = "(env -i PATH=$PATH setsid sh -c 'echo $$ > daemon; exec sleep 1000' &) ; \
                  while ! test -s daemon; do sleep 0.01; done; echo $PPID; sleep 1000";
    let order = processes(machine.shell("step", script), 20);
    let step = host.start(order).await.expect("started");
    let holder = pid(&lines(&step, 1).await[0]);
    let daemon = std::fs::read_to_string(machine.path().join("daemon")).expect("its pid");
    drop(host);
    kill(holder, Signal::SIGKILL).expect("killed");
    until("the holder's end", || !is_alive(holder)).await;
    // As an agent does that was killed too, and is started again.
    let host = machine.host();
    let step = host.step(&"step".into()).expect("known");
    assert!(matches!(ended(&step).await.status, StepStatus::Lost { .. }));
    assert!(!is_alive(pid(&daemon)));
    assert_eq!(groups_left(&machine), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn where_limits_cant_be_applied_the_log_says_so_once_and_the_step_runs() {
    let machine = Machine::new();
    let program = machine.path().join("without-groups");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c \
         'umount --recursive --lazy /sys/fs/cgroup && exec \"$@\"' sh {} \"$@\"\n",
        env!("CARGO_BIN_EXE_lite-engine")
    );
    std::fs::write(&program, script).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, executable).expect("executable");
    let mut config = HostConfig::new(machine.path().join("host"));
    config.holder_program = program;
    let host = Host::open(config).expect("the host's folder");
    let mut order = machine.shell("step", "echo ran");
    order.limits = Limits {
        memory: Some(64 * MIB),
        processes: Some(20),
    };
    let step = host.start(order).await.expect("started");
    assert_eq!(ended(&step).await.status, EXITED_0);
    let log = String::from_utf8(whole_log(&step).await).expect("text");
    assert_eq!(
        log,
        "limit of 67108864 for memory not applied: this system can't limit it\n\
         limit of 20 for processes not applied: this system can't limit it\n\
         ran\n"
    );
}

#[tokio::test]
async fn p13_a_limit_of_nothing_is_refused_before_anything_is_made() {
    let machine = Machine::new();
    let order = processes(machine.shell("step", "true"), 0);
    let error = machine.host().start(order).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "limits: leaves no room for a process: a limit is 0"
    );
}
