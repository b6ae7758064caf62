//! The fake's own door, `/_fake/`: what [`Control`] can do, as JSON.
//!
//! For people with curl, and for tests that run the binary. Fields that are not
//! known are refused.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Control;
use crate::cloud::{DEFAULT_ACCOUNT, Limits};
use crate::faults::Rule;
use crate::policy::Policy;

pub(super) fn router(control: Control) -> Router {
    Router::new()
        .route("/_fake/state", get(state))
        .route("/_fake/calls", get(calls).delete(forget_calls))
        .route("/_fake/counts", get(counts))
        .route("/_fake/needs", get(needs))
        .route(
            "/_fake/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/_fake/limits", get(limits).put(set_limits))
        .route("/_fake/policy", put(set_policy))
        .route("/_fake/reclaim", post(reclaim))
        .route("/_fake/terminate", post(terminate))
        .route("/_fake/power-off", post(power_off))
        .route("/_fake/clock", get(clock).post(advance))
        .with_state(control)
}

async fn state(State(control): State<Control>) -> Json<Value> {
    Json(control.with(|cloud, now| {
        let instances: Vec<Value> = cloud
            .instances()
            .map(|(account, region, instance)| {
                json!({ "account": account, "region": region, "instance": instance })
            })
            .collect();
        json!({
            "now": now,
            "instances": instances,
            "volumes": cloud.volumes().collect::<Vec<_>>(),
            "interfaces": cloud.interfaces().collect::<Vec<_>>(),
            "spot_requests": cloud.spot_requests().collect::<Vec<_>>(),
            "launch_templates": cloud.templates(),
        })
    }))
}

async fn calls(State(control): State<Control>) -> Json<Value> {
    Json(control.with(|cloud, _| json!(cloud.record.calls().collect::<Vec<_>>())))
}

async fn forget_calls(State(control): State<Control>) -> StatusCode {
    control.with(|cloud, _| cloud.record.clear());
    StatusCode::NO_CONTENT
}

async fn counts(State(control): State<Control>) -> Json<Value> {
    Json(control.with(|cloud, _| {
        let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((action, outcome), count) in cloud.record.counts() {
            counts.entry(action).or_default().insert(outcome, *count);
        }
        json!(counts)
    }))
}

async fn needs(State(control): State<Control>) -> Json<Value> {
    Json(control.with(|cloud, _| json!(cloud.record.needs())))
}

async fn faults(State(control): State<Control>) -> Json<Value> {
    Json(control.with(|cloud, _| json!(cloud.faults.rules())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddFault {
    rule: Rule,
    /// It ends after so long, by the cloud's clock.
    #[serde(default)]
    for_ms: Option<u64>,
}

async fn add_fault(State(control): State<Control>, Json(add): Json<AddFault>) -> StatusCode {
    control.with(|cloud, now| {
        let until = add
            .for_ms
            .map(|ms| now + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)));
        cloud.faults.add(Rule {
            until: until.or(add.rule.until),
            ..add.rule
        });
    });
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(control): State<Control>) -> StatusCode {
    control.with(|cloud, _| cloud.faults.clear());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    #[serde(default = "default_account")]
    account: String,
}

fn default_account() -> String {
    DEFAULT_ACCOUNT.to_owned()
}

async fn limits(State(control): State<Control>, Query(of): Query<OfAccount>) -> Json<Limits> {
    Json(control.with(|cloud, _| cloud.limits_mut(&of.account).clone()))
}

async fn set_limits(
    State(control): State<Control>,
    Query(of): Query<OfAccount>,
    Json(limits): Json<Limits>,
) -> StatusCode {
    control.with(|cloud, _| *cloud.limits_mut(&of.account) = limits);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPolicy {
    access_key: String,
    policy: Policy,
}

async fn set_policy(State(control): State<Control>, Json(set): Json<SetPolicy>) -> StatusCode {
    control.policy(&set.access_key, set.policy);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Instances {
    instances: Vec<String>,
    /// How long before the end the notice comes; for a reclaim only.
    #[serde(default)]
    notice_ms: Option<u64>,
}

async fn reclaim(State(control): State<Control>, Json(these): Json<Instances>) -> StatusCode {
    let notice = these.notice_ms.map(Duration::from_millis);
    control.reclaim(these.instances.iter().map(String::as_str), notice);
    StatusCode::NO_CONTENT
}

async fn terminate(State(control): State<Control>, Json(these): Json<Instances>) -> StatusCode {
    control.terminate(these.instances.iter().map(String::as_str));
    StatusCode::NO_CONTENT
}

async fn power_off(State(control): State<Control>, Json(these): Json<Instances>) -> StatusCode {
    for instance in &these.instances {
        control.powered_off(instance);
    }
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn clock(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "now": control.clock().now() }))
}

async fn advance(State(control): State<Control>, Json(by): Json<Advance>) -> Json<Value> {
    control.advance(Duration::from_millis(by.advance_ms));
    Json(json!({ "now": control.clock().now() }))
}
