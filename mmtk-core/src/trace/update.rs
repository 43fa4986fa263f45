//! Slots that are made to refer to the new places of objects, where objects move after the trace.

use crate::address::ObjectReference;
use crate::binding::{Slot, SlotVisitor, VMBinding};

/// Updates each slot it visits; the function says where an object goes.
#[derive(Copy, Clone, Debug)]
pub struct UpdateSlots<F>(pub F);

impl<S: Slot, F: Fn(ObjectReference) -> ObjectReference> SlotVisitor<S> for UpdateSlots<F> {
    #[inline(always)]
    fn visit(&mut self, slot: S) {
        if let Some(object) = slot.load() {
            let place = (self.0)(object);
            // What stays where it is costs no write.
            if place != object {
                slot.store(place);
            }
        }
    }
}

/// Slots of a large array that are updated at once.
const PART_SLOTS: usize = 32 << 10;

/// Part of an object, as workers share out large arrays.
#[derive(Copy, Clone, Debug)]
pub struct ObjectPart {
    object: ObjectReference,
    /// The slots from one number to another; none for all there are.
    slots: Option<(usize, usize)>,
}

impl ObjectPart {
    /// Cuts an object of a space for large objects into parts.
    pub fn cut<VM: VMBinding>(object: ObjectReference, parts: &mut Vec<ObjectPart>) {
        match VM::slots_of_large(object) {
            Some(slots) if slots > PART_SLOTS => {
                let part = |from| ObjectPart { object, slots: Some((from, slots.min(from + PART_SLOTS))) };
                parts.extend((0..slots).step_by(PART_SLOTS).map(part));
            }
            _ => parts.push(ObjectPart { object, slots: None }),
        }
    }

    /// Updates the slots of this part.
    pub fn update<VM: VMBinding>(&self, forward: impl Fn(ObjectReference) -> ObjectReference) {
        match self.slots {
            Some((from, to)) => VM::scan_part(self.object, from, to, &mut UpdateSlots(forward)),
            None => VM::scan_object(self.object, &mut UpdateSlots(forward)),
        }
    }
}
