//! The one port of an enrolled agent: what is served there, and to whom (P12).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::PublicKeyData;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::{Ca, Pair, client};
use super::{
    AgentLink, Attempt, JoinSet, Sink, StageSetup, Step, StepExecutor, StepStatus, Term, World,
    machine_name, order,
};

/// All that an agent speaks: enrolment, ours, the incumbent's.
const PROTOCOLS: [&[u8]; 3] = [b"vmpool-enrol/1", b"h2", b"http/1.1"];

async fn dial(
    address: SocketAddr,
    pair: Option<&Pair>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("anybody").expect("a name");
    let connector = TlsConnector::from(Arc::new(client(pair, &[alpn])));
    connector.connect(name, tcp).await
}

/// Whether anything is answered: a refusal of TLS 1.3 shows on the first read.
async fn is_served(address: SocketAddr, pair: Option<&Pair>, alpn: &[u8]) -> bool {
    let Ok(mut stream) = dial(address, pair, alpn).await else {
        return false;
    };
    let greeting = if alpn == b"http/1.1" {
        b"GET /healthz HTTP/1.1\r\nHost: agent\r\n\r\n".as_slice()
    } else {
        // A preface with empty settings.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
    };
    let _ = stream.write_all(greeting).await;
    stream.read_u8().await.is_ok()
}

impl World {
    fn ca(&self) -> Ca {
        Ca::read(&self.folder.path().join("trust"))
    }

    fn runner_name(&self) -> String {
        self.agents.bootstrap(&order(), Attempt(1)).runner_name
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a port")
    }
}

