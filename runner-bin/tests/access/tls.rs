//! TLS: the runner's certificate, those of its callers, and others of both while
//! connections live.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::authority::{Authority, write_secret};
use crate::caller::Caller;
use crate::support::{Serving, Site, install, setup, step, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

fn speaking_tls(site: &Site, program: &Path, authority: &Authority) -> Command {
    let [certificate, key] = authority.server();
    let mut command = site.command(program);
    command.arg("--tls-cert").arg(certificate);
    command.arg("--tls-key").arg(key);
    command
}

async fn ready(caller: &Caller, command: &mut Command) -> Serving {
    let runner = Serving::begin(command);
    wait_for("a runner that is ready", async || {
        let ready = caller.get("/readyz").await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;
    runner
}

#[tokio::test]
async fn p4_builds_go_on_over_tls_through_another_certificate_and_an_upgrade() {
    let site = Site::new(1, 2);
    let authority = Authority::new(site.path());
    let program = site.path().join("vmpool");
    install(Path::new(PROGRAM), &program);
    let caller = Caller::new(site.port()).believing(&authority.file());
    let mut old = ready(&caller, &mut speaking_tls(&site, &program, &authority)).await;
    let heard = caller.post("/setup", &setup("s")).await.expect("an answer");
    assert_eq!(heard.status, 200, "{heard:?}");
    // In the clear nobody is heard.
    assert!(site.get("/healthz").await.is_none());

    // Another certificate, of another CA: connections that are there stay.
    let mut line = caller.connect().await.expect("a line");
    let mut ask = async || line.ask("GET", "/healthz", "".into()).await;
    assert_eq!(ask().await.expect("an answer").status, 200);
    let elsewhere = site.path().join("new");
    fs::create_dir(&elsewhere).expect("a folder");
    let new = Authority::new(&elsewhere);
    let [certificate, key] = new.server();
    let of = |name: &str| site.path().join(name);
    fs::copy(certificate, of("cert.pem")).expect("another certificate");
    old.signal(Signal::SIGHUP);
    wait_for("a word that its key is another's", async || {
        site.said()
            .contains("the certificate before stays in force")
            .then_some(())
    })
    .await;
    caller
        .get("/healthz")
        .await
        .expect("the one before is in force");
    fs::copy(key, of("key.pem")).expect("its key");
    let believing = Caller::new(site.port()).believing(&new.file());
    wait_for("the other certificate", async || {
        believing.get("/healthz").await.ok()
    })
    .await;
    caller
        .get("/healthz")
        .await
        .expect_err("it is another's now");
    assert_eq!(ask().await.expect("it is the same connection").status, 200);

    let slow = step(
        "s",
        "slow",
        "for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done",
    );
    let (asked, ()) = tokio::join!(believing.post("/step", &slow), async {
        wait_for("the step's first line", async || {
            site.log("s", "slow").contains('1').then_some(())
        })
        .await;
        old.signal(Signal::SIGUSR2);
    });
    assert_eq!(asked.expect("an answer").status, 200);
    assert!(old.end().await.success());
    let heard = believing
        .post("/destroy", &json!({"id": "s"}))
        .await
        .expect("an answer");
    assert_eq!((heard.status, heard.body.as_str()), (200, ""));
}

#[tokio::test]
async fn who_has_a_certificate_of_the_callers_ca_gets_in_by_its_name() {
    let site = Site::new(0, 1);
    let authority = Authority::new(site.path());
    let strangers = site.path().join("strangers");
    fs::create_dir(&strangers).expect("a folder");
    let stranger = Authority::new(&strangers).client("all");
    let callers = site.path().join("callers.yml");
    write_secret(
        &callers,
        "callers:\n- {name: few, certificate: few, pools: [other]}\n\
         - {name: token, tokens: [the-token-of-a-caller]}\n",
    );
    let ca = authority.file();
    let caller = || Caller::new(site.port());
    let with_token = caller().believing(&ca).with_token("the-token-of-a-caller");
    let mut command = speaking_tls(&site, Path::new(PROGRAM), &authority);
    command.arg("--tls-client-ca").arg(&ca);
    command.arg("--tokens").arg(&callers);
    let runner = ready(&with_token, &mut command).await;

    let path = "/pool_owner?pool=linux";
    let ask = async |caller: Caller| {
        caller
            .post(path, &json!({}))
            .await
            .map(|heard| heard.status)
    };
    assert_eq!(ask(with_token).await, Ok(200));
    assert_eq!(
        ask(caller().showing(&ca, &authority.client("any"))).await,
        Ok(200)
    );
    assert_eq!(
        ask(caller().showing(&ca, &authority.client("few"))).await,
        Ok(403)
    );
    assert_eq!(ask(caller().believing(&ca)).await, Ok(401));
    ask(caller().showing(&ca, &stranger))
        .await
        .expect_err("its CA is another");
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn tools_believe_the_ca_that_they_are_given_and_no_other() {
    let site = Site::new(0, 1);
    let authority = Authority::new(site.path());
    let ca = authority.file();
    let caller = Caller::new(site.port()).showing(&ca, &authority.client("tool"));
    let mut command = speaking_tls(&site, Path::new(PROGRAM), &authority);
    command.arg("--tls-client-ca").arg(&ca);
    let runner = ready(&caller, &mut command).await;
    let list = |files: &[(&str, &Path)]| {
        let mut command = Command::new(PROGRAM);
        command.args(["pool", "ls", "--json", "--runner"]);
        let url = fs::read_to_string(site.path().join("state/grpc-url")).unwrap_or_default();
        let url = url
            .split_whitespace()
            .find(|word| word.starts_with("https://"));
        command.arg(
            url.expect("the runner's address for tools")
                .replace("127.0.0.1", "localhost"),
        );
        for (option, file) in files {
            command.arg(option).arg(file);
        }
        let output = command.output().expect("vmpool runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let own = site.path().join("tool.pem");
    let (code, said) = list(&[("--ca-file", &ca), ("--cert-file", &own)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"linux\""), "{said}");
    let (code, said) = list(&[("--ca-file", &ca)]);
    assert_eq!(code, Some(4), "{said}");
    let (code, said) = list(&[("--ca-file", &own), ("--cert-file", &own)]);
    assert_eq!(code, Some(4), "{said}");
    let (code, said) = list(&[("--ca-file", Path::new("/nowhere"))]);
    assert_eq!(code, Some(2), "{said}");
    assert!(runner.stop().await.success());
}
