//! How steps end, and what they find when they begin.

use lite_engine::host::StartError;
use vmpool_core::StepStatus;

use crate::support::{EXITED_0, Machine, ended};

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let cases = [
        ("true", EXITED_0),
        ("exit 1", StepStatus::Exited { code: 1 }),
        ("exit 255", StepStatus::Exited { code: 255 }),
        ("no-such-command", StepStatus::Exited { code: 127 }),
        ("kill -TERM $$", StepStatus::Signalled { signal: 15 }),
        ("kill -KILL $$", StepStatus::Signalled { signal: 9 }),
        // A real-time signal, for which nix has no name.
        ("kill -40 $$", StepStatus::Signalled { signal: 40 }),
        ("sh -c 'kill -KILL $$'", StepStatus::Signalled { signal: 9 }),
    ];
    for (script, expected) in cases {
        let (status, _) = Machine::new().run(script).await;
        // A shell may run its last command itself or tell its signal as 128 + n.
        let shells_word = matches!(
            (&status, &expected),
            (StepStatus::Exited { code }, StepStatus::Signalled { signal }) if *code == 128 + *signal
        );
        assert!(status == expected || shells_word, "{script}: {status:?}");
    }
}

#[tokio::test]
async fn a_step_that_can_t_be_executed_says_why() {
    let machine = Machine::new();
    let reason = |status| match status {
        StepStatus::NotStarted { reason } => reason,
        other => panic!("{other:?}"),
    };
    let mut order = machine.program("absent", &["no-such-program"]);
    order.env.insert("PATH".into(), "/usr/bin:/bin".into());
    let (status, _) = machine.run_order(order).await;
    assert_eq!(reason(status), "no-such-program: No such file or directory");

    let (status, _) = machine
        .run_order(machine.program("denied", &["/etc/passwd"]))
        .await;
    assert_eq!(reason(status), "/etc/passwd: Permission denied");

    let mut order = machine.shell("nowhere", "true");
    order.workdir = "/no/such/place".into();
    let (status, _) = machine.run_order(order).await;
    assert_eq!(
        reason(status),
        "working directory /no/such/place: No such file or directory"
    );

    let mut order = machine.shell("nobody", "true");
    order.user = Some("no-such-user".into());
    let (status, _) = machine.run_order(order).await;
    assert_eq!(reason(status), "user no-such-user: no such user");

    let mut order = machine.shell("huge", "true");
    order.env.insert("HUGE".into(), "x".repeat(4 * 1024 * 1024));
    let (status, _) = machine.run_order(order).await;
    assert_eq!(reason(status), "sh: Argument list too long");
}

