//! P12, P9: a machine joins the deployment once, as itself, and only as the
//! machine that was ordered.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use lite_engine::identity::Standing;
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinSet;
use tonic::{Code, Request, Response, Status};
use vmpool_core::agent::enrolment::{
    EXPORTER_LABEL, EXPORTER_LEN, exporter_context, machine_name, proof_message,
};
use vmpool_core::{
    AgentLink, Attempt, Health, KeyHash, LinkError, Machine, MachineId, OrderId, SecretBytes, Term,
};
use vmpool_proto::agent::v1::enrolment_client::EnrolmentClient;
use vmpool_proto::agent::v1::enrolment_server::{Enrolment, EnrolmentServer};
use vmpool_proto::agent::v1::{BeginRequest, BeginResponse, FinishRequest, FinishResponse};

use crate::certificates::{Ca, Pair};
use crate::machine::{Deployment, Host, order, soon, until};
use crate::network::{Impostor, Raw, enrolment};

fn begin(host: &Host) -> BeginRequest {
    BeginRequest {
        machine_id: host.id.as_str().to_owned(),
        order_id: order().as_str().to_owned(),
        attempt: 1,
    }
}

fn runner(deployment: &Deployment) -> Pair {
    deployment.ca().runner(deployment.authority.runner_name())
}

/// The reason of a refused enrolment, after which nothing has changed.
async fn refused(deployment: &Deployment, host: &Host) -> String {
    let error = deployment
        .open(host.machine())
        .await
        .expect_err("no enrolment");
    assert_eq!(deployment.pins.key(&host.id), None, "nothing is pinned");
    assert_eq!(
        host.identity().standing(),
        Standing::Alone,
        "no certificate is given"
    );
    let LinkError::Enrolment { reason, .. } = error else {
        panic!("{error}")
    };
    reason
}

fn reason_of(status: &Status) -> &str {
    status
        .metadata()
        .get("vmpool-reason")
        .expect("a reason")
        .to_str()
        .expect("ASCII")
}

#[tokio::test]
async fn p6_a_machine_enrols_reports_and_answers() {
    let deployment = Deployment::new();
    let host = deployment.machine("i-0abc").await;
    let health = deployment.agents.health(&host.id);
    assert_eq!(*health.borrow(), Health::Unconnected);
    let report = deployment.open(host.machine()).await.expect("enrolment");
    assert_eq!(report.term, Some(Term(1)));
    assert_eq!(report.version, "stub");
    assert!(health.borrow().is_answering());
    assert!(deployment.pins.key(&host.id).is_some(), "its key is pinned");
    assert_eq!(host.identity().standing(), Standing::Enrolled);
    assert_eq!(
        host.enrolled.load(Ordering::Relaxed),
        1,
        "the agent was told once"
    );
}

#[tokio::test]
async fn p11_the_agents_files_are_its_users_alone() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode(&host.files()), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(host.files()).expect("a folder") {
        let entry = entry.expect("a file");
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    assert_eq!(names, ["certificate.pem", "enrolled", "key.pem"]);
}

#[tokio::test]
async fn p12_an_agent_without_the_orders_secret_is_refused() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.bootstrap.secret = SecretBytes::new([0; 32]);
    let host = host.start().await;
    let reason = refused(&deployment, &host).await;
    assert!(reason.contains("the proof is wrong"), "{reason}");
}

#[tokio::test]
async fn p12_the_secret_of_another_order_or_attempt_is_no_use() {
    let deployment = Deployment::new();
    for (other, attempt) in [(OrderId::new("order-2"), Attempt(1)), (order(), Attempt(2))] {
        let mut host = deployment.host("m-1");
        host.bootstrap.secret = deployment.agents.bootstrap(&other, attempt).secret;
        let host = host.start().await;
        let reason = refused(&deployment, &host).await;
        assert!(reason.contains("the proof is wrong"), "{reason}");
    }
}

#[tokio::test]
async fn p12_a_machine_of_another_order_is_refused() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.bootstrap = deployment
        .agents
        .bootstrap(&OrderId::new("order-2"), Attempt(1));
    let host = host.start().await;
    let reason = refused(&deployment, &host).await;
    assert!(reason.contains("of order order-2 attempt 1"), "{reason}");
}

