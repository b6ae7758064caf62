//! AWS behind a proxy that looks into TLS: by `HTTPS_PROXY`, `NO_PROXY` and
//! `AWS_CA_BUNDLE`, and by nothing else.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::cloud::{Cloud, KEY};

/// Nothing resolves it: who comes here came by the proxy.
const HOST: &str = "ec2.example.invalid";

/// A proxy that shows certificates of an authority of its own, and leads to the
/// fake EC2 whatever is asked for.
struct Proxy {
    url: String,
    bundle: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(cloud: &Cloud) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let bundle = cloud.site.path().join("ca.pem");
        let certificate = authority.self_signed(&key).expect("a certificate");
        std::fs::write(&bundle, certificate.pem()).expect("a file");
        let authority = Issuer::new(authority, key);
        let key = KeyPair::generate().expect("a key");
        let shown = CertificateParams::new([HOST.to_owned()]).expect("a name");
        let shown = shown.signed_by(&key, &authority).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![shown.der().clone()], key)
            .expect("a certificate and its key");
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("a port"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (seen, to) = (asked.clone(), cloud.fake.url());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut passed = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                passed.spawn(pass(from, tls.clone(), to.clone(), seen.clone()));
            }
        });
        Self {
            url,
            bundle,
            asked,
            _tasks: tasks,
        }
    }
}

/// One who does not trust the proxy hangs up: that is the test's matter.
async fn pass(mut from: TcpStream, tls: TlsAcceptor, to: String, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default().to_owned();
    seen.lock().push(first);
    let answered = from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let to = TcpStream::connect(to.trim_start_matches("http://")).await;
    if let (Ok(()), Ok(mut from), Ok(mut to)) = (answered, tls.accept(from).await, to) {
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}

/// What `vmpool doctor` says of its credentials, which it asks for first.
fn asked(cloud: &Cloud, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmpool"));
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command
        .arg("doctor")
        .arg("--pool")
        .arg(cloud.site.path().join("pool.yml"))
        .env("AWS_ENDPOINT_URL", format!("https://{HOST}"))
        .env("AMAZON_ACCESS_KEY_ID", KEY)
        .env("AMAZON_ACCESS_KEY_SECRET", "secret")
        .envs(environment.iter().copied());
    let output = command.output().expect("run vmpool doctor");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_is_reached_by_the_proxy_and_the_authorities_of_the_environment() {
    let cloud = Cloud::with("us-east-1", 0, 1, "").await;
    let proxy = Proxy::before(&cloud).await;
    let bundle = proxy.bundle.to_str().expect("a path in UTF-8").to_owned();
    let by_proxy = ("HTTPS_PROXY", proxy.url.as_str());
    let trusting = ("AWS_CA_BUNDLE", bundle.as_str());

    let said = asked(&cloud, &[by_proxy, trusting]);
    assert!(said.contains("linux: credentials: arn:aws:iam::"), "{said}");
    assert!(said.contains("ok       linux: image: ami-"), "{said}");
    let first = proxy.asked.lock()[0].clone();
    assert_eq!(first, format!("CONNECT {HOST}:443 HTTP/1.1"));

    let said = asked(&cloud, &[by_proxy]);
    assert!(said.contains("UnknownIssuer"), "{said}");

    let before = proxy.asked.lock().len();
    let said = asked(&cloud, &[by_proxy, trusting, ("NO_PROXY", HOST)]);
    assert!(said.contains("wrong    linux: credentials"), "{said}");
    assert_eq!(
        proxy.asked.lock().len(),
        before,
        "it was asked all the same"
    );

    let said = asked(&cloud, &[("AWS_CA_BUNDLE", "/no/such.pem")]);
    let wrong = "wrong    linux: certificates: read /no/such.pem: ";
    assert!(said.contains(wrong), "{said}");
    cloud.end().await;
}
