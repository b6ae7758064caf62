//! What a step prints comes into its log: whole, in order, masked.

use lite_engine::host::Cancel;
use lite_engine::log::LogSpace;
use tokio::task::JoinSet;
use vmpool_core::{Secret, StepStatus};

use crate::support::{EXITED_0, LONG, Machine, ended, lines, numbers, until, whole_log};

#[tokio::test]
async fn output_and_errors_come_in_the_order_in_which_they_were_written() {
    let (_, log) = Machine::new()
        .run("echo 1; echo 2 >&2; echo 3; echo 4 >&2")
        .await;
    assert_eq!(log, "1\n2\n3\n4\n");
}

#[tokio::test]
async fn bytes_that_are_not_utf8_and_a_missing_last_newline_arrive_as_they_are() {
    let machine = Machine::new();
    let host = machine.host();
    let script = r"printf '\377\376\000\r\nno newline'";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    assert_eq!(whole_log(&step).await, b"\xff\xfe\x00\r\nno newline");
}

#[tokio::test]
async fn p11_a_secret_printed_one_byte_at_a_time_shows_no_part_of_itself() {
    let machine = Machine::new();
    let host = machine.host();
    let script = "for c in h u n t e r 2; do printf $c; sleep 0.01; done; echo .; cat file";
    std::fs::write(machine.path().join("file"), "hunt hunter2 hunter").expect("written");
    let mut order = machine.shell("step", script);
    order.secrets.push(Secret::new("hunter2"));
    let step = host.start(order).await.expect("started");
    let mut reader = step.log(0);
    let mut shown = Vec::new();
    while let Some(chunk) = reader.next().await.expect("the log") {
        shown.extend_from_slice(&chunk.bytes);
        assert!(
            shown.starts_with(b"******"),
            "{}",
            String::from_utf8_lossy(&shown)
        );
    }
    assert_eq!(
        String::from_utf8_lossy(&shown),
        "******.\nhunt ****** hunter"
    );
}

#[tokio::test]
async fn p11_nothing_that_the_host_leaves_on_the_disk_holds_a_secret() {
    let machine = Machine::new();
    let host = machine.host();
    let mut order = machine.shell("step", "echo $TOKEN; cat /proc/$PPID/cmdline");
    order.env.insert("TOKEN".into(), "hunter2".into());
    order.secrets.push(Secret::new("hunter2"));
    let step = host.start(order.clone()).await.expect("started");
    ended(&step).await;
    for dir in ["host", "host/logs"] {
        for entry in std::fs::read_dir(machine.path().join(dir)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let content = std::fs::read(&path).expect("readable");
                let found = content.windows(7).any(|window| window == b"hunter2");
                assert!(!found, "{}", path.display());
            }
        }
    }
    assert!(!format!("{order:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_million_lines_arrive_whole_with_many_secrets_masked() {
    let machine = Machine::new();
    let host = machine.host();
    let mut order = machine.shell("step", "seq 1000000");
    order.secrets = (0..49)
        .map(|n| Secret::new(format!("secret number {n}")))
        .collect();
    order.secrets.push(Secret::new("\n777777\n"));
    let step = host.start(order).await.expect("started");
    let log = String::from_utf8(whole_log(&step).await).expect("text");
    assert_eq!(ended(&step).await.status, EXITED_0);
    assert_eq!(log.lines().count(), 1_000_000);
    for (number, line) in (1..).zip(log.lines()) {
        let expected = if number == 777_777 {
            "******".to_owned()
        } else {
            number.to_string()
        };
        assert_eq!(line, expected);
    }
}

#[tokio::test]
async fn readers_at_any_offset_see_the_same_log_and_follow_it() {
    let mut machine = Machine::new();
    machine.log_space = LogSpace {
        segment_bytes: 100,
        stage_bytes: 100_000,
    };
    let host = machine.host();
    let script = "seq 50; while ! test -e go; do sleep 0.01; done; seq 51 100";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    lines(&step, 50).await;
    let expected = numbers(1..=100);
    let mut readers = JoinSet::new();
    for offset in [0, 1, 99, 100, 101, 140, 141, 150, 292] {
        let mut reader = step.log(offset);
        readers.spawn(async move {
            let mut log = String::new();
            while let Some(chunk) = reader.next().await.expect("the log") {
                assert_eq!(chunk.offset, offset + log.len() as u64);
                log.push_str(std::str::from_utf8(&chunk.bytes).expect("text"));
            }
            (offset, log)
        });
    }
    std::fs::write(machine.path().join("go"), "").expect("written");
    for (offset, log) in readers.join_all().await {
        assert_eq!(log, expected[usize::try_from(offset).expect("small")..]);
    }
}

#[tokio::test]
async fn a_full_log_space_stops_the_step_and_drops_nothing() {
    let mut machine = Machine::new();
    machine.log_space = LogSpace {
        segment_bytes: 64 * 1024,
        stage_bytes: 256 * 1024,
    };
    let host = machine.host();
    let script = "seq 300000; echo done >&2; touch finished";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    until("a full log space", || step.log_end() == 256 * 1024).await;
    assert!(!machine.path().join("finished").exists());

    let mut reader = step.log(0);
    let mut log = Vec::new();
    let read = async {
        while let Some(chunk) = reader.next().await.expect("the log") {
            assert_eq!(chunk.offset, log.len() as u64);
            log.extend_from_slice(&chunk.bytes);
            host.release_log(&step, log.len() as u64).expect("released");
        }
    };
    tokio::time::timeout(LONG, read)
        .await
        .expect("the whole log within a minute");
    let expected = numbers(1..=300_000) + "done\n";
    assert!(
        String::from_utf8(log).expect("text") == expected,
        "the log differs"
    );
    assert_eq!(ended(&step).await.status, EXITED_0);
}

#[tokio::test]
async fn p10_a_step_that_waits_for_log_space_can_be_ended() {
    let mut machine = Machine::new();
    machine.log_space = LogSpace {
        segment_bytes: 4096,
        stage_bytes: 8192,
    };
    let host = machine.host();
    let step = host
        .start(machine.shell("step", "yes"))
        .await
        .expect("started");
    until("a full log space", || step.log_end() == 8192).await;
    step.cancel(Cancel::WithGrace).expect("asked");
    let outcome = ended(&step).await;
    assert_eq!(outcome.status, StepStatus::Cancelled);
    assert_eq!(whole_log(&step).await.len() as u64, outcome.log_end);
}
