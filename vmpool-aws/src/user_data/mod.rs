//! User data: what a new machine does first, as EC2 hands it over.
//!
//! It holds the CA's certificate, the enrolment secret and the clocks, and no
//! private key: the agent makes its own. Only an operator's own template may
//! ask for the incumbent's scheme, where a key stands in it ([`template`]).

mod linux;
pub mod template;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use vmpool_core::{ErrorKind, OrderDraft, ProviderError};

pub use linux::{Agent, Extra, Linux};
pub use template::UserTemplate;

/// EC2's limit, before base64.
pub const MOST_BYTES: usize = 16 * 1024;

/// What stands in the place of a secret that is not shown.
const NOT_SHOWN: &str = "<secret>";

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As a machine needs them.
    Shown,
    /// A visible mark stands in their place.
    Hidden,
}

/// What a machine does first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserData {
    /// Nothing: the image's own start-up brings the agent up. For tests.
    None,
    /// A Linux with cloud-init and systemd.
    Linux(Linux),
    /// What the operator's own template says.
    Template(UserTemplate),
}

/// User data that EC2 would refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TooLarge {
    /// It would have to be compressed, and only cloud-init takes that.
    #[error(
        "{bytes} bytes of user data are more than the {MOST_BYTES} that EC2 takes; compressed it \
         is read by cloud-init alone, and it does not begin as cloud-init needs it"
    )]
    Plain {
        /// Its length.
        bytes: usize,
    },
    /// Compressed it is still too large.
    #[error(
        "{bytes} bytes of user data are more than the {MOST_BYTES} that EC2 takes, even compressed"
    )]
    Compressed {
        /// Its compressed length.
        bytes: usize,
    },
    /// The system can't compress it.
    #[error("compress {bytes} bytes of user data")]
    System {
        /// Its length.
        bytes: usize,
        /// Why not.
        source: std::io::Error,
    },
}

impl UserData {
    /// The text for the machines of `draft`; `None` where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::BadSpec`]: it can't be rendered.
    pub fn text(&self, draft: &OrderDraft<'_>) -> Result<Option<String>, ProviderError> {
        let rendered = match self {
            Self::None => return Ok(None),
            Self::Linux(linux) => linux
                .render(draft)
                .map_err(|error| bad(draft).because(error)),
            Self::Template(template) => template
                .render(draft, Secrets::Shown)
                .map_err(|error| bad(draft).because(error)),
        };
        rendered.map(Some)
    }

    /// The same for a person's eyes: a visible mark stands in the place of each
    /// secret.
    ///
    /// # Errors
    /// [`ErrorKind::BadSpec`]: it can't be rendered.
    pub fn text_without_secrets(
        &self,
        draft: &OrderDraft<'_>,
    ) -> Result<Option<String>, ProviderError> {
        match self {
            Self::None => Ok(None),
            Self::Linux(linux) => match linux.render(draft) {
                Ok(text) => Ok(Some(linux::without_secrets(&text))),
                Err(error) => Err(bad(draft).because(error)),
            },
            Self::Template(template) => match template.render(draft, Secrets::Hidden) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(bad(draft).because(error)),
            },
        }
    }

    /// As EC2 takes it: base64, and compressed where it would be too large.
    pub(crate) fn render(&self, draft: &OrderDraft<'_>) -> Result<Option<String>, ProviderError> {
        let Some(text) = self.text(draft)? else {
            return Ok(None);
        };
        let sent = sent(&text).map_err(|error| bad(draft).because(error))?;
        Ok(Some(STANDARD.encode(sent)))
    }

    /// How many machines one order may have of `most`.
    pub(crate) fn batch(&self, most: u32) -> u32 {
        match self {
            Self::Template(template) if template.is_incumbents() => 1,
            _ => most,
        }
    }

    /// What tells one from another, whatever order it is for.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Linux(linux) => linux.identity(),
            Self::Template(template) => template.identity(),
        }
    }
}

fn bad(draft: &OrderDraft<'_>) -> ProviderError {
    let attempted = format!("render the user data of order {}", draft.tags.order);
    ProviderError::new(ErrorKind::BadSpec, attempted)
}

/// What EC2 is sent for `text`, before base64: compressed where it would be too
/// large.
///
/// # Errors
/// It is too large all the same.
pub fn sent(text: &str) -> Result<Vec<u8>, TooLarge> {
    let bytes = text.len();
    if bytes <= MOST_BYTES {
        return Ok(text.as_bytes().to_vec());
    }
    if !is_for_cloud_init(text) {
        return Err(TooLarge::Plain { bytes });
    }
    let compressed = gzip(text.as_bytes());
    let compressed = compressed.map_err(|source| TooLarge::System { bytes, source })?;
    let bytes = compressed.len();
    if bytes > MOST_BYTES {
        return Err(TooLarge::Compressed { bytes });
    }
    Ok(compressed)
}

/// As its "User data formats" say: a line with the kind, or parts.
fn is_for_cloud_init(text: &str) -> bool {
    let starts = ["#", "Content-Type:", "MIME-Version:"];
    starts.iter().any(|start| text.starts_with(start))
}

/// cloud-init takes compressed user data as it is.
fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text)?;
    encoder.finish()
}
