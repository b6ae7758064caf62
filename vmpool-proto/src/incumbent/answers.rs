//! The smaller requests, and all answers.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// The answer of `GET /healthz`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The agent's version.
    pub version: String,
    /// It works.
    pub ok: bool,
}

/// What every other route answers that refuses or fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Why.
    pub error_msg: String,
}

json! {
    /// The body of `/poll_step`.
    pub struct PollRequest {
        /// The step.
        pub id: String,
    }

    /// How a step ended.
    pub struct PollStepAnswer {
        /// It is over; not for a step in the background.
        pub exited: bool,
        /// 255 where it could not be carried out, -1 where a signal ended it.
        #[serde(deserialize_with = "exit_code")]
        pub exit_code: i32,
        /// Why it failed.
        pub error: String,
        /// Its container was out of memory.
        pub oom_killed: bool,
        /// What it returns.
        pub outputs: BTreeMap<String, String>,
        /// What later steps find in their environment.
        pub envs: BTreeMap<String, String>,
        /// A plugin's file, in base64.
        pub artifact: String,
        /// What it returns, with its kind.
        #[serde(rename = "outputV2")]
        pub output_v2: Vec<Output>,
        /// What became of its test selection.
        pub optimization_state: String,
        /// Nobody here looks into it.
        pub telemetry_data: Option<serde_json::Value>,
        /// What it says of the artifacts that it published.
        pub native_artifact_output: String,
    }

    /// A variable that a step returns.
    pub struct Output {
        /// Its name.
        pub key: String,
        /// Its value.
        pub value: String,
        /// `STRING` or `SECRET`.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// The body of `/stream_output`.
    pub struct StreamRequest {
        /// The step.
        pub id: String,
        /// Bytes that the caller has.
        pub offset: i64,
    }

    /// The body of `/suspend`.
    pub struct SuspendRequest {
        /// Of the containers to remove, all of them.
        pub labels: BTreeMap<String, String>,
    }

    /// The body of `/destroy`.
    pub struct DestroyRequest {
        /// Nothing is done with it.
        pub log_drone: bool,
        /// Nothing is done with it.
        pub log_key: String,
        /// Nothing is done with it.
        pub lite_engine_path: String,
        /// The stage, where results are told to a manager.
        pub stage_runtime_id: String,
    }

    /// The body of `/mint_workload_token`.
    pub struct MintRequest {
        /// Who asks.
        pub handle: String,
        /// As whom.
        pub name: String,
        /// For whom, if not as was agreed.
        pub audience_override: String,
    }
}

/// Windows has exit codes without a sign, above what the type holds: they are
/// read as Windows itself shows them, with one.
fn exit_code<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    let code = i64::deserialize(from)?;
    let bits = u32::try_from(code).map(u32::cast_signed);
    bits.or_else(|_| i32::try_from(code))
        .map_err(|_| Error::custom(format_args!("{code} is no exit code")))
}

/// The answer of `/destroy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestroyAnswer {
    /// How the machine fared.
    pub os_stats: OsStats,
}

/// How a machine fared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OsStats {
    /// In MiB.
    pub total_mem_mb: u64,
    /// How many.
    pub cpu_cores: u64,
    /// In percent.
    pub avg_mem_usage_pct: f64,
    /// In percent.
    pub avg_cpu_usage_pct: f64,
    /// In percent.
    pub max_mem_usage_pct: f64,
    /// In percent.
    pub max_cpu_usage_pct: f64,
    /// Over time.
    pub mem_graph: Graph,
    /// Over time.
    pub cpu_graph: Graph,
}

/// A figure over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Graph {
    /// In the order of time.
    pub points: Vec<Point>,
    /// Always `seconds`.
    pub xmetric: String,
    /// `mem_mb` or `cpu_milli`, though the figures are percentages.
    pub ymetric: String,
}

/// A figure at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// When.
    pub x: f64,
    /// How much.
    pub y: f64,
}

/// The answer of `/mint_workload_token`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MintAnswer {
    /// The token.
    pub oidc_token: String,
    /// In seconds since 1970.
    pub expires_at_unix: i64,
}

/// Does not show the token.
impl std::fmt::Debug for MintAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MintAnswer")
            .field("expires_at_unix", &self.expires_at_unix)
            .finish_non_exhaustive()
    }
}

/// What `/mint_workload_token` answers that refuses or fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MintFailure {
    /// Why.
    pub error: String,
}
