//! The mutator: an application thread as a VM holds it.
//!
//! `MutatorState` is laid out for compiled code: the cursor and limit of the bump range are its first two
//! words, and all that compiled code looks at is at constant offsets (`compiled.rs`). What the thread does
//! alone, and the rules of who uses what when, are in `alloc/thread.rs`.

use crate::address::{Address, ObjectReference};
use crate::alloc::{NewObject, Pace, Request, Semantics, ThreadPart};
use crate::binding::{Slot, VMBinding, WordSlot};
use crate::callback::Callback;
use crate::cycle::Collector;
use crate::error::{MayBeOutOfMemory, OutOfMemory};
use crate::memory::Memory;
use crate::metadata::ObjectStates;
use crate::pause::Moving;
use crate::plan::Plan;
use crate::trace::Change;
use crate::weak::WeakTables;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An attached mutator's state: the part of its thread, and the heap.
#[repr(C)]
pub struct MutatorState<VM: VMBinding> {
    pub(super) part: ThreadPart<VM>,
    heap: Arc<Collector<VM>>,
}

impl<VM: VMBinding> MutatorState<VM> {
    pub(crate) fn new(heap: Arc<Collector<VM>>, local: VM::Local) -> Box<Self> {
        let store = heap.store();
        let part = ThreadPart::new(
            store.leftovers().clone(),
            store.states().clone(),
            store.parts().clone(),
            heap.options(),
            heap.is_verified(),
            local,
        );
        Box::new(MutatorState { part, heap })
    }
}

/// An attached mutator. Dropping it detaches the thread. Belongs to the thread that attached it.
#[repr(transparent)]
pub struct Mutator<VM: VMBinding>(NonNull<MutatorState<VM>>);

impl<VM: VMBinding> Mutator<VM> {
    pub(crate) fn from_state(state: Box<MutatorState<VM>>) -> Self {
        Mutator(NonNull::from(Box::leak(state)))
    }

    /// The state, for compiled code and for handles that travel in a register.
    #[inline(always)]
    pub fn state(&self) -> *mut MutatorState<VM> {
        self.0.as_ptr()
    }

    /// A mutator again from what [`Mutator::into_raw`] returned.
    ///
    /// # Safety
    /// The pointer came from `into_raw`, once, on this thread.
    pub unsafe fn from_raw(state: *mut MutatorState<VM>) -> Self {
        // SAFETY: the caller's promise.
        Mutator(unsafe { NonNull::new_unchecked(state) })
    }

