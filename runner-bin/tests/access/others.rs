//! What a caller with pools of its own learns of others', and can do there, by
//! the routes and calls for people and tools: nothing. It is so at the runner
//! that has the pool, at another one, and at the next one after an upgrade.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use vmpool_proto::v1;
use vmpool_proto::v1::builds_client::BuildsClient;
use vmpool_proto::v1::runner_client::RunnerClient;

use crate::authority::write_secret;
use crate::caller::{Caller, Heard};
use crate::fleet::Fleet;
use crate::support::{Site, setup, step, wait_for};
use crate::tokens::{ALL, CALLERS, FEW, OTHER};

const SLOW: &str = "the-token-of-who-asks-seldom";

/// Adds a token to each call.
type Shown = InterceptedService<Channel, Token>;

#[derive(Clone)]
struct Token(Option<&'static str>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0 {
            let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

fn channel(site: &Site, state: &str) -> Channel {
    let said = std::fs::read_to_string(site.path().join(state).join("grpc-url"));
    let url = said.expect("the runner has said where it is");
    let endpoint = Endpoint::from_shared(url.trim().to_owned()).expect("a URL");
    endpoint.connect_lazy()
}

fn runner(site: &Site, state: &str, token: &'static str) -> RunnerClient<Shown> {
    RunnerClient::with_interceptor(channel(site, state), Token(Some(token)))
}

fn builds(site: &Site, state: &str, token: Option<&'static str>) -> BuildsClient<Shown> {
    BuildsClient::with_interceptor(channel(site, state), Token(token))
}

/// A site with a pool `linux`, and a pool `other` of one machine.
fn pools(site: &Site) {
    let root = site.path().join("machines");
    site.pool_file(&format!(
        "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: 1\n  limit: 2\n  \
         spec: {{root: {root}}}\n- name: other\n  type: local\n  pool: 0\n  limit: 1\n  \
         spec: {{root: {root}}}\n",
        root = root.display(),
    ));
}

fn tokens(site: &Site) -> [String; 2] {
    let path = site.path().join("callers.yml");
    let slow = format!("- name: slow\n  tokens: [{SLOW}]\n  requests_per_second: 1\n");
    write_secret(&path, &format!("{CALLERS}{slow}"));
    ["--tokens".to_owned(), path.display().to_string()]
}

/// Who asks, of which runner.
struct Asked<'a> {
    site: &'a Site,
    port: u16,
    state: &'a str,
    /// The machine of the stage `s` in the pool `linux`.
    machine: &'a str,
}

