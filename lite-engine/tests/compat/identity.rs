//! Tokens of workload identities.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Agent, content, setup0, step_with};

/// A service that gives tokens, for `times` questions, and what it was asked.
fn service(times: usize) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/token",
        listener.local_addr().expect("an address")
    );
    let serving = std::thread::spawn(move || {
        let one = |_| {
            let (mut stream, _) = listener.accept().expect("a question");
            let mut question = String::new();
            let mut buffer = [0; 4096];
            while !question.ends_with('}') {
                let count = stream.read(&mut buffer).expect("bytes");
                assert!(count > 0, "it breaks off");
                question.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            let body = r#"{"token":"the-token","expires_in":600}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream
                .write_all((head + body).as_bytes())
                .expect("answered");
            question
        };
        (0..times).map(one).collect()
    });
    (url, serving)
}

#[tokio::test]
async fn c64_w41_a_step_gets_tokens_for_its_own_audience_while_it_runs() {
    let agent = Agent::start();
    let caller = agent.caller();
    let (url, served) = service(2);
    caller.done("/setup", &setup0()).await;
    let (told, answered) = (agent.path("told"), agent.path("answered"));
    let gate = agent.path("gate");
    let socket = agent.path("wi/wi.sock");
    let ask = format!(
        "python3 - <<'PY' > {0}.new && mv {0}.new {0}\n{1}\nPY\n",
        answered.display(),
        r#"import http.client, json, os, socket
path = os.environ["HARNESS_WI_MINT_URL"].removeprefix("unix://")
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(path)
body = json.dumps({"handle": os.environ["HARNESS_WI_HANDLE"], "name": "id"})
connection.request("POST", "/mint_workload_token", body)
print(connection.getresponse().read().decode())"#
    );
    let script = format!(
        "echo $HARNESS_WI_HANDLE > {0}.new && mv {0}.new {0}; {ask}\nuntil [ -e {1} ]; do sleep 0.01; done",
        told.display(),
        gate.display()
    );
    let fields = json!({
        "wi_token_generate_url": url,
        "workload_identities": [{
            "name": "id", "workload_token": "w-token", "audience": "aud", "token_mode": "mode",
        }],
    });
    caller
        .done("/start_step", &step_with("a", &script, fields))
        .await;
    let handle = content(&told).await.trim().to_owned();
    assert_eq!(handle.len(), 32);
    assert!(handle.chars().all(|digit| digit.is_ascii_hexdigit()));
    let token: Value = serde_json::from_str(&content(&answered).await).expect("JSON");
    assert_eq!(token["oidc_token"], "the-token");
    assert!(token["expires_at_unix"].as_i64().expect("a time") > 1_700_000_000);
    // Steps may connect to the socket, and not put another in its place.
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(
        (mode(&socket), mode(socket.parent().expect("a folder"))),
        (0o666, 0o755)
    );

    let mint =
        |audience: &str| json!({"handle": handle, "name": "id", "audience_override": audience});
    caller.done("/mint_workload_token", &mint("aud")).await;
    let answer = caller.post("/mint_workload_token", &mint("another")).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let unknown = json!({"handle": handle, "name": "another"});
    assert_eq!(
        caller.post("/mint_workload_token", &unknown).await.status,
        404
    );
    std::fs::write(gate, "").expect("opened");
    caller.done("/poll_step", &json!({"id": "a"})).await;
    let answer = caller.post("/mint_workload_token", &mint("")).await;
    assert_eq!(answer.status, 404);

    for question in served.join().expect("served") {
        assert!(question.starts_with("POST /token "), "{question}");
        let header = "workload-token: w-token";
        assert!(question.to_ascii_lowercase().contains(header), "{question}");
        let body = question.split_once("\r\n\r\n").expect("a body").1;
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body, json!({"audience": "aud", "token_mode": "mode"}));
    }
}

#[tokio::test]
async fn c64_a_service_that_gives_no_token_is_a_failure() {
    let agent = Agent::start();
    let caller = agent.caller();
    let told = agent.path("told");
    let script = format!("echo $HARNESS_WI_HANDLE > {}; sleep 300", told.display());
    let fields = json!({
        "wi_token_generate_url": "http://127.0.0.1:1/",
        "workload_identities": [{"name": "id", "workload_token": "w", "audience": "aud"}],
    });
    caller
        .done("/start_step", &step_with("a", &script, fields))
        .await;
    let handle = content(&told).await.trim().to_owned();
    let answer = caller
        .post("/mint_workload_token", &json!({"handle": handle}))
        .await;
    assert_eq!(answer.status, 500);
    assert_eq!(
        answer.json(),
        json!({"error": "failed to mint workload identity token"})
    );
    caller.done("/destroy", &json!({})).await;
}
