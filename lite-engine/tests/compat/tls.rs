//! Certificates, the port, and how the program starts and stops.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Agent, Caller, PROGRAM, content, lives, setup0, step};

/// A handshake whose client has seen no refusal may still be refused: that
/// shows when it reads.
async fn is_refused(caller: &Caller) -> bool {
    match caller.connect(&["h2"]).await {
        Err(_) => true,
        Ok(mut stream) => stream.read_u8().await.is_err(),
    }
}

#[tokio::test]
async fn c65_who_has_no_certificate_of_the_ca_is_refused() {
    let agent = Agent::start();
    let other = Agent::prepare(&[]);
    let ours = agent.path("certs");
    let anonymous = Caller::anonymous(agent.address(), &ours);
    assert!(is_refused(&anonymous).await);
    let stranger = Caller::new(agent.address(), &ours, &other.path("certs"));
    assert!(is_refused(&stranger).await);
    // The server's CA is looked at too.
    let mistaken = Caller::new(agent.address(), &other.path("certs"), &ours);
    assert!(mistaken.connect(&["h2"]).await.is_err());
    assert_eq!(agent.caller().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn c65_older_tls_is_refused() {
    let agent = Agent::start();
    // A greeting of TLS 1.2: no version is offered besides, and one cipher suite.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // The groups and signatures that a peer may want to know.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, 16]);
    body.extend(extensions);
    let length = |bytes: usize| u8::try_from(bytes).expect("short");
    let mut greeting = vec![
        22,
        3,
        1,
        0,
        length(body.len() + 4),
        1,
        0,
        0,
        length(body.len()),
    ];
    greeting.extend(body);
    let mut stream = tokio::net::TcpStream::connect(agent.address())
        .await
        .expect("connected");
    stream.write_all(&greeting).await.expect("sent");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.expect("an answer");
    // A fatal alert: protocol version.
    assert_eq!((answer[0], answer[5], answer[6]), (21, 2, 70));
}

#[tokio::test]
async fn c66_one_leaf_serves_both_roles_over_both_versions_of_http() {
    let agent = Agent::start();
    assert_eq!(agent.caller().get("/healthz").await.status, 200);
    for (offered, chosen) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = agent.caller().connect(offered).await.expect("a connection");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
    }
    let stream = agent.caller().connect(&["h2"]).await.expect("a connection");
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .expect("HTTP/2");
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let request = |path: &str| {
        let request = http::Request::get(format!("https://drone{path}"));
        request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .expect("a request")
    };
    assert_eq!(
        sender
            .send_request(request("/healthz"))
            .await
            .expect("answered")
            .status(),
        200
    );
    // P12: nothing of our own protocol is served under this scheme.
    let grpc = http::Request::post("https://drone/vmpool.agent.v1.Agent/Open")
        .header("content-type", "application/grpc")
        .body(http_body_util::Empty::new());
    let answer = sender
        .send_request(grpc.expect("a request"))
        .await
        .expect("answered");
    assert_eq!(answer.status(), 404);
}

#[test]
fn c66_certificates_are_the_incumbents_and_private() {
    use std::os::unix::fs::PermissionsExt;
    use x509_parser::prelude::*;
    let agent = Agent::prepare(&[]);
    let certs = agent.path("certs");
    for name in [
        "ca-cert.pem",
        "ca-key.pem",
        "server-cert.pem",
        "server-key.pem",
    ] {
        let mode = std::fs::metadata(certs.join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let pem = std::fs::read(certs.join("server-cert.pem")).expect("read");
    let (_, pem) = parse_x509_pem(&pem).expect("PEM");
    let leaf = pem.parse_x509().expect("a certificate");
    assert_eq!(leaf.subject().to_string(), "O=drone.vm.generated");
    assert!(leaf.extended_key_usage().expect("readable").is_none());
    let names = leaf
        .subject_alternative_name()
        .expect("readable")
        .expect("names");
    assert_eq!(names.value.general_names, [GeneralName::DNSName("drone")]);
    let lasts = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(lasts / 86_400, 1080);
}

#[tokio::test]
async fn w6_a_port_that_is_in_use_is_an_error_at_once() {
    let agent = Agent::start();
    let address = agent.address().to_string();
    let second = Agent::prepare(&[("HTTPS_BIND", &address)]);
    let output = second.command().output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains(&address) && error.contains("in use"),
        "{error}"
    );
    assert_eq!(agent.caller().get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_it_stops_by_both_signals_and_steps_go_on() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::start();
        let caller = agent.caller();
        caller.done("/setup", &setup0()).await;
        let (pid, gate) = (agent.path("pid"), agent.path("gate"));
        let script = format!(
            "echo $$ > {}; until [ -e {} ]; do sleep 0.01; done; exit 5",
            pid.display(),
            gate.display()
        );
        caller.done("/start_step", &step("a", &script)).await;
        let pid = content(&pid).await;
        let waiting = caller.clone();
        let mut poll = tokio::task::JoinSet::new();
        poll.spawn(async move { waiting.post("/poll_step", &json!({"id": "a"})).await });
        // So that the agent has it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ended = tokio::task::block_in_place(|| agent.end(signal));
        assert_eq!(ended.code(), Some(0));
        // Who waited was told, and asks the next one.
        assert_eq!(
            poll.join_next()
                .await
                .expect("asked")
                .expect("answered")
                .status,
            503
        );
        assert!(lives(&pid));
        agent.run();
        std::fs::write(gate, "").expect("opened");
        let answer = agent.caller().done("/poll_step", &json!({"id": "a"})).await;
        assert_eq!(answer["exit_code"], 5);
    }
}

#[test]
fn p13_settings_and_files_that_can_not_be_used_are_named() {
    for (name, value, told) in [
        ("HTTPS_BIND", "nonsense", "SERVER_HTTPS_BIND"),
        (
            "SERVER_CERT_FILE",
            "/nonexistent/cert.pem",
            "/nonexistent/cert.pem",
        ),
        ("SERVER_INSECURE", "true", "SERVER_INSECURE"),
    ] {
        let agent = Agent::prepare(&[(name, value)]);
        let output = agent.command().output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_asks_for_health_and_runs_a_stage() {
    let agent = Agent::start();
    let certs = agent.path("certs");
    let client = |arguments: &[&str]| {
        let mut command = Command::new(&*PROGRAM);
        command
            .arg("client")
            .args(arguments)
            .current_dir(agent.folder())
            .env("CLIENT_HTTPS_BIND", agent.address().to_string())
            .env("CLIENT_CERT_FILE", certs.join("server-cert.pem"))
            .env("CLIENT_KEY_FILE", certs.join("server-key.pem"))
            .env("CA_CERT_FILE", certs.join("ca-cert.pem"));
        let output = tokio::task::block_in_place(|| command.output().expect("it runs"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    assert!(client(&[]).contains("ok: true"));
    let told = client(&["--stage"]);
    assert!(
        told.contains("step2: exit code 0") && told.contains("destroyed"),
        "{told}"
    );
}

#[test]
fn help_has_examples_and_the_version_is_told() {
    let run = |argument: &str| {
        let output = Command::new(&*PROGRAM)
            .arg(argument)
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(run("--help").contains("Examples:"));
    assert_eq!(
        run("--version"),
        format!("lite-engine {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(run("-V"), run("--version"));
}
