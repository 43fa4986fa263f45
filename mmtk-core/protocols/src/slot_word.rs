//! The word of a slot, as the workers of a pause read and update it.
//!
//! Two workers may scan the same object where marks are plain stores (`forwarding`, I3). The first moves the
//! target and updates the slot; the second reads the slot and goes straight to the copy, without reading the
//! old object.
//!
//! I1. A worker that reads the new address in a slot also sees the copied bytes.
//! Callers: GC workers inside a pause. Between pauses a mutator's own loads and stores may be relaxed: the
//! safepoint orders them with a pause.

use crate::sync::atomic::AtomicU64;
use crate::sync::order;

/// A slot's word, borrowed from wherever the VM keeps it.
#[derive(Copy, Clone)]
pub struct SlotWord<'a>(pub &'a AtomicU64);

impl SlotWord<'_> {
    /// The address in the slot, or zero.
    #[inline(always)]
    pub fn load(self) -> u64 {
        // Acquire pairs with Release in `store` (I1).
        self.0.load(order!(Acquire, "slot-load"))
    }

    /// The target is now at `address`.
    #[inline(always)]
    pub fn store(self, address: u64) {
        // Release publishes the copied bytes (I1). A worker that did not copy them itself has acquired them
        // from the forwarding word.
        self.0.store(address, order!(Release, "slot-store"));
    }
}
