//! P4: steps outlive the agent, and P10: those that lose their holder still come to an end.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use vmpool_core::StepStatus;

use crate::support::{EXITED_0, Machine, ended, is_alive, lines, numbers, pid, until, whole_log};

#[tokio::test]
async fn p4_a_step_goes_on_without_an_agent_and_is_found_again_with_its_whole_log() {
    let machine = Machine::new();
    let script = "echo before; while ! test -e go; do sleep 0.01; done; seq 1000; exit 3";
    let step = machine
        .host()
        .start(machine.shell("step", script))
        .await
        .expect("started");
    // That host is dropped already.
    let status = step.wait().await;
    assert!(status.is_err(), "{status:?}");

    let host = machine.host();
    let step = host.step(&"step".into()).expect("adopted");
    assert_eq!(lines(&step, 1).await, ["before"]);
    std::fs::write(machine.path().join("go"), "").expect("written");
    assert_eq!(ended(&step).await.status, StepStatus::Exited { code: 3 });
    let log = String::from_utf8(whole_log(&step).await).expect("text");
    assert_eq!(log, format!("before\n{}", numbers(1..=1000)));
}

#[tokio::test]
async fn p4_a_step_that_ended_without_an_agent_is_found_with_its_outcome() {
    let machine = Machine::new();
    let host = machine.host();
    let step = host
        .start(machine.shell("step", "sleep 0.1; echo text; exit 4"))
        .await;
    step.expect("started");
    host.close().await;
    until("its end", || {
        let records = std::fs::read_to_string(machine.path().join("host/records"));
        records.expect("readable").contains("ended")
    })
    .await;

    let host = machine.host();
    let step = host.step(&"step".into()).expect("adopted");
    assert_eq!(
        step.outcome().expect("over").status,
        StepStatus::Exited { code: 4 }
    );
    assert_eq!(whole_log(&step).await, b"text\n");
}

#[tokio::test]
async fn p4_an_adopted_step_can_be_cancelled() {
    let machine = Machine::new();
    drop(
        machine
            .host()
            .start(machine.shell("step", "sleep 1000"))
            .await
            .expect("started"),
    );
    let host = machine.host();
    let step = host.step(&"step".into()).expect("adopted");
    step.cancel(lite_engine::host::Cancel::WithGrace)
        .expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
}

/// Prints the pids of a background process, of a daemon in a session of its own, and of the holder.
const FAMILY: &str = "sleep 1000 & echo $!; setsid sh -c 'echo $$; exec sleep 1000' & \
                      while ! test -e go; do sleep 0.01; done; echo $PPID; wait";

#[tokio::test]
async fn p10_a_step_whose_holder_is_killed_is_lost_and_leaves_no_process() {
    let machine = Machine::new();
    let host = machine.host();
    let step = host
        .start(machine.shell("step", FAMILY))
        .await
        .expect("started");
    lines(&step, 2).await;
    std::fs::write(machine.path().join("go"), "").expect("written");
    let pids: Vec<_> = lines(&step, 3).await.iter().map(|line| pid(line)).collect();
    kill(pids[2], Signal::SIGKILL).expect("killed");

    let outcome = ended(&step).await;
    let lost = StepStatus::Lost {
        reason: "its holder was killed".into(),
    };
    assert_eq!(outcome.status, lost);
    assert!(!is_alive(pids[0]) && !is_alive(pids[1]));
    assert_eq!(whole_log(&step).await.len() as u64, outcome.log_end);
    // It stays what it is.
    host.close().await;
    assert_eq!(
        machine
            .host()
            .step(&"step".into())
            .expect("there")
            .outcome(),
        Some(outcome)
    );
}

#[tokio::test]
async fn p10_a_step_whose_holder_was_killed_while_there_was_no_agent_is_lost_too() {
    let machine = Machine::new();
    let host = machine.host();
    let step = host
        .start(machine.shell("step", FAMILY))
        .await
        .expect("started");
    std::fs::write(machine.path().join("go"), "").expect("written");
    let pids: Vec<_> = lines(&step, 3).await.iter().map(|line| pid(line)).collect();
    host.close().await;
    let holder = pids
        .iter()
        .find(|pid| is_holder(pid.as_raw()))
        .expect("the holder");
    kill(*holder, Signal::SIGKILL).expect("killed");

    let host = machine.host();
    let step = host.step(&"step".into()).expect("adopted");
    assert!(matches!(ended(&step).await.status, StepStatus::Lost { .. }));
    assert!(
        pids.iter()
            .filter(|pid| *pid != holder)
            .all(|pid| !is_alive(*pid))
    );
}

fn is_holder(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.windows(10).any(|window| window == b"hold-steps")
}

/// A holder whose step stands at the gate, and the agent's end of its line.
struct AtGate {
    agent: UnixStream,
    nursery: Child,
    requests: UnixStream,
    /// The holder, as the records name it.
    holder: serde_json::Value,
}

