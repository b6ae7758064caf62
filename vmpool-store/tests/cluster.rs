//! The PostgreSQL server for tests: it keeps what it promised over a kill, and
//! outlives no test.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use vmpool_store::testkit::Cluster;

type Tested = Result<(), Box<dyn std::error::Error>>;

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with its client.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's connection ends with it"
    )]
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn a_killed_server_has_what_it_promised_when_it_is_started_again() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("kept");
    let client = connect(&url).await?;
    client
        .batch_execute("CREATE TABLE numbers (number int); INSERT INTO numbers VALUES (7)")
        .await?;
    cluster.kill();
    assert!(connect(&url).await.is_err(), "a killed server answers");
    assert!(client.query("SELECT 1", &[]).await.is_err());
    cluster.restart();
    let row = connect(&url)
        .await?
        .query_one("SELECT number FROM numbers", &[])
        .await?;
    assert_eq!(row.get::<_, i32>(0), 7);
    Ok(())
}

/// The process that is killed.
#[test]
#[ignore = "started by the test below"]
fn start_a_server_and_wait() {
    let cluster = Cluster::start();
    println!("started {}", cluster.url());
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_server_ends_though_its_test_was_killed() -> Tested {
    let mut test = Command::new(std::env::current_exe()?)
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "start_a_server_and_wait",
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(test.stdout.take().ok_or("it has no output")?).lines();
    let url = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("started ")?.1.to_owned()))
        .ok_or("no server was started")?;
    let port: u16 = url
        .rsplit_once(':')
        .and_then(|(_, end)| end.split_once('/')?.0.parse().ok())
        .ok_or("a URL has a port")?;
    let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(answers());
    test.kill()?;
    test.wait()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while answers() {
        assert!(Instant::now() < deadline, "the server outlives its test");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
