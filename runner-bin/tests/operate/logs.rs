//! Logs: while they grow, from an offset, by ranges.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http::get;
use crate::stages::runs;
use crate::support::{Site, step, wait_for};
use crate::tools::{state, vmpool};

/// Prints, waits for a word, prints again.
const IN_TWO: &str = "echo one; while [ ! -e go ]; do sleep 0.05; done; printf 'two €'";

/// Has the step of [`IN_TWO`] go on.
fn go(site: &Site) {
    let mut folders = vec![site.path().join("machines")];
    // The working directory is somewhere below the machine's.
    while let Some(folder) = folders.pop() {
        let _ = std::fs::write(folder.join("go"), "");
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let inside = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(inside.map(|entry| entry.path()));
    }
}

/// The events of a stream: their names, ids and data.
fn events(body: &str) -> Vec<(String, String, Value)> {
    let of = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let events = body.split("\n\n").filter(|event| event.contains("event:"));
    events
        .map(|event| {
            let data = serde_json::from_str(&of(event, "data:")).expect("JSON");
            (of(event, "event:"), of(event, "id:"), data)
        })
        .collect()
}

fn text(events: &[(String, String, Value)]) -> String {
    let texts = events
        .iter()
        .filter_map(|(_, _, data)| data["text"].as_str());
    texts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_log_is_followed_while_it_grows_and_read_from_any_byte() {
    let site = Site::new(1, 1);
    let runner = site.serve().await;
    let port = site.port();
    site.setup("S1").await;
    let path = "/stages/S1/steps/two/log";
    let sse = ("accept", "text/event-stream");
    let running = step("S1", "two", IN_TWO);
    let at = state(&site);
    let follow = ["logs", "-f", "S1", "two", "--state", &at];
    let goes_on = async {
        runs(&site, "S1", "two").await;
        wait_for("the first line", async || {
            let log = site.get(path).await?;
            (log.body == "one\n").then_some(())
        })
        .await;
        go(&site);
    };
    let headers = [sse];
    // They begin before the step does, and wait for it.
    let (answered, followed, said, ()) = tokio::join!(
        site.insist("/step", &running),
        get(port, path, &headers),
        vmpool(&follow),
        goes_on,
    );
    assert_eq!(answered.json(), json!({"exited": true}));
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "one\ntwo €"),
        "{said:?}"
    );
    let told = events(&followed.body);
    assert_eq!(text(&told), "one\ntwo €", "{followed:?}");
    let (event, id, data) = told.last().expect("an end");
    assert_eq!((event.as_str(), id.as_str()), ("end", "11"));
    assert_eq!(*data, json!({"offset": 11, "over": true}));

    let resumed = get(port, path, &[sse, ("last-event-id", "4")]).await;
    assert_eq!(text(&events(&resumed.body)), "two €");
    let whole = get(port, path, &[]).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "one\ntwo €"));
    assert_eq!(whole.headers["content-length"], "11");
    let from = get(port, &format!("{path}?offset=4"), &[]).await;
    assert_eq!(from.body, "two €");
    let part = get(port, path, &[("range", "bytes=4-6")]).await;
    assert_eq!((part.status, part.body.as_str()), (206, "two"));
    assert_eq!(part.headers["content-range"], "bytes 4-6/11");
    let last = get(port, path, &[("range", "bytes=-3")]).await;
    assert_eq!((last.status, last.body.as_str()), (206, "€"));
    let beyond = get(port, path, &[("range", "bytes=20-")]).await;
    assert_eq!(beyond.status, 416);
    let beyond = get(port, &format!("{path}?offset=12"), &[]).await;
    assert_eq!(beyond.status, 416, "{beyond:?}");
    let nonsense = get(port, path, &[sse, ("last-event-id", "x")]).await;
    assert_eq!(nonsense.status, 400, "{nonsense:?}");
    let unknown = get(port, "/stages/S1/steps/three/log", &[]).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("it has two"), "{unknown:?}");
    let lines = vmpool(&[
        "logs", "S1", "two", "--offset", "4", "--json", "--state", &at,
    ])
    .await;
    assert_eq!(
        lines.lines(),
        [
            json!({"offset": 4, "text": "two €"}),
            json!({"offset": 11, "over": true})
        ]
    );

    let document = get(port, "/openapi.json", &[]).await;
    let document: Value = serde_json::from_str(&document.body).expect("JSON");
    assert!(
        document["paths"][path.replace("S1", "{stage}").replace("two", "{step}")]["get"]
            .is_object()
    );
    assert!(runner.stop().await.success());
}

/// A runner of the site, whose tools ask at `door`.
fn listens_at(site: &Site, door: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_vmpool"));
    let usual = site.command(program);
    let mut command = Command::new(program);
    let mut is_door = false;
    for argument in usual.get_args() {
        command.arg(if is_door { door.as_ref() } else { argument });
        is_door = argument == "--grpc-listen";
    }
    let set = usual
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.envs(set).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_who_follows_a_log_goes_on_at_the_next_runner() {
    let site = Site::new(1, 1);
    let runner = site.serve().await;
    let at = state(&site);
    site.setup("S1").await;
    let url = crate::tools::url(&site);
    let running = step("S1", "two", IN_TWO);
    let follow = ["logs", "-f", "S1", "two", "--runner", &url];
    let restarts = async {
        runs(&site, "S1", "two").await;
        wait_for("the first line", async || {
            (site.log("S1", "two") == "one\n").then_some(())
        })
        .await;
        runner.kill().await;
        let door = url.trim_start_matches("http://").to_owned();
        let next = site.ready(&mut listens_at(&site, &door)).await;
        go(&site);
        next
    };
    let (answered, said, next) =
        tokio::join!(site.insist("/step", &running), vmpool(&follow), restarts);
    assert_eq!(answered.json(), json!({"exited": true}), "{at}");
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "one\ntwo €"),
        "{said:?}"
    );
    assert!(next.stop().await.success());
}
