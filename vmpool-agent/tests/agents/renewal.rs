//! A machine's certificate is renewed over its open connection, by the same
//! key, in time or late.

use std::time::{Duration, SystemTime};

use lite_engine::identity::Identity;
use rustls::pki_types::CertificateDer;
use vmpool_core::agent::enrolment::machine_name;
use vmpool_core::{AgentLink, LinkError, Machine, Term};

use crate::machine::{Deployment, Host, Pins, soon, until};

/// Puts a certificate in the machine's files that ends at `end`.
fn install(deployment: &Deployment, host: &Host, end: SystemTime) {
    let identity = Identity::load_or_create(&host.files(), &host.bootstrap.ca_pem);
    let identity = identity.expect("an identity");
    let key = key(host);
    let name = machine_name(&host.id);
    let certificate = deployment.ca().machine(&name, &key, end);
    identity
        .install(&certificate, &name)
        .expect("it is the machine's");
}

fn certificate(host: &Host) -> CertificateDer<'static> {
    let text = std::fs::read(host.files().join("certificate.pem")).expect("a certificate");
    CertificateDer::from(pem::parse(text).expect("PEM").into_contents())
}

fn key(host: &Host) -> Vec<u8> {
    let text = std::fs::read_to_string(host.files().join("key.pem")).expect("a key");
    let key = rcgen::KeyPair::from_pem(&text).expect("a key");
    rcgen::PublicKeyData::subject_public_key_info(&key)
}

/// Days until the machine's certificate ends, to the nearest.
fn days_left(host: &Host) -> i64 {
    let certificate = certificate(host);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let left =
        parsed.validity().not_after.timestamp() - i64::try_from(now.as_secs()).expect("small");
    (left + 43_200).div_euclid(86_400)
}

async fn enrolled(deployment: &Deployment) -> Host {
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    host
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_machines_certificate_lasts_a_week_and_reaches_back_a_day() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    assert_eq!(days_left(&host), 7);
    let certificate = certificate(&host);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    let span = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(span, 8 * 86400);
    let purpose = parsed
        .extended_key_usage()
        .expect("readable")
        .expect("a purpose")
        .value;
    assert!(purpose.server_auth && !purpose.client_auth && !purpose.any);
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_renewed_while_the_connection_is_open() {
    let deployment = Deployment::new();
    let mut host = enrolled(&deployment).await;
    let before = key(&host);
    host.stop().await;
    install(&deployment, &host, SystemTime::now() + HOUR);
    host.boot().await;
    deployment
        .open(host.machine())
        .await
        .expect("it is good for an hour");
    until("the renewal", || days_left(&host) == 7).await;
    assert_eq!(key(&host), before, "by the same key");
    deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect("the connection is the same");
    assert_eq!(host.stub.book(|book| (book.opens, book.renewals)), (2, 1));
}

#[tokio::test]
async fn p12_an_expired_certificate_of_the_pinned_key_is_good_for_its_renewal() {
    let deployment = Deployment::new();
    let mut host = enrolled(&deployment).await;
    host.stop().await;
    install(&deployment, &host, SystemTime::now() - HOUR);
    host.boot().await;
    let restarted = deployment.restarted();
    let machine = Machine {
        key: deployment.pins.key(&host.id),
        ..host.machine()
    };
    let opened = soon(
        "a connection",
        restarted.open(&machine, Term(2), &deployment.pins),
    )
    .await;
    assert_eq!(opened.expect("renewed").term, Some(Term(2)));
    assert_eq!(days_left(&host), 7);
    assert_eq!(host.stub.book(|book| book.renewals), 1);
    restarted.shutdown().await;
}

#[tokio::test]
async fn p12_an_expired_certificate_of_an_unknown_key_is_good_for_nothing() {
    let deployment = Deployment::new();
    let mut host = enrolled(&deployment).await;
    host.stop().await;
    install(&deployment, &host, SystemTime::now() - HOUR);
    host.boot().await;
    let restarted = deployment.restarted();
    let (machine, empty) = (host.machine(), Pins::default());
    let open = restarted.open(&machine, Term(2), &empty);
    let opened = tokio::time::timeout(Duration::from_secs(1), open).await;
    assert!(!matches!(opened, Ok(Ok(_))), "{opened:?}");
    assert_eq!(empty.key(&host.id), None);
    assert_eq!(
        host.stub.book(|book| (book.opens, book.renewals)),
        (1, 0),
        "nothing was asked of it"
    );
    restarted.shutdown().await;
}

#[tokio::test]
async fn p2_a_runner_that_was_overruled_renews_nothing() {
    let deployment = Deployment::new();
    let mut host = enrolled(&deployment).await;
    host.stop().await;
    let end = SystemTime::now() - HOUR;
    install(&deployment, &host, end);
    host.boot().await;
    host.stub.book(|book| book.term = 9);
    let restarted = deployment.restarted();
    let machine = Machine {
        key: deployment.pins.key(&host.id),
        ..host.machine()
    };
    let opened = soon(
        "an answer",
        restarted.open(&machine, Term(2), &deployment.pins),
    )
    .await;
    let theirs = Term(9);
    assert!(matches!(opened, Err(LinkError::Fenced { theirs: seen, .. }) if seen == theirs));
    assert_eq!(host.stub.book(|book| book.renewals), 0);
    assert!(days_left(&host) <= 0, "the certificate is the old one");
    restarted.shutdown().await;
}
