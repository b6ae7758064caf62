//! Batches of the common kind, as columns: all of them are written in one go,
//! or none is and each gets its answer by the longer way of [`wire`](super::wire).

use std::borrow::Cow;

use tokio_postgres::types::ToSql;

use crate::record::{BatchRecord, columns, integer};

pub(super) const SQL: &str = "SELECT write_together(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

/// What the function is called with: a place in each column is a pool, a row, an event.
#[derive(Debug, Default)]
pub(super) struct Together<'a> {
    of_pools: Vec<&'a str>,
    of_terms: Vec<i64>,
    rows: Rows<'a>,
    events: Events<'a>,
}

#[derive(Debug, Default)]
struct Rows<'a> {
    kinds: Vec<&'static str>,
    ids: Vec<&'a str>,
    steps: Vec<Option<&'a str>>,
    pools: Vec<&'a str>,
    versions: Vec<i64>,
    slots: Vec<i32>,
    over: Vec<bool>,
    times: Vec<i64>,
    texts: Vec<&'a str>,
}

#[derive(Debug, Default)]
struct Events<'a> {
    times: Vec<i64>,
    kinds: Vec<&'static str>,
    ids: Vec<&'a str>,
    steps: Vec<Option<&'a str>>,
    versions: Vec<i64>,
    whats: Vec<&'a str>,
    causes: Vec<Cow<'a, str>>,
}

impl<'a> Together<'a> {
    /// None: some of it is written by the longer way only.
    pub(super) fn new(batches: impl IntoIterator<Item = &'a BatchRecord>) -> Option<Self> {
        let mut all = Self::default();
        for batch in batches {
            if batch.limit.is_some() {
                return None;
            }
            all.rule(batch.pool.as_str(), integer(batch.term.0))?;
            let at = integer(batch.at.0);
            for row in &batch.rows {
                let (kind, id, step) = columns(&row.key);
                if kind == "order" || (kind == "machine" && row.version.0 == 1) {
                    return None;
                }
                let rows = &mut all.rows;
                rows.kinds.push(kind);
                rows.ids.push(id);
                rows.steps.push(step);
                rows.pools.push(row.pool.as_str());
                rows.versions.push(integer(row.version.0));
                rows.slots.push(i32::try_from(row.slots).ok()?);
                rows.over.push(row.is_over);
                rows.times.push(at);
                rows.texts.push(&row.json);
            }
            for event in &batch.events {
                let (kind, id, step) = columns(&event.key);
                let events = &mut all.events;
                events.times.push(at);
                events.kinds.push(kind);
                events.ids.push(id);
                events.steps.push(step);
                events.versions.push(integer(event.version.0));
                events.whats.push(&event.what);
                events.causes.push(event.storable_cause());
            }
        }
        Some(all)
    }

    /// Each pool is named once; None: under two terms.
    fn rule(&mut self, pool: &'a str, term: i64) -> Option<()> {
        if let Some(place) = self.of_pools.iter().position(|known| *known == pool) {
            return (self.of_terms[place] == term).then_some(());
        }
        self.of_pools.push(pool);
        self.of_terms.push(term);
        Some(())
    }

    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 18] {
        let Self {
            of_pools,
            of_terms,
            rows,
            events,
        } = self;
        [
            of_pools,
            of_terms,
            &rows.kinds,
            &rows.ids,
            &rows.steps,
            &rows.pools,
            &rows.versions,
            &rows.slots,
            &rows.over,
            &rows.times,
            &rows.texts,
            &events.times,
            &events.kinds,
            &events.ids,
            &events.steps,
            &events.versions,
            &events.whats,
            &events.causes,
        ]
    }
}
