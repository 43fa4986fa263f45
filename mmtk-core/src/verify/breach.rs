//! The verifier's report: what is wrong, where, and what usually causes it.

use super::slots::Fault;
use super::walk::{From, Walk};
use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, VMBinding};
use crate::events::CollectionKind;
use crate::space::Space;
use std::ops::Range;

/// Kinds of breaches, by what usually causes them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// No object is there any more.
    Dangling,
    /// The object was there, until the VM freed it.
    Freed,
    /// No object begins there.
    NoReference,
    /// The binding says another size.
    Size,
    /// The state byte is another.
    State,
    /// A minor collection did not find what an old object refers to.
    Barrier,
    /// A marking beside mutators did not reach what the walk finds.
    NotKept,
    /// The collector did not find what the walk finds.
    Missed,
    /// The collector moved an object where none may move.
    Moved,
}

impl Cause {
    pub(super) fn text(self) -> &'static str {
        match self {
            Cause::Dangling => {
                "a forgotten root: the reference was kept over a collection where no scan visits it (a local variable, a table of the VM), \
                 and the object died or moved"
            }
            Cause::Freed => {
                "an object that the VM freed, with its region or in its pool, before it cleared the last reference to it"
            }
            Cause::NoReference => "a pointer into an object; a tagged word, or a number, in a slot",
            Cause::Size => {
                "a length or type in the header that changed after the allocation; a header written after the next safepoint; a size \
                 that is rounded up for the allocation alone"
            }
            Cause::State => {
                "a header word that the VM writes whole after the allocation: its top byte is the collector's (VMBinding::STATE)"
            }
            Cause::Barrier => {
                "a missing write barrier: a reference was stored into this old object without write_barrier before it, with another slot told, or with \
                 a safepoint between the two"
            }
            Cause::NotKept => {
                "a reference that a mutator took from a table of the VM, a weak one, say, without Mutator::keep; a store or a copy of \
                 references without the barrier before it; a forgotten root; an overwritten state byte"
            }
            Cause::Missed => {
                "a forgotten root, or one that the scans visit now and not then; an overwritten state byte; slots_of_large and scan_part \
                 that leave out slots; object_size or scan_object that reads another object; a plan that leaves a space out of its tracers, \
                 or does not prepare it"
            }
            Cause::Moved => {
                "a space whose tracer moves objects, and whose Space::moves is false: then no binding is refused that cannot follow, and no \
                 pin is heeded"
            }
        }
    }
}

/// How far from the object's beginning.
fn offset(object: ObjectReference, at: Address) -> String {
    format!("{:+}", at.as_usize().wrapping_sub(object.address().as_usize()) as isize)
}

