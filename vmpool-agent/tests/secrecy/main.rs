//! P11: no secret shows in logs or in `Debug` output, whatever is logged.
//!
//! A program of its own, whose one test hears everything that it logs: among
//! other tests, who asks first whether anybody listens decides it for all.

#[path = "../agents/certificates.rs"]
#[expect(dead_code, reason = "of what it gives to other tests")]
mod certificates;
#[path = "../agents/machine.rs"]
#[expect(dead_code, reason = "of what it gives to other tests")]
mod machine;
#[path = "../agents/stub.rs"]
#[expect(dead_code, reason = "of what it gives to other tests")]
mod stub;

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use vmpool_agent::AgentExecutor;
use vmpool_core::{
    LogSink, LogSinkError, Secret, StageFile, StageSetup, Step, StepExecutor, StepId,
};

use crate::machine::{Deployment, until};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

struct Nowhere;

#[async_trait::async_trait]
impl LogSink for Nowhere {
    fn position(&self, _step: &StepId) -> u64 {
        0
    }

    async fn write(&mut self, _: &StepId, offset: u64, bytes: &[u8]) -> Result<u64, LogSinkError> {
        Ok(offset + bytes.len() as u64)
    }
}

/// How bytes may show in text.
fn spellings(secret: &[u8]) -> Vec<String> {
    use std::fmt::Write as _;
    let hex = secret.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    });
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    // The middle of the PEM body, which is base64.
    let base64 = pem::encode(&pem::Pem::new("X", secret));
    let base64 = base64
        .lines()
        .nth(1)
        .expect("a body")
        .trim_end_matches('=')
        .to_owned();
    let mut spellings = vec![hex.clone(), hex.to_uppercase(), list.join(", "), base64];
    spellings.extend(std::str::from_utf8(secret).map(str::to_owned));
    spellings
}

#[tokio::test]
async fn p11_not_even_the_fullest_log_shows_a_secret() {
    let captured = Captured::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(captured.clone())
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");

    let deployment = Deployment::new();
    let mut host = deployment.machine("m-1").await;
    deployment.open(host.machine()).await.expect("enrolment");
    let executor = AgentExecutor::new(deployment.agents.clone());
    let hush = "hush-hush-0123456789";
    let setup = StageSetup {
        files: vec![StageFile {
            path: "f".into(),
            mode: 0o600,
            content: Secret::new(hush),
        }],
        secrets: vec![Secret::new(hush)],
        ..StageSetup::default()
    };
    executor
        .prepare(&host.lease(), &setup)
        .await
        .expect("prepared");
    let mut step = Step::shell("s", "true");
    step.secret_env
        .insert("TOKEN".to_owned(), Secret::new(hush));
    let lease = host.lease();
    let script = async {
        until("the step", || host.stub.has("s")).await;
        host.stub.exit("s", 0);
    };
    let mut sink = Nowhere;
    let (ran, ()) = tokio::join!(executor.run(&lease, &step, &mut sink), script);
    ran.expect("an outcome");
    host.stop().await;

    let secret = deployment.bootstrap().secret;
    let text = std::fs::read(deployment.trust.path().join("trust.pem")).expect("the file");
    let sections = pem::parse_many(text).expect("PEM");
    let section = |tag: &str| {
        let section = sections.iter().find(|section| section.tag() == tag);
        section.expect("the section").contents().to_vec()
    };
    let mut seen = String::from_utf8_lossy(&captured.0.lock().expect("no panic")).into_owned();
    assert!(seen.contains("m-1"), "something was logged: {seen}");
    seen += &[
        format!("{:?} {:?}", deployment.authority, deployment.agents),
        format!("{:?} {:?}", deployment.bootstrap(), host.bootstrap),
        format!("{executor:?} {setup:?} {step:?}"),
    ]
    .concat();
    let ca_key = section("PRIVATE KEY");
    let agent_key = std::fs::read(host.files().join("key.pem")).expect("the key");
    let agent_key = pem::parse(agent_key).expect("PEM").into_contents();
    for (what, bytes) in [
        ("the enrolment secret", secret.expose()),
        ("the enrolment key", &section("VMPOOL ENROLMENT KEY")),
        ("the CA's key", &ca_key[36..68]),
        ("the agent's key", &agent_key[36..68]),
        ("a build's secret", hush.as_bytes()),
    ] {
        for spelling in spellings(bytes) {
            assert!(!seen.contains(&spelling), "{what} shows as {spelling}");
        }
    }
}
