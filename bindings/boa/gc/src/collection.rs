//! A collection, as far as it is Boa's: roots by counting, ephemerons, finalizers, drops.
//!
//! Boa has neither a shadow stack nor a list of roots. It has a count of handles in each object, so:
//! 1. Count, for each object, the handles that lie inside objects, dead ones included. An object with more
//!    handles than that has one outside the heap, and is a root. (CPython finds garbage cycles so.)
//! 2. Mark from the roots: the plan's work.
//! 3. Ephemerons: where box and key are alive, mark what the value holds; until nothing changes.
//! 4. Finalizers of the dead, all of them before any drop: one may look at another dead object.
//! 5. Empty the ephemerons whose keys are dead, and take them out of weak maps.
//! 6. Count again, among the dead only. One with more handles than that was stored somewhere by a finalizer:
//!    it and what it reaches live on. The weak handles outside of it have ended, as in Java; its finalizer
//!    may run again.
//! 7. Drop the values of the dead. Their handles are counted down as they go, so all counts stay exact.
//!
//! Then the plan sweeps.
//!
//! A minor collection does the same to new objects alone: those made since the last collection. What is old
//! counts as outside. So a new object to which an old one refers has a handle that is not found, and is a
//! root; no write barrier is needed to know of it. If the old one is dead, the new one lives until a full
//! collection nevertheless.
//!
//! Before all that, a minor collection buries what has no handle at all: the counts are exact, so this needs
//! no counting and no marking. Most objects die so.
//! - New objects: it looks at them from the newest to the oldest, and then once more the other way round.
//!   Each burial takes handles of others away, which are found so if they are all older, or all newer, than
//!   what held them. What is left is left to counting.
//! - Old ones: it looks at a part of the list, which goes round with time, and at whatever a buried object
//!   referred to. It buries only so many, so that its pause stays short; the others are dead, too, and wait.
//!   Before a full collection, it looks at all.
//!
//! What an ephemeron knows is not taken so, since a weak handle could still be upgraded. Full collections are
//! left with that and cycles.
//!
//! I1. All of it runs on the thread that owns the heap: the thread that collects leads the pause, and has no
//!     helpers. Tracing must be there, since `trace` of some types clones handles, and that of `Cell` takes
//!     the value out for a moment; drops must be there, since values hold `Rc`s.
//! I2. Until the plan sweeps, the header of every object is intact, also of those whose values were dropped.
//! I3. `counted` of an object is 0 outside of steps 1 and 6.
//! I4. Nothing unwinds through the pause: a panic of a finalizer or a drop is kept and goes on after it.
//!
//! Sources: counting, CPython's `gcmodule`. Young objects as the universe of the count, the same. Deaths of
//! old objects by their counts between traces for cycles: Deutsch and Bobrow (CACM 1976), with Bacon and
//! Rajan (ECOOP 2001) on what counts cannot find.

use crate::ephemeron::AnyEphemeron;
use crate::gc_box::{GcBox, Object, STATE_OFFSET};
use crate::heap::{DropPhase, Lists, ThreadHeap};
use crate::weak_map::AnyWeakMap;
use crate::{Tracer, gc_box};
use heapwright::references::WeakProcessor;
use heapwright::{ObjectReference, OldToNew, OutOfMemory, Slot, SlotVisitor, StateLocation, VMBinding};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Objects between a prefetch and the use.
pub(crate) const AHEAD: usize = 8;
/// Old objects that a minor collection looks at for each new one that there was, and at least.
const SEARCHED_FOR_EACH_NEW: usize = 8;
const SEARCHED_AT_LEAST: usize = 1000;
/// Old objects that it buries for each new one, and at least: more would make its pause long.
const BURIED_FOR_EACH_NEW: usize = 2;
const BURIED_AT_LEAST: usize = 1000;
/// Old objects that go through the steps of a burial together, so that a step waits for the memory of several
/// at once.
const BURIED_TOGETHER: usize = 32;

