//! `tenants`: accounts whose builds have machines of their own, of a spec that
//! says only where it differs from the pool's.

use super::family::Tenant;
use super::keys::TENANT;
use super::variants::{VariantSpec, variants};
use super::{limit, warm};
use crate::diagnostic::{join, quoted};
use crate::fields::{At, Reader};
use crate::model::ScalarKind;
use crate::yaml::{Entry, Node, Value};

/// A tenant as the pool's entry has it.
pub(super) struct TenantSpec<'n> {
    pub(super) is_for: Tenant,
    pub(super) warm: Option<u32>,
    pub(super) limit: Option<u32>,
    /// Where its spec differs.
    pub(super) spec: Option<At<'n>>,
    /// Its variants, which replace the pool's of the same id.
    pub(super) variants: Vec<VariantSpec<'n>>,
}

/// Reads the tenants of a pool: each id is there once, and each account has one.
pub(super) fn tenants<'n>(r: &mut Reader, at: &At<'n>) -> Option<Vec<TenantSpec<'n>>> {
    let items = r.items(at, "a list of tenants")?;
    let mut tenants: Vec<TenantSpec<'_>> = Vec::new();
    for item in items {
        let Some(tenant) = tenant(r, &item) else {
            continue;
        };
        let others = tenants.iter().map(|tenant| &tenant.is_for);
        match clash(&tenant.is_for, others) {
            Some(clash) => r.error(&item, clash),
            None => tenants.push(tenant),
        }
    }
    Some(tenants)
}

/// Why `ours` can't be beside the others.
fn clash<'a>(ours: &Tenant, others: impl Iterator<Item = &'a Tenant>) -> Option<String> {
    for theirs in others {
        if ours.id == theirs.id {
            return Some(format!("tenant {} already defined", quoted(&ours.id)));
        }
        let mut accounts = ours.accounts.iter();
        if let Some(account) = accounts.find(|account| theirs.accounts.contains(account)) {
            let (account, tenant) = (quoted(account), quoted(&theirs.id));
            return Some(format!("account {account} is tenant {tenant}'s already"));
        }
    }
    None
}

fn tenant<'n>(r: &mut Reader, at: &At<'n>) -> Option<TenantSpec<'n>> {
    let fields = r.fields(at, &TENANT.keys)?;
    let ids = fields.require(r, "ids", |r, at| {
        let ids = r.texts(at)?;
        if ids.is_empty() || ids.iter().any(|id| id.trim().is_empty()) {
            r.error(at, "a tenant has at least one account, and each has an id");
            return None;
        }
        Some(ids)
    });
    let id = fields.read(r, "group_id", Reader::name);
    let warm = fields.read(r, "pool", warm);
    let limit = fields
        .get("limit")
        .map(|_| limit(r, &fields, warm.unwrap_or(0)));
    let variants = fields.read(r, "variants", variants).unwrap_or_default();
    let accounts = ids?;
    Some(TenantSpec {
        is_for: Tenant {
            // As with the incumbent.
            id: id.unwrap_or_else(|| accounts[0].clone()),
            accounts,
        },
        warm,
        limit,
        spec: fields.get("spec"),
        variants,
    })
}

/// The pool's spec with what `over` says instead: maps are merged, lists are
/// replaced, and as with the incumbent `false` turns nothing off.
pub(super) fn merged(r: &mut Reader, base: &Node, over: &At<'_>) -> Node {
    let node = over.node;
    let value = match (&base.value, &node.value) {
        (_, Value::Null) => return base.clone(),
        (Value::Map(base), Value::Map(entries)) => Value::Map(union(r, base, entries, &over.path)),
        (Value::Scalar(_, _), Value::Scalar(ScalarKind::Bool, _))
            if r.flag(over) == Some(false) && is_on(base) =>
        {
            r.warn(over, "a tenant can't turn off what its pool turns on");
            return base.clone();
        }
        (_, value) => value.clone(),
    };
    Node {
        place: node.place,
        value,
    }
}

fn union(r: &mut Reader, base: &[Entry], over: &[Entry], path: &str) -> Vec<Entry> {
    let mut entries = base.to_vec();
    for entry in over {
        let at = At {
            node: &entry.value,
            path: join(path, &entry.key),
        };
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => known.value = merged(r, &known.value, &at),
            None => entries.push(entry.clone()),
        }
    }
    entries
}

fn is_on(node: &Node) -> bool {
    let Value::Scalar(_, text) = &node.value else {
        return false;
    };
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "true" | "yes" | "on" | "y")
}
