//! The incumbent's settings: environment variables, and a file of them.
//!
//! Each setting has a key with a prefix and a short one; the one with the
//! prefix counts where both are there. For the server the file counts above the
//! process's own environment, for the client below it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// The port where no address is named.
const DEFAULT_BIND: &str = ":9079";

/// What the connectivity check of `/healthz` connects to.
const DEFAULT_CONNECTIVITY: &str = "8.8.8.8:53";

/// Where steps ask for tokens of their workload identities.
const DEFAULT_MINT: &str = "unix:///tmp/harness-wi/wi.sock";

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is there and can't be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of the file assigns nothing. The line is not shown: it may hold a secret.
    #[error("{}: assignment {number} is not of the form KEY=VALUE", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which assignment, from 1.
        number: usize,
    },
    /// A value is not what its key needs.
    #[error("{key}: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Whose value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Above {
    /// The file's.
    File,
    /// The environment's of this process.
    Process,
}

/// All variables, those of the file and those of this process.
pub struct Variables(BTreeMap<String, String>);

/// Shows no values.
impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Variables {
    /// Reads the file, if there is one, and this process's environment.
    ///
    /// # Errors
    /// A file that is there and is none of variables.
    pub fn read(file: &Path, above: Above) -> Result<Self, SettingsError> {
        let from_process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let from_process: BTreeMap<_, _> = from_process.collect();
        let from_file = read_file(file)?;
        let (mut variables, counts) = match above {
            Above::File => (from_process, from_file),
            Above::Process => (from_file, from_process),
        };
        variables.extend(counts);
        Ok(Self(variables))
    }

    /// These variables and nothing else.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }

    fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter()
            .filter_map(|key| self.0.get(*key))
            .map(String::as_str)
            .find(|value| !value.is_empty())
    }

    fn path(&self, keys: &[&str], default: &str) -> PathBuf {
        self.get(keys).unwrap_or(default).into()
    }

    fn flag(&self, keys: &'static [&'static str]) -> Result<bool, SettingsError> {
        match self.get(keys) {
            None => Ok(false),
            Some(text) => match text.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Ok(true),
                "0" | "f" | "false" => Ok(false),
                _ => Err(SettingsError::Value {
                    key: keys[0],
                    reason: format!("`{text}` is neither true nor false"),
                }),
            },
        }
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let failed = |source| SettingsError::File {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), "there is no such file of settings");
            return Ok(BTreeMap::new());
        }
        read => read.map_err(failed)?,
    };
    let mut variables = BTreeMap::new();
    for (number, line) in dotenvy::from_read_iter(file.as_slice()).enumerate() {
        match line {
            Ok((name, value)) => variables.insert(name, value),
            Err(dotenvy::Error::Io(source)) => return Err(failed(source)),
            Err(_) => {
                return Err(SettingsError::Line {
                    path: path.to_owned(),
                    number: number + 1,
                });
            }
        };
    }
    Ok(variables)
}

/// What the server is told.
#[derive(Debug)]
pub struct ServerSettings {
    /// Where to listen.
    pub bind: Vec<SocketAddr>,
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Of the CA that its callers' certificates are of.
    pub ca: PathBuf,
    /// The folder that agent and steps share.
    pub shared: PathBuf,
    /// Where steps ask for tokens of their workload identities.
    pub mint_url: String,
    /// The container engine.
    pub docker: String,
    /// What `/healthz` connects to when it is asked whether there is a network.
    pub connectivity: String,
    /// Tell more.
    pub debug: bool,
    /// What steps find in their environment below the stage's and their own.
    pub environment: BTreeMap<String, String>,
}

impl ServerSettings {
    /// Reads the keys of the server.
    ///
    /// # Errors
    /// The first value that can't be used, with its key.
    pub fn of(variables: Variables) -> Result<Self, SettingsError> {
        if variables.flag(&["SERVER_SERVER_INSECURE", "SERVER_INSECURE"])? {
            return Err(SettingsError::Value {
                key: "SERVER_INSECURE",
                reason: "not supported: whoever reaches the port could run anything".into(),
            });
        }
        let bind = bind_address("SERVER_HTTPS_BIND", &variables)?;
        let workdir = variables.get(&["HARNESS_WORKDIR"]);
        let shared = workdir.map_or_else(
            || PathBuf::from("/tmp/engine"),
            |workdir| Path::new(workdir).join("tmp/engine"),
        );
        let or = |keys: &[&str], default: &str| variables.get(keys).unwrap_or(default).to_owned();
        Ok(Self {
            bind,
            certificate: variables.path(
                &["SERVER_SERVER_CERT_FILE", "SERVER_CERT_FILE"],
                "/tmp/certs/server-cert.pem",
            ),
            key: variables.path(
                &["SERVER_SERVER_KEY_FILE", "SERVER_KEY_FILE"],
                "/tmp/certs/server-key.pem",
            ),
            ca: variables.path(
                &["SERVER_CLIENT_CERT_FILE", "CLIENT_CERT_FILE"],
                "/tmp/certs/ca-cert.pem",
            ),
            shared,
            mint_url: or(&["HARNESS_WI_MINT_URL_OVERRIDE"], DEFAULT_MINT),
            docker: or(&["DOCKER_HOST"], "unix:///var/run/docker.sock"),
            connectivity: or(&["CONNECTIVITY_CHECK_ADDRESS"], DEFAULT_CONNECTIVITY),
            debug: variables.flag(&["DEBUG"])? || variables.flag(&["TRACE"])?,
            environment: variables.0,
        })
    }
}

