//! What the journal knows, as one pass needs it: looked up by id, made once.

use std::sync::Arc;

use crate::id::{MachineId, OrderId};
use crate::journal::{MachineRow, OrderRow};
use crate::map::Map;
use crate::provider::{ListedState, Listing};

/// A pool's living rows at one moment.
#[derive(Debug, Default)]
pub struct Known {
    pub(super) machines: Map<MachineId, Arc<MachineRow>>,
    pub(super) orders: Map<OrderId, OpenOrder>,
}

/// An order with open slots.
#[derive(Debug)]
pub(super) struct OpenOrder {
    pub(super) row: Arc<OrderRow>,
    /// No answer is waited for any more: listings tell what it got.
    pub(super) settling: bool,
}

/// Rows of machines that are gone or lost, for those that a listing shows and
/// [`Known`] has not; `None`: the journal never knew it. A machine that could
/// not be looked up is not in it, and is left alone.
pub type Past = std::collections::HashMap<MachineId, Option<Arc<MachineRow>>>;

impl Known {
    /// The rows of machines that occupy a slot, and of orders that are not
    /// settled, with whether listings must tell what they got.
    pub fn new(
        machines: impl IntoIterator<Item = Arc<MachineRow>>,
        orders: impl IntoIterator<Item = (Arc<OrderRow>, bool)>,
    ) -> Self {
        let machines = machines.into_iter().map(|row| (row.id().clone(), row));
        let orders = orders
            .into_iter()
            .map(|(row, settling)| (row.id.clone(), OpenOrder { row, settling }));
        Self {
            machines: machines.collect(),
            orders: orders.collect(),
        }
    }

    /// Machines of the listing that are to be looked up for [`Past`].
    pub fn strangers<'a>(&self, listing: &'a Listing) -> impl Iterator<Item = &'a MachineId> {
        let strangers = listing.machines.iter().filter(|listed| {
            !self.machines.contains_key(&listed.id)
                && match self.orders.get(&listed.tags.order) {
                    // A launch that has not answered yet binds it when it does.
                    Some(order) => order.settling,
                    // What is over and nobody asks for is nobody's.
                    None => listed.state != ListedState::Terminated,
                }
        });
        strangers.map(|listed| &listed.id)
    }
}
