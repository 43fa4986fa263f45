//! Ambiguous roots: the objects that words on stacks may refer to.

use crate::address::{Address, ObjectReference};
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::space::Space;
use crate::stack::each_word;
use std::ops::Range;

/// The objects that stopped threads may refer to from their stacks, registers and further ambiguous words:
/// sorted, each once. The leader, with all allocators retired, before anything is prepared.
pub(crate) fn ambiguous_roots<VM: VMBinding>(
    vm: &VM,
    spaces: &[&dyn Space],
    mutators: &[MutatorRef<VM>],
) -> Vec<ObjectReference> {
    let mut objects = Vec::new();
    if !VM::CONSERVATIVE_STACKS {
        return objects;
    }
    let spaces: Vec<_> = spaces.iter().map(|space| (space.extent(), *space)).collect();
    let mut look = |range: Range<Address>| {
        each_word(range, |word| {
            let address = vm.address_in(word);
            let space = spaces.iter().find(|(extent, _)| extent.contains(address));
            objects.extend(space.and_then(|(_, space)| space.find_object(address)));
        });
    };
    for mutator in mutators {
        // SAFETY: the mutator is stopped, and only the leader runs.
        let (stack, local) = unsafe { ThreadPart::conservative_of_stopped(mutator.0) };
        look(stack.range());
        vm.scan_ambiguous(local, &mut look);
    }
    objects.sort_unstable_by_key(|object| object.address());
    objects.dedup();
    objects
}
