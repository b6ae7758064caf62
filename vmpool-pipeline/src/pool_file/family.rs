//! One entry of the file as the pools that it stands for: the pool itself, its
//! variants, and the same once more for each tenant. And which of them a
//! request gets.
//!
//! ```text
//! linux              variant `large`: linux/large
//! linux@acme         tenant `acme`, whose variant is linux@acme/large
//! ```
//! Each is a pool like any other: with machines, a warm size and a limit of its
//! own. Callers name the entry's name only, and are answered with it.

use super::{PoolFile, PoolSpec};

/// What a request says of the machine that it wants. What is empty is not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The pool that it names.
    pub pool: String,
    /// Whose build it is.
    pub account: String,
    /// That is an account that pays nothing; builds are counted by it.
    pub free: bool,
    /// The class of machine.
    pub resource_class: String,
    /// The machine must be able to run machines.
    pub nested_virtualization: bool,
    /// The image that its machine must have.
    pub image: String,
}

/// Which requests a variant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its id within the pool.
    pub id: String,
    /// The class of machine that it is.
    pub resource_class: String,
    /// Its machines can run machines.
    pub nested_virtualization: bool,
    /// Its machines' image, where it names one.
    pub image: Option<String>,
}

/// Whose builds a tenant's pool is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id within the pool.
    pub id: String,
    /// Its accounts; at least one.
    pub accounts: Vec<String>,
}

impl PoolFile {
    /// The pool that a request gets its machine from: its tenant's, and there
    /// the first variant that fits, else the plain one. `None`: the file has no
    /// pool of that name. A further pool can be named in full.
    pub fn choose(&self, wanted: &Wanted) -> Option<&PoolSpec> {
        let family = || self.pools.iter().filter(|pool| pool.base == wanted.pool);
        let is_theirs = |pool: &&PoolSpec| {
            let accounts = pool.tenant.as_ref().map(|tenant| &tenant.accounts);
            accounts.is_some_and(|accounts| accounts.contains(&wanted.account))
        };
        let theirs: Vec<_> = if family().any(|pool| is_theirs(&pool)) {
            family().filter(is_theirs).collect()
        } else {
            family().filter(|pool| pool.tenant.is_none()).collect()
        };
        let variant = of_variants(&theirs, wanted);
        let plain = || theirs.iter().find(|pool| pool.variant.is_none());
        variant
            .or_else(|| plain().copied())
            .or_else(|| self.pool(&wanted.pool))
    }

    /// Whether `pool` is the one of this name, or a variant or a tenant's of it.
    pub fn is_of(&self, pool: &str, name: &str) -> bool {
        pool == name || self.pool(pool).is_some_and(|pool| pool.base == name)
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&PoolSpec> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

/// The first variant of the wanted class, and among those of the class the
/// first with the wanted image, or with none of its own.
fn of_variants<'a>(pools: &[&'a PoolSpec], wanted: &Wanted) -> Option<&'a PoolSpec> {
    let mut of_class = Vec::new();
    for pool in pools {
        if let Some(variant) = &pool.variant
            && variant.resource_class == wanted.resource_class
            && variant.nested_virtualization == wanted.nested_virtualization
        {
            of_class.push((*pool, variant.image.as_deref()));
        }
    }
    let with = |image: Option<&str>| of_class.iter().find(|(_, has)| *has == image);
    let found = if wanted.image.is_empty() {
        of_class.first()
    } else {
        with(Some(&wanted.image)).or_else(|| with(None))
    };
    found.map(|(pool, _)| *pool)
}

#[cfg(test)]
mod tests;
