//! A garbage-collected heap for language implementers. This is the one crate that a virtual machine depends
//! on.
//!
//! You implement [`VMBinding`]: how large an object is, where its references are, where a thread's roots are.
//! [`new_heap`] makes a [`Heap`] with the collector that [`Options`] name ([`PLANS`] lists them). Each thread
//! of your program attaches and has a [`Mutator`], which allocates.
//!
//! # A complete virtual machine
//!
//! ```
//! use heapwright::{
//!     Address, Heap, HeapError, Mutator, ObjectReference, OldToNew, Options, Slot, SlotVisitor, VMBinding, WordSlot,
//!     new_heap,
//! };
//!
//! /// Its objects are cells of lists: a reference to the next cell, and a number.
//! struct Lists;
//!
//! /// The roots of a thread: words that are null or refer to a cell.
//! type Roots = Box<[Address; 4]>;
//!
//! fn next(cell: ObjectReference) -> WordSlot {
//!     // SAFETY: the first word of a cell holds null or a reference.
//!     unsafe { WordSlot::at(cell.address()) }
//! }
//!
//! // SAFETY: every object has 16 bytes, of which the first word is its only slot, null when new; a mutator
//! // follows nothing but `Roots`; `main` calls the barrier, by way of `Mutator::store`.
//! unsafe impl VMBinding for Lists {
//!     type Slot = WordSlot;
//!     type Local = Roots;
//!     const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
//!
//!     fn object_size(&self, _: ObjectReference) -> usize {
//!         16
//!     }
//!     fn scan_object(&self, cell: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
//!         visitor.visit(next(cell));
//!     }
//!     fn scan_thread(&self, roots: &mut Roots, visitor: &mut impl SlotVisitor<WordSlot>) {
//!         for root in roots.iter_mut() {
//!             // SAFETY: a word that holds null or a reference, and lives as long as the thread is attached.
//!             visitor.visit(unsafe { WordSlot::at(Address::from_ptr(root)) });
//!         }
//!     }
//! }
//!
//! /// The roots of the calling thread.
//! fn roots(mutator: &Mutator<Lists>) -> &mut Roots {
//!     // SAFETY: the thread runs, so the collector does not; no caller keeps the reference over a safepoint.
//!     unsafe { &mut *mutator.local() }
//! }
//!
//! /// Puts a number at the head of the list in root 0.
//! fn push(mutator: &Mutator<Lists>, number: usize) {
//!     let cell = mutator.alloc(16).address(); // a safepoint: cells may move, so the list is read from its root afterwards
//!     // SAFETY: 16 bytes that the allocator just returned. A new object needs no barrier.
//!     unsafe {
//!         cell.store(roots(mutator)[0]);
//!         cell.plus(8).store(number);
//!     }
//!     roots(mutator)[0] = cell;
//! }
//!
//! /// Reverses the list in root 0.
//! fn reverse(mutator: &Mutator<Lists>) {
//!     let mut done = None;
//!     // SAFETY: a root holds a cell or zero.
//!     let mut rest = unsafe { ObjectReference::from_address(roots(mutator)[0]) };
//!     while let Some(cell) = rest {
//!         rest = next(cell).load();
//!         mutator.store(cell, next(cell), done); // an old object, so with the barrier
//!         done = Some(cell);
//!     }
//!     roots(mutator)[0] = done.map_or(Address::default(), |cell| cell.address());
//! }
//!
//! fn main() -> Result<(), HeapError> {
//!     for plan in ["Immix", "GenCopy", "MarkCompact"] {
//!         let mut options = Options::default();
//!         options.set("plan", plan)?;
//!         options.set("heap.limit", "16M")?;
//!         let heap: Heap<Lists> = new_heap(Lists, options)?;
//!         std::thread::scope(|scope| {
//!             for _ in 0..2 {
//!                 scope.spawn(|| {
//!                     let mutator = heap.attach(Roots::default());
//!                     (0..10_000).for_each(|number| push(&mutator, number));
//!                     (0..500_000).for_each(|_| _ = mutator.alloc(16)); // garbage
//!                     reverse(&mutator);
//!                     // SAFETY: a root holds a cell or zero.
//!                     let (mut cell, mut count) = (unsafe { ObjectReference::from_address(roots(&mutator)[0]) }, 0);
//!                     while let Some(object) = cell {
//!                         // SAFETY: the second word of a cell.
//!                         assert_eq!(unsafe { object.address().plus(8).load::<usize>() }, count);
//!                         (cell, count) = (next(object).load(), count + 1);
//!                     }
//!                     assert_eq!(count, 10_000);
//!                 });
//!             }
//!         });
//!         assert!(heap.statistics().collections > 0);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Threads and safepoints
//!
//! 1. A thread is a **mutator** from [`Heap::attach`] until its [`Mutator`] is dropped. It is the only thread
//!    that uses that value.
//! 2. A collection stops all mutators. A mutator stops at its next **safepoint**: [`Mutator::alloc`] and all
//!    that allocates, [`Mutator::poll`], [`Mutator::collect`]. At a safepoint any object may move or die,
//!    whether or not this thread asked for a collection.
//! 3. So over a safepoint an [`ObjectReference`] in a local variable is stale. What shall live on is in a
//!    root: in what `scan_thread` or `scan_vm` visit. Read it from there afterwards.
//! 4. A new object has its size and its slots as the binding reports them (header written, slots null or
//!    valid) before the next safepoint of its thread.
//! 5. A store of a reference into an object goes through [`Mutator::store`], or [`Mutator::write_barrier`]
//!    comes before it, with no safepoint between the two. A store into an object that was allocated since the
//!    last safepoint needs neither. Stores into roots never do.
//! 6. A loop that allocates nothing calls [`Mutator::poll`]. A thread that blocks, waits for a lock, or
//!    computes for long without touching objects does so inside [`Mutator::native`]: collections do not wait
//!    for it. A mutator that waits elsewhere holds up all others, for ever if it waits for one of them.
//! 7. In a collection the heap calls the binding from several threads, with all mutators stopped. What it
//!    calls allocates nothing in this heap, waits for no mutator, and does not unwind.
//!
//! # When something is wrong
//!
//! Set the option `verify.trace` to `true`: a second, simple trace before and after each collection names the
//! object, the slot, and what usually causes such an error. `stress.every_bytes=32K` collects often, and the
//! plan `PageProtect` faults where a dead object is used.
//!
//! # Where to look next
//!
//! - [`VMBinding`]: its `# Safety` section is the contract, and its constants say what else a VM may have.
//! - [`Options`] and [`options`]: what users set. [`Options::from_env`] reads `MMTK_*` variables.
//! - [`references`]: weak references, ephemerons, finalizers. [`Heap::region`] and [`Heap::pool`]: memory
//!   that the VM frees. [`compiled`]: what a compiler needs to inline allocation, poll and barrier.
//!   [`events`]: what happened, for logs; a crate of reports writes them to files.
//! - The repository: the tutorial and the porting guide of the book (`docs/src`), and `bindings/reference`,
//!   the smallest complete binding with headers.
//! - To write a collector, see the crate `mmtk_core`.
#![forbid(unsafe_code)]

