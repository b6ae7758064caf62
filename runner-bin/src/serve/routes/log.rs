//! A step's log: as server-sent events while it grows, or as plain text.
//!
//! A part is read when the one before it was sent: each reader costs one part
//! of memory, and a slow one costs nobody else anything. Each event's id is the
//! offset behind it, so that a browser that connects again goes on there.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use http::header::{ACCEPT, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_range_header::parse_range_header;
use serde::{Deserialize, Serialize};
use tonic::Status;
use utoipa::{IntoParams, ToSchema};
use vmpool_proto::v1;
use vmpool_proto::v1::LogPart;
use vmpool_proto::v1::runner_server::Runner as _;

use super::Refused;
use super::pools::by;
use crate::serve::access::Caller;
use crate::serve::grpc::Service;
use crate::serve::operate::Parts;

/// A comment is sent so often while nothing is printed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest rest of a character whose beginning is in a part.
const LONGEST_REST: usize = 3;

/// From where, and how long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Bytes from the log's start. `Last-Event-ID` goes before it.
    offset: Option<u64>,
    /// Go on until the step has ended: true for events where nothing is said, else false.
    follow: Option<bool>,
}

/// A part of the log, in an event `log`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Printed {
    /// Bytes from the log's start.
    offset: u64,
    /// What is no UTF-8 in it is replaced.
    text: String,
}

/// The last event, `end`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct End {
    /// Where the log ends.
    offset: u64,
    /// The step has ended; else it was not asked to follow.
    over: bool,
}

/// A step's log, as server-sent events (`Accept: text/event-stream`) or as plain text.
///
/// Events are `log` ([`Printed`]), at last `end` ([`End`]), or `error` where another runner is to be
/// asked: connect again with the last event's id. Plain text honours one `Range`.
#[utoipa::path(get, path = "/stages/{stage}/steps/{step}/log", tag = "stages",
    params(
        ("stage" = String, Path, description = "the stage's id"),
        ("step" = String, Path, description = "the step's id"),
        ("Last-Event-ID" = Option<u64>, Header, description = "where the last event ended"),
        ("Range" = Option<String>, Header, description = "bytes of the log, one range"),
        From,
    ),
    responses(
        (status = 200, content((String = "text/plain"), (Printed = "text/event-stream"))),
        (status = 206, description = "a part of it", body = String, content_type = "text/plain"),
        (status = 404, description = "there is no such step", body = super::refused::Failure),
        (status = 416, description = "the log is not so long", body = super::refused::Failure),
        (status = 503, description = "ask again", body = super::refused::Failure),
    ))]
pub(super) async fn log(
    State(service): State<Service>,
    Path((stage_id, step_id)): Path<(String, String)>,
    Query(from): Query<From>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refused> {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let events = accepts.is_some_and(|value| value.contains("text/event-stream"));
    let asked = Asked {
        service,
        caller,
        stage_id,
        step_id,
    };
    if events {
        let offset = last_event(&headers)?.or(from.offset).unwrap_or(0);
        let parts = asked.parts(offset, from.follow.unwrap_or(true)).await?;
        let events = as_events(parts);
        let beats = KeepAlive::new().interval(HEARTBEAT);
        return Ok(Sse::new(events).keep_alive(beats).into_response());
    }
    let follow = from.follow.unwrap_or(false);
    if follow || from.offset.is_some() {
        let parts = asked.parts(from.offset.unwrap_or(0), follow).await?;
        let body = parts.map(|part| part.map(bytes_of));
        return Ok(plain(Body::from_stream(body)));
    }
    ranged(headers.get(RANGE), &asked).await
}

/// A log, and who asks for it.
struct Asked {
    service: Service,
    caller: Caller,
    stage_id: String,
    step_id: String,
}

impl Asked {
    async fn parts(&self, offset: u64, follow: bool) -> Result<Parts, Refused> {
        let request = v1::LogRequest {
            stage_id: self.stage_id.clone(),
            step_id: self.step_id.clone(),
            offset,
            follow,
        };
        let parts = self.service.log(by(self.caller.clone(), request)).await?;
        Ok(parts.into_inner())
    }
}

fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let id = headers.get(HeaderName::from_static("last-event-id"));
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let parsed = id.to_str().ok().and_then(|id| id.parse().ok());
    let wrong = || Refused::bad("Last-Event-ID: it is no number of bytes".to_owned());
    parsed.map(Some).ok_or_else(wrong)
}

fn bytes_of(part: LogPart) -> Bytes {
    part.data.into()
}

fn plain(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Whatever a step prints, no browser takes it for a page.
    let nosniff = HeaderName::from_static("x-content-type-options");
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    response
}

