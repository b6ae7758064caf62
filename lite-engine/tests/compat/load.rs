//! Much at once, and much of it: byte-exact, with memory, files and processes
//! that do not grow.
//!
//! These are bounded forms. `LITE_ENGINE_LOAD=full cargo test --release -p
//! lite-engine --test compat load:: -- --nocapture --test-threads 1` runs the
//! full ones and prints the figures.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use http_body_util::BodyExt;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use tokio::net::unix::pipe;

use crate::support::{Agent, Caller, content, eventually, lives, setup0, step, step_with};

const MASK: &str = "**************";

/// More than anything grows by itself while nothing piles up, in KiB.
const FLAT: u64 = 12 * 1024;

fn full() -> bool {
    std::env::var("LITE_ENGINE_LOAD").is_ok_and(|form| form == "full")
}

fn bounded_or_full<T>(bounded: T, all: T) -> T {
    if full() { all } else { bounded }
}

/// A line of `/proc/<pid>/status`, in KiB.
fn memory(pid: impl fmt::Display, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse().ok())
        .expect("a figure")
}

/// A step that says who holds it, does this, and waits for a gate: until that
/// opens its holder can be looked at.
struct Held {
    holder: PathBuf,
    gate: PathBuf,
}

impl Held {
    fn new(agent: &Agent, id: &str) -> Self {
        Self {
            holder: agent.path(&format!("{id}.holder")),
            gate: agent.path(&format!("{id}.gate")),
        }
    }

    fn script(&self, script: &str) -> String {
        let (holder, gate) = (self.holder.display(), self.gate.display());
        format!("echo $PPID > {holder}\n{script}\nuntil [ -e {gate} ]; do sleep 0.05; done")
    }

    /// The most memory that the holder ever had, in KiB.
    async fn peak(&self) -> u64 {
        memory(content(&self.holder).await.trim(), "VmHWM:")
    }

    fn open(&self) {
        std::fs::write(&self.gate, "").expect("opened");
    }
}

/// Follows a step's output and gives each piece to `each`, until it says that
/// this is all.
async fn follow(caller: &Caller, id: &str, mut each: impl FnMut(&[u8]) -> bool) {
    let question = json!({"id": id, "offset": 0}).to_string();
    let mut connection = caller.open().await;
    let answer = connection.send("POST", "/stream_output", &question).await;
    let mut body = answer.into_body();
    loop {
        let frame = body.frame().await.expect("more output").expect("a frame");
        if frame.data_ref().is_some_and(|bytes| !each(bytes)) {
            return;
        }
    }
}