#[doc(inline)]
pub use mmtk_core::{
    Address, Heap, HeapError, HeapStatistics, Mutator, NewObject, ObjectInfo, ObjectReference, OldToNew, Options,
    OutOfMemory, Pool, Region, Semantics, Slot, SlotVisitor, StateLocation, VMBinding, WordSlot, events, options,
    os::Mapping,
};
#[doc(inline)]
pub use policies::{PLANS, new_heap};

/// Weak references, ephemerons and finalizers of the heap; and the processor that a VM with weak references
/// of its own is given.
pub mod references {
    #[doc(inline)]
    pub use mmtk_core::{
        AddressTable, References, WeakProcessor,
        weak::{Finalizer, FinalizerOrder, Reference, ReferenceKind, Terms},
    };
}

/// Errors of calls that few virtual machines make, and what a call that collects when memory is short asks
/// of its errors.
pub mod errors {
    #[doc(inline)]
    pub use mmtk_core::{MayBeOutOfMemory, PinError, Tried, options::OptionError};
}

/// What compiled code needs to inline allocation, poll and barrier: the state behind a [`Mutator`] with its
/// offsets, and the tests that it makes.
pub mod compiled {
    #[doc(inline)]
    pub use mmtk_core::{CellsAt, MutatorState, StartParts, barrier::BarrierTest};
}
