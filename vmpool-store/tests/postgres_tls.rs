//! The journal in PostgreSQL over TLS: the server must show a certificate that
//! is good for its name, or nothing is said to it.
//!
//! Whose certificates are trusted is read from the environment, so each case
//! is this program again.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::task::JoinSet;
use vmpool_core::clock::Timestamp;
use vmpool_core::{Journal, PoolName};
use vmpool_store::PostgresJournal;
use vmpool_store::testkit::Cluster;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// Gives the server a certificate for `localhost` by a CA of its own, whose
/// certificate is written to `root`.
async fn serve_tls(cluster: &Cluster, root: &Path) -> Tested {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(root, ca.self_signed(&ca_key)?.pem())?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key))?;
    let (client, connection) =
        tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let row = client.query_one("SHOW data_directory", &[]).await?;
    let data: &str = row.get(0);
    // Files of the server's own user, that nobody else can read.
    for (name, pem) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let lines = pem.trim().replace('\n', "'), ('");
        let file = format!("umask 077; cat > {data}/{name}");
        let copy = format!("COPY (VALUES ('{lines}')) TO PROGRAM '{file}'");
        client.batch_execute(&copy).await?;
    }
    client.batch_execute("ALTER SYSTEM SET ssl = on").await?;
    client.batch_execute("SELECT pg_reload_conf()").await?;
    Ok(())
}

#[tokio::test]
#[ignore = "played by the test below"]
async fn connect() -> Tested {
    let url = std::env::var("VMPOOL_TEST_URL")?;
    match PostgresJournal::connect(&url).await {
        Ok(journal) => {
            journal
                .raise_term(&PoolName::new("pool"), Timestamp(1))
                .await?;
            println!("connected");
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            let sources = std::iter::successors(Some(error), |error| error.source());
            let told: Vec<_> = sources.map(ToString::to_string).collect();
            println!("refused: {}", told.join(": "));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_p12_tls_is_verified_where_it_is_asked_for() -> Tested {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root.pem");
    // A server without TLS first: nothing is sent in the clear instead.
    let says = |url: &str, trusted: &Path| -> Result<String, Box<dyn std::error::Error>> {
        let output = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "--nocapture", "connect"])
            .env("VMPOOL_TEST_URL", url)
            .env("SSL_CERT_FILE", trusted)
            .output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let by_name = cluster.url().replace("127.0.0.1", "localhost");
    let tls = format!("{by_name}?sslmode=require");
    std::fs::write(&root, some_root()?)?;
    let said = says(&tls, &root)?;
    assert!(said.contains("refused") && said.contains("TLS"), "{said}");

    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, some_root()?)?;
    serve_tls(&cluster, &root).await?;
    // The server takes its new settings when it gets to it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let said = says(&tls, &root)?;
        if said.contains("connected") {
            break;
        }
        let log = cluster.log();
        assert!(std::time::Instant::now() < deadline, "{said}{log}");
    }
    let said = says(&tls.replace("require", "verify-full"), &root)?;
    assert!(said.contains("connected"), "{said}");
    let said = says(&tls, &stranger)?;
    assert!(
        said.contains("refused") && said.contains("certificate"),
        "{said}"
    );
    let by_address = format!("{}?sslmode=require", cluster.url());
    let said = says(&by_address, &root)?;
    assert!(
        said.contains("refused") && said.contains("certificate"),
        "{said}"
    );
    Ok(())
}

/// A CA that signed nothing.
fn some_root() -> Result<String, rcgen::Error> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(ca.self_signed(&KeyPair::generate()?)?.pem())
}