pub(super) async fn beside() {
    let world = World::new();
    let mut agent = world.boot();
    let executor = world.opened(Term(1)).await;
    let runner = world.ca().runner(&world.runner_name());
    let stream = dial(world.address(), Some(&runner), b"h2")
        .await
        .expect("a connection");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let ask = |method: Method, path: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://agent{path}"))
            .body(Full::<Bytes>::from(body));
        let answer = sender.clone().send_request(request.expect("a request"));
        async move {
            let (head, body) = answer.await.expect("an answer").into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            (
                head.status.as_u16(),
                String::from_utf8_lossy(&body).into_owned(),
            )
        }
    };
    let (status, health) = ask(Method::GET, "/healthz", "").await;
    assert_eq!(status, 200, "{health}");
    assert!(health.contains("\"ok\": true"), "{health}");
    let setup = r#"{"mount_docker_socket":false,"envs":{"A":"from-json"}}"#;
    assert_eq!(ask(Method::POST, "/setup", setup).await.0, 200);
    let step = r#"{"id":"a","environment":{},"log_drone":true,
                   "run":{"entrypoint":["sh","-c"],"commands":["echo $A; exit 3"]}}"#;
    assert_eq!(ask(Method::POST, "/start_step", step).await.0, 200);
    let (_, ended) = ask(Method::POST, "/poll_step", r#"{"id":"a"}"#).await;
    assert!(ended.contains("\"exit_code\": 3"), "{ended}");
    let (_, log) = ask(Method::POST, "/stream_output", r#"{"id":"a","offset":0}"#).await;
    assert_eq!(log, "from-json\n");

    // Ours is served beside it, and knows that the machine is taken (P2).
    world.agents.renew(&world.id, Term(1)).await.expect("P6");
    let lease = world.lease("stage-1", Term(1));
    let taken = executor.prepare(&lease, &StageSetup::default()).await;
    let error = taken.expect_err("one stage").to_string();
    assert!(error.contains("incumbent"), "{error}");
    assert_eq!(ask(Method::POST, "/destroy", "{}").await.0, 200);
    agent.stop().await;
}

/// Takes every file of the machine's disk along.
const TAKES_ALL: &str = "find \"$DISK\" -type f | while read -r file; do \
                         n=$((n + 1)); cp \"$file\" \"$LOOT/$n\"; done";

pub(super) async fn thief() {
    let world = World::new();
    let mut agent = world.boot();
    let executor = world.opened(Term(1)).await;
    let lease = world.lease("stage-1", Term(1));
    let setup = StageSetup::default();
    executor.prepare(&lease, &setup).await.expect("prepared");
    let loot = world.folder.path().join("loot");
    std::fs::create_dir(&loot).expect("a folder");
    let mut step = Step::shell("thief", TAKES_ALL);
    for (name, path) in [
        ("DISK", &world.folder.path().join("state")),
        ("LOOT", &loot),
    ] {
        step.env.insert(name.into(), path.display().to_string());
    }
    let outcome = executor.run(&lease, &step, &mut Sink::default()).await;
    assert_eq!(
        outcome.expect("an outcome").status,
        StepStatus::Exited { code: 0 }
    );

    let loot = std::fs::read_dir(loot).expect("the folder");
    let loot = loot.map(|file| std::fs::read(file.expect("a file").path()).expect("read"));
    let loot: Vec<Vec<u8>> = loot.collect();
    let secret = world.agents.bootstrap(&order(), Attempt(1)).secret;
    let holds = |file: &[u8], bytes: &[u8]| file.windows(bytes.len()).any(|part| part == bytes);
    let trust = std::fs::read(world.folder.path().join("trust/trust.pem")).expect("the file");
    let trust = pem::parse_many(trust).expect("PEM");
    for file in &loot {
        assert!(!holds(file, secret.expose()), "the enrolment secret");
        for section in trust.iter().filter(|section| section.tag().contains("KEY")) {
            assert!(
                !holds(file, section.contents()),
                "a key of the deployment's"
            );
        }
    }
    let pairs = pairs_in(&loot);
    assert!(
        !pairs.is_empty(),
        "the machine's own are there, and are no use:"
    );
    for pair in &pairs {
        for alpn in PROTOCOLS {
            let told = String::from_utf8_lossy(alpn);
            assert!(
                !is_served(world.address(), Some(pair), alpn).await,
                "{told}"
            );
        }
    }
    executor.cleanup(&lease).await.expect("cleaned up");
    agent.stop().await;
}

/// Every certificate with the key that fits it.
fn pairs_in(files: &[Vec<u8>]) -> Vec<Pair> {
    let sections: Vec<pem::Pem> = files
        .iter()
        .flat_map(|file| pem::parse_many(file).unwrap_or_default())
        .collect();
    let certificates = sections.iter().filter(|one| one.tag() == "CERTIFICATE");
    let keys = sections
        .iter()
        .filter(|one| one.tag().contains("PRIVATE KEY"));
    let keys: Vec<_> = keys.map(pem::Pem::contents).collect();
    let of = |certificate: &pem::Pem| {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate.contents()).expect("a certificate");
        let fits = |key: &&&[u8]| {
            let key = rcgen::KeyPair::try_from(**key).expect("a key");
            key.subject_public_key_info() == parsed.public_key().raw
        };
        let key = keys.iter().find(fits)?;
        Some(Pair {
            certificate: CertificateDer::from(certificate.contents().to_vec()),
            key: PrivatePkcs8KeyDer::from(key.to_vec()).into(),
        })
    };
    certificates.filter_map(of).collect()
}

pub(super) async fn strangers() {
    let world = World::new();
    let mut agent = world.boot();
    world.opened(Term(1)).await;
    let (ca, name) = (world.ca(), world.runner_name());
    let machine = machine_name(&world.id);
    let client_auth = [rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let server_auth = [rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let strangers = [
        ("nobody", None),
        (
            "a runner of another deployment",
            Some(Ca::another().runner(&name)),
        ),
        ("a runner whose day is over", Some(ca.expired(&name))),
        (
            "a server with the runners' name",
            Some(ca.issue(&name, &server_auth)),
        ),
        ("a certificate for anything", Some(ca.issue(&name, &[]))),
        (
            "a machine as a client",
            Some(ca.issue(&machine, &client_auth)),
        ),
        (
            "the machine itself",
            Some(Pair::stolen_from(
                &world.folder.path().join("state/identity"),
            )),
        ),
    ];
    for (who, pair) in &strangers {
        for alpn in PROTOCOLS {
            let served = is_served(world.address(), pair.as_ref(), alpn).await;
            assert!(!served, "{who}, over {}", String::from_utf8_lossy(alpn));
        }
    }
    let runner = ca.runner(&name);
    for alpn in [b"h2".as_slice(), b"http/1.1"] {
        assert!(is_served(world.address(), Some(&runner), alpn).await);
    }
    agent.stop().await;
}
