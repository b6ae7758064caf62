//! AWS's protocols at the edge: which service a request is for, who signed it,
//! and how answers and refusals are written.
//!
//! Signatures are not checked: what counts of one is the access key and the
//! region in its credential scope.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{Control, Lost};
use crate::cloud::{Call, Delivery, Reply};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The largest request; AWS's own limit is of that size.
const LARGEST: usize = 1024 * 1024;

/// One request.
///
/// # Errors
/// [`Lost`]: the connection is to break.
pub(super) async fn answer(control: &Control, request: Request) -> Result<Response, Lost> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else {
        let error = ApiError::new("RequestEntityTooLarge", "The request is too large");
        return Ok(ec2_error(&error, "0"));
    };
    // A query may also be sent by GET.
    let form = if body.is_empty() {
        Bytes::from(head.uri.query().unwrap_or_default().to_owned())
    } else {
        body
    };
    let Some((access_key, region, service)) = signed_by(&head.headers) else {
        let error = ApiError::new(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        );
        return Ok(ec2_error(&error, "0"));
    };
    let mut call = Call {
        access_key,
        region,
        params: Params::default(),
    };
    if let Some(target) = head.headers.get("x-amz-target") {
        let target = target.to_str().unwrap_or_default();
        let body: Value = serde_json::from_slice(&form).unwrap_or_default();
        let reply = control.with(|cloud, now| cloud.apply_json(now, &call, target, &body));
        return deliver(reply, |result, _| json(result)).await;
    }
    match Params::parse(&form) {
        Ok(params) => call.params = params,
        Err(error) => return Ok(ec2_error(&error, "0")),
    }
    if service == "sts" {
        let reply = control.with(|cloud, now| cloud.apply_sts(now, &call));
        return deliver(reply, sts).await;
    }
    let reply = control.with(|cloud, now| cloud.apply(now, &call));
    deliver(reply, |result, request_id| match result {
        Ok(answer) => xml(StatusCode::OK, &answer, Some(EC2)),
        Err(error) => ec2_error(&error, request_id),
    })
    .await
}

/// Access key, region and service of a request's credential scope.
fn signed_by(headers: &HeaderMap) -> Option<(String, String, String)> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, scope) = authorization.split_once("Credential=")?;
    let scope = scope.split([',', ' ']).next()?;
    let mut parts = scope.split('/');
    let (key, _date) = (parts.next()?, parts.next()?);
    let (region, service) = (parts.next()?, parts.next()?);
    Some((key.to_owned(), region.to_owned(), service.to_owned()))
}

async fn deliver<T>(
    reply: Reply<T>,
    write: impl FnOnce(Result<T, ApiError>, &str) -> Response,
) -> Result<Response, Lost> {
    match reply.delivery {
        Delivery::Lost => return Err(Lost),
        Delivery::Late(by_ms) => tokio::time::sleep(Duration::from_millis(by_ms)).await,
        Delivery::Answered => {}
    }
    Ok(write(reply.result, &reply.request_id))
}

fn sts(result: Result<Element, ApiError>, request_id: &str) -> Response {
    match result {
        Ok(answer) => {
            let metadata = Element::new("ResponseMetadata").with("RequestId", request_id);
            xml(StatusCode::OK, &answer.child(metadata), Some(STS))
        }
        Err(error) => {
            let answer = Element::new("ErrorResponse")
                .child(
                    Element::new("Error")
                        .with("Type", "Sender")
                        .with("Code", &error.code)
                        .with("Message", &error.message),
                )
                .with("RequestId", request_id);
            xml(status(&error), &answer, Some(STS))
        }
    }
}

fn ec2_error(error: &ApiError, request_id: &str) -> Response {
    let answer = Element::new("Response")
        .child(
            Element::new("Errors").child(
                Element::new("Error")
                    .with("Code", &error.code)
                    .with("Message", &error.message),
            ),
        )
        .with("RequestID", request_id);
    xml(status(error), &answer, None)
}

fn json(result: Result<Value, ApiError>) -> Response {
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(error) => (
            status(&error),
            serde_json::json!({ "__type": error.code, "message": error.message }),
        ),
    };
    respond(
        status,
        "application/x-amz-json-1.1",
        body.to_string().into(),
    )
}

fn xml(status: StatusCode, answer: &Element, namespace: Option<&str>) -> Response {
    match answer.document(namespace) {
        Ok(text) => respond(status, "text/xml;charset=UTF-8", text.into()),
        Err(error) => {
            tracing::error!(%error, "write an answer");
            respond(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                Body::empty(),
            )
        }
    }
}

fn status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST)
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