/// Boa, as the toolkit sees it.
#[derive(Default)]
pub struct Boa {
    thread: AtomicPtr<ThreadHeap>,
}

/// A handle that was found. Where it lies is not known: `trace` may show a temporary copy. So nothing can be
/// moved.
#[derive(Copy, Clone, Debug)]
pub struct Handle(ObjectReference);

impl Slot for Handle {
    #[inline(always)]
    fn load(self) -> Option<ObjectReference> {
        Some(self.0)
    }
    fn store(self, object: ObjectReference) {
        unreachable!("{object} moved, but Boa's objects cannot move")
    }
}

// SAFETY: the size is that of the type, which the vtable keeps; `trace` reports the handles in an object, by
// the contract of `Trace`; every handle elsewhere makes a root by counting; a header is written right after
// the allocation.
unsafe impl VMBinding for Boa {
    type Slot = Handle;
    type Local = ();

    const LOG_GRANULE: u32 = gc_box::GRANULE.trailing_zeros();
    const STATE: StateLocation = StateLocation::HeaderTopByte(STATE_OFFSET);
    const CAN_MOVE: bool = false;
    const OLD_TO_NEW: OldToNew = OldToNew::Found;

    #[inline(always)]
    fn object_size(&self, object: ObjectReference) -> usize {
        // SAFETY: an object that was not swept.
        unsafe { Object::from_reference(object).header() }.vtable().bytes
    }

    #[inline(always)]
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<Handle>) {
        let visit = |found: &[Object]| found.iter().for_each(|o| visitor.visit(Handle(o.reference())));
        Tracer::with(false, visit, |tracer| trace(Object::from_reference(object), tracer));
    }

    fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<Handle>) {}

    fn scan_vm(&self, visitor: &mut impl SlotVisitor<Handle>) {
        let Lists { new, old, .. } = self.lists();
        // For each old object, by its place: the handles that it has, without those that are found. It is
        // written when the object is walked, so no header is looked at before that or after.
        let mut outside = vec![0_u32; old.len()];
        let outside = Cell::from_mut(&mut outside[..]).as_slice_of_cells();
        let count = |found: &[Object]| {
            for object in found {
                // SAFETY: handles lead to objects that were not swept.
                let header = unsafe { object.header() };
                match header.place() {
                    Some(place) => outside[place].update(|handles| handles.wrapping_sub(1)),
                    None => header.count(),
                }
            }
        };
        Tracer::with(true, count, |tracer| {
            for (place, slot) in old.iter().enumerate() {
                prefetch_place(old, place + AHEAD);
                if let Some(object) = slot {
                    // SAFETY: a listed object.
                    let all = unsafe { object.header() }.handles();
                    outside[place].update(|handles| handles.wrapping_add(all));
                    trace(*object, tracer);
                }
            }
            for_each_prefetched(new, |object| trace(object, tracer));
        });
        for (slot, handles) in old.iter().zip(outside) {
            if let Some(object) = slot
                && handles.get() != 0
            {
                visitor.visit(Handle(object.reference()));
            }
        }
        visit_new_roots(new, visitor);
    }

    fn scan_vm_minor(&self, visitor: &mut impl SlotVisitor<Handle>) {
        let thread = self.thread();
        thread.minor.set(true);
        thread.collecting.set(true);
        self.bury_unreferenced_old();
        self.bury_unreferenced_new();
        let new = &mut self.lists().new;
        Tracer::with(true, count, |tracer| {
            new.retain(|object| {
                // SAFETY: I2.
                let header = unsafe { object.header() };
                let whole = !header.is_gone();
                if whole {
                    trace(*object, tracer);
                }
                whole
            });
        });
        visit_new_roots(new, visitor);
    }

    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        let thread = self.thread();
        thread.collecting.set(true);
        self.bury_the_dead(weak, thread.minor.replace(false));
        thread.collecting.set(false);
    }

    fn out_of_memory(&self, error: &OutOfMemory) {
        // Boa cannot throw from here. The heap is left alone: the destructors that `exit` runs could ask for
        // more.
        eprintln!("{error}");
        // SAFETY: always allowed.
        unsafe { libc::_exit(1) }
    }
}