    /// Gives up the handle without detaching.
    pub fn into_raw(self) -> *mut MutatorState<VM> {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    #[inline(always)]
    fn shared(&self) -> &MutatorState<VM> {
        // SAFETY: the state lives until the handle is dropped; what is mutable in it is in cells.
        unsafe { self.0.as_ref() }
    }

    /// The part of its thread.
    #[inline(always)]
    pub(crate) fn part(&self) -> &ThreadPart<VM> {
        &self.shared().part
    }

    /// Zeroed memory for an object of `bytes` bytes: whole granules, at least one. A safepoint.
    ///
    /// If there is none even after an emergency collection, the VM's `out_of_memory` is called, and the
    /// process aborts if that returns. See [`Mutator::try_alloc`].
    ///
    /// # Panics
    /// When the thread is in a native region of this mutator, or `bytes` is not as said above. A debug build
    /// finds a wrong `bytes` at once, a release build in the slow path. If the fast path lets it pass, a part
    /// of a granule is found at the next slow path or pause; for zero bytes, which fit any range, the address
    /// of the next object is returned.
    #[inline(always)]
    pub fn alloc(&self, bytes: usize) -> NewObject {
        NewObject::new(match self.part().alloc_fast(bytes) {
            Some(address) => address,
            None => self.alloc_or_report(bytes, Semantics::Default),
        })
    }

    /// As [`Mutator::alloc`], but returns the error.
    #[inline(always)]
    pub fn try_alloc(&self, bytes: usize) -> Result<NewObject, OutOfMemory> {
        match self.part().alloc_fast(bytes) {
            Some(address) => Ok(NewObject::new(address)),
            None => self.alloc_slow(bytes, Semantics::Default).map(NewObject::new),
        }
    }

    /// As [`Mutator::alloc`], in the space that `semantics` names.
    pub fn alloc_with(&self, bytes: usize, semantics: Semantics) -> NewObject {
        NewObject::new(self.alloc_or_report(bytes, semantics))
    }

    /// As [`Mutator::try_alloc`], in the space that `semantics` names.
    pub fn try_alloc_with(&self, bytes: usize, semantics: Semantics) -> Result<NewObject, OutOfMemory> {
        self.alloc_slow(bytes, semantics).map(NewObject::new)
    }

    #[cold]
    #[inline(never)]
    fn alloc_or_report(&self, bytes: usize, semantics: Semantics) -> Address {
        self.or_report(self.alloc_slow(bytes, semantics))
    }

    /// If memory is out, calls the VM's `out_of_memory`, and does not return.
    pub(crate) fn or_report<R>(&self, allocated: Result<R, OutOfMemory>) -> R {
        allocated.unwrap_or_else(|error| {
            self.shared().heap.vm().out_of_memory(&error);
            std::process::abort()
        })
    }

    /// Memory for `bytes` bytes from `attempt`. It is given the mutator's pace and its count of allocated
    /// bytes, and is called again after a collection. A safepoint.
    pub(crate) fn allocate_with(
        &self,
        bytes: usize,
        mut attempt: impl FnMut(Pace, &mut usize) -> Option<Address>,
    ) -> Result<Address, OutOfMemory> {
        let state = self.shared();
        state.heap.allocate(&state.part, bytes, |allocators| attempt(allocators.pace, &mut allocators.allocated))
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, bytes: usize, semantics: Semantics) -> Result<Address, OutOfMemory> {
        let MutatorState { part, heap } = self.shared();
        part.check_request(bytes);
        if semantics == Semantics::Default
            && let Some(address) = part.extend(bytes)
        {
            return Ok(address);
        }
        let request = Request { bytes, semantics };
        let address = heap.allocate(part, bytes, |allocators| heap.plan().allocate(allocators, request))?;
        heap.store().note_start(address);
        part.zero_rest();
        part.note_request(address, bytes);
        Ok(address)
    }

    /// The write barrier: says that a reference, or null, is about to be stored into `slot` of `object`, an
    /// object of this heap. No safepoint may lie between the barrier and the store. A VM with
    /// [`OldToNew::Barrier`](crate::OldToNew) calls it before every such store, except stores that initialise
    /// an object allocated since the last safepoint. It costs one load of the object's state and one branch;
    /// in plans without a barrier, and while there is nothing to note, it only tests a byte of the mutator.
    /// For compiled code see [`Mutator::barrier_test`].
    ///
    /// In a generational plan: of an old array of more than 512 slots in the space for large objects, the
    /// barrier remembers the page that the slot lies in ([`VMBinding::place_of_slots`]). Then each store into
    /// the array comes to the slow path, until half of its pages are remembered: two dozen instructions. Any
    /// other object is remembered whole, and so is an array whose slot lies elsewhere: only the first store
    /// since a collection comes to the slow path.
    ///
    /// In a plan that marks while mutators run: while it does, the first store into an object reads all slots
    /// of the object, which still hold the old references. Of an array of more than 1024 slots in the space
    /// for large objects it reads the 1024 among which the slot is, and each store comes to the slow path
    /// until the marking has come to all of the array. Any other object takes as long as it has slots.
    ///
    /// # Panics
    /// In a native region of this mutator: in a debug build at once, in a release build when the object is to
    /// be noted.
    #[inline(always)]
    pub fn write_barrier(&self, object: ObjectReference, slot: VM::Slot) {
        if self.is_to_note(object) {
            self.remember(object, slot);
        }
    }

    /// The write barrier for references that are about to be copied into `object` in bulk: once for all slots
    /// in the range of addresses `slots`, which may be empty.
    ///
    /// # Panics
    /// As [`Mutator::write_barrier`].
    #[inline(always)]
    pub fn array_copy_barrier(&self, object: ObjectReference, slots: Range<Address>) {
        if self.is_to_note(object) {
            self.remember_range(object, slots);
        }
    }

    #[inline(always)]
    fn is_to_note(&self, object: ObjectReference) -> bool {
        if cfg!(debug_assertions) {
            self.check_running();
        }
        self.part().is_to_note(object)
    }

    /// The barrier's slow path, before a store into `slot` of an object whose test says so; for others it
    /// does nothing.
    #[cold]
    #[inline(never)]
    pub fn remember(&self, object: ObjectReference, slot: VM::Slot) {
        if !self.part().is_noted_part(object, slot) {
            self.remember_first(object, slot);
        }
    }

    #[cold]
    #[inline(never)]
    fn remember_first(&self, object: ObjectReference, slot: VM::Slot) {
        self.check_running();
        match self.part().marking_epoch() {
            Some(epoch) => self.visit(object, slot.place().map_or(Change::SomeSlot, Change::Slots), epoch),
            None => self.part().remember(object, slot),
        }
    }

    /// An object is about to change, and a marking of this epoch is in progress.
    fn visit(&self, object: ObjectReference, change: Change, epoch: u8) {
        let state = self.shared();
        state.heap.visit_before(&state.part, object, change, epoch);
    }

    #[cold]
    #[inline(never)]
    fn remember_range(&self, object: ObjectReference, slots: Range<Address>) {
        self.check_running();
        match self.part().marking_epoch() {
            Some(epoch) if slots.start < slots.end => self.visit(object, Change::Slots(slots), epoch),
            Some(_) => (),
            None => self.part().remember_range(object, slots),
        }
    }

    /// Says that the size of `object`, or what its words mean, is about to change (an array is truncated,
    /// say): a plan that marks while mutators run reads its slots first. As for the barrier, no safepoint may
    /// lie between. Only bindings with [`VMBinding::SCAN_BESIDE`] call it; in other plans it does nothing.
    ///
    /// # Panics
    /// As [`Mutator::write_barrier`].
    #[inline(always)]
    pub fn before_reshape(&self, object: ObjectReference) {
        if let Some(epoch) = self.part().marking_epoch() {
            self.check_running();
            self.visit(object, Change::Layout, epoch);
        }
    }

    /// Says that this thread took a reference to `object` from a weak table of the VM's own, or from another
    /// place that the heap does not know and that does not keep objects alive. Call it before the next
    /// safepoint. A marking in progress may not have reached the object: it is marked then. Only bindings
    /// with [`VMBinding::SCAN_BESIDE`] have to call it. While no marking is in progress it does nothing.
    ///
    /// # Panics
    /// In a native region of this mutator, while the heap is marked.
    #[inline(always)]
    pub fn keep(&self, object: ObjectReference) {
        if self.part().marking_epoch().is_some() {
            self.keep_slow(object);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_slow(&self, object: ObjectReference) {
        self.check_running();
        let state = self.shared();
        state.heap.keep_object(&state.part, object);
    }

    /// In a plan that marks while mutators run: helps to mark, for about as long as `most`, and ends the
    /// marking if nothing is left. For threads that have time: an event loop that waits, say. A safepoint.
    /// Returns whether there is more to do, marking or sweeping.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap.
    pub fn step(&self, most: Duration) -> bool {
        self.poll();
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::step", Callback::ANY);
        state.heap.step_until(&state.part, Instant::now() + most)
    }

    /// A safepoint: stops here while a pause is in progress, and collects if that is due
    /// ([`Heap::adjust_external`](crate::Heap::adjust_external)). One relaxed load otherwise.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap if a pause is in progress or one is
    /// due.
    #[inline(always)]
    pub fn poll(&self) {
        if self.part().thread().should_stop() {
            self.park();
        }
    }

    #[cold]
    #[inline(never)]
    fn park(&self) {
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::poll", Callback::ANY);
        state.heap.stop_or_look(&state.part);
    }

    /// Runs `f` as a native region: it touches no object of this heap and allocates none with this mutator,
    /// and pauses do not wait for it.
    ///
    /// The region borrows the mutator, so safe code cannot drop it inside:
    /// ```compile_fail,E0505
    /// fn leave<VM: mmtk_core::VMBinding>(mutator: mmtk_core::Mutator<VM>) {
    ///     mutator.native(|| drop(mutator));
    /// }
    /// ```
    /// Code that copies handles can, by [`Mutator::from_raw`]: the thread is then detached at once, and its
    /// state is dropped at the end of the region.
    ///
    /// # Panics
    /// When the thread is in a native region of this mutator already.
    pub fn native<R>(&self, f: impl FnOnce() -> R) -> R {
        let state = self.shared();
        struct Leave<VM: VMBinding>(NonNull<MutatorState<VM>>);
        impl<VM: VMBinding> Drop for Leave<VM> {
            fn drop(&mut self) {
                // SAFETY: the state lives at least until `Free` is dropped.
                let state = unsafe { self.0.as_ref() };
                if !state.part.is_detached() {
                    state.heap.leave_native(&state.part);
                    state.part.open();
                }
            }
        }
        struct Free<VM: VMBinding>(NonNull<MutatorState<VM>>);
        impl<VM: VMBinding> Drop for Free<VM> {
            fn drop(&mut self) {
                // SAFETY: a drop of the mutator inside the region has left the state to us; else it lives as
                // long as the mutator.
                if unsafe { self.0.as_ref() }.part.is_detached() {
                    // SAFETY: as in `Mutator::drop`, which did the rest.
                    drop(unsafe { Box::from_raw(self.0.as_ptr()) });
                }
            }
        }
        state.heap.refuse_in("Mutator::native", Callback::ANY);
        let _free = Free(self.0);
        state.part.where_it_may_stop(|| {
            assert!(!state.part.thread().is_native(), "native regions do not nest");
            state.part.close();
            state.heap.enter_native(&state.part);
            let _leave = Leave(self.0);
            f()
        })
    }

    /// Collects now, a full collection. A safepoint.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap.
    pub fn collect(&self) {
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::collect", Callback::ANY);
        state.part.where_it_may_stop(|| state.heap.collect(Some(&state.part), crate::events::Cause::Requested));
    }

    /// Calls `request`, and collects and calls it again while it is out of memory, as often and as hard as an
    /// allocation would. For native references, finalizers, pins, and entries of tables keyed by objects or
    /// of the VM space: these do not collect by themselves when the heap is full, since their caller may hold
    /// references. So `request` must read the references that it needs from roots, each time. A safepoint, if
    /// `request` is out of memory.
    ///
    /// # Errors
    /// The error of `request`: out of memory after every kind of collection, any other error at once.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap.
    pub fn or_collect<R, E: MayBeOutOfMemory>(&self, request: impl FnMut() -> Result<R, E>) -> Result<R, E> {
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::or_collect", Callback::ANY);
        state.heap.or_collect(&state.part, request)
    }

    pub(crate) fn heap(&self) -> &Collector<VM> {
        &self.shared().heap
    }

    /// Stops the other mutators, runs `f`, and lets them go on. A safepoint.
    pub(crate) fn while_stopped<R>(&self, f: impl FnOnce(&dyn Plan<VM>) -> R) -> R {
        let state = self.shared();
        state.heap.refuse_in("for_each_object", Callback::ANY);
        state.part.where_it_may_stop(|| state.heap.while_stopped(Some(&state.part), f))
    }

    /// What the VM keeps for this thread.
    #[inline(always)]
    pub fn local(&self) -> *mut VM::Local {
        self.part().local()
    }

    /// Native references. Panics in a native region of this mutator: a pause may be changing them.
    pub(crate) fn weak_tables(&self) -> &WeakTables {
        self.check_running();
        self.shared().heap.store().weak()
    }

    pub(crate) fn check_running(&self) {
        assert!(
            !self.part().thread().is_native(),
            "this thread is inside a native region of the mutator that it uses: there it may not touch, ask about or allocate objects, \
             poll or collect"
        );
    }

    /// Panics unless this is a mutator of the heap with this engine.
    pub(crate) fn check_owner(&self, heap: &Collector<VM>) {
        assert!(std::ptr::eq(self.heap(), heap), "the mutator belongs to another heap");
    }

    pub(crate) fn memory(&self) -> &Memory {
        self.shared().heap.memory()
    }

    /// Calls `request`, which says by how many bytes a table cannot grow, until there is room for it or all
    /// is swept. Not a safepoint.
    pub(crate) fn or_sweep<R>(&self, request: impl FnMut() -> Result<R, usize>) -> Result<R, OutOfMemory> {
        let state = self.shared();
        state.heap.or_sweep(Some(&state.part), request)
    }

    /// The space of an object that may move.
    pub(crate) fn moving(&self, object: ObjectReference) -> Option<&Moving> {
        self.shared().heap.store().moving_space(object)
    }

    pub(crate) fn states(&self) -> &ObjectStates<VM> {
        self.part().states()
    }

    pub(crate) fn plan_name(&self) -> &'static str {
        self.shared().heap.plan_name()
    }

    /// The VM.
    pub fn vm(&self) -> &VM {
        self.shared().heap.vm()
    }
}

impl<VM: VMBinding<Slot = WordSlot>> Mutator<VM> {
    /// Stores a reference, or none, into `slot` of `object`: the barrier, and the store. To initialise an
    /// object allocated since the last safepoint, [`WordSlot::write`] alone will do.
    ///
    /// # Panics
    /// As [`Mutator::write_barrier`].
    #[inline(always)]
    pub fn store(&self, object: ObjectReference, slot: WordSlot, value: Option<ObjectReference>) {
        self.write_barrier(object, slot);
        slot.write(value);
    }
}

impl<VM: VMBinding> Drop for Mutator<VM> {
    fn drop(&mut self) {
        let state = self.shared();
        let heap = state.heap.clone();
        if !std::thread::panicking() {
            heap.refuse_in("the drop of a mutator", Callback::ANY);
        }
        let part = &state.part;
        // SAFETY: this thread owns the mutator, whose handle ends here.
        unsafe { heap.detach(part) };
        if part.thread().is_native() {
            return part.detach_at_its_end();
        }
        // SAFETY: made by `Box::leak` in `from_state`; no longer registered, and this is the only handle.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
