//! How patient the runner is with its agents.

use std::time::Duration;

/// Times of the connections to agents.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// For one TCP connection.
    pub connect_timeout: Duration,
    /// For one TLS and HTTP/2 handshake.
    pub handshake_timeout: Duration,
    /// For the answer to a call; preparing and cleaning up have their own.
    pub call_timeout: Duration,
    /// For the answer to `prepare`, which writes the stage's files.
    pub prepare_timeout: Duration,
    /// For the answer to `cleanup`, which waits for the steps' processes to end.
    pub cleanup_timeout: Duration,
    /// How often a silent agent is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to answer before the connection counts as lost.
    pub ping_timeout: Duration,
    /// The first pause between two dials; each further one is twice as long.
    pub dial_pause: Duration,
    /// The longest pause between two dials.
    pub dial_pause_max: Duration,
    /// With a stage on the machine: how long nobody may listen there until the
    /// agent counts as gone. Covers its restart.
    pub gone_after_refused: Duration,
    /// With a stage on the machine: how long it may not be reached at all
    /// until it counts as gone. Covers a fault of the network.
    pub gone_after_silent: Duration,
    /// How long before its end a machine's certificate is renewed.
    pub renew_before: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            prepare_timeout: Duration::from_mins(2),
            cleanup_timeout: Duration::from_mins(1),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            dial_pause: Duration::from_millis(10),
            dial_pause_max: Duration::from_secs(2),
            gone_after_refused: Duration::from_secs(3),
            gone_after_silent: Duration::from_mins(1),
            renew_before: Duration::from_hours(3 * 24),
        }
    }
}
