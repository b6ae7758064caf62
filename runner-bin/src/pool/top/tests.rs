//! What the screen looks like, and what its keys do.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::time::Instant;
use vmpool_proto::v1::{Machine, Pool, StatusResponse, Waiter};

use super::act;
use super::draw::draw;
use super::follow::Seen;

fn machine(id: &str, state: &str, since_unix_ms: u64, stage: &str) -> Machine {
    Machine {
        id: id.to_owned(),
        state: state.to_owned(),
        since_unix_ms,
        stage_id: stage.to_owned(),
        cause: "a test says so".to_owned(),
        ..Machine::default()
    }
}

fn seen(machines: Vec<Machine>) -> Seen {
    let pool = Pool {
        name: "linux".to_owned(),
        ours: true,
        warm: Some(1),
        limit: Some(3),
        ready: 1,
        claimed: 2,
        waiting: 1,
        held_off: "until 12:00: no capacity".to_owned(),
        unaccounted: 1,
        machines,
        waiters: vec![Waiter {
            stage_id: "S9".to_owned(),
            since_unix_ms: 40_000,
        }],
        ..Pool::default()
    };
    let status = StatusResponse {
        runner_id: "0123456789abcdef".to_owned(),
        owner: "ci".to_owned(),
        at_unix_ms: 100_000,
        pools: vec![pool],
        ..StatusResponse::default()
    };
    Seen {
        source: "runner http://127.0.0.1:3001".to_owned(),
        told: Some((status, Instant::now())),
        lost: None,
    }
}

/// The screen's lines, and how far may be scrolled.
fn drawn(seen: &Seen, scroll: usize, height: u16) -> (Vec<String>, usize) {
    let mut terminal = Terminal::new(TestBackend::new(100, height)).expect("a screen");
    let mut most = 0;
    terminal
        .draw(|frame| most = draw(frame, seen, scroll))
        .expect("it is drawn");
    let lines = terminal.backend().to_string();
    let lines = lines
        .lines()
        .map(|line| line.trim_matches(['"', ' ']).to_owned());
    (lines.collect(), most)
}

#[tokio::test(start_paused = true)]
async fn the_screen_shows_pools_waiters_what_is_wrong_and_the_latest_machines_first() {
    let seen = seen(vec![
        machine("m-1", "claimed", 10_000, "S1"),
        machine("m-2", "ready", 98_000, ""),
    ]);
    let (lines, most) = drawn(&seen, 0, 16);
    let expected = [
        "runner http://127.0.0.1:3001: 01234567 of deployment ci",
        "",
        "POOL   READY  BOOTING  ORDERED  CLAIMED  ENDING  SLOTS  WAITING  RUNNER",
        "linux  1/1    0        0        2        0       3/3    1        this one",
        "",
        "stage S9 waits for a machine of pool linux for 1 m 00 s",
        "pool linux orders no more machines until 12:00: no capacity",
        "pool linux: 1 machine not accounted for; vmpool pool ledger says why",
        "",
        "MACHINE  POOL   STATE    FOR       STAGE  WHY",
        "m-2      linux  ready    2 s              a test says so",
        "m-1      linux  claimed  1 m 30 s  S1     a test says so",
    ];
    assert_eq!(lines[..expected.len()], expected, "{lines:#?}");
    assert!(lines[15].starts_with("q ends"), "{lines:#?}");
    assert_eq!(most, 0);
}

#[tokio::test(start_paused = true)]
async fn durations_grow_while_nothing_is_told_and_a_lost_runner_is_named() {
    let mut seen = seen(Vec::new());
    seen.lost = Some("Connection refused".to_owned());
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let (lines, _) = drawn(&seen, 0, 16);
    assert_eq!(lines[1], "lost, and looked for again: Connection refused");
    assert!(lines[5].ends_with("for 2 m 01 s"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.starts_with("no machines yet")),
        "{lines:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_scrolled_to_its_end_and_no_further() {
    let machines = (0..50).map(|n| machine(&format!("m-{n:02}"), "ready", n, ""));
    let seen = seen(machines.collect());
    let (_, most) = drawn(&seen, 0, 16);
    let (lines, again) = drawn(&seen, usize::MAX, 16);
    assert_eq!(most, again);
    assert!(lines[14].starts_with("m-00"), "{lines:#?}");
}

#[tokio::test]
async fn a_screen_that_is_too_small_is_drawn_all_the_same() {
    let seen = seen(vec![machine("m-1", "claimed", 1, "S1")]);
    for height in 1..12 {
        drawn(&seen, 3, height);
    }
    drawn(&Seen::default(), 0, 1);
}

#[test]
fn q_escape_and_ctrl_c_end_it_and_arrows_move() {
    let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
    let ends = [
        key(KeyCode::Char('q')),
        key(KeyCode::Esc),
        KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
    ];
    assert!(ends.into_iter().all(|key| act(key, 5).is_none()));
    for (code, to) in [
        (KeyCode::Up, 4),
        (KeyCode::Down, 6),
        (KeyCode::PageUp, 0),
        (KeyCode::PageDown, 15),
        (KeyCode::Home, 0),
        (KeyCode::End, usize::MAX),
        (KeyCode::Char('x'), 5),
    ] {
        assert_eq!(act(key(code), 5), Some(to), "{code:?}");
    }
}
