//! A slot that holds a task: taken and given back together with the count of busy slots.

use crate::executor::pool::SlotLease;
use crate::instruments::Instruments;

/// A slot's lease from the receipt of a task on. Dropping it frees the slot and lowers the count, whatever ends it.
pub(super) struct BusySlot {
    lease: SlotLease,
    instruments: Instruments,
}

impl BusySlot {
    /// A task takes the slot.
    pub(super) fn take(lease: SlotLease, instruments: &Instruments) -> Self {
        instruments.slot_taken();
        Self { lease, instruments: instruments.clone() }
    }

    /// The slot.
    pub(super) fn lease(&self) -> &SlotLease {
        &self.lease
    }
}

impl Drop for BusySlot {
    fn drop(&mut self) {
        self.instruments.slot_freed();
    }
}