impl AtGate {
    /// Brings a step there that leaves a file `ran`, as an agent does.
    fn bring(machine: &Machine) -> Self {
        let order = serde_json::json!({
            "id": "step", "name": "step", "host": machine.path().join("host"),
            "command": ["touch", "ran"], "env": [["PATH", "/usr/bin:/bin"]],
            "workdir": machine.path(), "user": null, "secrets": [], "mask": "plain",
            "expressions": "", "secrets_file": null, "preamble": "", "timeout": null,
            "limits": { "memory": null, "processes": null },
            "grace": { "secs": 1, "nanos": 0 }, "detached": false,
            "log_space": { "segment_bytes": 4096, "stage_bytes": 65536 },
        })
        .to_string();
        let (requests, nursery) = UnixStream::pair().expect("a socket pair");
        let nursery = Command::new(env!("CARGO_BIN_EXE_lite-engine"))
            .arg("hold-steps")
            .stdin(Stdio::from(OwnedFd::from(nursery)))
            .spawn()
            .expect("a nursery");
        let (mut agent, holder) = UnixStream::pair().expect("a socket pair");
        let sockets = [holder.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&sockets)];
        let (fd, byte) = (requests.as_raw_fd(), [IoSlice::new(b"!")]);
        sendmsg::<()>(fd, &byte, &rights, MsgFlags::empty(), None).expect("sent");
        drop(holder);
        let length = u32::try_from(order.len()).expect("short").to_be_bytes();
        agent.write_all(&length).expect("sent");
        agent.write_all(order.as_bytes()).expect("sent");
        let mut length = [0; 4];
        agent
            .read_exact(&mut length)
            .expect("the step stands at the gate");
        let mut ready = vec![0; u32::from_be_bytes(length) as usize];
        agent.read_exact(&mut ready).expect("the whole answer");
        let ready: serde_json::Value = serde_json::from_slice(&ready).expect("JSON");
        let gate = Self {
            agent,
            nursery,
            requests,
            holder: ready["Ok"].clone(),
        };
        assert!(is_alive(gate.pid()));
        gate
    }

    fn pid(&self) -> Pid {
        pid(&self.holder["pid"].to_string())
    }

    /// What the agent writes down before it lets the step go.
    fn record(&self, machine: &Machine) {
        let started = serde_json::json!({"started": {
            "step": machine.shell("step", "touch ran").record,
            "holder": self.holder,
            "segment_bytes": 4096,
        }});
        let mut options = std::fs::OpenOptions::new();
        let records = options
            .append(true)
            .open(machine.path().join("host/records"));
        writeln!(records.expect("the records"), "{started}").expect("written");
    }

    /// The agent is killed.
    async fn lose_agent(self) {
        let holder = self.pid();
        let Self {
            agent,
            mut nursery,
            requests,
            ..
        } = self;
        drop((agent, requests));
        assert!(nursery.wait().expect("ended").success());
        until("the holder's end", || !is_alive(holder)).await;
    }
}

#[tokio::test]
async fn p4_a_step_that_was_not_recorded_is_never_executed() {
    let machine = Machine::new();
    let host = machine.host();
    // The agent dies before it has recorded the step.
    AtGate::bring(&machine).lose_agent().await;
    assert!(!machine.path().join("ran").exists());

    host.close().await;
    let host = machine.host();
    assert!(host.step(&"step".into()).is_none());
    let step = host
        .start(machine.shell("step", "touch ran"))
        .await
        .expect("as if it was new");
    assert_eq!(ended(&step).await.status, EXITED_0);
}

#[tokio::test]
async fn p4_a_step_that_was_recorded_runs_though_its_agent_died_before_it_let_it_go() {
    let machine = Machine::new();
    machine.host().close().await;
    let gate = AtGate::bring(&machine);
    gate.record(&machine);
    gate.lose_agent().await;
    assert!(machine.path().join("ran").exists());
    let host = machine.host();
    let step = host.step(&"step".into()).expect("adopted");
    assert_eq!(ended(&step).await.status, EXITED_0);
}

#[tokio::test]
async fn p9_a_step_that_its_agent_gave_up_is_not_executed_though_it_was_recorded() {
    let machine = Machine::new();
    machine.host().close().await;
    let mut gate = AtGate::bring(&machine);
    gate.record(&machine);
    gate.agent.write_all(b"x").expect("sent");
    gate.lose_agent().await;
    assert!(!machine.path().join("ran").exists());
}

#[tokio::test]
async fn a_program_that_is_no_holder_is_an_error_and_leaves_nothing() {
    let machine = Machine::new();
    let mut config = lite_engine::host::HostConfig::new(machine.path().join("host"));
    for program in ["/bin/true", "/no/such/program"] {
        config.holder_program = program.into();
        let host = lite_engine::host::Host::open(config.clone()).expect("opened");
        let failed = host.start(machine.shell("step", "true")).await;
        assert!(
            matches!(failed, Err(lite_engine::host::StartError::System { .. })),
            "{failed:?}"
        );
        assert!(host.step(&"step".into()).is_none());
    }
}
