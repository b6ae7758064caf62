//! Callers with tokens: their pools, their stages, and no other's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::authority::write_secret;
use crate::caller::Caller;
use crate::support::{Site, setup, step, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");
pub(crate) const ALL: &str = "the-token-of-who-may-all";
pub(crate) const OTHER: &str = "the-token-of-another-pool";
pub(crate) const FEW: &str = "the-token-of-who-has-few";

pub(crate) const CALLERS: &str = "\
callers:
- name: all
  tokens: [the-token-of-who-may-all]
- name: other
  tokens: [the-token-of-another-pool]
  pools: [other]
- name: few
  tokens: [the-token-of-who-has-few]
  pools: [linux]
  stages: 1
";

fn callers(site: &Site, text: &str) -> PathBuf {
    let path = site.path().join("callers.yml");
    write_secret(&path, text);
    path
}

fn guarded(site: &Site) -> Command {
    let mut command = site.command(Path::new(PROGRAM));
    command.arg("--tokens").arg(callers(site, CALLERS));
    command
}

fn error_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["error_msg"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn who_shows_no_token_or_an_unknown_one_changes_nothing() {
    let site = Site::new(1, 2);
    let runner = site.ready(&mut guarded(&site)).await;
    let nobody = Caller::new(site.port());
    for caller in [
        nobody.clone(),
        nobody.clone().with_token("not-a-token-of-anybody"),
    ] {
        for path in [
            "/setup",
            "/step",
            "/destroy",
            "/pool_owner?pool=linux",
            "/metrics",
        ] {
            let heard = caller.post(path, &setup("s")).await.expect("an answer");
            assert_eq!(heard.status, 401, "{path}: {heard:?}");
            assert_eq!(heard.headers["www-authenticate"], "Bearer realm=\"vmpool\"");
            let body: Value = serde_json::from_str(&heard.body).expect("JSON");
            assert_eq!(body["code"], 401, "{path}: {heard:?}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            nobody.get(path).await.expect("an answer").status,
            200,
            "{path}"
        );
    }
    let known = nobody.with_token(ALL);
    assert_eq!(known.get("/metrics").await.expect("an answer").status, 200);
    let heard = known
        .post("/step", &step("s", "a", "true"))
        .await
        .expect("an answer");
    assert!(
        error_of(&heard.body).contains("there is no stage s"),
        "{heard:?}"
    );
    assert!(runner.stop().await.success());
    let said = site.said();
    for token in [ALL, OTHER, FEW, "not-a-token"] {
        assert!(!said.contains(token), "P11: {said}");
    }
}

#[tokio::test]
async fn a_stage_of_another_pool_looks_like_one_that_is_not_there() {
    let site = Site::new(1, 2);
    let runner = site.ready(&mut guarded(&site)).await;
    let [all, other] = [ALL, OTHER].map(|token| Caller::new(site.port()).with_token(token));
    let heard = all.post("/setup", &setup("s")).await.expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");

    // Whether there is such a pool or not.
    for pool in ["linux", "nowhere"] {
        let asked = json!({"id": "t", "pool_id": pool, "setup_request": {}});
        let heard = other.post("/setup", &asked).await.expect("an answer");
        assert_eq!(heard.status, 403, "{heard:?}");
        assert_eq!(
            error_of(&heard.body),
            format!("other may not use pool {pool}")
        );
        let path = format!("/pool_owner?pool={pool}");
        let heard = other.post(&path, &json!({})).await.expect("an answer");
        assert_eq!(heard.status, 403, "{heard:?}");
    }
    // Whether there is such a stage or not.
    for (path, [there, not_there]) in [
        ("/step", ["s", "u"].map(|stage| step(stage, "a", "true"))),
        ("/destroy", ["s", "u"].map(|stage| json!({"id": stage}))),
    ] {
        let there = other.post(path, &there).await.expect("an answer");
        let not_there = other.post(path, &not_there).await.expect("an answer");
        assert_eq!(there.status, not_there.status, "{there:?} {not_there:?}");
        let as_other = not_there.body.replace(" u", " s").replace("u:", "s:");
        assert_eq!(there.body, as_other);
    }
    // It is still there.
    let heard = all
        .post("/step", &step("s", "a", "echo there"))
        .await
        .expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");
    let heard = all
        .post("/destroy", &json!({"id": "s"}))
        .await
        .expect("an answer");
    assert_eq!((heard.status, heard.body.as_str()), (200, ""));
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn a_caller_has_as_many_stages_as_it_may_have_and_gets_another_when_one_is_over() {
    let site = Site::new(2, 3);
    let runner = site.ready(&mut guarded(&site)).await;
    let few = Caller::new(site.port()).with_token(FEW);
    for asked in [setup("a"), setup("a")] {
        let heard = few.post("/setup", &asked).await.expect("an answer");
        assert_eq!(heard.status, 200, "P9: {heard:?}");
    }
    let heard = few.post("/setup", &setup("b")).await.expect("an answer");
    assert_eq!(heard.status, 429, "{heard:?}");
    assert!(heard.headers.contains_key("retry-after"), "{heard:?}");
    assert!(
        error_of(&heard.body).contains("few has 1 stages"),
        "{heard:?}"
    );
    let all = Caller::new(site.port()).with_token(ALL);
    let heard = all.post("/setup", &setup("c")).await.expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");
    let heard = few
        .post("/destroy", &json!({"id": "a"}))
        .await
        .expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");
    wait_for("a stage in place of that which is over", async || {
        let heard = few.post("/setup", &setup("b")).await.ok()?;
        (heard.status == 200).then_some(())
    })
    .await;
    for stage in ["b", "c"] {
        let heard = all.post("/destroy", &json!({"id": stage})).await;
        assert_eq!(heard.expect("an answer").status, 200);
    }
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn another_file_of_callers_is_in_force_without_a_restart_if_it_can_be_used() {
    let site = Site::new(0, 1);
    let runner = site.ready(&mut guarded(&site)).await;
    let mut line = Caller::new(site.port())
        .with_token(ALL)
        .connect()
        .await
        .expect("a line");
    let path = "/pool_owner?pool=linux";
    let mut ask = async || {
        line.ask("POST", path, "{}".into())
            .await
            .expect("an answer")
    };
    assert_eq!(ask().await.status, 200);
    callers(&site, "callers: [oh");
    wait_for("a word that it can't be used", async || {
        site.said()
            .contains("the callers before stay in force")
            .then_some(())
    })
    .await;
    assert_eq!(ask().await.status, 200);
    callers(
        &site,
        "callers:\n- name: new\n  tokens: [a-token-that-is-new]\n",
    );
    // On the same connection.
    wait_for("the other callers", async || {
        (ask().await.status == 401).then_some(())
    })
    .await;
    let new = Caller::new(site.port()).with_token("a-token-that-is-new");
    let heard = new.post(path, &json!({})).await.expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn tools_show_their_token_and_see_their_pools() {
    let site = Site::new(0, 1);
    let runner = site.ready(&mut guarded(&site)).await;
    let shown = |token: Option<&str>| {
        let file = site.path().join("token");
        let mut command = Command::new(PROGRAM);
        let url = fs::read_to_string(site.path().join("state/grpc-url")).unwrap_or_default();
        let url = url
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        command.args(["pool", "ls", "--json", "--runner"]);
        command.arg(url.expect("the runner's address for tools"));
        if let Some(token) = token {
            write_secret(&file, &format!("{token}\n"));
            command.env("VMPOOL_TOKEN_FILE", &file);
        }
        let output = command.output().expect("vmpool runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, out, said) = shown(Some(ALL));
    assert_eq!(code, Some(0), "{said}");
    assert!(out.contains("\"linux\""), "{out}");
    let (code, out, said) = shown(Some(OTHER));
    assert_eq!(code, Some(0), "{said}");
    assert!(!out.contains("\"linux\""), "{out}");
    let (code, _, said) = shown(None);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--token-file"), "{said}");
    assert!(runner.stop().await.success());
}
