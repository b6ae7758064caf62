//! Who gets through to a runner, and whom a runner talks to (P12).

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn authority() -> Arc<Authority> {
    Arc::new(Authority::ephemeral().unwrap())
}

/// A client that trusts `authority` and shows `certificate`.
fn client_with(authority: &Arc<Authority>, certificate: Arc<CertifiedKey>) -> ClientConfig {
    let mut config = peer_client(authority).unwrap();
    let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certificate));
    config.client_auth_cert_resolver = shown;
    config
}

/// A server that trusts `authority` and shows `certificate`.
fn server_with(authority: &Arc<Authority>, certificate: Arc<CertifiedKey>) -> ServerConfig {
    let mut config = peer_server(authority).unwrap();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(certificate));
    config
}

/// Whether both ends accept each other: a byte goes there and back.
async fn talk(client: ClientConfig, server: ServerConfig, name: &str) -> Result<(), String> {
    let (near, far) = duplex(1 << 16);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let calling = async {
        let mut stream = connector.connect(name, near).await?;
        stream.write_all(b"x").await?;
        stream.read_u8().await
    };
    let called = async {
        let mut stream = acceptor.accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await
    };
    let (calling, called) = tokio::join!(calling, called);
    match (calling, called) {
        (Ok(_), Ok(())) => Ok(()),
        (calling, called) => Err(format!("{calling:?} {called:?}")),
    }
}

#[tokio::test]
async fn p12_two_runners_of_a_deployment_talk() {
    let us = authority();
    let (client, server) = (peer_client(&us).unwrap(), peer_server(&us).unwrap());
    talk(client, server, us.peer_name()).await.unwrap();
}

#[tokio::test]
async fn p12_a_runner_of_another_deployment_is_refused() {
    let (us, them) = (authority(), authority());
    let now = SystemTime::now();
    let client = client_with(&us, them.peer(now).unwrap());
    let server = peer_server(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();

    let server = server_with(&us, them.peer(now).unwrap());
    let client = peer_client(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();
}

#[tokio::test]
async fn p12_the_certificate_that_agents_obey_is_refused_by_runners() {
    let us = authority();
    let for_agents = us.runner(SystemTime::now()).unwrap();
    let client = client_with(&us, Arc::clone(&for_agents));
    let server = peer_server(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();

    let server = server_with(&us, for_agents);
    let client = peer_client(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();
}

#[tokio::test]
async fn p12_a_machine_is_no_runner() {
    let us = authority();
    let now = SystemTime::now();
    // A machine certifies a key of its own; the runner's stands in for it.
    let key = us.peer(now).unwrap();
    let public = tls::key_of(&key.cert[0]).unwrap();
    let certificate = us.certify(&"local-0".into(), &public, now).unwrap();
    let machine = Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&key.key)));

    let client = client_with(&us, Arc::clone(&machine));
    let server = peer_server(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();

    let server = server_with(&us, machine);
    let client = peer_client(&us).unwrap();
    talk(client, server, us.peer_name()).await.unwrap_err();
}
