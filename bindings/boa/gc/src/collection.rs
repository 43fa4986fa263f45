//! A collection, as far as it is Boa's: roots by counting, ephemerons, finalizers, drops.
//!
//! Boa has neither a shadow stack nor a list of roots. It has a count of handles in each object, so:
//! 1. Count, for each object, the handles that lie inside objects, dead ones included. An object with more handles than that
//!    has one outside the heap, and is a root. (CPython finds garbage cycles so.)
//! 2. Mark from the roots: the plan's work.
//! 3. Ephemerons: where box and key are alive, mark what the value holds; until nothing changes.
//! 4. Finalizers of the dead, all of them before any drop: one may look at another dead object.
//! 5. Empty the ephemerons whose keys are dead, and take them out of weak maps.
//! 6. Count again, among the dead only. One with more handles than that was stored somewhere by a finalizer: it and what it
//!    reaches live on. The weak handles outside of it have ended, as in Java; its finalizer may run again.
//! 7. Drop the values of the dead. Their handles are counted down as they go, so all counts stay exact.
//!
//! Then the plan sweeps.
//!
//! I1. All of it runs on the thread that owns the heap: the thread that collects leads the pause, and has no helpers. Tracing
//!     must be there, since `trace` of some types clones handles; drops must be there, since values hold `Rc`s.
//! I2. Until the plan sweeps, the header of every object is intact, also of those whose values were dropped.
//! I3. `counted` of an object is 0 outside step 1 and 6; in step 6, `DEAD` marks those that are to be counted.
//! I4. Nothing unwinds through the pause: a panic of a finalizer or a drop is kept and goes on after it.

use crate::ephemeron::AnyEphemeron;
use crate::gc_box::{GcBox, Object, STATE_OFFSET};
use crate::heap::{DropPhase, Lists, ThreadHeap};
use crate::{Tracer, gc_box};
use mmtk_core::ObjectReference;
use mmtk_core::binding::{OutOfMemory, Slot, SlotVisitor, StateLocation, VMBinding};
use mmtk_core::weak::WeakProcessor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Objects between a prefetch and the use.
const AHEAD: usize = 8;
/// In `counted`: the object was not reached.
const DEAD: u32 = 1 << 31;

/// Boa, as the toolkit sees it.
#[derive(Default)]
pub struct Boa {
    thread: AtomicPtr<ThreadHeap>,
}

/// A handle that was found. Where it lies is not known: `trace` may show a temporary copy. So nothing can be moved.
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

// SAFETY: the size is that of the type, which the vtable keeps; `trace` reports the handles in an object, by the contract of
// `Trace`; every handle elsewhere makes a root by counting; a header is written right after the allocation.
unsafe impl VMBinding for Boa {
    type Slot = Handle;
    type Local = ();

    const LOG_GRANULE: u32 = gc_box::GRANULE.trailing_zeros();
    const STATE: StateLocation = StateLocation::HeaderTopByte(STATE_OFFSET);
    const CAN_MOVE: bool = false;

    #[inline(always)]
    fn object_size(object: ObjectReference) -> usize {
        // SAFETY: an object that was not swept.
        unsafe { Object::from_reference(object).header() }.vtable().bytes
    }

    #[inline(always)]
    fn scan_object(object: ObjectReference, visitor: &mut impl SlotVisitor<Handle>) {
        let visit = |found: &[Object]| found.iter().for_each(|o| visitor.visit(Handle(o.reference())));
        Tracer::with(false, visit, |tracer| trace(Object::from_reference(object), tracer));
    }

    fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<Handle>) {}

    fn scan_vm(&self, visitor: &mut impl SlotVisitor<Handle>) {
        let lists = self.lists();
        count_handles(&lists.objects, |target| target.set(target.get() + 1));
        for object in &lists.objects {
            // SAFETY: a listed object.
            let header = unsafe { object.header() };
            if header.handles() > header.counted().replace(0) {
                visitor.visit(Handle(object.reference()));
            }
        }
    }

    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        self.thread().collecting.set(true);
        self.bury_the_dead(weak);
        self.thread().collecting.set(false);
    }

    fn out_of_memory(&self, error: &OutOfMemory) {
        // Boa cannot throw from here. The heap is left alone: the destructors that `exit` runs could ask for more.
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

/// Calls `count` with the counter of the target of each handle in these objects.
fn count_handles(objects: &[Object], count: impl Fn(&std::cell::Cell<u32>)) {
    // SAFETY: handles lead to objects that were not swept.
    let pass_on = |found: &[Object]| found.iter().for_each(|o| count(unsafe { o.header() }.counted()));
    Tracer::with(true, pass_on, |tracer| {
        for_each_prefetched(objects, |object| trace(object, tracer));
    });
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
        // SAFETY: called in a pause, by its leader, which is the owner and holds no other reference to them (I1): finalizers
        // and drops cannot reach the lists while `collecting` is set.
        unsafe { &mut *self.thread().lists.get() }
    }

    fn bury_the_dead(&self, weak: &mut dyn WeakProcessor) {
        let Lists { objects, ephemerons, weak_maps } = self.lists();
        let mut pending = ephemerons.clone();
        resolve(&mut pending, weak);

        let mut dead = Vec::new();
        objects.retain(|object| {
            let live = weak.live(object.reference()).is_some();
            if !live {
                dead.push(*object);
            }
            live
        });

        // SAFETY: dead but whole (step 7 comes later), with its own vtable.
        self.guarded(&dead, |object| unsafe { (object.header().vtable().finalize)(object) });
        self.empty_dead_keys(&mut pending, weak);
        self.keep_resurrected(&mut dead, objects, &mut pending, weak);

        ephemerons.retain(|ephemeron| is_live(weak, Object::of(*ephemeron)));
        weak_maps.retain(|map| is_live(weak, Object::of(*map)));
        for map in weak_maps.iter() {
            // SAFETY: alive.
            self.guarded(&[()], |()| unsafe { map.as_ref() }.value().prune());
        }

        let mut freed = 0;
        {
            let _dropping = DropPhase::begin();
            self.guarded(&dead, |object| {
                // SAFETY: whole until here, and this is the only drop; handles lead to objects with headers (I2).
                unsafe {
                    let vtable = object.header().vtable();
                    freed += vtable.bytes;
                    if let Some(drop) = vtable.drop {
                        drop(object);
                    }
                }
            });
        }
        let thread = self.thread();
        thread.collected(thread.bytes.get() - freed);
        if objects.len() < objects.capacity() / 4 {
            objects.shrink_to(objects.len() * 2);
        }
    }

    /// Step 5.
    fn empty_dead_keys(&self, pending: &mut Vec<NonNull<GcBox<dyn AnyEphemeron>>>, weak: &mut dyn WeakProcessor) {
        pending.retain(|ephemeron| {
            let live = is_live(weak, Object::of(*ephemeron));
            if live {
                // SAFETY: alive.
                self.guarded(&[()], |()| unsafe { ephemeron.as_ref() }.value().clear());
            }
            !live
        });
    }

    /// Step 6: takes those that live on out of `dead`.
    fn keep_resurrected(
        &self,
        dead: &mut Vec<Object>,
        objects: &mut Vec<Object>,
        pending: &mut Vec<NonNull<GcBox<dyn AnyEphemeron>>>,
        weak: &mut dyn WeakProcessor,
    ) {
        for object in &*dead {
            // SAFETY: I2.
            unsafe { object.header() }.counted().set(DEAD);
        }
        count_handles(dead, |target| {
            if target.get() & DEAD != 0 {
                target.set(target.get() + 1);
            }
        });
        let mut resurrected = false;
        for object in &*dead {
            // SAFETY: I2.
            let header = unsafe { object.header() };
            if header.handles() > header.counted().replace(0) & !DEAD {
                weak.keep_alive(object.reference());
                resurrected = true;
            }
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
                objects.push(*object);
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
                self.thread().panic.set(Some(panic));
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
