//! Where a caller wants the logs of a stage and its steps: the incumbent's log
//! service, by an address and a token of its own.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The service as requests name it.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
pub(super) struct LogConfig {
    url: String,
    token: String,
    account_id: String,
    indirect_upload: bool,
    trim_new_line_suffix: bool,
}

/// Where logs are wanted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogTarget {
    /// The service's address.
    pub(crate) url: String,
    /// For it.
    pub(crate) token: String,
    /// Whose logs they are.
    pub(crate) account: String,
    /// Whole logs go through the service, not by a link.
    pub(crate) indirect: bool,
    /// Lines go without their newline.
    pub(crate) trim: bool,
    /// The key of the init phase's log; empty: it is not wanted.
    pub(crate) key: String,
}

// The token is nobody's business.
impl fmt::Debug for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogTarget")
            .field("url", &self.url)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl LogTarget {
    /// None where the request names no service.
    pub(super) fn of(config: LogConfig, key: String) -> Option<Self> {
        (!config.url.is_empty()).then_some(Self {
            url: config.url,
            token: config.token,
            account: config.account_id,
            indirect: config.indirect_upload,
            trim: config.trim_new_line_suffix,
            key,
        })
    }
}