#[tokio::test]
async fn p12_an_agent_that_knows_itself_is_not_taken_for_another() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let machine = Machine {
        id: MachineId::new("m-2"),
        ..host.machine()
    };
    let error = deployment.open(machine).await.expect_err("no enrolment");
    assert!(error.to_string().contains("this is machine m-1"), "{error}");
    assert_eq!(host.identity().standing(), Standing::Alone);
}

#[tokio::test]
async fn p12_a_machine_whose_id_makes_no_name_is_refused_with_a_reason() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.id = MachineId::new("x".repeat(64));
    let host = host.start().await;
    let error = deployment.open(host.machine()).await.expect_err("no name");
    assert!(
        error
            .to_string()
            .contains("can't be the name of a certificate"),
        "{error}"
    );
}

/// Stands between runner and agent with a stolen runner's certificate, so that
/// the agent talks to it, and a key of its own.
struct Relay(EnrolmentClient<Raw>);

#[tonic::async_trait]
impl Enrolment for Relay {
    async fn begin(
        &self,
        request: Request<BeginRequest>,
    ) -> Result<Response<BeginResponse>, Status> {
        self.0.clone().begin(request.into_inner()).await
    }

    async fn finish(
        &self,
        request: Request<FinishRequest>,
    ) -> Result<Response<FinishResponse>, Status> {
        self.0.clone().finish(request.into_inner()).await
    }
}

/// Serves `service` to the runner's first connection, by its own certificate.
/// The service is made of what keying material that connection gives.
async fn pose<S: Enrolment>(impostor: Impostor, service: impl FnOnce([u8; EXPORTER_LEN]) -> S) {
    let (tcp, _) = impostor.listener.accept().await.expect("the runner");
    let stream = impostor.acceptor.accept(tcp).await.expect("a handshake");
    let context = exporter_context(&order(), Attempt(1), &MachineId::new("m-1"));
    let exporter = [0; EXPORTER_LEN];
    let exported =
        stream
            .get_ref()
            .1
            .export_keying_material(exporter, EXPORTER_LABEL, Some(&context));
    let service = EnrolmentServer::new(service(exported.expect("keying material")));
    let http = http2::Builder::new(TokioExecutor::new());
    let service = TowerToHyperService::new(service);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test]
async fn p12_somebody_in_the_middle_who_relays_is_refused() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let impostor = Impostor::new().await;
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    let relay = Relay(enrolment(host.address(), &pair, &mut tasks).await);
    let machine = Machine {
        address: Some(impostor.address),
        ..host.machine()
    };
    tasks.spawn(pose(impostor, |_| relay));
    let error = deployment.open(machine).await.expect_err("no enrolment");
    assert!(error.to_string().contains("somebody relays"), "{error}");
    assert_eq!(deployment.pins.key(&host.id), None, "nothing is pinned");
    assert_eq!(
        host.identity().standing(),
        Standing::Alone,
        "no certificate is given"
    );
}

/// Has the order's secret, and asks for a certificate by a request of its choice.
struct Insider {
    csr_der: Vec<u8>,
    proof: Vec<u8>,
    finished: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Enrolment for Insider {
    async fn begin(&self, _: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let (csr_der, proof) = (self.csr_der.clone(), self.proof.clone());
        Ok(Response::new(BeginResponse {
            csr_der,
            proof,
            identity_document: Vec::new(),
        }))
    }

    async fn finish(&self, _: Request<FinishRequest>) -> Result<Response<FinishResponse>, Status> {
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(FinishResponse {}))
    }
}

