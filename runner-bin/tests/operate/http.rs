//! Requests with headers, of which the answer's headers matter, too.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// Gets `path` of whoever listens on that port, to its end.
pub(crate) async fn get(port: u16, path: &str, headers: &[(&str, &str)]) -> Got {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = TokioIo::new(stream.expect("a connection"));
    let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP");
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let mut request = hyper::Request::get(path).header("host", "vmpool");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("its body").to_bytes();
    let text = |value: &hyper::header::HeaderValue| value.to_str().expect("text").to_owned();
    Got {
        status: head.status.as_u16(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}