impl Asked<'_> {
    async fn http(&self, token: &str, method: &str, path: impl Into<String>, body: &str) -> Heard {
        let caller = Caller::new(self.port).with_token(token);
        let mut line = caller.connect().await.expect("a line");
        let (path, body) = (path.into(), body.to_owned().into());
        line.ask(method, &path, body).await.expect("an answer")
    }

    /// `other` learns nothing of `linux` and its stage `s`, and changes nothing.
    async fn tells_nothing(&self) {
        self.tells_nothing_over_http().await;
        self.tells_nothing_to_tools().await;
        self.tells_nothing_to_builds().await;
        // It was not touched.
        let log = self.http(ALL, "GET", "/stages/s/steps/a/log", "").await;
        assert_eq!((log.status, log.body.as_str()), (200, "a secret of ours\n"));
        let stage = self.http(ALL, "GET", "/stages/s", "").await;
        assert!(stage.body.contains("\"prepared\""), "{stage:?}");
        let pool = self.http(ALL, "GET", "/pools/linux", "").await;
        for untouched in ["\"cordon\":null", "\"hold\":null"] {
            assert!(pool.body.contains(untouched), "{untouched}: {pool:?}");
        }
    }

    async fn tells_nothing_over_http(&self) {
        // Whether there is such a pool or not.
        for pool in ["linux", "nowhere"] {
            for (method, path) in [
                ("GET", format!("/pools/{pool}")),
                ("POST", format!("/pools/{pool}/cordon")),
                ("POST", format!("/pools/{pool}/drain")),
                ("POST", format!("/pools/{pool}/fill")),
                ("GET", format!("/stages?pool={pool}")),
            ] {
                let heard = self.http(OTHER, method, path.as_str(), "").await;
                assert_eq!(heard.status, 403, "{method} {path}: {heard:?}");
                assert!(
                    heard.body.contains(&format!("may not use pool {pool}")),
                    "{method} {path}: {heard:?}"
                );
            }
        }
        for path in ["/pools", "/stages"] {
            let heard = self.http(OTHER, "GET", path, "").await;
            assert_eq!(heard.status, 200, "{path}: {heard:?}");
            for told in ["linux", "\"s\"", self.machine] {
                assert!(!heard.body.contains(told), "{path}: {heard:?}");
            }
        }
        // Whether there is such a stage or not.
        for (method, path, body) in [
            ("GET", "", ""),
            ("GET", "/explain", ""),
            ("POST", "/cancel", ""),
            ("POST", "/hold", "{\"lasts_ms\": 1000}"),
            ("DELETE", "/hold", ""),
            ("POST", "/steps/a/cancel", ""),
            ("GET", "/steps/a/log", ""),
            ("GET", "/steps/a/log?follow=true", ""),
        ] {
            let there = self.http(OTHER, method, format!("/stages/s{path}"), body);
            let there = there.await;
            let not_there = self.http(OTHER, method, format!("/stages/u{path}"), body);
            let not_there = not_there.await;
            assert_eq!(there.status, 404, "{method} {path}: {there:?}");
            let as_other = not_there.body.replace(" u ", " s ").replace(" u\"", " s\"");
            assert_eq!(there.body, as_other, "{method} {path}");
        }
        for subject in [self.machine, "o"] {
            // A stage of one's own tells nothing of a machine of the same name.
            let heard = self.http(OTHER, "GET", format!("/stages/{subject}/explain"), "");
            let heard = heard.await;
            assert!(!heard.body.contains("linux"), "{heard:?}");
        }
    }

    async fn tells_nothing_to_tools(&self) {
        let mut tools = runner(self.site, self.state, OTHER);
        let linux = || "linux".to_owned();
        let refused = |what: &str, status: Option<Status>| is(what, status, NOT_ALLOWED);
        let status = v1::StatusRequest { pool: linux() };
        refused("Status", tools.status(status).await.err());
        let watch = v1::WatchRequest { pool: linux() };
        refused("Watch", tools.watch(watch).await.err());
        let ledger = v1::LedgerRequest { pool: linux() };
        refused("Ledger", tools.ledger(ledger).await.err());
        let ledger = v1::LedgerRequest::default();
        refused("Ledger of all", tools.ledger(ledger).await.err());
        let sweep = v1::SweepRequest::default();
        refused("Sweep", tools.sweep(sweep).await.err());
        let cordon = v1::CordonRequest {
            pool: linux(),
            drains: true,
            ..v1::CordonRequest::default()
        };
        refused("Cordon", tools.cordon(cordon).await.err());
        let fill = v1::FillRequest { pool: linux() };
        refused("Fill", tools.fill(fill).await.err());
        let stages = v1::StagesRequest { pool: linux() };
        refused("Stages", tools.stages(stages).await.err());

        let unknown = |what: &str, status: Option<Status>| is(what, status, UNKNOWN_STAGE);
        let s = || "s".to_owned();
        let explain = v1::ExplainRequest { subject: s() };
        unknown("Explain", tools.explain(explain).await.err());
        let one = v1::OneStageRequest { stage_id: s() };
        unknown("OneStage", tools.one_stage(one).await.err());
        let cancel = v1::CancelStageRequest {
            stage_id: s(),
            ..v1::CancelStageRequest::default()
        };
        unknown("CancelStage", tools.cancel_stage(cancel).await.err());
        let cancel = v1::CancelStepRequest {
            stage_id: s(),
            step_id: "a".to_owned(),
        };
        unknown("CancelStep", tools.cancel_step(cancel).await.err());
        let hold = v1::HoldRequest {
            stage_id: s(),
            lasts_ms: 1000,
            ..v1::HoldRequest::default()
        };
        unknown("Hold", tools.hold(hold).await.err());
        let release = v1::ReleaseHoldRequest { stage_id: s() };
        unknown("ReleaseHold", tools.release_hold(release).await.err());
        let log = v1::LogRequest {
            stage_id: s(),
            step_id: "a".to_owned(),
            ..v1::LogRequest::default()
        };
        unknown("Log", tools.log(log).await.err());
        let explain = v1::ExplainRequest {
            subject: self.machine.to_owned(),
        };
        let told = tools.explain(explain).await;
        if let Ok(told) = told {
            let told = format!("{told:?}");
            assert!(!told.contains("linux"), "{told}");
        }
    }

    async fn tells_nothing_to_builds(&self) {
        let mut builds = builds(self.site, self.state, Some(OTHER));
        let acquire = v1::AcquireRequest {
            stage_id: "t".to_owned(),
            pool: "linux".to_owned(),
            ..v1::AcquireRequest::default()
        };
        is(
            "Acquire",
            end(builds.acquire(acquire).await).await,
            NOT_ALLOWED,
        );
        let watch = v1::WatchEventsRequest {
            pool: "linux".to_owned(),
            after_seq: Some(0),
        };
        let watched = builds.watch_events(watch).await.err();
        is("WatchEvents", watched, NOT_ALLOWED);
        let (stage_id, step_id) = ("s".to_owned(), "a".to_owned());
        let run = v1::RunRequest {
            stage_id: stage_id.clone(),
            step_id: "b".to_owned(),
            command: vec!["true".to_owned()],
            ..v1::RunRequest::default()
        };
        is("Run", end(builds.run(run).await).await, UNKNOWN_STAGE);
        let attach = v1::AttachRequest {
            stage_id: stage_id.clone(),
            step_id: step_id.clone(),
            from_offset: 0,
        };
        is(
            "Attach",
            end(builds.attach(attach).await).await,
            UNKNOWN_STAGE,
        );
        let cancel = v1::CancelRequest {
            stage_id: stage_id.clone(),
            step_id,
        };
        is("Cancel", builds.cancel(cancel).await.err(), UNKNOWN_STAGE);
        let get = v1::GetStageRequest {
            stage_id: stage_id.clone(),
        };
        is("GetStage", builds.get_stage(get).await.err(), UNKNOWN_STAGE);
        // As of a stage that is not there: no error, and nothing happens.
        let release = v1::ReleaseRequest { stage_id };
        builds.release(release).await.expect("an answer");
    }
}