#[tokio::test]
async fn p13_an_order_that_no_system_call_would_take_names_its_field() {
    let machine = Machine::new();
    let host = machine.host();
    let mut orders = Vec::new();
    orders.push(("command", machine.program("step", &[])));
    orders.push(("command", machine.program("step", &["sh", "-c", "a\0b"])));
    for name in ["", "A=B", "A\0"] {
        let mut order = machine.shell("step", "true");
        order.env.insert(name.into(), String::new());
        orders.push(("env", order));
    }
    let mut order = machine.shell("step", "true");
    order.workdir = "relative".into();
    orders.push(("workdir", order));
    for (expected, order) in orders {
        match host.start(order).await {
            Err(StartError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    host.start(machine.shell("step", "true"))
        .await
        .expect("nothing was left behind");
}

#[tokio::test]
async fn p9_a_step_id_is_started_once() {
    let machine = Machine::new();
    let host = machine.host();
    let script = "echo ran >> count";
    let (first, second) = tokio::join!(
        host.start(machine.shell("step", script)),
        host.start(machine.shell("step", script))
    );
    let (started, refused) = if first.is_ok() {
        (first, second)
    } else {
        (second, first)
    };
    assert!(
        matches!(refused, Err(StartError::AlreadyStarted { .. })),
        "{refused:?}"
    );
    ended(&started.expect("one of them")).await;
    let again = host.start(machine.shell("step", script)).await;
    assert!(
        matches!(again, Err(StartError::AlreadyStarted { .. })),
        "{again:?}"
    );
    let count = std::fs::read_to_string(machine.path().join("count")).expect("written");
    assert_eq!(count, "ran\n");
}

#[tokio::test]
async fn a_step_has_its_own_environment_and_nothing_of_the_host() {
    let machine = Machine::new();
    let mut order = machine.program("step", &["env"]);
    order
        .env
        .insert("NAME".into(), "a value = with signs".into());
    let (status, log) = machine.run_order(order).await;
    assert_eq!(status, EXITED_0);
    let mut names: Vec<_> = log
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["NAME", "PATH", "VMPOOL_STEP"]);
    assert!(log.contains("NAME=a value = with signs\n"));
}

#[tokio::test]
async fn a_large_environment_and_command_arrive_whole() {
    let machine = Machine::new();
    let mut order = machine.shell("step", "echo ${#A} ${#B} ${#1}");
    order.command.extend(["sh".to_owned(), "y".repeat(100_000)]);
    order.env.insert("A".into(), "a".repeat(120_000));
    order.env.insert("B".into(), "b".repeat(120_000));
    assert_eq!(
        machine.run_order(order).await,
        (EXITED_0, "120000 120000 100000\n".into())
    );
}

#[tokio::test]
async fn a_step_reads_nothing_and_has_no_other_open_files() {
    let machine = Machine::new();
    let (status, log) = machine
        .run("cat; readlink /proc/self/fd/0; ls /proc/self/fd")
        .await;
    assert_eq!(status, EXITED_0);
    // The last is the folder that `ls` reads.
    assert_eq!(log, "/dev/null\n0\n1\n2\n3\n");
}

#[tokio::test]
async fn a_step_leads_a_process_group_and_has_default_signals_and_mask() {
    let machine = Machine::new();
    let script = "ps -o pid=,pgid= -p $$; grep -E 'SigBlk|SigIgn' /proc/self/status; umask";
    let (_, log) = machine.run(script).await;
    let lines: Vec<&str> = log.lines().collect();
    let ids: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(ids[0], ids[1], "the step's shell leads its group");
    for line in &lines[1..3] {
        let signals = line.split_whitespace().last().expect("a mask");
        let signals = u64::from_str_radix(signals, 16).expect("a hexadecimal number");
        // Without real-time signals: two of them are the C library's own.
        assert_eq!(signals & 0x7fff_ffff, 0, "{line}");
    }
    assert_eq!(lines[3], "0022");
}

#[tokio::test]
async fn a_step_runs_as_the_user_it_names() {
    let machine = Machine::new();
    let own = format!("{} {}", nix::unistd::geteuid(), nix::unistd::getegid());
    let mut cases = vec![(own.replace(' ', ":"), own)];
    let others = [
        ("nobody", "65534 65534"),
        ("12345", "12345 12345"),
        ("nobody:0", "65534 0"),
    ];
    let may_change = nix::unistd::geteuid().is_root();
    for (user, ids) in others.into_iter().filter(|_| may_change) {
        cases.push((user.into(), ids.into()));
    }
    for (index, (user, expected)) in cases.into_iter().enumerate() {
        let mut order = machine.shell(&format!("step{index}"), "echo $(id -u) $(id -g)");
        order.user = Some(user.clone());
        order.workdir = "/".into();
        let (status, log) = machine.run_order(order).await;
        assert_eq!(
            (status, log.trim()),
            (EXITED_0, expected.as_str()),
            "{user}"
        );
    }
    if !may_change {
        let mut order = machine.shell("other", "true");
        order.user = Some("12345".into());
        let (status, _) = machine.run_order(order).await;
        assert!(
            matches!(status, StepStatus::NotStarted { .. }),
            "{status:?}"
        );
    }
}
