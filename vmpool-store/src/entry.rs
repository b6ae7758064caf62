//! A journal told entry by entry, all of one moment, as it is stored: for
//! exports and checks. What runners go on with is read otherwise.

use vmpool_core::clock::Timestamp;
use vmpool_core::journal::Event;
use vmpool_core::{PoolName, RunnerId, Term, Version};

/// One of the things that a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A pool that ever had a term.
    Pool(PoolEntry),
    /// A row.
    Row(RowEntry),
    /// An event.
    Event(Event),
}

/// A pool with its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// Its name.
    pub name: PoolName,
    /// The term that rules it.
    pub term: Term,
    /// Who owns it, or did last.
    pub runner: Option<RunnerId>,
    /// Where the other runners reach that one.
    pub url: Option<String>,
    /// Why it takes no new stages, as JSON.
    pub cordon: Option<String>,
}

/// A row with the columns that are kept beside its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowEntry {
    /// What it is of.
    pub kind: RowKind,
    /// Its id; a step's is its stage's.
    pub id: String,
    /// A step's own id.
    pub step: Option<String>,
    /// Its pool; a step has none of its own.
    pub pool: Option<String>,
    /// Its version.
    pub version: Version,
    /// The slots of its pool that it occupies; stages and steps occupy none.
    pub slots: u32,
    /// Nothing is to be done about it any more. Not kept of steps.
    pub is_over: Option<bool>,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// The row.
    pub json: String,
    /// How many bytes an order's sealed request has.
    pub sealed_bytes: Option<u64>,
}

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// An order.
    Order,
    /// A machine.
    Machine,
    /// A stage.
    Stage,
    /// A step.
    Step,
}

impl RowKind {
    /// All of them, in the order in which they are told.
    pub(crate) const ALL: [Self; 4] = [Self::Order, Self::Machine, Self::Stage, Self::Step];

    /// `order`, `machine`, `stage`, `step`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Machine => "machine",
            Self::Stage => "stage",
            Self::Step => "step",
        }
    }

    /// A statement that reads them all: id, step, pool, version, slots,
    /// whether it is over, when it was changed, JSON, length of what is sealed.
    pub(crate) fn select(self) -> &'static str {
        match self {
            Self::Order => {
                "SELECT id, NULL, pool, version, slots, is_over, changed_at, row, length(sealed)
                 FROM orders ORDER BY id"
            }
            Self::Machine => {
                "SELECT id, NULL, pool, version, slots, is_over, changed_at, row,
                        CAST(NULL AS integer)
                 FROM machines ORDER BY id"
            }
            Self::Stage => {
                "SELECT id, NULL, pool, version, 0, is_over, changed_at, row,
                        CAST(NULL AS integer)
                 FROM stages ORDER BY id"
            }
            Self::Step => {
                "SELECT stage, id, NULL, version, 0, CAST(NULL AS boolean), changed_at, row,
                        CAST(NULL AS integer)
                 FROM steps ORDER BY place"
            }
        }
    }
}

pub(crate) const POOLS: &str = "SELECT name, term, runner, url, cordon FROM pools ORDER BY name";
pub(crate) const EVENTS: &str =
    "SELECT seq, at, kind, id, step, version, what, cause FROM events ORDER BY seq";