const NOT_ALLOWED: (Code, &str) = (Code::PermissionDenied, "NOT_ALLOWED");
const UNKNOWN_STAGE: (Code, &str) = (Code::NotFound, "UNKNOWN_STAGE");

#[track_caller]
fn is(what: &str, refused: Option<Status>, wanted: (Code, &str)) {
    let status = refused.unwrap_or_else(|| panic!("{what} is allowed"));
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("{what} has no reason: {status:?}"));
    assert_eq!((status.code(), &*info.reason), wanted, "{what}: {status:?}");
    assert_eq!(info.domain, "vmpool", "{what}: {status:?}");
}

/// Why a stream ends; none: it ends well.
async fn end<T>(begun: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> Option<Status> {
    let mut stream = match begun {
        Ok(begun) => begun.into_inner(),
        Err(refused) => return Some(refused),
    };
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(end) => return Some(end),
        }
    }
}

/// A stage `s` of `linux` whose step has printed something; gives its machine.
async fn a_stage(port: u16) -> String {
    let all = Caller::new(port).with_token(ALL);
    let heard = wait_for("a machine", async || {
        let heard = all.post("/setup", &setup("s")).await.ok()?;
        (heard.status != 503).then_some(heard)
    })
    .await;
    assert_eq!(heard.status, 200, "{heard:?}");
    let told: serde_json::Value = serde_json::from_str(&heard.body).expect("JSON");
    let secret = step("s", "a", "echo a secret of ours");
    let ran = all.post("/step", &secret).await.expect("an answer");
    assert_eq!(ran.status, 200, "{ran:?}");
    told["instance_id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_use_one_pool_learns_nothing_of_another_also_after_an_upgrade() {
    let site = Site::new(1, 2);
    pools(&site);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let mut old = site.ready(command.args(tokens(&site))).await;
    let machine = a_stage(site.port()).await;
    let asked = Asked {
        site: &site,
        port: site.port(),
        state: "state",
        machine: &machine,
    };
    // Its own pool is full, and a stage by the name of another's machine waits.
    let own = json!({"id": "o", "pool_id": "other"});
    let own = Caller::new(site.port())
        .with_token(OTHER)
        .post("/setup", &own)
        .await;
    assert_eq!(own.expect("an answer").status, 200);
    let named_so = json!({"id": machine, "pool_id": "other"}).to_string();
    let waiting = Caller::new(site.port()).with_token(OTHER);
    let mut waiting = waiting.connect().await.expect("a line");
    let waits = waiting.ask("POST", "/setup", named_so.into());
    let told = async {
        wait_for("it to wait", async || {
            let stages = asked.http(OTHER, "GET", "/stages", "").await;
            stages.body.contains("\"waiting\"").then_some(())
        })
        .await;
        let explained = asked.http(OTHER, "GET", format!("/stages/{machine}/explain"), "");
        let explained = explained.await;
        assert_eq!(explained.status, 404, "{explained:?}");
        let cancelled = asked.http(OTHER, "POST", format!("/stages/{machine}/cancel"), "");
        assert_eq!(cancelled.await.status, 204);
    };
    let (ended, ()) = tokio::join!(waits, told);
    assert_eq!(ended.expect("an answer").status, 500);
    asked.tells_nothing().await;

    old.signal(Signal::SIGUSR2);
    assert!(old.end().await.success());
    wait_for("the next process", async || {
        let ready = Caller::new(site.port()).get("/readyz").await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;
    asked.tells_nothing().await;
    // What is its own it has still.
    let own = asked.http(OTHER, "POST", "/stages/o/cancel", "").await;
    assert_eq!(own.status, 204, "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_use_one_pool_learns_nothing_of_another_from_a_runner_that_passes_on() {
    let fleet = Fleet::new(1, 2).await;
    pools(&fleet.site);
    let tokens = tokens(&fleet.site);
    let owner = fleet.runner_with("one", &tokens).await;
    let machine = a_stage(owner.port).await;
    let other = fleet.runner_with("two", &tokens).await;
    assert_eq!(fleet.owner().await.as_ref(), Some(&owner.url));
    let asked = Asked {
        site: &fleet.site,
        port: other.port,
        state: "two",
        machine: &machine,
    };
    asked.tells_nothing().await;
    let ended = asked.http(ALL, "POST", "/stages/s/cancel", "").await;
    assert_eq!(ended.status, 204, "{ended:?}");
    assert!(other.process.stop().await.success());
    assert!(owner.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_who_is_unknown_or_asks_for_too_much_is_told_why_and_when_to_come_again() {
    let site = Site::new(1, 2);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let process = site.ready(command.args(tokens(&site))).await;
    let get = || v1::GetStageRequest {
        stage_id: "s".to_owned(),
    };
    for token in [None, Some("not-a-token-of-anybody")] {
        let refused = builds(&site, "state", token).get_stage(get()).await;
        let unknown = (Code::Unauthenticated, "UNKNOWN_CALLER");
        is("who is unknown", refused.err(), unknown);
    }

    let mut few = builds(&site, "state", Some(FEW));
    let acquire = |stage: &str| v1::AcquireRequest {
        stage_id: stage.to_owned(),
        pool: "linux".to_owned(),
        ..v1::AcquireRequest::default()
    };
    assert!(end(few.acquire(acquire("a")).await).await.is_none());
    let again = end(few.acquire(acquire("a")).await).await;
    assert!(again.is_none(), "P9: {again:?}");
    let full = end(few.acquire(acquire("b")).await).await;
    let soon = full.as_ref().and_then(retry_after);
    is(
        "one too many",
        full,
        (Code::ResourceExhausted, "TOO_MANY_STAGES"),
    );
    assert!(soon.is_some_and(|soon| !soon.is_zero()), "{soon:?}");

    let mut slow = builds(&site, "state", Some(SLOW));
    let too_soon = wait_for("a request too many", async || {
        let refused = slow.get_stage(get()).await.expect_err("there is none");
        (refused.code() != Code::NotFound).then_some(refused)
    })
    .await;
    let soon = retry_after(&too_soon);
    let too_many = (Code::ResourceExhausted, "TOO_MANY_REQUESTS");
    is("too soon", Some(too_soon), too_many);
    assert!(soon.is_some_and(|soon| !soon.is_zero()), "{soon:?}");
    assert!(process.stop().await.success());
}

/// When to ask again.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
