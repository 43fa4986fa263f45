//! What the toolkit keeps for one thread, and what the thread does with it alone: the fast paths of
//! allocation and barrier. It knows no heap; the leader of a pause reaches it through [`MutatorRef`].
//!
//! I1. It lies in a box and does not move while its mutator is attached.
//! I2. The owning thread uses the allocators and the local while it runs, the leader of a pause while it is
//!     stopped, never both at once: the safepoint's protocol orders them.
//! I3. In a native region the thread uses neither. Its ranges are closed, so that the fast path of an
//!     allocation finds no memory there; slow paths panic.

use super::allocators::Allocators;
use super::bump::Pace;
use super::leftovers::Leftovers;
use crate::address::{Address, ObjectReference};
use crate::barrier::{Armed, BarrierBytes};
use crate::binding::{Slot, VMBinding};
use crate::events::{HeldUps, LateThread};
use crate::metadata::{ArrayParts, MAX_CELL_BYTES, ObjectStates, Remembered, Tally, class_bytes, class_of};
use crate::options::Options;
use crate::os::{self, CpuMeter, PageVec};
use crate::stack::StackNote;
use protocols::credit::Credit;
use protocols::safepoint::{Stoppable, ThreadState};
use std::cell::{Cell, RefCell, RefMut, UnsafeCell};
use std::mem::offset_of;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::Thread;

/// What a thread has noted for a marking in progress.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Grey objects: what those refer to that it has claimed.
    pub grey: PageVec<ObjectReference>,
    /// What it has claimed, in numbers.
    pub tally: Tally,
    /// Bytes that it has yet to mark for what it has allocated, and those that it has marked ahead.
    pub owes: u64,
    /// See `owes`.
    pub credit: Credit,
    /// Calls of the barrier's slow path.
    pub barrier_calls: u64,
}

/// What the toolkit keeps for one thread.
#[repr(C)]
pub(crate) struct ThreadPart<VM: VMBinding> {
    allocators: UnsafeCell<Allocators>,
    thread: ThreadState,
    local: UnsafeCell<VM::Local>,
    states: ObjectStates<VM>,
    /// What the barrier tests. Set by its owner when it attaches, and by leaders.
    barrier: BarrierBytes,
    /// Whether the heap is verified, and requests are noted.
    is_verified: bool,
    /// The mutator was dropped inside its own native region, whose end frees the state. For the owner alone.
    detached: Cell<bool>,
    /// What the barrier noted since the last collection. As `allocators` (I2).
    remembered: UnsafeCell<PageVec<Remembered>>,
    parts: ArrayParts,
    /// What the thread has noted for a marking in progress. As `allocators` (I2).
    noted: UnsafeCell<Noted>,
    /// While the heap is verified: the memory of objects that were asked for since the last collection. As
    /// `allocators` (I2).
    requested: UnsafeCell<Vec<Range<Address>>>,
    /// Of a binding with conservative stacks.
    stack: StackNote,
    meter: CpuMeter,
    /// What holds it up. For the owner alone.
    held_ups: RefCell<HeldUps>,
    owner: Thread,
    /// The system's number of the owner; another in a forked child.
    owner_id: AtomicU32,
}

impl<VM: VMBinding> ThreadPart<VM> {
    /// Offset of the allocators.
    pub(crate) const ALLOCATORS_OFFSET: usize = offset_of!(ThreadPart<VM>, allocators);
    /// Offset of the 32-bit word to poll.
    pub(crate) const THREAD_OFFSET: usize = offset_of!(ThreadPart<VM>, thread);
    /// Offset of the byte that says which bits the barrier compares; what with is the byte behind it.
    pub(crate) const BARRIER_OFFSET: usize = offset_of!(ThreadPart<VM>, barrier);
    /// Offset of what the VM keeps for the thread.
    pub(crate) const LOCAL_OFFSET: usize = offset_of!(ThreadPart<VM>, local);

    /// The part of the calling thread, in a heap with these leftovers, states and arrays in parts.
    pub(crate) fn new(
        leftovers: Arc<Leftovers>,
        states: ObjectStates<VM>,
        parts: ArrayParts,
        options: &Options,
        is_verified: bool,
        local: VM::Local,
    ) -> Self {
        let mut allocators = Allocators::of_mutator(leftovers);
        let stress = options.stress_bytes;
        if stress != 0 {
            allocators.pace = Pace { step: stress.min(allocators.pace.step), clip: true };
        }
        if is_verified {
            // Nothing is prepared ahead, so that every request comes to the slow path, which notes it.
            allocators.pace = Pace { step: 0, clip: true };
        }
        ThreadPart {
            allocators: UnsafeCell::new(allocators),
            thread: ThreadState::default(),
            local: UnsafeCell::new(local),
            states,
            barrier: BarrierBytes::default(),
            is_verified,
            detached: Cell::new(false),
            remembered: UnsafeCell::default(),
            parts,
            noted: UnsafeCell::default(),
            requested: UnsafeCell::default(),
            stack: if VM::CONSERVATIVE_STACKS { StackNote::of_this_thread() } else { StackNote::default() },
            meter: CpuMeter::of_this_thread(),
            held_ups: RefCell::default(),
            owner: std::thread::current(),
            owner_id: AtomicU32::new(os::thread_id()),
        }
    }

