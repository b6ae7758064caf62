//! The database as a URL names it, and how it may be shown: without the
//! password.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::error::ConnectError;
use super::tls::Tls;

/// How long a connection may take to be made, per address of the host.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// How long the database works on one statement, waiting for locks included.
const STATEMENT: &str = "4s";
/// How long a transaction is kept open whose client says nothing more.
const IDLE: &str = "10s";
/// How long the other end may be silent before the connection is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// Where the database is, and who we are there.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    shown: String,
    tls: Tls,
}

impl Address {
    /// Reads a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
    pub(super) fn read(url: &str) -> Result<Self, ConnectError> {
        // Who asks for TLS gets it with a verified certificate, by either name.
        let text = url.replace("sslmode=verify-full", "sslmode=require");
        // What was wrong is not told: it may be a piece of the password.
        let mut config: Config = text.parse().map_err(|_| ConnectError::Url)?;
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let hosts = config.get_hosts();
        if !is_url || hosts.is_empty() || !hosts.iter().all(is_host) {
            return Err(ConnectError::Url);
        }
        let shown = shown(&config);
        if config.get_ssl_mode() != SslMode::Require {
            // Not as it comes: TLS that somebody in between may leave out is none.
            config.ssl_mode(SslMode::Disable);
        }
        let tls = match Tls::new(config.get_ssl_mode()) {
            Ok(tls) => tls,
            Err(reason) => return Err(ConnectError::Roots { shown, reason }),
        };
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("vmpool");
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            // Of several hosts, the one that takes writes.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config, shown, tls })
    }

    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// For the work of a runner: everything ends in bounded time.
    pub(super) fn bounded(&self) -> Config {
        self.with_options(&format!(
            "-c statement_timeout={STATEMENT} -c lock_timeout={STATEMENT} \
             -c idle_in_transaction_session_timeout={IDLE}"
        ))
    }

    /// For a migration, which may take long where much was kept.
    pub(super) fn patient(&self) -> Config {
        self.with_options("-c statement_timeout=0 -c lock_timeout=60s")
    }

    /// Ours first, so that the URL's own options win.
    fn with_options(&self, ours: &str) -> Config {
        let theirs = self.config.get_options().unwrap_or_default();
        let mut config = self.config.clone();
        config.options(format!("{ours} {theirs}"));
        config
    }
}

/// Whether it is a database's URL with a password in it.
pub(super) fn has_password(url: &str) -> bool {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let config = url.parse::<Config>();
    is_url && config.is_ok_and(|config| config.get_password().is_some())
}

/// False: it may be the end of a password with an `@` in it.
fn is_host(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name
            .chars()
            .all(|one| one.is_alphanumeric() || ".-_:%".contains(one)),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn shown(config: &Config) -> String {
    let mut shown = "postgres://".to_owned();
    if let Some(user) = config.get_user() {
        shown.push_str(user);
        shown.push('@');
    }
    for (place, host) in config.get_hosts().iter().enumerate() {
        if place > 0 {
            shown.push(',');
        }
        match host {
            Host::Tcp(name) => shown.push_str(name),
            #[cfg(unix)]
            Host::Unix(path) => shown.push_str(&path.to_string_lossy()),
        }
        let ports = config.get_ports();
        if let Some(port) = ports.get(place).or_else(|| ports.first()) {
            shown.push(':');
            shown.push_str(&port.to_string());
        }
    }
    if let Some(database) = config.get_dbname() {
        shown.push('/');
        shown.push_str(database);
    }
    shown
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_a_password_is_shown_by_nothing() {
        let urls = [
            "postgres://user:s3cret@host:5433/db",
            "postgres://user:s3cret@one,two/db?connect_timeout=4",
            "postgres://user:s3cret@host/db?sslmode=require",
            "postgres://user:s3cret?x@host/db",
            "postgres://user:p@s3cret@host/db",
            "user=user password=s3cret host=host",
        ];
        for url in urls {
            let read = Address::read(url);
            let told = match &read {
                Ok(address) => format!("{address} {address:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!told.contains("s3cret"), "{told}");
        }
        let address = Address::read(urls[0]).expect("it is a URL");
        assert_eq!(address.to_string(), "postgres://user@host:5433/db");
    }

    #[test]
    fn tls_is_used_where_it_was_asked_for_and_never_by_halves() {
        let mode = |url: &str| {
            let address = Address::read(url).expect("the system has roots");
            address.config.get_ssl_mode()
        };
        assert_eq!(mode("postgres://user@host/db"), SslMode::Disable);
        assert_eq!(
            mode("postgres://user@host/db?sslmode=prefer"),
            SslMode::Disable
        );
        assert_eq!(
            mode("postgres://user@host/db?sslmode=require"),
            SslMode::Require
        );
        assert_eq!(
            mode("postgres://user@host/db?sslmode=verify-full"),
            SslMode::Require
        );
    }
}
