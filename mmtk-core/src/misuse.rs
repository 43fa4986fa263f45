//! What must not compile: safe code that would write where it has no right to. Each example that fails has a
//! twin beside it that differs in the offence alone, and compiles; so it fails for the right reason.
//!
//! # Memory that no pool has made cannot be given to a thread
//! ```
//! use mmtk_core::{Address, alloc::BumpRange, memory::{Acquired, BlockPool}};
//! fn give(range: &mut BumpRange, pool: &BlockPool, block: Acquired) {
//!     range.install(pool.memory_of(block), &mut 0);
//! }
//! ```
//! ```compile_fail,E0308
//! use mmtk_core::{Address, alloc::BumpRange, memory::{Acquired, BlockPool}};
//! fn give(range: &mut BumpRange, at: Address) {
//!     range.install(at..at.plus(64), &mut 0);
//! }
//! ```
//!
//! # Memory is given once
//! ```
//! use mmtk_core::{alloc::BumpRange, memory::FreeMemory};
//! fn give(ranges: &mut [BumpRange; 2], memory: FreeMemory<'_>) {
//!     ranges[0].install(memory, &mut 0);
//! }
//! ```
//! ```compile_fail,E0382
//! use mmtk_core::{alloc::BumpRange, memory::FreeMemory};
//! fn give(ranges: &mut [BumpRange; 2], memory: FreeMemory<'_>) {
//!     ranges[0].install(memory, &mut 0);
//!     ranges[1].install(memory, &mut 0);
//! }
//! ```
//!
//! # Memory does not outlive the pool that it came from
//! ```
//! use mmtk_core::memory::{Acquired, BlockPool, FreeMemory};
//! fn keep(pool: &BlockPool, block: Acquired) -> FreeMemory<'_> {
//!     pool.memory_of(block)
//! }
//! ```
//! ```compile_fail
//! use mmtk_core::memory::{Acquired, BlockPool, FreeMemory};
//! fn keep(pool: &BlockPool, block: Acquired) -> FreeMemory<'static> {
//!     pool.memory_of(block)
//! }
//! ```
//!
//! # A number is no object: the barrier, pins and references take what exists
//! ```
//! use mmtk_core::{Address, Mutator, ObjectReference, VMBinding};
//! fn pin<VM: VMBinding>(mutator: &Mutator<VM>, at: Address) {
//!     // SAFETY: the example is not run.
//!     let object = unsafe { ObjectReference::from_address(at) };
//!     object.map(|object| mutator.pin(object));
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Address, Mutator, ObjectReference, VMBinding};
//! fn pin<VM: VMBinding>(mutator: &Mutator<VM>, at: Address) {
//!     let object = ObjectReference::from_address(at);
//!     object.map(|object| mutator.pin(object));
//! }
//! ```
//! ```compile_fail,E0308
//! use mmtk_core::{Address, Mutator, VMBinding, WordSlot};
//! fn note(mutator: &Mutator<impl VMBinding<Slot = WordSlot>>, at: Address, slot: WordSlot) {
//!     mutator.write_barrier(at, slot);
//! }
//! ```
//!
//! # Who opens a region or a pool promises that nothing uses what it releases
//! ```
//! use mmtk_core::{Heap, HeapError, Region, VMBinding};
//! fn open<VM: VMBinding>(heap: &Heap<VM>) -> Result<Region<VM>, HeapError> {
//!     // SAFETY: the example is not run.
//!     unsafe { heap.region() }
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Heap, HeapError, Region, VMBinding};
//! fn open<VM: VMBinding>(heap: &Heap<VM>) -> Result<Region<VM>, HeapError> {
//!     heap.region()
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Heap, HeapError, Pool, VMBinding};
//! fn open<VM: VMBinding>(heap: &Heap<VM>) -> Result<Pool<VM>, HeapError> {
//!     heap.pool(64)
//! }
//! ```
//!
//! # An object outside the heap stays in place as long as it is registered
//! ```
//! use mmtk_core::{Heap, ObjectReference, VMBinding};
//! fn add<VM: VMBinding>(heap: &Heap<VM>, object: ObjectReference) {
//!     // SAFETY: the example is not run.
//!     drop(unsafe { heap.add_vm_object(object) });
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Heap, ObjectReference, VMBinding};
//! fn add<VM: VMBinding>(heap: &Heap<VM>, object: ObjectReference) {
//!     drop(heap.add_vm_object(object));
//! }
//! ```
//!
//! # A thread that no collection waits for does not look for objects
//! ```
//! use mmtk_core::{Address, Heap, VMBinding};
//! fn look<VM: VMBinding>(heap: &Heap<VM>, at: Address) -> bool {
//!     // SAFETY: the example is not run.
//!     unsafe { heap.find_object(at) }.is_some()
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Address, Heap, VMBinding};
//! fn look<VM: VMBinding>(heap: &Heap<VM>, at: Address) -> bool {
//!     heap.find_object(at).is_some()
//! }
//! ```
//!
//! # An object is copied by the worker that has claimed it, and once
//! ```
//! use mmtk_core::{VMBinding, alloc::CopyTarget, metadata::{Claimed, ObjectMark, ObjectStates}};
//! fn copy<VM: VMBinding>(states: &ObjectStates<VM>, targets: [CopyTarget; 2], claimed: Claimed) {
//!     let [target, _] = targets;
//!     target.copy(states, claimed, ObjectMark::NONE);
//! }
//! ```
//! ```compile_fail,E0382
//! use mmtk_core::{VMBinding, alloc::CopyTarget, metadata::{Claimed, ObjectMark, ObjectStates}};
//! fn copy<VM: VMBinding>(states: &ObjectStates<VM>, targets: [CopyTarget; 2], claimed: Claimed) {
//!     let [target, other] = targets;
//!     target.copy(states, claimed, ObjectMark::NONE);
//!     other.copy(states, claimed, ObjectMark::NONE);
//! }
//! ```
//! ```compile_fail,E0308
//! use mmtk_core::{ObjectReference, VMBinding, alloc::CopyTarget, metadata::{ObjectMark, ObjectStates}};
//! fn copy<VM: VMBinding>(states: &ObjectStates<VM>, target: CopyTarget, object: ObjectReference) {
//!     target.copy(states, object, ObjectMark::NONE);
//! }
//! ```
//!
//! # A table does not outlive its memory in a tracer
//! ```
//! use mmtk_core::memory::{Borrowed, SideBytes};
//! fn trace(table: &SideBytes) -> SideBytes<Borrowed<'_>> {
//!     table.view()
//! }
//! ```
//! ```compile_fail
//! use mmtk_core::memory::{Borrowed, SideBytes};
//! fn trace(table: &SideBytes) -> SideBytes<Borrowed<'static>> {
//!     table.view()
//! }
//! ```
//!
//! # A plan clones the tables that it is lent, and a clone keeps the heap's memory
//! ```
//! use mmtk_core::{PlanContext, VMBinding, metadata::ObjectStates};
//! fn keep<VM: VMBinding>(context: &PlanContext<'_, VM>) -> ObjectStates<VM> {
//!     context.states.clone()
//! }
//! ```
//! ```compile_fail,E0507
//! use mmtk_core::{PlanContext, VMBinding, metadata::ObjectStates};
//! fn keep<VM: VMBinding>(context: &PlanContext<'_, VM>) -> ObjectStates<VM> {
//!     context.states
//! }
//! ```
//!
//! # New memory becomes an object when its VM says that it is one
//! ```
//! use mmtk_core::{Mutator, ObjectReference, VMBinding};
//! fn make<VM: VMBinding>(mutator: &Mutator<VM>) -> ObjectReference {
//!     // SAFETY: the example is not run.
//!     unsafe { mutator.alloc(16).assume_object() }
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Mutator, ObjectReference, VMBinding};
//! fn make<VM: VMBinding>(mutator: &Mutator<VM>) -> ObjectReference {
//!     mutator.alloc(16).assume_object()
//! }
//! ```
//! ```compile_fail,E0382
//! use mmtk_core::{Mutator, ObjectReference, VMBinding};
//! fn make<VM: VMBinding>(mutator: &Mutator<VM>) -> [ObjectReference; 2] {
//!     let new = mutator.alloc(16);
//!     // SAFETY: the example is not run.
//!     unsafe { [new.assume_object(), new.assume_object()] }
//! }
//! ```
//!
//! # A closure of `fork` forks
//! ```
//! use mmtk_core::{Mutator, VMBinding};
//! fn fork<VM: VMBinding>(mutator: &Mutator<VM>) {
//!     // SAFETY: the example is not run.
//!     drop(unsafe { mutator.fork(|| 0) });
//! }
//! ```
//! ```compile_fail,E0133
//! use mmtk_core::{Mutator, VMBinding};
//! fn fork<VM: VMBinding>(mutator: &Mutator<VM>) {
//!     drop(mutator.fork(|| 0));
//! }
//! ```
