//! Ambiguous roots: the objects that words on stacks may refer to.

use crate::address::{Address, ObjectReference};
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::memory::{Arena, List};
use crate::space::Spaces;
use crate::stack::each_word;
use std::ops::Range;

/// The objects that stopped threads may refer to from their stacks, registers and further ambiguous words:
/// sorted, each once. The leader, with all allocators retired, before anything is prepared.
pub(crate) fn ambiguous_roots<'a, VM: VMBinding>(
    vm: &VM,
    spaces: &Spaces<'_>,
    arena: &'a Arena,
    mutators: &[MutatorRef<VM>],
) -> List<'a, ObjectReference> {
    let mut objects = arena.list();
    if !VM::CONSERVATIVE_STACKS {
        return objects;
    }
    let mut look = |range: Range<Address>| {
        each_word(range, |word| {
            let address = vm.address_in(word);
            objects.extend(spaces.find_object(address));
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
