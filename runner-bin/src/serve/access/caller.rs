//! Who asks, and for which pools.
//!
//! A [`Caller`] is in the extensions of every request that a [`gate`](super::gate)
//! let in, over HTTP and gRPC alike. Whoever carries a request out asks it once
//! the pool is known. It is asked where a request enters, not again where it is
//! passed on to.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use governor::{DefaultDirectRateLimiter, RateLimiter};
use http::Extensions;
use http::request::Parts;
use vmpool_core::PoolName;
use vmpool_pipeline::PoolFile;

use super::rate;

/// Who asks. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Who);

#[derive(Debug, Clone)]
enum Who {
    /// Came past no gate: may nothing.
    Nobody,
    /// Let in without a name, where no name is asked for: may everything.
    Anonymous,
    /// Has shown a token or a certificate.
    Known(Arc<Known>),
}

/// A caller with a name.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// None: all.
    pools: Option<Vec<PoolName>>,
    pub(crate) limits: Limits,
    /// Where it has a limit of its own.
    rate: Option<DefaultDirectRateLimiter>,
}

/// How much a caller may ask for; none: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// At once, in all pools.
    pub(crate) stages: Option<NonZeroU32>,
    /// At once, in one pool.
    pub(crate) stages_per_pool: Option<NonZeroU32>,
    /// As a mean; twice as many may come at once.
    pub(crate) requests_per_second: Option<NonZeroU32>,
}

impl Known {
    pub(crate) fn new(name: String, pools: Option<Vec<PoolName>>, limits: Limits) -> Self {
        let rate = limits.requests_per_second.map(rate::of);
        Self {
            name,
            pools,
            limits,
            rate: rate.map(RateLimiter::direct),
        }
    }

    /// Counts a request. None: it has no limit of its own.
    pub(crate) fn is_in_time(&self) -> Option<bool> {
        Some(self.rate.as_ref()?.check().is_ok())
    }
}

/// The caller may not do that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAllowed {
    /// Whether there is such a pool is not said.
    #[error("{caller} may not use pool {pool}")]
    Pool { caller: String, pool: PoolName },
    /// It is for callers that may use all pools.
    #[error("{caller} may not use all pools, as this needs")]
    All { caller: String },
}

impl Caller {
    /// One without a name, where none is asked for: may use everything.
    pub(crate) fn anonymous() -> Self {
        Self(Who::Anonymous)
    }

    /// One that may nothing.
    pub(crate) fn nobody() -> Self {
        Self(Who::Nobody)
    }

    pub(crate) fn known(known: Arc<Known>) -> Self {
        Self(Who::Known(known))
    }

    /// Who sent the request of these extensions. One that came past no gate may
    /// nothing.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let found = extensions.get::<Self>().cloned();
        found.unwrap_or_else(Self::nobody)
    }

    /// Itself, where it has a name.
    pub(crate) fn as_known(&self) -> Option<&Known> {
        match &self.0 {
            Who::Known(known) => Some(known),
            Who::Nobody | Who::Anonymous => None,
        }
    }

    /// Its name, where it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        Some(&self.as_known()?.name)
    }

    /// A pool is for who may use it, or the one of the file that it is a variant
    /// or a tenant's of.
    ///
    /// # Errors
    /// It is not for this caller, whether it exists or not.
    pub(crate) fn may_use_of(&self, pools: &PoolFile, pool: &PoolName) -> Result<(), NotAllowed> {
        let Err(not_allowed) = self.may_use(pool) else {
            return Ok(());
        };
        let spec = pools.pool(pool.as_str());
        match spec.map(|spec| PoolName::new(spec.base.as_str())) {
            Some(base) if self.may_use(&base).is_ok() => Ok(()),
            _ => Err(not_allowed),
        }
    }

    /// # Errors
    /// The pool is not for this caller, whether it exists or not.
    pub(crate) fn may_use(&self, pool: &PoolName) -> Result<(), NotAllowed> {
        let may = match &self.0 {
            Who::Nobody => false,
            Who::Anonymous => true,
            Who::Known(known) => {
                let pools = known.pools.as_ref();
                pools.is_none_or(|pools| pools.contains(pool))
            }
        };
        may.then_some(()).ok_or_else(|| NotAllowed::Pool {
            caller: self.to_string(),
            pool: pool.clone(),
        })
    }

    /// For what concerns no single pool, like a sweep.
    ///
    /// # Errors
    /// The caller may use some pools only.
    pub(crate) fn may_use_all(&self) -> Result<(), NotAllowed> {
        self.is_unrestricted()
            .then_some(())
            .ok_or_else(|| NotAllowed::All {
                caller: self.to_string(),
            })
    }

    /// Everything that it asks for may be carried out.
    pub(crate) fn has_no_limit(&self) -> bool {
        let known = self.as_known();
        self.is_unrestricted() && known.is_none_or(|known| known.limits == Limits::default())
    }

    /// Its name, where it may not have everything carried out; else nothing.
    pub(crate) fn limited_name(&self) -> String {
        let limited = !self.has_no_limit();
        let name = self.name().filter(|_| limited);
        name.unwrap_or_default().to_owned()
    }

    /// It may use all pools.
    pub(crate) fn is_unrestricted(&self) -> bool {
        match &self.0 {
            Who::Nobody => false,
            Who::Anonymous => true,
            Who::Known(known) => known.pools.is_none(),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("the caller"))
    }
}

/// For handlers of axum.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_use_its_pools_and_who_came_past_no_gate_none() {
        let (linux, windows) = (PoolName::new("linux"), PoolName::new("windows"));
        let nobody = Caller::of(&Extensions::new());
        nobody.may_use(&linux).unwrap_err();
        nobody.may_use_all().unwrap_err();
        let anonymous = Caller::anonymous();
        anonymous.may_use(&linux).unwrap();
        anonymous.may_use_all().unwrap();
        let known = |pools| {
            let known = Known::new("ci".to_owned(), pools, Limits::default());
            Caller::known(Arc::new(known))
        };
        known(None).may_use_all().unwrap();
        let one = known(Some(vec![linux.clone()]));
        one.may_use(&linux).unwrap();
        assert_eq!(
            one.may_use(&windows).unwrap_err().to_string(),
            "ci may not use pool windows"
        );
        one.may_use_all().unwrap_err();
    }
}
