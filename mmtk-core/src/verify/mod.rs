//! The second opinion: a trace with the simplest code there is, compared with what the collector did.
//!
//! Before a collection every reachable object must have survived the last one or be new, have the size that
//! was asked for and the state byte that the collector left (`history`), and lie where its space has given
//! out memory; after the collection it must be an object that this collection marked or moved. Slots must be
//! where slots may be (`slots`), and objects must not overlap. Where a marking runs beside mutators, what
//! they change meanwhile must have been claimed before (`snapshot`). A breach is reported with the object,
//! the slot, the space, the phase and what usually causes it (`breach`), and the process panics: a heap in
//! doubt is not used any further.

mod breach;
mod history;
mod slots;
mod snapshot;
mod walk;

use crate::address::{Address, ObjectReference};
use crate::binding::{SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::memory::Extent;
use crate::metadata::EPOCH_MASK;
use crate::pause::Pause;
use crate::pause::roots::{RootVisitor, Roots};
use crate::plan::Plan;
use crate::space::Space;
use crate::weak::QueuedRoot;
use breach::Cause;
use history::Survivor;
use rustc_hash::FxBuildHasher;
use slots::{Fault, Slots};
use std::collections::HashMap;
use std::ops::Range;
use walk::{From, Seen, Walk};

pub(crate) use history::History;
pub(crate) use snapshot::{Snapshot, note_snapshot};

/// The collector may scan larger objects in parts.
const PARTS_FROM_BYTES: usize = 8 << 10;
/// Slots of a large array whose places are checked at once.
const SLOTS_AT_ONCE: usize = 512;

/// Checks the graph as mutators left it.
pub(crate) fn before_collection<VM: VMBinding>(
    pause: &mut Pause<'_, VM>,
    plan: &dyn Plan<VM>,
    heap: Extent,
    history: &mut History,
) {
    history.begin_walk();
    Walk::new(pause, plan, heap, history, true).trace(pause);
}

/// Checks the graph as the collection left it.
pub(crate) fn after_collection<VM: VMBinding>(
    pause: &mut Pause<'_, VM>,
    plan: &dyn Plan<VM>,
    heap: Extent,
    history: &mut History,
) {
    let mut walk = Walk::new(pause, plan, heap, history, false);
    walk.trace(pause);
    let found = walk.in_order();
    let (objects, bytes) = (found.len(), found.iter().map(|o| o.range.end.bytes_from(o.range.start)).sum());
    // Two workers may both count an object that they marked at the same time, so the collector may have
    // counted more.
    // What mutators allocated while it was marked is live, and not counted.
    let full = pause.kind() == CollectionKind::Full && pause.marking.is_none();
    assert!(
        !full || pause.found.live_objects() >= objects && pause.live_bytes() >= bytes,
        "after the collection: {objects} objects of {bytes} bytes are reachable, but the collector found {} of {} bytes\n  \
         likely causes: {}",
        pause.found.live_objects(),
        pause.live_bytes(),
        Cause::Missed.text()
    );
    // A minor collection leaves dead objects, which weak references may bring back.
    let complete = full && pause.found.live_objects() == objects;
    assert!(
        !complete || pause.live_bytes() == bytes,
        "after the collection: object_size said {} bytes in all of {objects} objects when they were traced, and says {bytes} now",
        pause.live_bytes()
    );
    history.collected(found, complete);
}

impl<'a, VM: VMBinding> Walk<'a, VM> {
    fn new(pause: &Pause<'a, VM>, plan: &'a dyn Plan<VM>, heap: Extent, history: &'a History, before: bool) -> Self {
        let spaces = plan.spaces();
        Walk {
            vm: pause.vm(),
            slots: Slots::new(spaces.iter().map(|space| space.extent()).collect()),
            spaces,
            heap,
            states: pause.states,
            phase: if before { "before the collection" } else { "after the collection" },
            kind: pause.kind(),
            history,
            before,
            claimed: plan.beside().filter(|_| pause.marking.is_some()).map(|beside| beside.epoch()),
            // About as many as the last walk found.
            seen: HashMap::with_capacity_and_hasher(history.survivors(), FxBuildHasher),
            found: Vec::new(),
        }
    }

    /// Walks the graph.
    fn trace(&mut self, pause: &mut Pause<'_, VM>) {
        self.slots.begin(None);
        // All roots, in a minor collection too.
        let roots = Roots::of(pause, CollectionKind::Full);
        let mut found = FoundRoots { slots: &mut self.slots, outside: Vec::new(), others: Vec::new() };
        roots.visit(true, &mut found);
        let FoundRoots { outside, others: mut references, .. } = found;
        if let Some((place, fault)) = self.slots.end() {
            self.fail_at_root(place, fault);
        }
        references.extend(self.slots.found.drain(..).map(|(object, slot)| (object, From::Root(slot))));
        for object in outside {
            self.scan(object, self.vm.object_size(object), &mut references);
        }
        while !references.is_empty() {
            self.walk(references);
            references = Vec::new();
            let kept = |object, what| references.push((object, From::Entry(what)));
            pause.weak.kept_by(|object| self.seen.contains_key(&object) || self.is_outside(object), kept);
            references.retain(|(object, _)| !self.seen.contains_key(object) && !self.is_outside(*object));
        }
        if !self.before && self.kind == CollectionKind::Full {
            pause.weak.for_each_target(|object, what| {
                self.check(object, From::Entry(what));
            });
        }
    }

    /// Goes wherever these references lead.
    fn walk(&mut self, mut references: Vec<(ObjectReference, From<VM::Slot>)>) {
        while let Some((object, from)) = references.pop() {
            if self.seen.contains_key(&object) {
                continue;
            }
            let Some(bytes) = self.check(object, from) else { continue };
            self.seen.insert(object, Seen { bytes, from });
            if !self.before {
                let range = object.address()..object.address().plus(bytes);
                self.found.push(Survivor { range, state: self.states.lent_byte(object) });
            }
            self.scan(object, bytes, &mut references);
        }
    }

    /// What an object refers to.
    fn scan(&mut self, object: ObjectReference, bytes: usize, references: &mut Vec<(ObjectReference, From<VM::Slot>)>) {
        let memory = object.address()..object.address().plus(bytes);
        self.slots.begin(Some(memory.clone()));
        self.vm.scan_object(object, &mut self.slots);
        if let Some((place, fault)) = self.slots.end() {
            self.fail_at_slot(object, place, fault);
        }
        if !self.slots.ambiguous.is_empty() {
            let words = std::mem::take(&mut self.slots.ambiguous);
            let targets = words.into_iter().filter_map(|word| self.find_object(self.vm.address_in(word)));
            references.extend(targets.map(|target| (target, From::Word(object))));
        }
        let found = references.len()..references.len() + self.slots.found.len();
        references.extend(self.slots.found.drain(..).map(|(target, slot)| (target, From::Object(object, slot))));
        if bytes > PARTS_FROM_BYTES
            && let Some(slots) = self.vm.slots_of_large(object)
        {
            let mut parts = Vec::new();
            match self.vm.place_of_slots(object) {
                Some(place) => self.scan_places(object, bytes, slots, place, &mut parts),
                None => {
                    self.slots.begin(Some(memory));
                    self.vm.scan_part(object, 0, slots, &mut self.slots);
                    if let Some((place, fault)) = self.slots.end() {
                        self.fail_at_slot(object, place, fault);
                    }
                    parts.extend(self.slots.found.drain(..).map(|(target, _)| target));
                }
            }
            let mut whole: Vec<_> = references[found].iter().map(|(target, _)| *target).collect();
            whole.sort_unstable();
            parts.sort_unstable();
            if whole != parts {
                self.fail_in_parts(object, slots, [whole.len(), parts.len()]);
            }
        }
    }

    /// What the slots of an array refer to, if they are where the binding says.
    fn scan_places(
        &mut self,
        object: ObjectReference,
        bytes: usize,
        slots: usize,
        place: Range<Address>,
        found: &mut Vec<ObjectReference>,
    ) {
        let at = object.address();
        let length = place.end.as_usize().wrapping_sub(place.start.as_usize());
        if place.start < at
            || place.end > at.plus(bytes)
            || place.start > place.end
            || !length.is_multiple_of(slots.max(1))
        {
            self.fail_at_place(object, slots, place);
        }
        let place_of = |number: usize| place.start.plus(length / slots.max(1) * number);
        for from in (0..slots).step_by(SLOTS_AT_ONCE) {
            let to = slots.min(from + SLOTS_AT_ONCE);
            self.slots.begin(Some(place_of(from)..place_of(to)));
            self.vm.scan_part(object, from, to, &mut self.slots);
            match self.slots.end() {
                Some((slot, Fault::Outside)) => {
                    self.fail_beside_place(object, from..to, place_of(from)..place_of(to), slot)
                }
                Some((slot, fault)) => self.fail_at_slot(object, slot, fault),
                None => found.extend(self.slots.found.drain(..).map(|(target, _)| target)),
            }
        }
    }

    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.spaces.find_object(address)
    }

    /// Checks an object that something refers to. Its size, or none if it is outside the heap.
    fn check(&self, object: ObjectReference, from: From<VM::Slot>) -> Option<usize> {
        let Some(space) = self.spaces.of(object) else {
            if self.heap.holds(object) {
                self.fail_in_no_space(object, from);
            }
            return None;
        };
        match self.inspect(object, space, from) {
            Ok(bytes) => Some(bytes),
            Err((cause, why)) => self.fail(object, space, from, cause, &why),
        }
    }

    /// The object's size, or what is wrong.
    fn inspect(
        &self,
        object: ObjectReference,
        space: &dyn Space,
        from: From<VM::Slot>,
    ) -> Result<usize, (Cause, String)> {
        let granule = 1usize << VM::LOG_GRANULE;
        if !object.address().is_aligned_to(granule) {
            return Err((Cause::NoReference, format!("that is not aligned to a granule of {granule} bytes")));
        }
        // A dangling reference may lead to memory without an object: ask the space and the history before the
        // binding.
        space.check_object(object, granule).map_err(|why| {
            let cause = match (self.before, self.history.known(object)) {
                (true, Some(_)) => Cause::Freed,
                (true, None) => Cause::Dangling,
                (false, _) => self.missed_by(from),
            };
            (cause, why)
        })?;
        if self.before {
            self.check_known(object, space)?;
        } else {
            space.check_live(object, granule).map_err(|why| (self.missed_by(from), why))?;
            if !space.moves() && self.history.is_complete() && self.history.known(object).is_none() {
                let why = "it was moved there, and the space says that nothing moves".to_string();
                return Err((Cause::Moved, why));
            }
        }
        let bytes = self.vm.object_size(object);
        if bytes == 0 || !bytes.is_multiple_of(granule) {
            let why = format!("object_size says {bytes} bytes, not a whole number of granules");
            return Err((Cause::Size, why));
        }
        let live = || if self.before { Ok(()) } else { space.check_live(object, bytes) };
        let fits = space.check_object(object, bytes).and_then(|()| live());
        fits.map_err(|why| (Cause::Size, format!("with the {bytes} bytes that object_size says, {why}")))?;
        Ok(bytes)
    }

    /// Before a collection: the object is one that may be alive, and is as it was made.
    fn check_known(&self, object: ObjectReference, space: &dyn Space) -> Result<(), (Cause, String)> {
        let Some(known) = self.history.known(object) else {
            if let Some((start, _)) = self.history.around(object.address())
                // SAFETY: the history knows an object that begins there, and it is only named.
                && let Some(other) = unsafe { ObjectReference::from_address(start) }
            {
                let offset = object.address().bytes_from(start);
                let why = format!("no object begins there: it is at +{offset} in {}", self.name(other));
                return Err((Cause::NoReference, why));
            }
            // The binding may have kept it alive unseen; or it died while the heap was marked, lived on, and
            // came back by a weak reference. When the next marking ends, nobody may have claimed it yet.
            let may_live = || self.claimed.is_some() || space.check_live(object, 1 << VM::LOG_GRANULE).is_ok();
            return match !self.history.is_complete() && may_live() {
                true => Ok(()),
                false => {
                    Err((Cause::Dangling, "it was collected, or moved: nothing was allocated there since".to_string()))
                }
            };
        };
        let bytes = self.vm.object_size(object);
        if bytes != known.bytes {
            let why = format!("object_size says {bytes} bytes where {} were asked for", known.bytes);
            return Err((Cause::Size, why));
        }
        match (self.states.lent_byte(object), known.state) {
            (Some(state), Some(left)) if state != left && !self.is_claimed(state, left) => {
                let whose = if self.history.survived(object) { "that the collector left" } else { "of a new object" };
                Err((Cause::State, format!("its state byte is {state:#04x}, not the {left:#04x} {whose}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the state byte is what a claim makes of `left`, in the marking that this pause ends.
    fn is_claimed(&self, state: u8, left: u8) -> bool {
        self.claimed.is_some_and(|epoch| state == left & !EPOCH_MASK | epoch)
    }

    /// What the walk has found, in the order of the addresses. Objects must not overlap.
    fn in_order(&mut self) -> Vec<Survivor> {
        let mut found = std::mem::take(&mut self.found);
        // Lists and arrays often lie in the order in which they are walked, or the other way round, and a
        // stable sort makes use of such runs.
        found.sort_by_key(|survivor| survivor.range.start);
        for pair in found.windows(2) {
            if pair[0].range.end > pair[1].range.start {
                self.fail_overlapping(pair[0].range.clone(), pair[1].range.start);
            }
        }
        found
    }
}

/// Collects what roots refer to.
struct FoundRoots<'w, S> {
    slots: &'w mut Slots<S>,
    /// Objects outside the heap.
    outside: Vec<ObjectReference>,
    /// What is referred to by other roots than slots.
    others: Vec<(ObjectReference, From<S>)>,
}

impl<VM: VMBinding> RootVisitor<VM> for FoundRoots<'_, VM::Slot> {
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot> {
        &mut *self.slots
    }
    fn object_outside(&mut self, object: ObjectReference) {
        self.outside.push(object);
    }
    fn ambiguous(&mut self, object: ObjectReference) {
        self.others.push((object, From::Entry("an ambiguous word of a stack")));
    }
    fn queued(&mut self, root: QueuedRoot<'_>) {
        let what = "the queue of finalizers and cleared references";
        self.others.extend(root.load().map(|object| (object, From::Entry(what))));
    }
}
