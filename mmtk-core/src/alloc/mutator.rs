//! The mutator: an application thread with its allocators.
//!
//! `MutatorState` is laid out for compiled code: the cursor and limit of the bump range are its first two words, the state
//! word to poll follows at a constant offset ([`MutatorState::THREAD_OFFSET`]).
//!
//! I1. The state is boxed and does not move while the mutator is attached.
//! I2. Allocators and local are used by the owning thread while it runs, by the leader of a pause while it is stopped,
//!     never by both: the safepoint's protocol orders them.
//! I3. A native region uses neither.

use super::bump::{Allocators, Pace};
use super::{Request, Semantics};
use crate::address::Address;
use crate::binding::{OutOfMemory, VMBinding};
use crate::instance::HeapInner;
use crate::metadata::{MAX_CELL_BYTES, class_of};
use crate::safepoint::ThreadState;
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

/// What the toolkit keeps for one thread.
#[repr(C)]
pub struct MutatorState<VM: VMBinding> {
    allocators: UnsafeCell<Allocators>,
    thread: ThreadState,
    local: UnsafeCell<VM::Local>,
    heap: Arc<HeapInner<VM>>,
}

impl<VM: VMBinding> MutatorState<VM> {
    /// Offset of the bump cursor, a word; the limit is the next word.
    pub const CURSOR_OFFSET: usize = std::mem::offset_of!(MutatorState<VM>, allocators);
    /// Offset of the 32-bit word to poll: not zero means "call the slow path".
    pub const THREAD_OFFSET: usize = std::mem::offset_of!(MutatorState<VM>, thread);

    pub(crate) fn new(heap: Arc<HeapInner<VM>>, local: VM::Local) -> Box<Self> {
        let mut allocators = Allocators::default();
        let stress = heap.options.stress_bytes;
        if stress != 0 {
            allocators.pace = Pace { step: stress.min(allocators.pace.step), clip: true };
        }
        Box::new(MutatorState {
            allocators: UnsafeCell::new(allocators),
            thread: ThreadState::default(),
            local: UnsafeCell::new(local),
            heap,
        })
    }

    pub(crate) fn thread(&self) -> &ThreadState {
        &self.thread
    }

    /// # Safety
    /// The mutator is stopped, or its owner detaches it; nobody else uses its allocators (I2).
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn allocators_of_stopped<'a>(this: *const Self) -> &'a mut Allocators {
        // SAFETY: the caller's promise.
        unsafe { &mut *(*this).allocators.get() }
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
    fn shared(&self) -> &MutatorState<VM> {
        // SAFETY: the state lives until the handle is dropped (I1); what is mutable in it is in cells.
        unsafe { self.0.as_ref() }
    }

    /// Zeroed memory for an object of `bytes` bytes, a multiple of the granule. A safepoint.
    ///
    /// If there is none even after an emergency collection, the VM's `out_of_memory` is called, and the process aborts if
    /// that returns. See [`Mutator::try_alloc`].
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
        debug_assert!(bytes.is_multiple_of(1 << VM::LOG_GRANULE) && bytes > 0, "{bytes} bytes: not a whole granule");
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let allocators = unsafe { &mut *self.shared().allocators.get() };
        if let Some(address) = allocators.bump.alloc(bytes) {
            return Some(address);
        }
        if bytes <= MAX_CELL_BYTES {
            let class = class_of(bytes);
            return allocators.cells[class].range.alloc(crate::metadata::class_bytes(class));
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn alloc_or_report(&self, bytes: usize, semantics: Semantics) -> Address {
        match self.alloc_slow(bytes, semantics) {
            Ok(address) => address,
            Err(error) => {
                self.shared().heap.vm.out_of_memory(&error);
                std::process::abort()
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, bytes: usize, semantics: Semantics) -> Result<Address, OutOfMemory> {
        if semantics == Semantics::Default
            && let Some(address) = self.extend(bytes)
        {
            return Ok(address);
        }
        let state = self.shared();
        state.heap.allocate(state, Request { bytes, semantics })
    }

    /// The range at hand reaches further than it is zeroed: goes on in it, without asking the plan.
    fn extend(&self, bytes: usize) -> Option<Address> {
        let state = self.shared();
        // SAFETY: this thread owns the allocators while it runs (I2); the borrow ends with this function.
        let Allocators { bump, cells, pace, allocated, .. } = unsafe { &mut *state.allocators.get() };
        // Stress options count every step; and a long range must not put off a pause.
        if pace.clip || state.thread.should_stop() {
            return None;
        }
        bump.alloc_zeroing(bytes, *pace, allocated).or_else(|| {
            let class = (bytes <= MAX_CELL_BYTES).then(|| class_of(bytes))?;
            cells[class].range.alloc_zeroing(crate::metadata::class_bytes(class), *pace, allocated)
        })
    }

    /// A safepoint: stops here while a pause is in progress. One relaxed load otherwise.
    #[inline(always)]
    pub fn poll(&self) {
        if self.shared().thread.should_stop() {
            self.park();
        }
    }

    #[cold]
    #[inline(never)]
    fn park(&self) {
        let state = self.shared();
        state.heap.safepoint.park(&state.thread);
    }

    /// Runs `f` as a native region: it touches no object of this heap, and pauses do not wait for it.
    pub fn native<R>(&self, f: impl FnOnce() -> R) -> R {
        let state = self.shared();
        state.heap.safepoint.enter_native(&state.thread);
        struct Leave<'a, VM: VMBinding>(&'a MutatorState<VM>);
        impl<VM: VMBinding> Drop for Leave<'_, VM> {
            fn drop(&mut self) {
                self.0.heap.safepoint.leave_native(&self.0.thread);
            }
        }
        let _leave = Leave(state);
        f()
    }

    /// Collects now, a full collection. A safepoint.
    pub fn collect(&self) {
        let state = self.shared();
        state.heap.collect(Some(state), crate::events::Cause::Requested);
    }

    /// What the VM keeps for this thread.
    #[inline(always)]
    pub fn local(&self) -> *mut VM::Local {
        self.shared().local.get()
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
        // SAFETY: the owner runs `retire` itself, while no pause can begin; the entry leaves the registry with it.
        heap.safepoint.detach(&state.thread, || heap.retire(unsafe { MutatorState::allocators_of_stopped(state) }));
        // SAFETY: made by `Box::leak` in `from_state`; no longer registered, and this is the only handle.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}
