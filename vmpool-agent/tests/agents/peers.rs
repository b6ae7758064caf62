//! P12: who gets to speak to an agent, and who does not.

use std::time::Duration;

use lite_engine::identity::Standing;
use lite_engine::listener::Limits;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use vmpool_core::{AgentLink, Term};
use vmpool_proto::agent::v1::agent_client::AgentClient;
use vmpool_proto::agent::v1::enrolment_client::EnrolmentClient;
use vmpool_proto::agent::v1::{BeginRequest, OpenRequest};

use crate::certificates::{Ca, Pair};
use crate::machine::{Deployment, Host, soon};
use crate::network::{dial, enrolment, first_read, origin, raw};

const BOTH: [&[u8]; 2] = [b"vmpool-enrol/1", b"h2"];

/// An agent that is enrolled, so that both protocols would be served.
async fn enrolled(deployment: &Deployment) -> Host {
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    host
}

async fn refused_by_both(host: &Host, pair: Option<&Pair>, why: &str) {
    for alpn in BOTH {
        let seen = soon(
            "an end",
            first_read(dial(host.address(), pair, &[alpn]).await),
        )
        .await;
        assert_ne!(seen, "served", "over {}", String::from_utf8_lossy(alpn));
        assert!(seen.contains(why), "{seen}");
    }
}

#[tokio::test]
async fn p12_a_runner_of_the_deployment_is_served() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    for alpn in BOTH {
        let stream = dial(host.address(), Some(&runner), &[alpn]).await;
        assert_eq!(soon("an answer", first_read(stream)).await, "served");
    }
}

#[tokio::test]
async fn p12_nobody_without_a_certificate_is_served() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    refused_by_both(&host, None, "CertificateRequired").await;
}

#[tokio::test]
async fn p12_a_certificate_of_another_ca_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let name = deployment.authority.runner_name();
    refused_by_both(&host, Some(&Ca::another().runner(name)), "UnknownCA").await;
}

#[tokio::test]
async fn p12_a_runners_certificate_that_is_over_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let pair = deployment.ca().expired(deployment.authority.runner_name());
    refused_by_both(&host, Some(&pair), "CertificateExpired").await;
}

#[tokio::test]
async fn p12_a_certificate_without_a_purpose_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let pair = deployment
        .ca()
        .issue(deployment.authority.runner_name(), &[]);
    refused_by_both(&host, Some(&pair), "UnsupportedCertificate").await;
}

#[tokio::test]
async fn p12_a_servers_certificate_with_the_runners_name_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let pair = deployment
        .ca()
        .issue(deployment.authority.runner_name(), &[ServerAuth]);
    refused_by_both(&host, Some(&pair), "UnsupportedCertificate").await;
}

#[tokio::test]
async fn p12_a_clients_certificate_with_another_name_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    for name in [
        "other.runner.vmpool",
        "*.runner.vmpool",
        "m-1.machine.vmpool",
    ] {
        let pair = deployment.ca().issue(name, &[ClientAuth]);
        refused_by_both(&host, Some(&pair), "BadCertificate").await;
    }
}

#[tokio::test]
async fn p12_what_a_step_steals_from_one_machine_opens_no_other() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let other = deployment.machine("m-2").await;
    let stolen = Pair::stolen_from(&host.files());
    refused_by_both(&other, Some(&stolen), "UnsupportedCertificate").await;
    refused_by_both(&host, Some(&stolen), "UnsupportedCertificate").await;
}

#[tokio::test]
async fn p12_tls_1_2_is_refused() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let mut tcp = TcpStream::connect(host.address())
        .await
        .expect("a connection");
    tcp.write_all(&tls12_hello()).await.expect("sent");
    let mut alert = [0; 7];
    soon("an alert", tcp.read_exact(&mut alert))
        .await
        .expect("an alert");
    assert_eq!(alert[0], 21, "an alert record");
    assert_eq!(alert[5..], [2, 70], "fatal, protocol_version");
}