#[tokio::test]
async fn p12_no_certificate_is_given_for_a_key_that_the_agent_does_not_show() {
    let request = |key: &KeyPair| {
        let request = CertificateParams::default().serialize_request(key);
        request.expect("a request").der().to_vec()
    };
    let (one, two) = (
        KeyPair::generate().expect("a key"),
        KeyPair::generate().expect("a key"),
    );
    let mut forged = request(&one);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for (csr_der, why) in [
        (request(&two), "another key than the one it uses"),
        (forged, "its signature is wrong"),
        (b"request".to_vec(), "it can't be read"),
    ] {
        let deployment = Deployment::new();
        let impostor = Impostor::new().await;
        let host = deployment.host("m-1");
        let machine = Machine {
            address: Some(impostor.address),
            ..host.machine()
        };
        let finished = Arc::new(AtomicUsize::new(0));
        let (secret, counted) = (host.bootstrap.secret.clone(), Arc::clone(&finished));
        let insider = move |exporter| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
            let proof = hmac::sign(&key, &proof_message(&exporter, &csr_der))
                .as_ref()
                .to_vec();
            Insider {
                csr_der,
                proof,
                finished: counted,
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(pose(impostor, insider));
        let error = deployment.open(machine).await.expect_err("no enrolment");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(deployment.pins.key(&host.id), None, "nothing is pinned");
        assert_eq!(
            finished.load(Ordering::Relaxed),
            0,
            "no certificate is given"
        );
    }
}

#[tokio::test]
async fn p12_another_key_for_an_enrolled_machine_is_refused() {
    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let key = deployment.pins.key(&host.id);
    host.stop().await;
    // The same order and secret, even the same address: but another key.
    let mut second = deployment.host("m-1");
    second.address = host.address;
    let second = second.start().await;

    let error = deployment
        .open(second.machine())
        .await
        .expect_err("this runner knows it");
    assert!(error.to_string().contains("key is not the one"), "{error}");

    let restarted = deployment.restarted();
    let from_journal = Machine {
        key,
        ..second.machine()
    };
    let opened = soon(
        "an answer",
        restarted.open(&from_journal, Term(2), &deployment.pins),
    )
    .await;
    let error = opened.expect_err("its journal knows it");
    assert!(error.to_string().contains("key is not the one"), "{error}");

    let opened = soon(
        "an answer",
        restarted.open(&second.machine(), Term(2), &deployment.pins),
    )
    .await;
    let error = opened.expect_err("the book of keys knows it");
    assert!(
        error.to_string().contains("has another key already"),
        "{error}"
    );
    assert_eq!(
        second.identity().standing(),
        Standing::Alone,
        "no certificate is given"
    );
    restarted.shutdown().await;
}

#[tokio::test]
async fn p12_another_key_is_refused_even_with_a_certificate_of_the_ca() {
    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    host.stop().await;
    let mut second = deployment.host("m-1");
    second.address = host.address;
    let second = second.start().await;
    let key = key_of_csr(&second.identity().csr_der().expect("a request"));
    let (name, end) = (
        machine_name(&second.id),
        SystemTime::now() + Duration::from_hours(1),
    );
    let certificate = deployment.ca().machine(&name, &key, end);
    second
        .identity()
        .install(&certificate, &name)
        .expect("a certificate");
    let error = deployment
        .open(second.machine())
        .await
        .expect_err("its key was pinned");
    assert!(error.to_string().contains("key is not the one"), "{error}");
    assert_eq!(
        second.stub.book(|book| book.opens),
        0,
        "nothing was asked of it"
    );
}

#[tokio::test]
async fn p12_an_agent_that_changes_its_key_between_two_connections_is_refused() {
    let deployment = Deployment::new();
    let (first, second) = (Impostor::new().await, Impostor::new().await);
    let key = hash(&first.key);
    let host = deployment.host("m-1");
    let machine = Machine {
        address: Some(first.address),
        key: Some(key),
        ..host.machine()
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // The pinned key, but no certificate: so the runner enrols it anew.
        let (tcp, _) = first.listener.accept().await.expect("the runner");
        assert!(first.acceptor.accept(tcp).await.is_err(), "not enrolled");
        let (listener, address) = (first.listener, first.address);
        let second = Impostor {
            listener,
            address,
            ..second
        };
        let (csr_der, proof, finished) = (Vec::new(), Vec::new(), Arc::default());
        pose(second, |_| Insider {
            csr_der,
            proof,
            finished,
        })
        .await;
    });
    let error = deployment.open(machine).await.expect_err("no enrolment");
    assert!(error.to_string().contains("key is not the one"), "{error}");
    assert_eq!(deployment.pins.key(&host.id), None, "nothing is pinned");
}