#[tokio::test]
async fn p11_a_million_lines_with_fifty_secrets_are_masked_and_exact_to_the_byte() {
    const LINES: usize = 1_000_000;
    let agent = Agent::start();
    let caller = agent.caller();
    let secrets: Vec<String> = (0..50)
        .map(|n: u64| format!("{:016x}-{n}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let file = agent.path("secrets");
    std::fs::write(&file, secrets.join("\n")).expect("written");
    let mut setup = setup0();
    setup["secrets"] = json!(secrets);
    caller.done("/setup", &setup).await;

    let held = Held::new(&agent, "a");
    let print = format!(
        "awk 'BEGIN {{ while ((getline s < \"{}\") > 0) v[n++] = s; \
         for (i = 1; i <= {LINES}; i++) print i \" \" (i % 100 ? \"\" : v[(i / 100) % n]) }}'",
        file.display()
    );
    let begun = Instant::now();
    let script = held.script(&print);
    caller.done("/start_step", &step("a", &script)).await;
    let mut expected = Vec::new();
    for line in 1..=LINES {
        let secret = if line % 100 == 0 { MASK } else { "" };
        expected.extend(format!("{line} {secret}\n").bytes());
    }
    let mut output = Vec::with_capacity(expected.len());
    follow(&caller, "a", |bytes| {
        output.extend_from_slice(bytes);
        output.len() < expected.len()
    })
    .await;
    let took = begun.elapsed();
    assert!(
        output == expected,
        "{} bytes of {}",
        output.len(),
        expected.len()
    );
    let (holder, agents) = (held.peak().await, agent.peak_memory());
    println!(
        "{LINES} lines, {} bytes, 50 secrets: {took:?}, holder {holder} KiB, agent {agents} KiB",
        output.len()
    );
    held.open();
    assert_eq!(
        caller.done("/poll_step", &json!({"id": "a"})).await,
        json!({"exited": true})
    );
}

#[tokio::test]
async fn memory_is_flat_however_much_a_step_prints() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let mut peaks = Vec::new();
    for (id, bytes) in [
        ("little", 8_000_000_u64),
        ("much", bounded_or_full(64_000_000, 1_000_000_000)),
    ] {
        let held = Held::new(&agent, id);
        let print = format!("yes 'a line of a log that says nothing' | head -c {bytes}");
        let begun = Instant::now();
        let script = held.script(&print);
        caller.done("/start_step", &step(id, &script)).await;
        let mut seen = 0;
        follow(&caller, id, |piece| {
            seen += piece.len() as u64;
            seen < bytes
        })
        .await;
        assert_eq!(seen, bytes);
        let peak = (agent.peak_memory(), held.peak().await);
        println!(
            "{bytes} bytes: {:?}, agent {} KiB, holder {} KiB",
            begun.elapsed(),
            peak.0,
            peak.1
        );
        peaks.push(peak);
        held.open();
        caller.done("/poll_step", &json!({"id": id})).await;
    }
    assert!(peaks[1].0 < peaks[0].0 + FLAT, "the agent's: {peaks:?}");
    assert!(peaks[1].1 < peaks[0].1 + FLAT, "the holders': {peaks:?}");
}

#[tokio::test]
async fn c42_w22_much_without_a_newline_is_cut_as_the_incumbent_does_and_takes_no_memory() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let bytes = bounded_or_full(16_000_000_u64, 100_000_000);
    let script = format!("head -c {bytes} /dev/zero | tr '\\0' x");
    caller.run_next(&step("warm", "printf x")).await;
    let before = agent.peak_memory();
    let begun = Instant::now();

    let logged = step_with(
        "lines",
        &script,
        json!({"log_drone": false, "log_key": "k/long"}),
    );
    assert_eq!(caller.run_next(&logged).await["exited"], true);
    let file = agent.shared().join("k/long");
    let last_line = |file: &Path| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().last().map(serde_json::from_str::<Value>);
        line.and_then(Result::ok)
    };
    eventually("the long line", || {
        last_line(&file)
            .is_some_and(|line| line["out"].as_str().is_some_and(|out| out.len() > 71_680))
    })
    .await;
    let line = last_line(&file).expect("a line");
    let out = line["out"].as_str().expect("a text");
    assert!(out[..71_680].bytes().all(|byte| byte == b'x'));
    assert_eq!(out[71_680..].trim_end(), "... (log line truncated)");

    caller.run_next(&step("raw", &script)).await;
    let mut seen = 0;
    follow(&caller, "raw", |piece| {
        assert!(piece.iter().all(|byte| *byte == b'x'));
        seen += piece.len() as u64;
        seen < bytes
    })
    .await;
    assert_eq!(seen, bytes);
    let after = agent.peak_memory();
    println!(
        "{bytes} bytes without a newline, twice: {:?}, agent {before} KiB, then {after} KiB",
        begun.elapsed()
    );
    assert!(after < before + FLAT, "{before} KiB, then {after} KiB");
}

/// What an agent has of the machine.
#[derive(Clone, Copy, Debug)]
struct Taken {
    memory_kib: u64,
    descriptors: usize,
    files: usize,
    processes: usize,
}

impl Taken {
    fn by(agent: &Agent) -> Self {
        let pid = agent.pid();
        let files = walkdir::WalkDir::new(agent.folder()).into_iter();
        Self {
            memory_kib: memory(pid, "VmRSS:"),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("it lives")
                .count(),
            files: files.filter_map(Result::ok).count(),
            processes: descendants(pid),
        }
    }
}

fn descendants(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let children =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|line| {
            let pids = line.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<_>>()
        })
        .collect();
    children.len() + children.into_iter().map(descendants).sum::<usize>()
}

