//! How many connections a process may have: as many as it has descriptors for,
//! beside those that it needs for machines and files.

use std::num::NonZeroU32;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// For all else.
const OTHERS: u64 = 4096;

/// So many of those that are wanted. The process allows itself more descriptors
/// for them, if it may: no more than it needs, since its children inherit that.
pub(in crate::serve) fn most_connections(wanted: NonZeroU32) -> usize {
    let wanted = u64::from(wanted.get());
    let allowed = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let better = (wanted + OTHERS).min(hard);
            let raised = better > soft && setrlimit(Resource::RLIMIT_NOFILE, better, hard).is_ok();
            if raised { better } else { soft }
        }
        Err(_) => wanted + OTHERS,
    };
    let most = wanted.min(allowed.saturating_sub(OTHERS).max(allowed / 2));
    if most < wanted {
        tracing::warn!(
            most,
            wanted,
            allowed,
            "fewer connections for builds than wanted: this process may open too few files \
             (ulimit -n, LimitNOFILE)"
        );
    }
    usize::try_from(most).unwrap_or(usize::MAX)
}