/// Lets an object report its handles.
#[inline(always)]
fn trace(object: Object, tracer: &mut Tracer) {
    // SAFETY: called for objects whose value was not dropped, with their own vtable.
    unsafe { (object.header().vtable().trace)(object, tracer) }
}

/// Counts these handles.
fn count(found: &[Object]) {
    for object in found {
        // SAFETY: handles lead to objects that were not swept.
        unsafe { object.header() }.count();
    }
}

/// Counts the handles in these objects.
fn count_handles(objects: &[Object]) {
    Tracer::with(true, count, |tracer| {
        for_each_prefetched(objects, |object| trace(object, tracer));
    });
}

/// Visits an object that has more handles than were counted.
#[inline(always)]
fn visit_root(object: Object, visitor: &mut impl SlotVisitor<Handle>) {
    // SAFETY: a listed object.
    let header = unsafe { object.header() };
    if header.handles() > header.counted() {
        visitor.visit(Handle(object.reference()));
    }
}

/// Visits the roots among new objects, and sets their counts to 0 again.
fn visit_new_roots(new: &[Object], visitor: &mut impl SlotVisitor<Handle>) {
    for object in new {
        visit_root(*object, visitor);
        // SAFETY: a listed object.
        unsafe { object.header() }.begin_count();
    }
}

/// Brings the header of the old object at this place near, if there is one.
#[inline(always)]
pub(crate) fn prefetch_place(old: &[Option<Object>], place: usize) {
    if let Some(Some(object)) = old.get(place) {
        object.address().prefetch();
    }
}

fn for_each_prefetched(objects: &[Object], mut f: impl FnMut(Object)) {
    for (n, object) in objects.iter().enumerate() {
        if let Some(next) = objects.get(n + AHEAD) {
            next.address().prefetch();
        }
        f(*object);
    }
}

impl Boa {
    pub(crate) fn belongs_to(&self, thread: &ThreadHeap) {
        self.thread.store(std::ptr::from_ref(thread).cast_mut(), Relaxed);
    }

    fn thread(&self) -> &ThreadHeap {
        // SAFETY: set when the heap was made; the heap is dropped before what this points to.
        unsafe { &*self.thread.load(Relaxed) }
    }

    #[allow(clippy::mut_from_ref)]
    fn lists(&self) -> &mut Lists {
        // SAFETY: called in a pause, by its leader, which is the owner and holds no other reference to them
        // (I1): finalizers and drops cannot reach the lists while `collecting` is set.
        unsafe { &mut *self.thread().lists.get() }
    }

    /// Buries old objects without handles.
    fn bury_unreferenced_old(&self) {
        let thread = self.thread();
        let lists = self.lists();
        let mut dead = if thread.searches_all.get() {
            let round_so_far = lists.kept;
            lists.search(usize::MAX) + lists.search(round_so_far)
        } else {
            lists.search(SEARCHED_AT_LEAST.max(SEARCHED_FOR_EACH_NEW * lists.new.len()))
        };

        let mut budget = BURIED_AT_LEAST.max(BURIED_FOR_EACH_NEW * lists.new.len());
        let mut edges = std::mem::take(&mut lists.edges);
        while budget > 0 && !lists.dying.is_empty() {
            let from = lists.dying.len() - lists.dying.len().min(budget).min(BURIED_TOGETHER);
            let batch = &lists.dying[from..];
            budget -= batch.len();
            for object in batch {
                // Most are of two cache lines.
                object.address().prefetch();
                object.address().plus(64).prefetch();
            }
            self.finalize(batch);
            let keep = |found: &[Object]| edges.extend_from_slice(found);
            Tracer::with(true, keep, |tracer| batch.iter().for_each(|object| trace(*object, tracer)));
            self.drop_values(batch);
            lists.released.extend_from_slice(batch);
            lists.dying.truncate(from);
            for target in edges.drain(..) {
                // SAFETY: the handle kept it until now.
                let header = unsafe { target.header() };
                if header.place().is_some() && header.is_unreferenced() {
                    dead += lists.dies(target);
                }
            }
        }
        lists.edges = edges;
        thread.died(dead);
    }