#[tokio::test]
async fn p9_enrolment_may_be_repeated_by_the_same_key_until_a_runner_has_come_back() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    let mut keys = Vec::new();
    for _ in 0..2 {
        // A runner whose every answer is lost after the last step.
        let mut client = enrolment(host.address(), &pair, &mut tasks).await;
        for _ in 0..2 {
            let answer = client
                .begin(begin(&host))
                .await
                .expect("begun")
                .into_inner();
            let key = key_of_csr(&answer.csr_der);
            let name = machine_name(&host.id);
            let end = SystemTime::now() + Duration::from_hours(1);
            let certificate_der = deployment.ca().machine(&name, &key, end);
            client
                .finish(FinishRequest { certificate_der })
                .await
                .expect("finished");
            keys.push(key);
        }
    }
    assert!(
        keys.iter().all(|key| *key == keys[0]),
        "always the same key"
    );
    assert_eq!(host.identity().standing(), Standing::Certified);
    assert_eq!(host.enrolled.load(Ordering::Relaxed), 0);
    deployment.open(host.machine()).await.expect("enrolment");
    assert_eq!(host.identity().standing(), Standing::Enrolled);
    assert_eq!(host.enrolled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn p12_enrolment_is_over_once_a_runner_has_come_back() {
    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    for _ in 0..2 {
        let mut client = enrolment(host.address(), &pair, &mut tasks).await;
        let status = client.begin(begin(&host)).await.expect_err("it is over");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason_of(&status), "ENROLLED");
        // Also after the agent has restarted with all that it was born with.
        host.stop().await;
        host.boot().await;
    }
}

#[tokio::test]
async fn p12_enrolment_that_ran_into_the_end_of_it_is_refused_too() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    let mut early = enrolment(host.address(), &pair, &mut tasks).await;
    let answer = early.begin(begin(&host)).await.expect("begun").into_inner();
    deployment.open(host.machine()).await.expect("enrolment");
    let end = SystemTime::now() + Duration::from_hours(1);
    let key = key_of_csr(&answer.csr_der);
    let certificate_der = deployment.ca().machine(&machine_name(&host.id), &key, end);
    let status = early
        .finish(FinishRequest { certificate_der })
        .await
        .expect_err("too late");
    assert_eq!(reason_of(&status), "ENROLLED");
}

#[tokio::test]
async fn p13_a_certificate_that_is_not_the_agents_is_refused_and_changes_nothing() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    let mut client = enrolment(host.address(), &pair, &mut tasks).await;
    let too_soon = client
        .finish(FinishRequest {
            certificate_der: vec![],
        })
        .await;
    assert_eq!(
        too_soon.expect_err("not begun").code(),
        Code::FailedPrecondition
    );

    let answer = client
        .begin(begin(&host))
        .await
        .expect("begun")
        .into_inner();
    let key = key_of_csr(&answer.csr_der);
    let foreign =
        rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().expect("a key"));
    let (ca, name) = (deployment.ca(), machine_name(&host.id));
    let end = SystemTime::now() + Duration::from_hours(1);
    let bad = [
        ("no certificate", b"certificate".to_vec()),
        ("empty", Vec::new()),
        ("another key", ca.machine(&name, &foreign, end)),
        (
            "another machine",
            ca.machine("m-2.machine.vmpool", &key, end),
        ),
        ("another CA", Ca::another().machine(&name, &key, end)),
        ("no server's", {
            // The runner's own: for clients, and for another key.
            runner(&deployment).certificate.to_vec()
        }),
    ];
    for (what, certificate_der) in bad {
        let status = client
            .finish(FinishRequest { certificate_der })
            .await
            .expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}");
        let field = status.metadata().get("vmpool-field").expect("a field");
        assert_eq!(field, "certificate_der", "{what}");
    }
    assert_eq!(host.identity().standing(), Standing::Alone);
    deployment
        .open(host.machine())
        .await
        .expect("and the right one is still taken");
}