/// What the client is told.
#[derive(Debug)]
pub struct ClientSettings {
    /// Where the server is, `host:port`.
    pub target: String,
    /// The client's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Of the CA that the server's certificate is of.
    pub ca: PathBuf,
    /// The name in the server's certificate.
    pub server_name: String,
}

impl ClientSettings {
    /// Reads the keys of the client.
    ///
    /// # Errors
    /// The first value that can't be used, with its key.
    pub fn of(variables: &Variables) -> Result<Self, SettingsError> {
        if variables.flag(&["CLIENT_CLIENT_INSECURE", "CLIENT_INSECURE"])? {
            return Err(SettingsError::Value {
                key: "CLIENT_INSECURE",
                reason: "not supported: the agent takes no such connection".into(),
            });
        }
        let target = variables.get(&["CLIENT_HTTPS_BIND", "HTTPS_BIND"]);
        let target = target.unwrap_or(DEFAULT_BIND);
        Ok(Self {
            target: if target.starts_with(':') {
                format!("127.0.0.1{target}")
            } else {
                target.to_owned()
            },
            certificate: variables.path(
                &["CLIENT_CLIENT_CERT_FILE", "CLIENT_CERT_FILE"],
                "/tmp/certs/server-cert.pem",
            ),
            key: variables.path(
                &["CLIENT_CLIENT_KEY_FILE", "CLIENT_KEY_FILE"],
                "/tmp/certs/server-key.pem",
            ),
            ca: variables.path(
                &["CLIENT_CA_CERT_FILE", "CA_CERT_FILE"],
                "/tmp/certs/ca-cert.pem",
            ),
            server_name: server_name(variables),
        })
    }
}

/// The name that certificates carry.
pub fn server_name(variables: &Variables) -> String {
    variables
        .get(&["SERVER_NAME"])
        .unwrap_or("drone")
        .to_owned()
}

/// An address as the incumbent writes it: without a host it is all of this
/// machine's addresses.
fn bind_address(
    key: &'static str,
    variables: &Variables,
) -> Result<Vec<SocketAddr>, SettingsError> {
    let text = variables.get(&[key, "HTTPS_BIND"]).unwrap_or(DEFAULT_BIND);
    let invalid = |reason: String| SettingsError::Value { key, reason };
    if let Some(port) = text.strip_prefix(':') {
        let port = port
            .parse()
            .map_err(|_| invalid(format!("`{text}` names no port")))?;
        return Ok(vec![
            SocketAddr::from(([0_u16; 8], port)),
            SocketAddr::from(([0_u8; 4], port)),
        ]);
    }
    let found = text.to_socket_addrs();
    let found = found.map_err(|error| invalid(format!("`{text}`: {error}")))?;
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Variables::of(pairs.iter().map(owned))
    }

    #[test]
    fn the_key_with_the_prefix_counts_above_the_short_one() {
        let read = variables(&[
            ("HTTPS_BIND", "127.0.0.1:1"),
            ("SERVER_HTTPS_BIND", "127.0.0.1:2"),
            ("SERVER_CERT_FILE", "/short"),
            ("CLIENT_CERT_FILE", "/both"),
        ]);
        let client = ClientSettings::of(&read).expect("settings");
        assert_eq!(client.target, "127.0.0.1:1");
        assert_eq!(client.certificate, Path::new("/both"));
        assert_eq!(client.server_name, "drone");
        let server = ServerSettings::of(read).expect("settings");
        assert_eq!(server.bind, ["127.0.0.1:2".parse().expect("an address")]);
        assert_eq!(server.certificate, Path::new("/short"));
        assert_eq!(server.ca, Path::new("/both"));
        assert_eq!(server.shared, Path::new("/tmp/engine"));
    }

    #[test]
    fn p13_a_value_that_can_not_be_used_is_refused_with_its_key() {
        for (name, value) in [
            ("SERVER_HTTPS_BIND", "9079"),
            ("SERVER_HTTPS_BIND", ":x"),
            ("SERVER_INSECURE", "true"),
            ("SERVER_INSECURE", "perhaps"),
        ] {
            let error = ServerSettings::of(variables(&[(name, value)])).expect_err(value);
            let suffix = name.trim_start_matches("SERVER_");
            assert!(error.to_string().contains(suffix), "{error}");
        }
    }
}