    /// Buries new objects without handles. They stay on their list, as gone.
    fn bury_unreferenced_new(&self) {
        let new = &self.lists().new;
        let mut freed = 0;
        let mut bury = |object: &Object| {
            // SAFETY: a listed object.
            let header = unsafe { object.header() };
            if header.is_unreferenced() {
                header.set_gone();
                self.finalize(&[*object]);
                freed += self.drop_values(&[*object]);
            }
        };
        new.iter().rev().for_each(&mut bury);
        new.iter().for_each(&mut bury);
        self.thread().freed(freed);
    }

    fn bury_the_dead(&self, weak: &mut dyn WeakProcessor, minor: bool) {
        let thread = self.thread();
        let before = thread.bytes.get();
        let lists = self.lists();
        let mut dead = std::mem::take(&mut lists.dead);
        let Lists { new, old, new_ephemerons, ephemerons, weak_maps, written_maps, dying, released, .. } = lists;
        let mut pending = new_ephemerons.clone();
        if minor {
            released.drain(..).for_each(|object| weak.release(object.reference()));
        } else {
            released.clear();
            // Not on a list, so not marked; what they refer to was, since they were outside.
            self.finalize(dying);
            self.drop_values(dying);
            dying.clear();
            pending.extend_from_slice(ephemerons);
        }
        resolve(&mut pending, weak);

        let mut is_alive = |object: &Object| {
            let live = is_live(weak, *object);
            if !live {
                dead.push(*object);
            }
            live
        };
        if !minor {
            for slot in old.iter_mut() {
                *slot = slot.filter(&mut is_alive);
            }
        }
        new.retain(&mut is_alive);

        self.finalize(&dead);
        self.empty_dead_keys(&mut pending, weak);
        self.keep_resurrected(&mut dead, new, &mut pending, weak);

        let keeps_key = |ephemeron: &NonNull<GcBox<dyn AnyEphemeron>>| {
            // SAFETY: if it is alive.
            is_live(weak, Object::of(*ephemeron)) && unsafe { ephemeron.as_ref() }.value().key().is_some()
        };
        new_ephemerons.retain(keeps_key);
        if !minor {
            ephemerons.retain(keeps_key);
        }
        ephemerons.append(new_ephemerons);
        written_maps.retain(|map| is_live(weak, Object::of(*map)));
        let mut prune = |map: &NonNull<GcBox<dyn AnyWeakMap>>| {
            let mut done = false;
            // SAFETY: alive.
            self.guarded(&[()], |()| done = unsafe { map.as_ref() }.value().prune(!minor));
            !done
        };
        if minor {
            written_maps.retain(&mut prune);
        } else {
            weak_maps.retain(|map| is_live(weak, Object::of(*map)));
            let borrowed: Vec<_> = weak_maps.iter().copied().filter(&mut prune).map(Object::of).collect();
            written_maps.retain(|map| borrowed.contains(&Object::of(*map)));
        }

        thread.freed(self.drop_values(&dead));
        dead.clear();
        for object in new.drain(..) {
            // SAFETY: a listed object.
            unsafe { object.header() }.set_place(old.len());
            old.push(Some(object));
        }
        if minor {
            if thread.searches_all.get() {
                thread.searched();
            }
        } else {
            thread.collected(before);
            dead.shrink_to(new.capacity());
        }
        lists.dead = dead;
    }

