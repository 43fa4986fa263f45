//! The mutator: an application thread with its allocators.
//!
//! `MutatorState` is laid out for compiled code: the cursor and limit of the bump range are its first two
//! words, the state word to poll follows at a constant offset ([`MutatorState::THREAD_OFFSET`]).
//!
//! I1. The state is boxed and does not move while the mutator is attached.
//! I2. Allocators and local are used by the owning thread while it runs, by the leader of a pause while it is
//!     stopped, never by both: the safepoint's protocol orders them.
//! I3. A native region uses neither. Its ranges are closed, so that the fast path of an allocation there
//!     finds none; slow paths panic.

use super::bump::{Allocators, Pace};
use super::{Request, Semantics};
use crate::address::{Address, ObjectReference};
use crate::barrier::BarrierTest;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::error::{MayBeOutOfMemory, OutOfMemory};
use crate::events::LateThread;
use crate::heap::{Heap, HeapInner};
use crate::memory::Memory;
use crate::memory::os::{self, CpuMeter};
use crate::metadata::{MAX_CELL_BYTES, ObjectStates, class_of};
use crate::pin::Moving;
use crate::plan::Plan;
use crate::stack::StackNote;
use crate::weak::WeakTables;
use protocols::safepoint::ThreadState;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::Thread;

/// What the toolkit keeps for one thread.
#[repr(C)]
pub struct MutatorState<VM: VMBinding> {
    allocators: UnsafeCell<Allocators>,
    thread: ThreadState,
    local: UnsafeCell<VM::Local>,
    heap: Arc<HeapInner<VM>>,
    states: ObjectStates<VM>,
    /// Whether the barrier looks at objects at all. Set by its owner when it attaches, and by leaders.
    barrier: AtomicBool,
    /// Objects that the barrier noted since the last collection. As `allocators` (I2).
    remembered: UnsafeCell<Vec<ObjectReference>>,
    /// While the heap is verified: the memory of objects that were asked for since the last collection. As
    /// `allocators` (I2).
    requested: UnsafeCell<Vec<Range<Address>>>,
    /// Of a binding with conservative stacks.
    stack: StackNote,
    meter: CpuMeter,
    owner: Thread,
    /// The system's number of the owner; another in a forked child.
    owner_id: AtomicU32,
    /// The mutator was dropped inside its own native region, whose end frees the state. For the owner alone.
    detached: Cell<bool>,
}

impl<VM: VMBinding> MutatorState<VM> {
    /// Offset of the bump cursor, a word; the limit is the next word.
    pub const CURSOR_OFFSET: usize = std::mem::offset_of!(MutatorState<VM>, allocators);
    /// Offset of the 32-bit word to poll: not zero means "call the slow path".
    pub const THREAD_OFFSET: usize = std::mem::offset_of!(MutatorState<VM>, thread);

    pub(crate) fn new(heap: Arc<HeapInner<VM>>, local: VM::Local) -> Box<Self> {
        let mut allocators = Allocators::of_mutator(heap.leftovers.clone());
        let stress = heap.options.stress_bytes;
        if stress != 0 {
            allocators.pace = Pace { step: stress.min(allocators.pace.step), clip: true };
        }
        if heap.is_verified() {
            // Nothing is prepared ahead, so that every request comes to the slow path, which notes it.
            allocators.pace = Pace { step: 0, clip: true };
        }
        Box::new(MutatorState {
            allocators: UnsafeCell::new(allocators),
            thread: ThreadState::default(),
            local: UnsafeCell::new(local),
            states: heap.states,
            barrier: AtomicBool::new(false),
            remembered: UnsafeCell::default(),
            requested: UnsafeCell::default(),
            stack: if VM::CONSERVATIVE_STACKS { StackNote::of_this_thread() } else { StackNote::default() },
            heap,
            meter: CpuMeter::of_this_thread(),
            owner: std::thread::current(),
            owner_id: AtomicU32::new(os::thread_id()),
            detached: Cell::new(false),
        })
    }

    /// Arms the barrier, or takes it down. While the thread is stopped, or by itself.
    pub(crate) fn arm_barrier(&self, armed: bool) {
        // Relaxed: the safepoint orders it.
        self.barrier.store(armed, Relaxed);
    }

    pub(crate) fn thread(&self) -> &ThreadState {
        &self.thread
    }

