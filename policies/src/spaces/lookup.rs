//! Finding objects in a space by the bits that say where objects begin, and checks of where they end.

use mmtk_core::memory::BLOCK_BYTES;
use mmtk_core::metadata::ObjectStates;
use mmtk_core::{Address, ObjectReference, VMBinding};

/// The object at an address, by the bits that say where objects begin.
pub(super) fn last_object<VM: VMBinding>(
    vm: &VM,
    states: &ObjectStates<VM>,
    address: Address,
    floor: Address,
) -> Option<ObjectReference> {
    let object = states.starts().last_until(address, floor)?;
    let offset = address.bytes_from(object.address());
    (offset < 1 << VM::LOG_GRANULE || offset < vm.object_size(object)).then_some(object)
}

/// Visits all that begin in a range, whole lines.
pub(super) fn objects_in<VM: VMBinding>(
    states: &ObjectStates<VM>,
    start: Address,
    end: Address,
    visit: impl FnMut(ObjectReference),
) {
    states.starts().for_each(start, end, visit);
}

/// Objects of a block that are not marked in this epoch are found by address no more.
pub(super) fn forget_unmarked<VM: VMBinding>(states: &ObjectStates<VM>, block: Address, epoch: u8) {
    forget_starts(states, block, |object| states.is_marked(object, epoch));
}

/// Objects of a block are found by address no more, but those that live.
pub(super) fn forget_starts<VM: VMBinding>(
    states: &ObjectStates<VM>,
    block: Address,
    lives: impl Fn(ObjectReference) -> bool,
) {
    objects_in::<VM>(states, block, block.plus(BLOCK_BYTES), |object| {
        if !lives(object) {
            states.starts().clear(object.address(), 1 << VM::LOG_GRANULE);
        }
    });
}

/// Whether an object of this size ends in the block it begins in: what spaces made of blocks can check.
pub(super) fn within_block(object: ObjectReference, bytes: usize) -> Result<(), String> {
    let start = object.address();
    let end_of_block = start.align_down(BLOCK_BYTES).plus(BLOCK_BYTES);
    match start.plus(bytes) <= end_of_block {
        true => Ok(()),
        false => Err(format!("it reaches over the end of its block at {end_of_block}")),
    }
}