    /// Runs the finalizers of these objects.
    fn finalize(&self, dead: &[Object]) {
        // SAFETY: dead but whole, with its own vtable.
        self.guarded(dead, |object| unsafe { (object.header().vtable().finalize)(object) });
    }

    /// Drops the values of these objects; their bytes.
    fn drop_values(&self, dead: &[Object]) -> usize {
        let mut freed = 0;
        let _dropping = DropPhase::begin();
        self.guarded(dead, |object| {
            // SAFETY: whole until here, and this is the only drop; handles lead to objects with headers (I2).
            unsafe {
                let vtable = object.header().vtable();
                freed += vtable.bytes;
                if let Some(drop) = vtable.drop {
                    drop(object);
                }
            }
        });
        freed
    }

    /// Step 5.
    fn empty_dead_keys(&self, pending: &mut Vec<NonNull<GcBox<dyn AnyEphemeron>>>, weak: &mut dyn WeakProcessor) {
        pending.retain(|ephemeron| {
            let live = is_live(weak, Object::of(*ephemeron));
            if live {
                // SAFETY: alive.
                let gc_box = unsafe { ephemeron.as_ref() };
                self.guarded(&[()], |()| gc_box.value().clear());
                gc_box.header().keep_no_longer();
            }
            !live
        });
    }

    /// Step 6: moves those that live on from `dead` to `alive`.
    fn keep_resurrected(
        &self,
        dead: &mut Vec<Object>,
        alive: &mut Vec<Object>,
        pending: &mut Vec<NonNull<GcBox<dyn AnyEphemeron>>>,
        weak: &mut dyn WeakProcessor,
    ) {
        for object in &*dead {
            // SAFETY: I2.
            unsafe { object.header() }.begin_count();
        }
        count_handles(dead);
        let mut resurrected = false;
        for object in &*dead {
            // SAFETY: I2.
            let header = unsafe { object.header() };
            if header.handles() > header.counted() {
                weak.keep_alive(object.reference());
                resurrected = true;
            }
            header.begin_count();
        }
        if !resurrected {
            return;
        }
        // Ephemerons that live on: those with live keys keep their values, the others are emptied.
        resolve(pending, weak);
        self.empty_dead_keys(pending, weak);
        dead.retain(|object| {
            let live = is_live(weak, *object);
            if live {
                alive.push(*object);
            }
            !live
        });
    }

    /// Calls `f` with each; a panic ends the call of one of them only, and is kept (I4).
    fn guarded<T: Copy>(&self, items: &[T], mut f: impl FnMut(T)) {
        let mut items = items.iter();
        while items.len() > 0 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                for item in items.by_ref() {
                    f(*item);
                }
            }));
            if let Err(panic) = result {
                self.thread().keep_panic(panic);
            }
        }
    }
}

fn is_live(weak: &dyn WeakProcessor, object: Object) -> bool {
    weak.live(object.reference()).is_some()
}

/// Step 3. Leaves those whose box or key is dead.
fn resolve(pending: &mut Vec<NonNull<GcBox<dyn AnyEphemeron>>>, weak: &mut dyn WeakProcessor) {
    loop {
        let before = pending.len();
        pending.retain(|ephemeron| {
            // SAFETY: not swept, and its value not dropped.
            let ephemeron_ref = unsafe { ephemeron.as_ref() }.value();
            let Some(key) = ephemeron_ref.key() else { return false };
            if !is_live(weak, Object::of(*ephemeron)) || !is_live(weak, key) {
                return true;
            }
            let keep = |found: &[Object]| {
                for object in found {
                    weak.keep_alive(object.reference());
                }
            };
            Tracer::with(false, keep, |tracer| ephemeron_ref.trace_value(tracer));
            false
        });
        if pending.len() == before {
            return;
        }
    }
}

/// For messages.
impl std::fmt::Debug for Boa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Boa")
    }
}
