//! The second opinion: a trace with the simplest code there is, compared with what the collector did.
//!
//! Before a collection every reachable object must lie where its space has given out memory, and have survived the last
//! collection or be new (`history`); afterwards it must be one that this collection marked or moved. Objects must not overlap. A
//! breach is reported with the object, the slot, the space and the phase, and the process panics: a heap in doubt is not used
//! any further.

mod history;

use crate::address::{Address, ObjectReference};
use crate::alloc::MutatorState;
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::pause::Pause;
use crate::plan::Plan;
use crate::space::Space;
use crate::stack::each_word;
use std::collections::HashMap;
use std::ops::Range;

pub(crate) use history::History;

struct Check<'a> {
    spaces: Vec<&'a dyn Space>,
    phase: &'static str,
    /// Before a collection: what the last one left.
    history: Option<&'a History>,
}

/// An object's size, and where it was found first.
type Seen<S> = HashMap<ObjectReference, (usize, From<S>)>;

/// Where a reference was found.
#[derive(Copy, Clone)]
enum From<S> {
    Root(S),
    Object(ObjectReference, S),
    /// An ambiguous word of an object.
    Word(ObjectReference),
    /// An entry of the heap's own tables.
    Entry(&'static str),
}

impl<S: Slot> std::fmt::Display for From<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            From::Root(slot) => write!(f, "root {slot:?}"),
            From::Object(object, slot) => write!(f, "{slot:?} of {object}"),
            From::Word(object) => write!(f, "an ambiguous word of {object}"),
            From::Entry(what) => write!(f, "{what}"),
        }
    }
}

struct Collect<'a, VM: VMBinding> {
    found: &'a mut Vec<(ObjectReference, VM::Slot)>,
    /// Words of objects that may be references.
    ambiguous: &'a mut Vec<usize>,
}

impl<VM: VMBinding> SlotVisitor<VM::Slot> for Collect<'_, VM> {
    fn visit(&mut self, slot: VM::Slot) {
        if let Some(object) = slot.load() {
            self.found.push((object, slot));
        }
    }

    fn visit_ambiguous(&mut self, words: Range<Address>) {
        each_word(words, |word| self.ambiguous.push(word));
    }
}

/// Checks the graph as mutators left it.
pub(crate) fn before_collection<VM: VMBinding>(pause: &mut Pause<'_, VM>, plan: &dyn Plan<VM>, history: &mut History) {
    history.begin_walk();
    trace(pause, &Check { spaces: plan.spaces(), phase: "before the collection", history: Some(history) });
}

/// Checks the graph as the collection left it.
pub(crate) fn after_collection<VM: VMBinding>(pause: &mut Pause<'_, VM>, plan: &dyn Plan<VM>, history: &mut History) {
    let found = trace(pause, &Check { spaces: plan.spaces(), phase: "after the collection", history: None });
    let (objects, bytes) = (found.len(), found.iter().map(|o| o.end.bytes_from(o.start)).sum());
    // Two workers may both count an object that they marked at the same time, so the collector may have counted more.
    let full = pause.kind() == CollectionKind::Full;
    assert!(
        !full || pause.live_objects >= objects && pause.live_bytes() >= bytes,
        "after the collection: {objects} objects of {bytes} bytes are reachable, but the collector found {} of {} bytes",
        pause.live_objects,
        pause.live_bytes()
    );
    // A minor collection leaves dead objects, which weak references may bring back.
    history.collected(found, full && pause.live_objects == objects);
}

