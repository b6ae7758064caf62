//! The agents' programs that new machines download: the files of `--agents`,
//! on a socket of their own that serves nothing else.
//!
//! They are read once, at start: what is served is what the checksums in user
//! data are of, whatever becomes of the files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Name, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;

use crate::hex::hex;

/// What a program's name begins with.
const PREFIX: &str = "lite-engine-";

/// What machines can download.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    url: String,
    programs: Arc<HashMap<String, Program>>,
}

#[derive(Debug)]
struct Program {
    bytes: Bytes,
    sha256: String,
}

impl Offered {
    /// What the options `--agents` and `--agents-url` say, which come together.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub(crate) fn named(folder: Option<&Path>, url: Option<&str>) -> anyhow::Result<Option<Self>> {
        let named = folder.zip(url);
        let read = named.map(|(folder, url)| Self::read(folder, url).context("--agents"));
        read.transpose()
    }

    /// The programs in `folder`, as machines reach them at `url`.
    ///
    /// # Errors
    /// The folder can't be read, or has no program.
    pub(crate) fn read(folder: &Path, url: &str) -> anyhow::Result<Self> {
        let attempted = || format!("read the agents in {}", folder.display());
        let mut programs = HashMap::new();
        for entry in std::fs::read_dir(folder).with_context(attempted)? {
            let entry = entry.with_context(attempted)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.starts_with(PREFIX) {
                continue;
            }
            let bytes = std::fs::read(entry.path()).with_context(attempted)?;
            let sha256 = hex(digest(&SHA256, &bytes).as_ref());
            let bytes = bytes.into();
            programs.insert(name, Program { bytes, sha256 });
        }
        if programs.is_empty() {
            anyhow::bail!(
                "{} has no {PREFIX}linux-amd64 or the like",
                folder.display()
            );
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            programs: Arc::new(programs),
        })
    }

    /// The address and the checksum of the program of that name.
    pub(crate) fn program(&self, name: &str) -> Option<(String, String)> {
        let program = self.programs.get(name)?;
        Some((format!("{}/{name}", self.url), program.sha256.clone()))
    }

    /// Serves them, and nothing else.
    pub(super) fn routes(&self) -> Router {
        Router::new()
            .route("/{name}", get(program))
            .with_state(self.clone())
    }
}

async fn program(State(offered): State<Offered>, Name(name): Name<String>) -> Response {
    match offered.programs.get(&name) {
        Some(program) => program.bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
