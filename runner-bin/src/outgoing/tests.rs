//! Through a small proxy to a small server that speaks TLS.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::proxy::matcher::Matcher;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server for `localhost`, and the file of the CA that vouches for it.
async fn server(tasks: &mut JoinSet<io::Result<()>>) -> (u16, tempfile::NamedTempFile) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let own = CertificateParams::new(names).unwrap().signed_by(&key, &ca);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.unwrap().der().clone()], key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            // Who does not believe the certificate is gone.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await?;
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                stream.write_all(answer).await?;
                stream.shutdown().await?;
            }
        }
    });
    (port, file)
}

/// A proxy that makes tunnels; what it is asked for is told.
async fn proxy(tasks: &mut JoinSet<io::Result<()>>) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, told) = mpsc::channel(16);
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).await?;
            }
            let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = asked.send(head).await;
            let mut there = TcpStream::connect(to).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut stream, &mut there).await?;
        }
    });
    (port, told)
}

async fn get(way: Way, ca: Option<&Path>, port: u16) -> Result<String, String> {
    let trust = match ca {
        Some(ca) => only(ca, None).unwrap(),
        None => rustls::ClientConfig::builder_with_provider(
            rustls::crypto::aws_lc_rs::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth(),
    };
    let client = client_by::<Empty<Bytes>>(way, trust);
    let uri = format!("https://localhost:{port}/x").parse().unwrap();
    let response = client.get(uri).await;
    let response = response.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_server_with_a_certificate_of_a_private_ca_is_reached_straight_or_through_a_proxy() {
    let mut tasks = JoinSet::new();
    let (port, ca) = server(&mut tasks).await;
    let (at, mut asked) = proxy(&mut tasks).await;
    let url = format!("http://me:pass@127.0.0.1:{at}");
    let straight = Way::by(Matcher::builder().build());
    let proxied = Way::by(Matcher::builder().https(url.as_str()).build());
    let exempt = Matcher::builder()
        .https(url.as_str())
        .no("localhost")
        .build();

    let ca = Some(ca.path());
    assert_eq!(get(straight.clone(), ca, port).await.unwrap(), "hello");
    assert_eq!(get(Way::by(exempt), ca, port).await.unwrap(), "hello");
    assert!(asked.try_recv().is_err(), "the proxy was not to be asked");

    assert_eq!(get(proxied, ca, port).await.unwrap(), "hello");
    let head = asked.recv().await.unwrap();
    assert!(
        head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")),
        "{head}"
    );
    // Basic me:pass
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("proxy-authorization: basic bwu6cgfzcw=="),
        "{head}"
    );

    let unknown = get(straight, None, port).await.unwrap_err();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
}

#[tokio::test]
async fn p11_a_proxy_that_does_not_answer_is_named_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = closed.local_addr().unwrap();
    drop(closed);
    for (url, told) in [
        (
            format!("http://me:pass@{at}"),
            "no tunnel through the proxy 127.0.0.1",
        ),
        (format!("socks5://me:pass@{at}"), "is no http:// proxy"),
    ] {
        let way = Way::by(Matcher::builder().https(url.as_str()).build());
        let error = get(way, None, 1).await.unwrap_err();
        assert!(error.contains(told), "{error}");
        assert!(!error.contains("pass"), "{error}");
    }
}

#[test]
fn p13_a_file_without_a_certificate_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = only(file.path(), None).unwrap_err().to_string();
    assert!(error.ends_with("there is none in it"), "{error}");
    let error = system_and(Some(Path::new("/nowhere/ca.pem")), None).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