    /// What its thread has used of the processor.
    pub(crate) fn meter(&self) -> &CpuMeter {
        &self.meter
    }

    /// The thread that attached it.
    pub(crate) fn owner(&self) -> &Thread {
        &self.owner
    }

    /// The system's number of its owner.
    pub(crate) fn owner_id(&self) -> u32 {
        self.owner_id.load(Relaxed)
    }

    /// The owner, for a report of mutators that have not stopped.
    pub(crate) fn late_thread(&self) -> LateThread {
        let id = self.owner_id();
        LateThread { name: self.owner.name().map(str::to_owned), id, ended: !os::has_thread(id) }
    }

    /// The process has been forked, and this is the child: its owner has another number, and has used nothing
    /// of the processor yet.
    pub(crate) fn begin_in_child(&self) {
        self.owner_id.store(os::thread_id(), Relaxed);
        self.meter.begin();
    }

    /// Panics if an object was not whole granules: fast paths, those of compiled code too, do not look at
    /// sizes.
    pub(crate) fn check_cursor(allocators: &Allocators) {
        let (cursor, granule) = (allocators.bump.cursor(), 1usize << VM::LOG_GRANULE);
        assert!(
            cursor.is_aligned_to(granule),
            "the next object would begin at {cursor}, inside a granule of {granule} bytes: \
             an earlier one was not whole granules"
        );
    }

    /// If the calling thread is its owner and runs: its next allocation is to come to the slow path. While no
    /// pause is in progress and none can begin.
    pub(crate) fn hold_if_own(&self) {
        if self.owner.id() == std::thread::current().id() && !self.thread.is_native() {
            // SAFETY: this thread owns the allocators while it runs (I2), and it is not in a call that
            // allocates: it has come here from the VM.
            unsafe { &mut *self.allocators.get() }.hold();
        }
    }

    /// # Safety
    /// The mutator is stopped, or its owner detaches it; nobody else uses its allocators (I2).
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn allocators_of_stopped<'a>(this: *const Self) -> &'a mut Allocators {
        // SAFETY: the caller's promise.
        unsafe { &mut *(*this).allocators.get() }
    }

    /// Takes what the barrier noted.
    ///
    /// # Safety
    /// As for [`MutatorState::allocators_of_stopped`].
    pub(crate) unsafe fn remembered_of_stopped(this: *const Self) -> Vec<ObjectReference> {
        // SAFETY: the caller's promise.
        std::mem::take(unsafe { &mut *(*this).remembered.get() })
    }

    /// Takes what was asked for.
    ///
    /// # Safety
    /// As for [`MutatorState::allocators_of_stopped`].
    pub(crate) unsafe fn requested_of_stopped(this: *const Self) -> Vec<Range<Address>> {
        // SAFETY: the caller's promise.
        std::mem::take(unsafe { &mut *(*this).requested.get() })
    }