/// A ClientHello that offers TLS 1.2 and nothing else.
fn tls12_hello() -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 29][..], // supported_groups: x25519
        &[0, 11, 0, 2, 1, 0],            // ec_point_formats: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let body = [
        &[3, 3][..],         // TLS 1.2
        &[7; 32],            // random
        &[0],                // no session
        &[0, 2, 0xc0, 0x2b], // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        &[1, 0],             // no compression
        &[0, u8::try_from(extensions.len()).expect("short")],
        &extensions,
    ]
    .concat();
    let length = u8::try_from(body.len()).expect("short");
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn p12_a_runner_that_names_no_protocol_or_another_gets_nothing() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let seen = first_read(dial(host.address(), Some(&runner), &[]).await).await;
    assert_eq!(seen, "closed");
    let seen = first_read(dial(host.address(), Some(&runner), &[b"spdy/3"]).await).await;
    assert!(seen.contains("NoApplicationProtocol"), "{seen}");
}

#[tokio::test]
async fn p12_each_protocol_has_its_own_service_and_no_other() {
    let deployment = Deployment::new();
    let host = enrolled(&deployment).await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let mut tasks = JoinSet::new();
    let over_enrolment = raw(host.address(), &runner, BOTH[0], &mut tasks).await;
    let mut over_enrolment = AgentClient::with_origin(over_enrolment, origin());
    let answer = soon("an answer", over_enrolment.open(OpenRequest { term: 2 })).await;
    assert_eq!(
        answer.expect_err("no such service").code(),
        Code::Unimplemented
    );
    assert_eq!(host.stub.book(|book| book.term), 1);

    let over_h2 = raw(host.address(), &runner, BOTH[1], &mut tasks).await;
    let mut over_h2 = EnrolmentClient::with_origin(over_h2, origin());
    let answer = soon("an answer", over_h2.begin(BeginRequest::default())).await;
    assert_eq!(
        answer.expect_err("no such service").code(),
        Code::Unimplemented
    );
}

#[tokio::test]
async fn p12_the_agent_service_is_closed_until_the_agent_is_enrolled() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let stream = dial(host.address(), Some(&runner), &[BOTH[1]]).await;
    assert_eq!(soon("an end", first_read(stream)).await, "closed");
    assert_eq!(
        host.identity().standing(),
        Standing::Alone,
        "and that counts for nothing"
    );
}

#[tokio::test]
async fn p3_connections_that_say_nothing_do_not_keep_a_runner_out() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.limits = Limits {
        handshake: Duration::from_millis(200),
        handshakes: 2,
        ..host.limits.clone()
    };
    let host = host.start().await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(
            TcpStream::connect(host.address())
                .await
                .expect("a connection"),
        );
    }
    deployment.open(host.machine()).await.expect("enrolment");
    for mut silent in silent {
        assert_eq!(
            soon("an end", silent.read(&mut [0])).await.unwrap_or(0),
            0,
            "dropped"
        );
    }
}

#[tokio::test]
async fn p3_a_runner_that_says_nothing_after_its_handshake_is_dropped() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.limits = Limits {
        handshake: Duration::from_millis(200),
        ..host.limits.clone()
    };
    let host = host.start().await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let mut stream = dial(host.address(), Some(&runner), &[BOTH[0]])
        .await
        .expect("a connection");
    assert_eq!(
        soon("an end", stream.read(&mut [0])).await.unwrap_or(0),
        0,
        "dropped"
    );
}

#[tokio::test]
async fn p3_an_enrolment_does_not_last_for_ever() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.limits = Limits {
        enrolment: Duration::from_millis(200),
        ..host.limits.clone()
    };
    let host = host.start().await;
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let mut tasks = JoinSet::new();
    let _client = enrolment(host.address(), &runner, &mut tasks).await;
    soon("the connection's end", tasks.join_next()).await;
}

#[tokio::test]
async fn more_connections_than_the_limit_are_closed_and_the_first_stay() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.limits = Limits {
        connections: 1,
        ..host.limits.clone()
    };
    let host = host.start().await;
    // Enrolment's connection is gone before the kept one comes.
    deployment.open(host.machine()).await.expect("enrolment");
    let runner = deployment.ca().runner(deployment.authority.runner_name());
    let seen = first_read(dial(host.address(), Some(&runner), &[BOTH[1]]).await).await;
    assert_ne!(seen, "served");
    deployment
        .agents
        .renew(&host.id, Term(1))
        .await
        .expect("the first is served");
}