#[tokio::test]
async fn p13_a_machine_id_that_can_not_be_is_refused() {
    let deployment = Deployment::new();
    let mut host = deployment.host("m-1");
    host.knows_its_id = false;
    let host = host.start().await;
    let (pair, mut tasks) = (runner(&deployment), JoinSet::new());
    let mut client = enrolment(host.address(), &pair, &mut tasks).await;
    for machine_id in [String::new(), "x".repeat(257), "a\nb".to_owned()] {
        let status = client
            .begin(BeginRequest {
                machine_id,
                ..begin(&host)
            })
            .await;
        assert_eq!(status.expect_err("no id").code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn p5_no_certificate_is_given_before_its_key_is_written_down() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.pins.failures.store(3, Ordering::Relaxed);
    let pins = &deployment.pins;
    let watched = async {
        until("the last failure", || {
            pins.failures.load(Ordering::Relaxed) == 0
        })
        .await;
    };
    // A disk that is full for a while is no reason to give the machine up.
    let (opened, ()) = tokio::join!(deployment.open(host.machine()), watched);
    opened.expect("enrolment");
    assert!(pins.key(&host.id).is_some());
}

#[tokio::test]
async fn p4_an_agent_that_restarts_is_the_same_agent() {
    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let files = ["key.pem", "certificate.pem"].map(|name| host.files().join(name));
    let read = || {
        files
            .each_ref()
            .map(|path| std::fs::read(path).expect("the file"))
    };
    let before = read();
    host.stop().await;
    host.boot().await;
    assert_eq!(
        host.enrolled.load(Ordering::Relaxed),
        2,
        "told again, in its new life"
    );
    deployment.open(host.machine()).await.expect("it is known");
    assert_eq!(before, read());
}

#[tokio::test]
async fn p4_a_runner_that_restarts_finds_its_machines_by_the_pinned_key() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
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
    assert_eq!(opened.expect("it is known").term, Some(Term(2)));
    restarted.shutdown().await;
}

#[tokio::test]
async fn p1_a_runner_with_an_empty_journal_adopts_an_enrolled_machine_by_its_certificate() {
    let deployment = Deployment::new();
    let host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let restarted = deployment.restarted();
    let empty = crate::machine::Pins::default();
    soon(
        "an answer",
        restarted.open(&host.machine(), Term(2), &empty),
    )
    .await
    .expect("adopted");
    assert_eq!(
        empty.key(&host.id),
        deployment.pins.key(&host.id),
        "and pins its key anew"
    );
    // But not under another machine's name.
    let other = Machine {
        id: MachineId::new("m-2"),
        ..host.machine()
    };
    let opened = tokio::time::timeout(
        Duration::from_secs(1),
        restarted.open(&other, Term(2), &empty),
    )
    .await;
    assert!(!matches!(opened, Ok(Ok(_))), "its certificate says m-1");
    assert_eq!(empty.key(&other.id), None);
    restarted.shutdown().await;
}

#[tokio::test]
async fn p12_a_self_signed_certificate_is_refused_on_h2() {
    let deployment = Deployment::new();
    let impostor = Impostor::new().await;
    let key = hash(&impostor.key);
    let machine = Machine {
        address: Some(impostor.address),
        key: Some(key),
        ..deployment.host("m-1").machine()
    };
    // It holds the pinned key and speaks h2; all it lacks is the certificate.
    let acceptor = Arc::new(impostor.acceptor);
    let listener = impostor.listener;
    let serve = async {
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let stream = match acceptor.accept(tcp).await {
                Ok(stream) => stream,
                Err(error) => return error.to_string(),
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut stream = stream;
                let mut byte = [0];
                return match tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await {
                    Ok(0) => "closed".to_owned(),
                    Ok(_) => "spoken to".to_owned(),
                    Err(error) => error.to_string(),
                };
            }
        }
    };
    let seen = tokio::select! {
        seen = soon("the runner", serve) => seen,
        opened = deployment.agents.open(&machine, Term(1), &deployment.pins) => panic!("{opened:?}"),
    };
    assert!(seen.contains("alert") || seen == "closed", "{seen}");
    assert!(
        !deployment
            .agents
            .health(&machine.id)
            .borrow()
            .is_answering()
    );
}

fn key_of_csr(der: &[u8]) -> Vec<u8> {
    use x509_parser::prelude::FromDer;
    let parsed = x509_parser::certification_request::X509CertificationRequest::from_der(der);
    let (_, request) = parsed.expect("a request");
    request.certification_request_info.subject_pki.raw.to_vec()
}

fn hash(key: &[u8]) -> KeyHash {
    let digest = digest::digest(&digest::SHA256, key);
    KeyHash(digest.as_ref().try_into().expect("32 bytes"))
}
