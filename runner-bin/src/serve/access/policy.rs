//! Whether a runner may listen where it is told to: on this host alone, or with
//! something that keeps strangers out or secrets in, or because somebody said
//! that it is wanted without.

use std::net::SocketAddr;

/// What the options ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) tls: bool,
    /// Clients show a certificate.
    pub(crate) client_ca: bool,
    pub(crate) tokens: bool,
    /// It is wanted without any of these.
    pub(crate) open: bool,
}

/// An address that others reach, and nothing that keeps them out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{option} {address}: whoever reaches that address could run anything on the machines; give \
     --tls-cert and --tls-key, or --tokens, or listen on 127.0.0.1, or say with --open that it is \
     wanted so"
)]
pub(crate) struct Refused {
    option: &'static str,
    address: SocketAddr,
}

/// The risks that are left, each to be told of once.
///
/// # Errors
/// An address is not this host's own, and there is nothing that guards it.
pub(crate) fn judge(
    listens: &[(&'static str, SocketAddr)],
    wanted: Wanted,
) -> Result<Vec<String>, Refused> {
    let mut exposed = listens.iter().filter(|(_, at)| !is_own(*at)).peekable();
    let Some((option, address)) = exposed.peek().copied().copied() else {
        return Ok(Vec::new());
    };
    let at: Vec<String> = exposed.map(|(_, at)| at.to_string()).collect();
    let at = at.join(" and ");
    let guarded = wanted.tokens || wanted.client_ca;
    match (guarded, wanted.tls) {
        (true, true) => Ok(Vec::new()),
        (true, false) => Ok(vec![format!(
            "tokens and the secrets of builds cross the network in the clear to {at}: give \
             --tls-cert and --tls-key, unless something in front of it speaks TLS"
        )]),
        (false, true) => Ok(vec![format!(
            "whoever reaches {at} may run anything on the machines: TLS alone lets everybody in; \
             give --tokens or --tls-client-ca"
        )]),
        (false, false) if wanted.open => Ok(vec![format!(
            "whoever reaches {at} may run anything on the machines, and can read what builds send \
             there: it is open, as was asked for"
        )]),
        (false, false) => Err(Refused { option, address }),
    }
}

/// Only processes of this host reach it.
pub(crate) fn is_own(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_is_guarded_or_wanted_open_or_refused() {
        const NONE: Wanted = Wanted {
            tls: false,
            client_ca: false,
            tokens: false,
            open: false,
        };
        let tls = Wanted { tls: true, ..NONE };
        let tokens = Wanted {
            tokens: true,
            ..NONE
        };
        let open = Wanted { open: true, ..NONE };
        let both = Wanted {
            tls: true,
            ..tokens
        };
        let certificates = Wanted {
            client_ca: true,
            ..tls
        };
        // Builds, tools, what is wanted: refused, or a word of the warning.
        for (http, grpc, wanted, expected) in [
            ("127.0.0.1:1", "127.0.0.1:2", NONE, Ok("")),
            ("127.9.9.9:1", "[::1]:2", NONE, Ok("")),
            ("[::ffff:127.0.0.1]:1", "[::1]:2", NONE, Ok("")),
            ("0.0.0.0:1", "127.0.0.1:2", NONE, Err("--listen 0.0.0.0:1:")),
            ("127.0.0.1:1", "[::]:2", NONE, Err("--grpc-listen [::]:2:")),
            (
                "10.0.0.5:1",
                "10.0.0.5:2",
                NONE,
                Err("--listen 10.0.0.5:1:"),
            ),
            ("0.0.0.0:1", "127.0.0.1:2", tls, Ok("everybody in")),
            ("0.0.0.0:1", "127.0.0.1:2", tokens, Ok("in the clear")),
            (
                "0.0.0.0:1",
                "0.0.0.0:2",
                open,
                Ok("0.0.0.0:1 and 0.0.0.0:2"),
            ),
            ("127.0.0.1:1", "127.0.0.1:2", open, Ok("")),
            ("0.0.0.0:1", "0.0.0.0:2", both, Ok("")),
            ("0.0.0.0:1", "0.0.0.0:2", certificates, Ok("")),
        ] {
            let listens = [
                ("--listen", http.parse().unwrap()),
                ("--grpc-listen", grpc.parse().unwrap()),
            ];
            let judged = judge(&listens, wanted);
            let told = format!("{http} {grpc} {wanted:?}: {judged:?}");
            match (expected, judged) {
                (Ok(""), Ok(warnings)) => assert!(warnings.is_empty(), "{told}"),
                (Ok(word), Ok(warnings)) => {
                    assert!(warnings.len() == 1 && warnings[0].contains(word), "{told}");
                }
                (Err(start), Err(refused)) => {
                    assert!(refused.to_string().starts_with(start), "{told}");
                }
                _ => panic!("{told}"),
            }
        }
    }
}
