//! Updates slots to the new places of objects, in plans that move objects after the trace.

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

/// Slots of a large array that are visited at once.
const PART_SLOTS: usize = 32 << 10;

/// Part of a large array, as workers share it out.
#[derive(Copy, Clone, Debug)]
pub struct ArrayPart {
    object: ObjectReference,
    from: usize,
    to: usize,
}

impl ArrayPart {
    /// The parts of an object of a space for large objects; none if it is no array, or too short to be
    /// shared.
    pub fn all_of<VM: VMBinding>(vm: &VM, object: ObjectReference) -> impl Iterator<Item = ArrayPart> + use<VM> {
        let slots = vm.slots_of_large(object).filter(|slots| *slots > PART_SLOTS).unwrap_or(0);
        (0..slots).step_by(PART_SLOTS).map(move |from| ArrayPart { object, from, to: slots.min(from + PART_SLOTS) })
    }

    /// Visits the slots of this part.
    pub fn scan<VM: VMBinding>(&self, vm: &VM, visitor: &mut impl SlotVisitor<VM::Slot>) {
        vm.scan_part(self.object, self.from, self.to, visitor);
    }
}
