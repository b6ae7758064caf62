//! User data as cloud-init reads it, as far as it places files.
//!
//! Of "User data formats" (cloudinit.readthedocs.io/en/latest/explanation/
//! format.html): `#cloud-config` with `write_files` (reference/modules.html,
//! "Write Files"), and all of it compressed by gzip. What else a cloud-config
//! says (packages, commands, units) does not happen here.
//!
//! One object of JSON, with `CACert`, `TLSCert` and `TLSKey` in base64, is what
//! an image reads whose start-up places those three itself.

use std::io::{self, Read as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

/// What user data places on a machine.
#[derive(Debug, Clone, Default)]
pub struct UserData {
    /// Files, in the order in which they are written.
    pub files: Vec<File>,
}

/// A file of a machine.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its absolute path on the machine.
    pub path: PathBuf,
    /// What is in it; perhaps a secret.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.content.len())
    }
}

/// Why user data can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserDataError {
    /// It says that it is compressed, and is not.
    #[error("decompress the user data")]
    Compressed(#[source] io::Error),
    /// Neither cloud-config nor JSON nor empty.
    #[error("the user data does not begin with #cloud-config")]
    OtherFormat,
    /// JSON without what such an image needs.
    #[error("read the user data as JSON")]
    Json(#[source] serde_json::Error),
    /// Not YAML, or not of cloud-config's form.
    #[error("read the cloud-config")]
    CloudConfig(#[source] Box<serde_saphyr::Error>),
    /// A file's content is not in its encoding.
    #[error("decode {path}")]
    Content {
        /// The file.
        path: String,
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Permissions that are no octal number.
    #[error("permissions {permissions} of {path}")]
    Permissions {
        /// The file.
        path: String,
        /// What it says.
        permissions: String,
    },
}

/// The largest user data once it is decompressed.
const LARGEST: u64 = 1024 * 1024;

/// Where the incumbent's agent finds what it is born with.
const CERTIFICATES: &str = "/tmp/certs";

/// What an image of the incumbent's agent may read.
#[derive(Deserialize)]
struct Certificates {
    #[serde(rename = "CACert")]
    ca_cert: String,
    #[serde(rename = "TLSCert")]
    tls_cert: String,
    #[serde(rename = "TLSKey")]
    tls_key: String,
}

#[derive(Deserialize)]
struct CloudConfig {
    #[serde(default)]
    write_files: Vec<WriteFile>,
}

#[derive(Deserialize)]
struct WriteFile {
    path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
    permissions: Option<String>,
}

impl UserData {
    /// Reads user data, as it was before base64.
    ///
    /// # Errors
    /// [`UserDataError`].
    pub fn read(data: &[u8]) -> Result<Self, UserDataError> {
        let plain = if is_gzip(data) {
            gunzip(data).map_err(UserDataError::Compressed)?
        } else {
            data.to_vec()
        };
        let text = String::from_utf8(plain).map_err(|_| UserDataError::OtherFormat)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let entries = if text.starts_with('{') {
            certificates(&text).map_err(UserDataError::Json)?
        } else if text.starts_with("#cloud-config") {
            let config: CloudConfig = serde_saphyr::from_str(&text)
                .map_err(|error| UserDataError::CloudConfig(Box::new(error)))?;
            config.write_files
        } else {
            return Err(UserDataError::OtherFormat);
        };
        let files = entries.into_iter().map(file);
        Ok(Self {
            files: files.collect::<Result<_, _>>()?,
        })
    }
}

fn certificates(text: &str) -> Result<Vec<WriteFile>, serde_json::Error> {
    let given: Certificates = serde_json::from_str(text)?;
    let file = |(name, content)| WriteFile {
        path: format!("{CERTIFICATES}/{name}"),
        content,
        encoding: "b64".to_owned(),
        permissions: Some("0600".to_owned()),
    };
    let given = [
        ("ca-cert.pem", given.ca_cert),
        ("server-cert.pem", given.tls_cert),
        ("server-key.pem", given.tls_key),
    ];
    Ok(given.into_iter().map(file).collect())
}

fn file(entry: WriteFile) -> Result<File, UserDataError> {
    let WriteFile {
        path,
        content,
        encoding,
        permissions,
    } = entry;
    let mode = match &permissions {
        None => 0o644,
        Some(octal) => u32::from_str_radix(octal.trim_start_matches("0o"), 8).map_err(|_| {
            UserDataError::Permissions {
                path: path.clone(),
                permissions: octal.clone(),
            }
        })?,
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| UserDataError::Content {
        path: path.clone(),
        source,
    };
    // As cloud-init does, line breaks within base64 are overlooked.
    let base64 = |text: &str| STANDARD.decode(text.split_whitespace().collect::<String>());
    let content = match encoding.as_str() {
        "b64" | "base64" => base64(&content).map_err(|error| failed(error.into()))?,
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
            let packed = base64(&content).map_err(|error| failed(error.into()))?;
            gunzip(&packed).map_err(|error| failed(error.into()))?
        }
        "" | "text/plain" => content.into_bytes(),
        other => return Err(failed(format!("unknown encoding {other}").into())),
    };
    Ok(File {
        path: path.into(),
        content,
        mode,
    })
}

fn is_gzip(data: &[u8]) -> bool {
    data.starts_with(&[0x1f, 0x8b])
}

fn gunzip(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(data)
        .take(LARGEST + 1)
        .read_to_end(&mut plain)?;
    if plain.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const CONFIG: &str = "#cloud-config
write_files:
  - path: /run/vmpool/request
    permissions: '0600'
    encoding: b64
    content: |
      c2Vj
      cmV0
  - path: /etc/motd
    content: hello
runcmd:
  - [true]
";

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn files_are_read_from_plain_and_from_compressed_user_data() {
        for data in [CONFIG.as_bytes().to_vec(), gzip(CONFIG.as_bytes())] {
            let files = UserData::read(&data).unwrap().files;
            assert_eq!(files[0].path, PathBuf::from("/run/vmpool/request"));
            assert_eq!(
                (files[0].content.as_slice(), files[0].mode),
                (&b"secret"[..], 0o600)
            );
            assert_eq!(
                (files[1].content.as_slice(), files[1].mode),
                (&b"hello"[..], 0o644)
            );
        }
    }

    #[test]
    fn json_places_what_the_incumbents_agent_is_born_with() {
        let data = br#"{"CACert": "Y2E=", "TLSCert": "Y2VydA==", "TLSKey": "a2V5"}"#;
        let files = UserData::read(data).unwrap().files;
        let key = &files[2];
        assert_eq!(key.path, PathBuf::from("/tmp/certs/server-key.pem"));
        assert_eq!((key.content.as_slice(), key.mode), (&b"key"[..], 0o600));
        let error = UserData::read(br#"{"CACert": "Y2E="}"#).unwrap_err();
        assert_eq!(error.to_string(), "read the user data as JSON");
    }

    #[test]
    fn what_cannot_be_read_says_what() {
        let bad_mode = CONFIG.replace("0600", "rw");
        let bad_content = CONFIG.replace("c2Vj", "%%");
        for (data, says) in [
            (&b"#!/bin/sh"[..], "begin with #cloud-config"),
            (&[0x1f, 0x8b, 0, 0], "decompress"),
            (b"#cloud-config\nwrite_files: 1", "cloud-config"),
            (bad_mode.as_bytes(), "permissions rw of /run/vmpool/request"),
            (bad_content.as_bytes(), "decode /run/vmpool/request"),
        ] {
            let error = UserData::read(data).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(UserData::read(b"").unwrap().files.is_empty());
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = gzip(&vec![b'#'; 4 * 1024 * 1024]);
        assert!(UserData::read(&bomb).is_err());
    }
}