    /// Its stack and its local part.
    ///
    /// # Safety
    /// As for [`MutatorState::local_of_stopped`].
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn conservative_of_stopped<'a>(this: *const Self) -> (&'a StackNote, &'a mut VM::Local) {
        // SAFETY: the caller's promise.
        unsafe { (&(*this).stack, &mut *(*this).local.get()) }
    }

    /// Runs what may hold the thread up in a pause.
    #[inline(always)]
    pub(crate) fn where_it_may_stop<R>(&self, f: impl FnOnce() -> R) -> R {
        if VM::CONSERVATIVE_STACKS { self.stack.run(f) } else { f() }
    }

    /// # Safety
    /// The mutator is stopped and no other worker uses its local part (I2).
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn local_of_stopped<'a>(this: *const Self) -> &'a mut VM::Local {
        // SAFETY: the caller's promise.
        unsafe { &mut *(*this).local.get() }
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
    pub(crate) fn shared(&self) -> &MutatorState<VM> {
        // SAFETY: the state lives until the handle is dropped (I1); what is mutable in it is in cells.
        unsafe { self.0.as_ref() }
    }

    /// Zeroed memory for an object of `bytes` bytes: whole granules, at least one. A safepoint.
    ///
    /// If there is none even after an emergency collection, the VM's `out_of_memory` is called, and the
    /// process aborts if that returns. See [`Mutator::try_alloc`].
    ///
    /// # Panics
    /// When the thread is in a native region of this mutator, or `bytes` is anything else. A debug build
    /// finds the latter at once, a release build in the slow path. What the fast path let pass: a part of a
    /// granule is found at the next slow path or pause; for zero bytes, which fit any range, it returns the
    /// address of the next object.
    #[inline(always)]
    pub fn alloc(&self, bytes: usize) -> Address {
        match self.alloc_fast(bytes) {
            Some(address) => address,
            None => self.alloc_or_report(bytes, Semantics::Default),
        }
    }

    /// As [`Mutator::alloc`], but returns the error.
    #[inline(always)]
    pub fn try_alloc(&self, bytes: usize) -> Result<Address, OutOfMemory> {
        match self.alloc_fast(bytes) {
            Some(address) => Ok(address),
            None => self.alloc_slow(bytes, Semantics::Default),
        }
    }

    /// As [`Mutator::alloc`], in the space that `semantics` names.
    pub fn alloc_with(&self, bytes: usize, semantics: Semantics) -> Address {
        self.alloc_or_report(bytes, semantics)
    }

    /// As [`Mutator::try_alloc`], in the space that `semantics` names.
    pub fn try_alloc_with(&self, bytes: usize, semantics: Semantics) -> Result<Address, OutOfMemory> {
        self.alloc_slow(bytes, semantics)
    }

    #[inline(always)]
    fn alloc_fast(&self, bytes: usize) -> Option<Address> {
        if cfg!(debug_assertions) {
            self.check_request(bytes);
        }
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let allocators = unsafe { &mut *self.shared().allocators.get() };
        if let Some(address) = allocators.bump.alloc(bytes) {
            return Some(self.begins(address));
        }
        if bytes <= MAX_CELL_BYTES {
            let class = class_of(bytes);
            return allocators
                .fast_cells(class)
                .range
                .alloc(crate::metadata::class_bytes(class))
                .map(|address| self.begins(address));
        }
        None
    }

    /// An object begins at `address`, in a range of this thread.
    #[inline(always)]
    fn begins(&self, address: Address) -> Address {
        if VM::OBJECT_STARTS {
            self.shared().states.note_start(address);
        }
        address
    }

    /// Panics if the VM breaks its side of the contract. Not on the fast path of a release build: where the
    /// compiler does not know the size, a test for zero alone makes small objects 5 % dearer (measured).
    pub(crate) fn check_request(&self, bytes: usize) {
        let (state, granule) = (self.shared(), 1usize << VM::LOG_GRANULE);
        assert!(
            bytes > 0 && bytes.is_multiple_of(granule),
            "{bytes} bytes requested: an object is whole granules of {granule} bytes, at least one"
        );
        assert!(!state.thread.is_native(), "{bytes} bytes requested inside a native region of the same mutator");
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this statement.
        MutatorState::<VM>::check_cursor(unsafe { &*state.allocators.get() });
    }

    #[cold]
    #[inline(never)]
    fn alloc_or_report(&self, bytes: usize, semantics: Semantics) -> Address {
        self.or_report(self.alloc_slow(bytes, semantics))
    }

    /// Out of memory goes to the VM, which does not return from it.
    pub(crate) fn or_report(&self, allocated: Result<Address, OutOfMemory>) -> Address {
        allocated.unwrap_or_else(|error| {
            self.shared().heap.vm.out_of_memory(&error);
            std::process::abort()
        })
    }

    /// Memory for `bytes` bytes from `attempt`, which is given the mutator's pace and its count of allocated
    /// bytes, and is tried again after a collection. A safepoint.
    pub(crate) fn allocate_with(
        &self,
        bytes: usize,
        mut attempt: impl FnMut(Pace, &mut usize) -> Option<Address>,
    ) -> Result<Address, OutOfMemory> {
        let state = self.shared();
        state.heap.allocate(state, bytes, |allocators| attempt(allocators.pace, &mut allocators.allocated))
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, bytes: usize, semantics: Semantics) -> Result<Address, OutOfMemory> {
        self.check_request(bytes);
        if semantics == Semantics::Default
            && let Some(address) = self.extend(bytes)
        {
            return Ok(self.begins(address));
        }
        let state = self.shared();
        let heap = &state.heap;
        let address =
            heap.allocate(state, bytes, |allocators| heap.plan.allocate(allocators, Request { bytes, semantics }))?;
        state.heap.note_start(address);
        // SAFETY: as in `extend`; the thread is not at a safepoint between there and its next one.
        unsafe { &mut *state.allocators.get() }.zero_rest();
        self.note_request(address, bytes);
        Ok(address)
    }

    /// For the verifier: an object was asked for, and begins at `address`.
    pub(crate) fn note_request(&self, address: Address, bytes: usize) {
        let state = self.shared();
        if state.heap.is_verified() {
            // SAFETY: this thread owns the notes while it runs (I2); the borrow ends with this statement.
            unsafe { &mut *state.requested.get() }.push(address..address.plus(bytes));
        }
    }

    /// Goes on in a range at hand, without asking the plan.
    fn extend(&self, bytes: usize) -> Option<Address> {
        let state = self.shared();
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let allocators = unsafe { &mut *state.allocators.get() };
        // Stress options count every step; and a long range must not put off a pause.
        if allocators.pace.clip || state.thread.should_stop() {
            return None;
        }
        allocators.extend(bytes)
    }

    /// The write barrier: a reference was stored into `object`, an object of this heap, or is about to be. No
    /// safepoint may lie between the two. A VM with [`VMBinding::WRITE_BARRIER`] calls it at every such
    /// store, but for those that initialise an object allocated since the last safepoint. One relaxed load of
    /// the object's state and one branch; in plans that are not generational, and as long as there are no
    /// minor collections to come, only a flag of the mutator is looked at. For compiled code see
    /// [`Mutator::barrier_test`].
    ///
    /// # Panics
    /// In a native region of this mutator: a debug build at once, a release build when the object is to be
    /// noted.
    #[inline(always)]
    pub fn write_barrier(&self, object: ObjectReference) {
        let state = self.shared();
        if cfg!(debug_assertions) {
            self.check_running();
        }
        if state.barrier.load(Relaxed) && state.states.is_unlogged(object) {
            self.remember(object);
        }
    }

    /// The write barrier for references that are copied into `object` in bulk: once for all.
    #[inline(always)]
    pub fn array_copy_barrier(&self, object: ObjectReference) {
        self.write_barrier(object);
    }

    /// What the barrier tests; none if the plan has no barrier. The slow path is [`Mutator::remember`].
    pub fn barrier_test(&self) -> Option<BarrierTest> {
        let states = &self.shared().states;
        states.is_generational().then(|| BarrierTest::new(states))
    }

    /// The barrier's slow path, for an object whose test says so; for others it does nothing.
    #[cold]
    #[inline(never)]
    pub fn remember(&self, object: ObjectReference) {
        self.check_running();
        let state = self.shared();
        if state.states.log(object) && state.barrier.load(Relaxed) {
            // SAFETY: this thread owns the notes while it runs (I2); the borrow ends with this statement.
            unsafe { &mut *state.remembered.get() }.push(object);
        }
    }

    /// A safepoint: stops here while a pause is in progress, and collects if that is due
    /// ([`Heap::adjust_external`]). One relaxed load otherwise.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap if a pause is in progress or one is
    /// due.
    #[inline(always)]
    pub fn poll(&self) {
        if self.shared().thread.should_stop() {
            self.park();
        }
    }

    #[cold]
    #[inline(never)]
    fn park(&self) {
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::poll", Callback::ANY);
        state.heap.stop_or_look(state);
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
    /// Who copies handles can, by way of [`Mutator::from_raw`]: the thread is then detached at once, and its
    /// state goes at the end of the region.
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
                if !state.detached.get() {
                    state.heap.safepoint.leave_native(&state.thread);
                    // SAFETY: the owner, and it runs again (I2); the borrow ends with this statement.
                    unsafe { &mut *state.allocators.get() }.open();
                }
            }
        }
        struct Free<VM: VMBinding>(NonNull<MutatorState<VM>>);
        impl<VM: VMBinding> Drop for Free<VM> {
            fn drop(&mut self) {
                // SAFETY: a drop of the mutator inside the region has left the state to us; else it lives as
                // long as the mutator.
                if unsafe { self.0.as_ref() }.detached.get() {
                    // SAFETY: as in `Mutator::drop`, which did the rest.
                    drop(unsafe { Box::from_raw(self.0.as_ptr()) });
                }
            }
        }
        state.heap.refuse_in("Mutator::native", Callback::ANY);
        let _free = Free(self.0);
        state.where_it_may_stop(|| {
            assert!(!state.thread.is_native(), "native regions do not nest");
            // SAFETY: the owner, and it runs still (I2); the borrow ends with this statement.
            unsafe { &mut *state.allocators.get() }.close();
            state.heap.safepoint.enter_native(&state.thread);
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
        state.where_it_may_stop(|| state.heap.collect(Some(state), crate::events::Cause::Requested));
    }

    /// What `request` returns: native references, finalizers, pins, entries of tables keyed by objects or of
    /// the VM space. These do not collect when the heap is full, since their caller may hold references. This
    /// does, as often and as hard as an allocation, and calls `request` again each time: it reads the
    /// references that it needs from where collections find them. A safepoint, if `request` is out of memory.
    ///
    /// # Errors
    /// That of `request`: after every collection there is, if it is out of memory; at once, if it is
    /// something else.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of its heap.
    pub fn or_collect<R, E: MayBeOutOfMemory>(&self, request: impl FnMut() -> Result<R, E>) -> Result<R, E> {
        self.check_running();
        let state = self.shared();
        state.heap.refuse_in("Mutator::or_collect", Callback::ANY);
        state.heap.or_collect(state, request)
    }

    pub(crate) fn heap(&self) -> &HeapInner<VM> {
        &self.shared().heap
    }

    /// Stops the other mutators, runs `f`, and lets them go on. A safepoint.
    pub(crate) fn while_stopped<R>(&self, f: impl FnOnce(&dyn Plan<VM>) -> R) -> R {
        let state = self.shared();
        state.heap.refuse_in("for_each_object", Callback::ANY);
        state.where_it_may_stop(|| state.heap.while_stopped(Some(state), f))
    }

    /// What the VM keeps for this thread.
    #[inline(always)]
    pub fn local(&self) -> *mut VM::Local {
        self.shared().local.get()
    }

    /// Native references. Panics in a native region of this mutator: a pause may be changing them.
    pub(crate) fn weak_tables(&self) -> &WeakTables {
        self.check_running();
        &self.shared().heap.weak
    }

    pub(crate) fn check_running(&self) {
        assert!(
            !self.shared().thread.is_native(),
            "this thread is inside a native region of the mutator that it uses: there it may not touch, ask about or allocate objects, \
             poll or collect"
        );
    }

    /// Panics unless this is a mutator of `heap`.
    pub(crate) fn check_owner(&self, heap: &Heap<VM>) {
        assert!(std::ptr::eq(self.heap(), heap.inner()), "the mutator belongs to another heap");
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.shared().heap.memory
    }

    /// The error of a table that cannot grow by so many bytes.
    pub(crate) fn no_memory_for_tables(&self, bytes: usize) -> OutOfMemory {
        self.shared().heap.no_memory_for_tables(bytes)
    }

    /// The space of an object that may move.
    pub(crate) fn moving(&self, object: ObjectReference) -> Option<&Moving> {
        self.shared().heap.moving(object)
    }

    pub(crate) fn states(&self) -> ObjectStates<VM> {
        self.shared().states
    }

    pub(crate) fn plan_name(&self) -> &'static str {
        self.shared().heap.plan_name()
    }

    /// The VM.
    pub fn vm(&self) -> &VM {
        &self.shared().heap.vm
    }
}

impl<VM: VMBinding> Drop for Mutator<VM> {
    fn drop(&mut self) {
        let state = self.shared();
        let heap = state.heap.clone();
        if !std::thread::panicking() {
            heap.refuse_in("the drop of a mutator", Callback::ANY);
        }
        // SAFETY: the owner runs `leave` itself, while no pause can begin; the entry leaves the registry with
        // it.
        heap.safepoint.detach(&state.thread, || unsafe {
            heap.leave(MutatorState::allocators_of_stopped(state));
            heap.keep_remembered(MutatorState::remembered_of_stopped(state));
            heap.keep_requested(MutatorState::requested_of_stopped(state));
            heap.steering.mutator_left(state.meter.take());
        });
        if state.thread.is_native() {
            return state.detached.set(true);
        }
        // SAFETY: made by `Box::leak` in `from_state`; no longer registered, and this is the only handle.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
