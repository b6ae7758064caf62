//! Who asks, and for which pools.
//!
//! A [`Caller`] is in the extensions of every request that a [`gate`](super::gate)
//! let in, over HTTP and gRPC alike. Whoever carries a request out asks it once
//! the pool is known. It is asked where a request enters, not again where it is
//! passed on to.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;
use tonic::Status;
use vmpool_core::PoolName;

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
    pub(crate) pools: Option<Vec<PoolName>>,
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

    pub(crate) fn known(known: Arc<Known>) -> Self {
        Self(Who::Known(known))
    }

    /// Who sent the request of these extensions. One that came past no gate may
    /// nothing.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let found = extensions.get::<Self>().cloned();
        found.unwrap_or(Self(Who::Nobody))
    }

    /// Its name, where it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.0 {
            Who::Known(known) => Some(&known.name),
            Who::Nobody | Who::Anonymous => None,
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

/// For handlers of tonic.
impl From<NotAllowed> for Status {
    fn from(error: NotAllowed) -> Self {
        Self::permission_denied(error.to_string())
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
            Caller::known(Arc::new(Known {
                name: "ci".to_owned(),
                pools,
            }))
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