#[tokio::test]
async fn many_steps_run_at_once_and_all_end() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    caller.run_next(&step("warm", "true")).await;
    let before = Taken::by(&agent);
    let many = bounded_or_full(40, 200);
    let gate = agent.path("gate");
    nix::unistd::mkfifo(&gate, Mode::S_IRWXU).expect("a gate");
    // As long as this is open, whoever reads there waits.
    let closed = pipe::OpenOptions::new()
        .read_write(true)
        .open_sender(&gate)
        .expect("open");
    let running = agent.path("running");
    std::fs::create_dir(&running).expect("created");
    let begun = Instant::now();
    let mut asking = caller.open().await;
    for n in 0..many {
        let script = format!(
            "echo $$ > {}/{n}; cat {}; echo step {n}",
            running.display(),
            gate.display()
        );
        let body = step(&format!("step-{n}"), &script).to_string();
        assert_eq!(asking.ask("POST", "/start_step", &body).await.status, 200);
    }
    let pids = || {
        let files = std::fs::read_dir(&running).expect("there");
        let pids = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
        pids.filter(|pid| !pid.is_empty()).collect::<Vec<_>>()
    };
    eventually("all of them at once", || pids().len() == many).await;
    let during = Taken::by(&agent);
    assert!(pids().iter().all(|pid| lives(pid)));
    let (all, started) = (pids(), begun.elapsed());
    drop(closed);
    for n in 0..many {
        let id = json!({"id": format!("step-{n}")}).to_string();
        let answer = asking.ask("POST", "/poll_step", &id).await;
        assert_eq!(answer.json(), json!({"exited": true}));
    }
    println!(
        "{many} at once: started in {started:?}, ended after {:?}: {before:?}, {during:?}",
        begun.elapsed()
    );
    for n in 0..many {
        assert_eq!(
            caller.output(&format!("step-{n}")).await,
            format!("step {n}\n")
        );
    }
    assert!(all.iter().all(|pid| !lives(pid)));
    caller.done("/destroy", &json!({})).await;
    std::fs::remove_dir_all(&running).expect("removed");
    caller.done("/setup", &setup0()).await;
    eventually("what it had before", || {
        let after = Taken::by(&agent);
        after.descriptors <= before.descriptors + 2 && after.processes <= before.processes
    })
    .await;
    println!("after their stage: {:?}", Taken::by(&agent));
}

#[tokio::test]
async fn steps_one_after_another_leave_no_more_than_the_first_did() {
    let agent = Agent::start();
    let caller = agent.caller();
    let (stages, steps) = bounded_or_full((5, 60), (20, 500));
    let mut asking = caller.open().await;
    let mut taken = Vec::new();
    let begun = Instant::now();
    for stage in 0..stages {
        caller.done("/setup", &setup0()).await;
        for n in 0..steps {
            let id = format!("step-{n}");
            let body = step(&id, "echo $$").to_string();
            assert_eq!(asking.ask("POST", "/start_step", &body).await.status, 200);
            let poll = json!({"id": id}).to_string();
            let answer = asking.ask("POST", "/poll_step", &poll).await;
            assert_eq!(answer.json(), json!({"exited": true}));
        }
        let in_it = Taken::by(&agent);
        caller.done("/destroy", &json!({})).await;
        caller.done("/setup", &setup0()).await;
        // What was of the stage before goes in the background.
        eventually("the stage before is gone", || {
            agent
                .path("state/compat/stages")
                .read_dir()
                .is_ok_and(|left| left.count() == 1)
        })
        .await;
        let after = Taken::by(&agent);
        if full() || stage == 0 {
            println!(
                "stage {stage} of {steps} steps, after {:?}: {in_it:?}, then {after:?}",
                begun.elapsed()
            );
        }
        taken.push(after);
    }
    let (first, last) = (taken[1], taken[stages - 1]);
    assert!(
        last.memory_kib < first.memory_kib + FLAT / 2,
        "{first:?}, {last:?}"
    );
    assert!(
        last.descriptors <= first.descriptors + 2,
        "{first:?}, {last:?}"
    );
    assert!(last.files <= first.files, "{first:?}, {last:?}");
    assert!(last.processes <= first.processes, "{first:?}, {last:?}");
}