/// Walks the graph; where its objects are, in the order of their addresses.
fn trace<VM: VMBinding>(pause: &mut Pause<'_, VM>, check: &Check<'_>) -> Vec<Range<Address>> {
    let mut seen: Seen<VM::Slot> = HashMap::new();
    let mut found = Vec::new();
    pause.vm.scan_vm(&mut Collect::<VM> { found: &mut found, ambiguous: &mut Vec::new() });
    if VM::PINS_ROOTS {
        pause.vm.scan_pinned_roots(&mut Collect::<VM> { found: &mut found, ambiguous: &mut Vec::new() });
        pause.vm.scan_transitively_pinned_roots(&mut Collect::<VM> { found: &mut found, ambiguous: &mut Vec::new() });
    }
    for mutator in pause.mutators {
        // SAFETY: the mutator is stopped and only the leader runs.
        let local = unsafe { MutatorState::local_of_stopped(mutator.0) };
        pause.vm.scan_thread(local, &mut Collect::<VM> { found: &mut found, ambiguous: &mut Vec::new() });
    }
    let mut references: Vec<_> = found.drain(..).map(|(object, slot)| (object, From::Root(slot))).collect();
    let mut ambiguous = Vec::new();
    for object in pause.vm_objects {
        VM::scan_object(*object, &mut Collect::<VM> { found: &mut found, ambiguous: &mut ambiguous });
        references.extend(found.drain(..).map(|(target, slot)| (target, From::Object(*object, slot))));
        let targets = ambiguous.drain(..).filter_map(|word| check.find_object(VM::address_in(word)));
        references.extend(targets.map(|target| (target, From::Word(*object))));
    }
    references.extend(pause.ambiguous.iter().map(|object| (*object, From::Entry("an ambiguous word of a stack"))));
    let queued = pause.weak.roots();
    let queued = (0..queued.len()).filter_map(|n| queued.get(n)?.load());
    references.extend(queued.map(|object| (object, From::Entry("the queue of finalizers and cleared references"))));
    while !references.is_empty() {
        walk::<VM>(check, references, &mut seen);
        references = Vec::new();
        let kept = |object, what| references.push((object, From::Entry(what)));
        pause.weak.kept_by(|object| seen.contains_key(&object) || check.is_outside(object), kept);
        references.retain(|(object, _)| !seen.contains_key(object) && !check.is_outside(*object));
    }
    if check.history.is_none() && pause.kind() == CollectionKind::Full {
        pause.weak.for_each_target(|object, what| {
            check.object::<VM>(object, || From::<VM::Slot>::Entry(what));
        });
    }
    let range = |(o, (bytes, _)): (&ObjectReference, &(usize, From<VM::Slot>))| o.address()..o.address().plus(*bytes);
    let mut ranges: Vec<_> = seen.iter().map(range).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        let (a, end, b) = (pair[0].start, pair[0].end, pair[1].start);
        let found = |at| {
            let (_, from) = &seen[&ObjectReference::from_address(at).expect("seen")];
            *from
        };
        assert!(
            end <= b,
            "{}: the object at {a}, which {} refers to, says it has {} bytes, so it overlaps the object at {b}, which \
             {} refers to ({}). Does object_size return what was allocated?",
            check.phase,
            found(a),
            end.bytes_from(a),
            found(b),
            check.describe(a)
        );
    }
    ranges
}

/// Goes wherever these references lead.
fn walk<VM: VMBinding>(
    check: &Check<'_>,
    mut references: Vec<(ObjectReference, From<VM::Slot>)>,
    seen: &mut Seen<VM::Slot>,
) {
    let (mut found, mut ambiguous) = (Vec::new(), Vec::new());
    while let Some((object, from)) = references.pop() {
        if seen.contains_key(&object) {
            continue;
        }
        let Some(bytes) = check.object::<VM>(object, || from) else { continue };
        seen.insert(object, (bytes, from));
        VM::scan_object(object, &mut Collect::<VM> { found: &mut found, ambiguous: &mut ambiguous });
        let targets = ambiguous.drain(..).filter_map(|word| check.find_object(VM::address_in(word)));
        references.extend(targets.map(|target| (target, From::Word(object))));
        references.extend(found.drain(..).map(|(target, slot)| (target, From::Object(object, slot))));
    }
}

impl Check<'_> {
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.spaces.iter().find(|space| space.extent().contains(address))?.find_object(address)
    }

    fn is_outside(&self, object: ObjectReference) -> bool {
        !self.spaces.iter().any(|space| space.extent().holds(object))
    }

    fn describe(&self, address: Address) -> String {
        match self.spaces.iter().find(|s| s.extent().contains(address)) {
            Some(space) => space.describe(address),
            None => format!("{address} is outside the heap"),
        }
    }

    /// The object's size, or none if it is outside the heap.
    fn object<VM: VMBinding>(&self, object: ObjectReference, from: impl Fn() -> From<VM::Slot>) -> Option<usize> {
        let space = self.spaces.iter().find(|s| s.extent().holds(object))?;
        let fail = |why: String| -> ! {
            panic!(
                "{}: {} refers to {object} in {} space, but {why} ({})",
                self.phase,
                from(),
                space.name(),
                space.describe(object.address())
            )
        };
        if !object.address().is_aligned_to(1 << VM::LOG_GRANULE) {
            fail("that is not aligned to a granule".to_string());
        }
        let survived = self.history.is_some_and(|history| history.survived(object));
        let check = |bytes| {
            space.check_object(object, bytes)?;
            match self.history {
                Some(_) if survived => Ok(()),
                Some(history) => history.check_new(*space, object, bytes),
                None => space.check_live(object, bytes),
            }
        };
        // A dangling reference may lead to memory without an object: ask the space before the binding.
        if let Err(why) = check(1 << VM::LOG_GRANULE) {
            fail(why);
        }
        let bytes = VM::object_size(object);
        if bytes == 0 || !bytes.is_multiple_of(1 << VM::LOG_GRANULE) {
            fail(format!("object_size says {bytes} bytes, not a whole number of granules"));
        }
        if let Err(why) = check(bytes) {
            fail(format!("with the {bytes} bytes that object_size says, {why}"));
        }
        Some(bytes)
    }
}