impl<VM: VMBinding> Walk<'_, VM> {
    /// An object that is known: its type, where it is and its size.
    pub(super) fn name(&self, object: ObjectReference) -> String {
        let seen = self.seen.get(&object).map(|seen| seen.bytes);
        let known = || if self.before { Some(self.history.known(object)?.bytes) } else { None };
        let bytes = seen.or_else(known).unwrap_or_else(|| self.vm.object_size(object));
        format!("{} ({object}, {bytes} bytes)", self.vm.type_name(object))
    }

    fn describe(&self, from: From<VM::Slot>) -> String {
        match from {
            From::Root(slot) => format!("root {slot:?}"),
            From::Object(object, slot) => match slot.place() {
                Some(place) if place.start >= object.address() && !self.is_outside_of(object, place.start) => {
                    format!("the slot at +{} of {}", place.start.bytes_from(object.address()), self.name(object))
                }
                _ => format!("{slot:?} of {}", self.name(object)),
            },
            From::Word(object) => format!("an ambiguous word of {}", self.name(object)),
            From::Entry(what) => what.to_string(),
        }
    }

    /// Whether the address lies behind an object that was seen.
    fn is_outside_of(&self, object: ObjectReference, address: Address) -> bool {
        self.seen.get(&object).is_some_and(|seen| address >= object.address().plus(seen.bytes))
    }

    /// Why the collector did not find what this refers to.
    pub(super) fn missed_by(&self, from: From<VM::Slot>) -> Cause {
        let old = |object| self.kind == CollectionKind::Minor && self.history.survived(object);
        match from {
            From::Object(object, _) | From::Word(object) if old(object) => Cause::Barrier,
            _ if self.claimed.is_some() => Cause::NotKept,
            _ => Cause::Missed,
        }
    }

    #[cold]
    pub(super) fn fail(
        &self,
        object: ObjectReference,
        space: &dyn Space,
        from: From<VM::Slot>,
        cause: Cause,
        why: &str,
    ) -> ! {
        // What an object is can be asked of one that was made there, alive or dead: not of any address.
        let known = self.before && self.history.known(object).is_some();
        let target = if known { self.name(object) } else { object.to_string() };
        panic!(
            "{}: {} refers to {target} in {} space, but {why} ({})\n  likely causes: {}",
            self.phase,
            self.describe(from),
            space.name(),
            space.describe(object.address()),
            cause.text()
        )
    }

    #[cold]
    pub(super) fn fail_in_no_space(&self, object: ObjectReference, from: From<VM::Slot>) -> ! {
        panic!(
            "{}: {} refers to {object}, an address of this heap that is in no space of the plan\n  \
             likely causes: a plan that leaves a space out of Plan::spaces; a number in a slot",
            self.phase,
            self.describe(from)
        )
    }

    #[cold]
    pub(super) fn fail_at_slot(&self, object: ObjectReference, place: Address, fault: Fault) -> ! {
        let slot = match self.is_outside(object) && fault != Fault::Outside {
            true => format!("the slot {place}"),
            false => format!("the slot at {}", offset(object, place)),
        };
        let (why, causes) = match fault {
            Fault::NotAligned(bytes) => (
                format!("is not aligned to {bytes} bytes"),
                "the layout of another type; an offset in words taken for bytes",
            ),
            Fault::Outside => (
                "lies outside the object".to_string(),
                "the layout of another type; a count of slots that is not the object's; slots of another object, which visits them itself",
            ),
            Fault::Twice => {
                ("is visited twice".to_string(), "a field that a type lists and the type it is derived from lists, too")
            }
        };
        panic!("{}: scan_object of {}: {slot} {why}\n  likely causes: {causes}", self.phase, self.name(object))
    }

    #[cold]
    pub(super) fn fail_at_root(&self, place: Address, fault: Fault) -> ! {
        let (why, causes) = match fault {
            Fault::NotAligned(bytes) => {
                (format!("is not aligned to {bytes} bytes"), "a stack map with another offset; a packed structure")
            }
            Fault::Outside | Fault::Twice => (
                "is visited twice".to_string(),
                "a root that both scan_vm and scan_thread visit, or that several threads do; pinned roots that are visited among the \
                 others, too",
            ),
        };
        panic!("{}: the root at {place} {why}\n  likely causes: {causes}", self.phase)
    }

    #[cold]
    pub(super) fn fail_in_parts(&self, object: ObjectReference, slots: usize, [whole, parts]: [usize; 2]) -> ! {
        panic!(
            "{}: {}: scan_object visits {whole} references, but scan_part, for the {slots} slots that slots_of_large says, visits {parts}, \
             or others\n  likely causes: slots beside the array that slots_of_large does not count",
            self.phase,
            self.name(object)
        )
    }

    #[cold]
    pub(super) fn fail_at_place(&self, object: ObjectReference, slots: usize, place: Range<Address>) -> ! {
        panic!(
            "{}: {}: place_of_slots says {} to {}, which is not a range of the object for the {slots} slots that slots_of_large says\n  \
             likely causes: a count of bytes taken for one of slots; a range without the object's header, or with it",
            self.phase,
            self.name(object),
            offset(object, place.start),
            offset(object, place.end)
        )
    }

    #[cold]
    pub(super) fn fail_beside_place(
        &self,
        object: ObjectReference,
        numbers: Range<usize>,
        place: Range<Address>,
        slot: Address,
    ) -> ! {
        panic!(
            "{}: {}: place_of_slots says that the slots {} to {} are at {} to {}, but scan_part visits the slot at {} for them\n  \
             likely causes: a range that begins with the object's header; slots that are not one behind the other",
            self.phase,
            self.name(object),
            numbers.start,
            numbers.end,
            offset(object, place.start),
            offset(object, place.end),
            offset(object, slot)
        )
    }

    #[cold]
    pub(super) fn fail_overlapping(&self, range: Range<Address>, next: Address) -> ! {
        let found = |at| {
            // SAFETY: the address of one that was visited.
            let object = unsafe { ObjectReference::from_address(at) }.expect("seen");
            format!("{}, which {} refers to", self.name(object), self.describe(self.seen[&object].from))
        };
        panic!(
            "{}: {}, overlaps {}\n  likely causes: {}",
            self.phase,
            found(range.start),
            found(next),
            Cause::Size.text()
        )
    }
}