/// The log as it is now, or one range of it.
async fn ranged(range: Option<&HeaderValue>, asked: &Asked) -> Result<Response, Refused> {
    let mut parts = asked.parts(0, false).await?;
    let first = match parts.next().await {
        Some(first) => first?,
        None => LogPart::default(),
    };
    let length = first.log_bytes;
    let range = range
        .and_then(|range| range.to_str().ok())
        .and_then(|range| parse_range_header(range).ok());
    let wanted = match range.map(|range| range.validate(length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => ranges.into_iter().next(),
        // More than one may be answered with all of it.
        None | Some(Ok(_)) => None,
        Some(Err(_)) => {
            let mut response = plain(Body::empty());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(response);
        }
    };
    let (begin, end) = wanted
        .as_ref()
        .map_or((0, length), |range| (*range.start(), *range.end() + 1));
    let all: Parts = if begin == 0 {
        Box::pin(stream::once(future::ready(Ok(first))).chain(parts))
    } else {
        asked.parts(begin, false).await?
    };
    let mut response = plain(Body::from_stream(between(all, begin, end)));
    insert(&mut response, CONTENT_LENGTH, &(end - begin).to_string());
    if wanted.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = end.saturating_sub(1);
        insert(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {begin}-{last}/{length}"),
        );
    }
    Ok(response)
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The bytes from `begin` to `end` of a log that is read from there or before.
fn between(
    parts: impl Stream<Item = Result<LogPart, Status>>,
    begin: u64,
    end: u64,
) -> impl Stream<Item = Result<Bytes, Status>> {
    let reached = move |part: &Result<LogPart, Status>| {
        let goes_on = part.as_ref().map_or(true, |part| part.offset < end);
        future::ready(goes_on)
    };
    parts.take_while(reached).filter_map(move |part| {
        let part = part.map(|part| {
            let within = |at: u64| {
                let at = at.saturating_sub(part.offset);
                usize::try_from(at).map_or(part.data.len(), |at| at.min(part.data.len()))
            };
            let (from, to) = (within(begin), within(end));
            bytes_of(part).slice(from..to)
        });
        let empty = part.as_ref().is_ok_and(Bytes::is_empty);
        future::ready((!empty).then_some(part))
    })
}

/// An event a part. A character that two parts share is told with the second.
fn as_events(parts: Parts) -> impl Stream<Item = Result<Event, axum::Error>> {
    let begin = (parts, Vec::new(), false);
    stream::unfold(begin, async |(mut parts, mut kept, over)| {
        if over {
            return None;
        }
        loop {
            let event = match parts.next().await {
                None => return None,
                Some(Err(status)) => {
                    let told = Event::default()
                        .event("error")
                        .data(one_line(status.message()));
                    return Some((Ok(told), (parts, kept, true)));
                }
                Some(Ok(part)) if part.data.is_empty() => {
                    let end = End {
                        offset: part.offset,
                        over: part.over,
                    };
                    if !kept.is_empty() {
                        // It was no character after all: told first, and the end again.
                        let text = printed(part.offset - kept.len() as u64, &kept);
                        kept.clear();
                        let last = stream::once(future::ready(Ok(part)));
                        return Some((text, (Box::pin(last) as Parts, kept, false)));
                    }
                    let told = Event::default()
                        .event("end")
                        .id(end.offset.to_string())
                        .json_data(&end);
                    return Some((told, (parts, kept, true)));
                }
                Some(Ok(part)) => {
                    let offset = part.offset - kept.len() as u64;
                    kept.extend_from_slice(&part.data);
                    let whole = kept.len() - rest(&kept);
                    if whole == 0 {
                        continue;
                    }
                    let event = printed(offset, &kept[..whole]);
                    kept.drain(..whole);
                    event
                }
            };
            return Some((event, (parts, kept, false)));
        }
    })
}

fn printed(offset: u64, bytes: &[u8]) -> Result<Event, axum::Error> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    Event::default()
        .event("log")
        .id((offset + bytes.len() as u64).to_string())
        .json_data(&Printed { offset, text })
}

/// Bytes at the end that begin a character and do not end it.
fn rest(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(LONGEST_REST)..];
    for (at, chunk) in (0..tail.len()).map(|at| (at, &tail[at..])) {
        let unfinished = std::str::from_utf8(chunk)
            .err()
            .is_some_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
        if unfinished {
            return tail.len() - at;
        }
    }
    0
}

/// A line's end would be an event's.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(of: &[&[u8]]) -> Parts {
        let mut offset = 0;
        let mut all = Vec::new();
        for data in of.iter().chain([&&b""[..]]) {
            all.push(Ok(LogPart {
                offset,
                data: data.to_vec(),
                log_bytes: 0,
                over: data.is_empty(),
            }));
            offset += data.len() as u64;
        }
        Box::pin(stream::iter(all))
    }

    async fn told(of: &[&[u8]]) -> String {
        let response = Sse::new(as_events(parts(of))).into_response();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_say_where_they_end_and_break_no_character() {
        let euro = "€".as_bytes();
        let told = told(&[b"a", &euro[..1], &euro[1..], b"b\n"]).await;
        insta::assert_snapshot!(told, @r#"
        event: log
        id: 1
        data: {"offset":0,"text":"a"}

        event: log
        id: 4
        data: {"offset":1,"text":"€"}

        event: log
        id: 6
        data: {"offset":4,"text":"b\n"}

        event: end
        id: 6
        data: {"offset":6,"over":true}
        "#);
    }

    #[tokio::test]
    async fn p13_what_is_no_text_is_told_as_such_and_no_byte_is_kept_back_for_ever() {
        let told = told(&[b"\xff\xfe", b"\xe2\x82"]).await;
        let ids: Vec<_> = told
            .lines()
            .filter(|line| line.starts_with("id:"))
            .collect();
        assert_eq!(ids, ["id: 2", "id: 4", "id: 4"], "{told}");
    }

    #[tokio::test]
    async fn a_range_is_cut_out_of_the_parts() {
        for (begin, end, wanted) in [
            (0, 9, "abcdefghi"),
            (2, 4, "cd"),
            (3, 6, "def"),
            (8, 9, "i"),
        ] {
            let cut = between(parts(&[b"abc", b"def", b"ghi"]), begin, end);
            let cut: Vec<Bytes> = cut.map(Result::unwrap).collect().await;
            assert_eq!(cut.concat(), wanted.as_bytes(), "{begin} to {end}");
        }
    }
}