    /// Arms the barrier, or takes it down. While the thread is stopped, or by itself.
    pub(crate) fn arm_barrier(&self, armed: Armed) {
        self.barrier.set(armed);
    }

    /// The epoch of the marking in progress, if there is one.
    #[inline(always)]
    pub(crate) fn marking_epoch(&self) -> Option<u8> {
        match self.barrier.get() {
            Armed::Snapshot(epoch) => Some(epoch),
            Armed::No | Armed::Remember => None,
        }
    }

    /// What the thread has noted for a marking in progress.
    ///
    /// # Safety
    /// As for [`ThreadPart::allocators_of_stopped`], or the owner itself while it runs, for a borrow that
    /// ends before it comes to a safepoint.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn noted_of_stopped<'a>(this: *const Self) -> &'a mut Noted {
        // SAFETY: the caller's promise.
        unsafe { &mut *(*this).noted.get() }
    }

    pub(crate) fn thread(&self) -> &ThreadState {
        &self.thread
    }

    /// What its thread has used of the processor.
    pub(crate) fn meter(&self) -> &CpuMeter {
        &self.meter
    }

    /// What holds it up. The owner.
    pub(crate) fn held_ups(&self) -> RefMut<'_, HeldUps> {
        self.held_ups.borrow_mut()
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

    /// What the barrier noted.
    ///
    /// # Safety
    /// As for [`ThreadPart::allocators_of_stopped`].
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn remembered_of_stopped<'a>(this: *const Self) -> &'a mut PageVec<Remembered> {
        // SAFETY: the caller's promise.
        unsafe { &mut *(*this).remembered.get() }
    }

    /// Takes what was asked for.
    ///
    /// # Safety
    /// As for [`ThreadPart::allocators_of_stopped`].
    pub(crate) unsafe fn requested_of_stopped(this: *const Self) -> Vec<Range<Address>> {
        // SAFETY: the caller's promise.
        std::mem::take(unsafe { &mut *(*this).requested.get() })
    }

    /// Its stack and its local part.
    ///
    /// # Safety
    /// As for [`ThreadPart::local_of_stopped`].
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

    /// Memory for an object from a range at hand.
    #[inline(always)]
    pub(crate) fn alloc_fast(&self, bytes: usize) -> Option<Address> {
        if cfg!(debug_assertions) {
            self.check_request(bytes);
        }
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let allocators = unsafe { &mut *self.allocators.get() };
        if let Some(address) = allocators.bump.alloc(bytes) {
            return Some(self.begins(address));
        }
        if bytes <= MAX_CELL_BYTES {
            let class = class_of(bytes);
            return allocators.fast_cells(class).range.alloc(class_bytes(class)).map(|address| self.begins(address));
        }
        None
    }

    /// An object begins at `address`, in a range of this thread.
    #[inline(always)]
    fn begins(&self, address: Address) -> Address {
        if VM::OBJECT_STARTS {
            self.states.note_start(address);
        }
        address
    }

    /// Panics if the VM breaks its side of the contract. Not on the fast path of a release build: where the
    /// compiler does not know the size, a test for zero alone makes small objects 5 % dearer (measured).
    pub(crate) fn check_request(&self, bytes: usize) {
        let granule = 1usize << VM::LOG_GRANULE;
        assert!(
            bytes > 0 && bytes.is_multiple_of(granule),
            "{bytes} bytes requested: an object is whole granules of {granule} bytes, at least one"
        );
        assert!(
            !self.thread.is_native(),
            "this thread is inside a native region of the mutator that it uses: {bytes} bytes were requested there; end the region first"
        );
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this statement.
        Self::check_cursor(unsafe { &*self.allocators.get() });
    }

    /// Goes on in a range at hand, without asking the plan.
    pub(crate) fn extend(&self, bytes: usize) -> Option<Address> {
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let allocators = unsafe { &mut *self.allocators.get() };
        // Stress options count every step; and a long range must not put off a pause.
        if allocators.pace.clip || self.thread.should_stop() {
            return None;
        }
        allocators.extend(bytes).map(|address| self.begins(address))
    }

    /// The plan has given the thread a range, in which an object begins: zeroes what of it may be handed out
    /// now.
    pub(crate) fn zero_rest(&self) {
        // SAFETY: as in `extend`; the thread is not at a safepoint between there and its next one.
        unsafe { &mut *self.allocators.get() }.zero_rest();
    }

    /// For the verifier: an object was asked for, and begins at `address`.
    pub(crate) fn note_request(&self, address: Address, bytes: usize) {
        if self.is_verified {
            // SAFETY: this thread owns the notes while it runs (I2); the borrow ends with this statement.
            unsafe { &mut *self.requested.get() }.push(address..address.plus(bytes));
        }
    }

    /// Whether a store into `object` must come to the slow path.
    #[inline(always)]
    pub(crate) fn is_to_note(&self, object: ObjectReference) -> bool {
        self.barrier.asks(|| self.states.state(object))
    }

    /// The same in plans whose barrier remembers.
    fn is_unlogged(&self, object: ObjectReference) -> bool {
        self.barrier.get() == Armed::Remember && self.states.is_unlogged(object)
    }

    /// Whether a store into a slot of `object` needs no note, since the part of an array that it lies in is
    /// noted.
    #[inline(always)]
    pub(crate) fn is_noted_part(&self, object: ObjectReference, slot: VM::Slot) -> bool {
        self.parts.is_noted(object, slot.place().map(|place| place.start))
    }

    /// Notes a store into a slot of `object`, unless that is noted already.
    pub(crate) fn remember(&self, object: ObjectReference, slot: VM::Slot) {
        match self.is_unlogged(object) {
            true => self.parts.note_slot(&self.states, object, slot.place().map(|place| place.start), self.note()),
            false => self.end_test(object),
        }
    }

    /// The same for stores into all slots in a range of addresses.
    pub(crate) fn remember_range(&self, object: ObjectReference, slots: Range<Address>) {
        match self.is_unlogged(object) {
            true if slots.start < slots.end => self.parts.note_range(&self.states, object, slots, self.note()),
            true => (),
            false => self.end_test(object),
        }
    }

    /// Where what the barrier notes goes.
    fn note(&self) -> impl FnMut(Remembered) {
        |remembered| {
            // SAFETY: this thread owns the notes while it runs (I2); the borrow ends with this statement.
            unsafe { &mut *self.remembered.get() }.push(remembered);
        }
    }

    /// No store is noted now. Compiled code, which does not look at the flag of the barrier, shall find the
    /// object logged.
    #[cold]
    fn end_test(&self, object: ObjectReference) {
        if self.barrier.get() == Armed::No {
            self.states.log(object);
        }
    }

    /// A native region begins: the thread runs still.
    pub(crate) fn close(&self) {
        // SAFETY: the owner, and it runs (I2); the borrow ends with this statement.
        unsafe { &mut *self.allocators.get() }.close();
    }

    /// A native region has ended: the thread runs again.
    pub(crate) fn open(&self) {
        // SAFETY: as in `close`.
        unsafe { &mut *self.allocators.get() }.open();
    }

    /// Whether the mutator was dropped inside its own native region.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached.get()
    }

    /// The mutator is dropped inside its own native region.
    pub(crate) fn detach_at_its_end(&self) {
        self.detached.set(true);
    }

    /// What the VM keeps for this thread.
    #[inline(always)]
    pub(crate) fn local(&self) -> *mut VM::Local {
        self.local.get()
    }

    pub(crate) fn states(&self) -> &ObjectStates<VM> {
        &self.states
    }
}

