//! The commands, run to their end.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::Site;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Said {
    /// The one JSON object of its output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A JSON object a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}")))
            .collect()
    }
}

/// Where the state directory of a site is.
pub(crate) fn state(site: &Site) -> String {
    site.path().join("state").display().to_string()
}

/// Where the tools of a site's runner ask.
pub(crate) fn url(site: &Site) -> String {
    let path = site.path().join("state/grpc-url");
    let url = std::fs::read_to_string(path).expect("the runner has said where it is");
    url.trim().to_owned()
}

/// Runs `vmpool` until it ends.
pub(crate) async fn vmpool(arguments: &[&str]) -> Said {
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_vmpool")))
        .args(arguments)
        .env_remove("VMPOOL_LOG")
        .env_remove("VMPOOL_JOURNAL")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("vmpool runs");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
