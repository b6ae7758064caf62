//! User data: what a new machine does first, as EC2 hands it over.
//!
//! It holds the CA's certificate, the enrolment secret and the clocks, and no
//! private key: the agent makes its own.

mod linux;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use vmpool_core::{ErrorKind, OrderDraft, ProviderError};

pub use linux::{Agent, Linux};

/// EC2's limit, before base64.
const MOST_BYTES: usize = 16 * 1024;

/// What a machine does first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserData {
    /// Nothing: the image's own start-up brings the agent up. For tests.
    None,
    /// A Linux with cloud-init and systemd.
    Linux(Linux),
}

/// User data that EC2 would refuse.
#[derive(Debug, thiserror::Error)]
#[error(
    "{bytes} bytes of user data are more than the {MOST_BYTES} that EC2 takes, even compressed"
)]
struct TooLarge {
    bytes: usize,
}

impl UserData {
    /// The text for the machines of `draft`; `None` where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::BadSpec`]: it can't be rendered.
    pub fn text(&self, draft: &OrderDraft<'_>) -> Result<Option<String>, ProviderError> {
        let rendered = match self {
            Self::None => return Ok(None),
            Self::Linux(linux) => linux.render(draft),
        };
        rendered
            .map(Some)
            .map_err(|error| bad(draft).because(error))
    }

    /// As EC2 takes it: base64, and compressed where it would be too large.
    pub(crate) fn render(&self, draft: &OrderDraft<'_>) -> Result<Option<String>, ProviderError> {
        let Some(text) = self.text(draft)? else {
            return Ok(None);
        };
        if text.len() <= MOST_BYTES {
            return Ok(Some(STANDARD.encode(text)));
        }
        let compressed = gzip(text.as_bytes()).map_err(|error| bad(draft).because(error))?;
        if compressed.len() > MOST_BYTES {
            let bytes = compressed.len();
            return Err(bad(draft).because(TooLarge { bytes }));
        }
        Ok(Some(STANDARD.encode(compressed)))
    }

    /// What tells one from another, whatever order it is for.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Linux(linux) => linux.identity(),
        }
    }
}

fn bad(draft: &OrderDraft<'_>) -> ProviderError {
    let attempted = format!("render the user data of order {}", draft.tags.order);
    ProviderError::new(ErrorKind::BadSpec, attempted)
}

/// cloud-init takes compressed user data as it is.
fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    encoder.finish()
}