/// A stopped mutator, as the leader reaches it.
pub(crate) struct MutatorRef<VM: VMBinding>(pub(crate) *const ThreadPart<VM>);

impl<VM: VMBinding> Clone for MutatorRef<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM: VMBinding> Copy for MutatorRef<VM> {}

impl<VM: VMBinding> MutatorRef<VM> {
    /// See [`ThreadPart::arm_barrier`].
    pub(crate) fn arm_barrier(&self, armed: Armed) {
        // SAFETY: an entry of the registry points to an attached mutator's state, which lives until it is
        // detached.
        unsafe { &*self.0 }.arm_barrier(armed);
    }

    /// See [`ThreadPart::meter`].
    pub(crate) fn meter(&self) -> &CpuMeter {
        // SAFETY: as above.
        unsafe { &*self.0 }.meter()
    }
}

// SAFETY: the state behind it is reached from other threads in two ways only: its `ThreadState`, the
// barrier's flag and the meter, which are atomic, and, while its owner is stopped, the parts that
// `ThreadPart` gives to the leader.
unsafe impl<VM: VMBinding> Send for MutatorRef<VM> {}
// SAFETY: as for Send.
unsafe impl<VM: VMBinding> Sync for MutatorRef<VM> {}

impl<VM: VMBinding> Stoppable for MutatorRef<VM> {
    fn state(&self) -> &ThreadState {
        // SAFETY: an entry of the registry points to an attached mutator's state, which lives until it is
        // detached; the state word is atomic.
        unsafe { &*self.0 }.thread()
    }
}
