//! The published crate `mmtk` 0.33 behind a minimal binding, in the configuration that measured best.
//!
//! An object is one header word (number of slots in the low half, number of words in the high half) and its
//! payload; the reference is the header's address. Forwarding bits are the header's top byte and the
//! forwarding pointer overwrites the header, which measured best; all other metadata is in side tables.
//!
//! The handle is monomorphised over the plan's allocator and barrier, and both fast paths are inlined, as a
//! JIT or a static compiler would do it.
//!
//! CPU spent collecting: the CPU clocks of the GC worker threads. Work that mutators do (block allocation,
//! lazy sweeping in MarkSweep) counts as mutator time, which is the same as process CPU less that of the
//! collector's threads.
//!
//! I1. A [`Handle`] points at the boxed [`State`] of a bound thread, which lives until `unbind`; only that
//!     thread uses it, and GC workers read it while the thread is parked in `world`.
//! I2. A reference that a workload holds leads to a live object, and its slots and words are in bounds: that
//!     is the workload's rule (`workloads::heap` I1, I3).
//! I3. `MMTK_INSTANCE` is set before the first mutator is bound and never dropped.

#![expect(clippy::mut_from_ref, reason = "a handle is a pointer to its state, not an owner")]

mod vm;
mod world;

use std::sync::atomic::Ordering;

use mmtk::plan::BarrierSelector;
use mmtk::util::alloc::{
    Allocator, AllocatorSelector, BumpAllocator, BumpPointer, FreeListAllocator, ImmixAllocator, MarkCompactAllocator,
};
use mmtk::util::metadata::side_metadata::vo_bit_side_metadata_addr;
use mmtk::util::options::{GCTriggerSelector, PlanSelector};
use mmtk::util::{Address, ObjectReference, OpaquePointer, VMMutatorThread, VMThread};
use mmtk::vm::slot::SimpleSlot;
use mmtk::{AllocationSemantics, MMTKBuilder, Mutator as MmtkMutator, memory_manager};

use crate::driver::drive;
use crate::failure::Failure;
use crate::oom;
use crate::request::Request;
use vm::{MMTK_INSTANCE, PeerVm, State, instance};
use workloads::heap::{GcStats, Heap, Mutator, Ref};
use workloads::shadow_stack::ShadowStack;

// Allocators, as const parameters.
const BUMP: u8 = 0;
const IMMIX: u8 = 1;
const MARK_COMPACT: u8 = 2;
const FREE_LIST: u8 = 3;

// Barriers, as const parameters.
const NO_BARRIER: u8 = 0;
const OBJECT_BARRIER: u8 = 1;
const SATB_BARRIER: u8 = 2;

const DEFAULT: AllocationSemantics = AllocationSemantics::Default;

/// Mark-compact reserves words in front of each object.
const MARK_COMPACT_HEADER: usize = MarkCompactAllocator::<PeerVm>::HEADER_RESERVED_IN_BYTES;

/// Objects above this may belong into the large-object space, depending on the plan.
const SURELY_SMALL: usize = 8192;

const fn selector(allocator: u8) -> AllocatorSelector {
    match allocator {
        BUMP => AllocatorSelector::BumpPointer(0),
        IMMIX => AllocatorSelector::Immix(0),
        MARK_COMPACT => AllocatorSelector::MarkCompact(0),
        _ => AllocatorSelector::FreeList(0),
    }
}

/// Runs a request on a plan of the crate `mmtk`.
///
/// # Errors
/// A setting that the crate refuses; as [`drive`].
pub fn run(request: &Request, plan: &str) -> Result<(), Failure> {
    report_nogc_exhaustion_as_out_of_memory();
    match initialise(request, plan)? {
        (BUMP, NO_BARRIER) => drive(&UpstreamHeap::<BUMP, NO_BARRIER>(()), request),
        (BUMP, OBJECT_BARRIER) => drive(&UpstreamHeap::<BUMP, OBJECT_BARRIER>(()), request),
        (IMMIX, NO_BARRIER) => drive(&UpstreamHeap::<IMMIX, NO_BARRIER>(()), request),
        (IMMIX, OBJECT_BARRIER) => drive(&UpstreamHeap::<IMMIX, OBJECT_BARRIER>(()), request),
        (IMMIX, SATB_BARRIER) => drive(&UpstreamHeap::<IMMIX, SATB_BARRIER>(()), request),
        (MARK_COMPACT, NO_BARRIER) => drive(&UpstreamHeap::<MARK_COMPACT, NO_BARRIER>(()), request),
        (FREE_LIST, NO_BARRIER) => drive(&UpstreamHeap::<FREE_LIST, NO_BARRIER>(()), request),
        (allocator, barrier) => {
            Err(Failure::Failed(format!("upstream:{plan}: no code for allocator {allocator} with barrier {barrier}")))
        }
    }
}

/// NoGC of the crate panics when memory is exhausted. Here that is a result, not a crash.
fn report_nogc_exhaustion_as_out_of_memory() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.to_string().contains("GC triggered in nogc") {
            oom::exit("NoGC never frees");
        }
        before(panic);
    }));
}

/// Makes the instance and returns the plan's allocator and barrier.
fn initialise(request: &Request, plan: &str) -> Result<(u8, u8), Failure> {
    let mut builder = MMTKBuilder::new_no_env_vars();
    let plan: PlanSelector = plan.parse().map_err(|_| Failure::Failed(format!("mmtk 0.33 has no plan {plan}")))?;
    builder.options.plan.set(plan);
    builder.options.gc_trigger.set(GCTriggerSelector::FixedHeapSize(request.heap_bytes()));
    builder.options.threads.set(request.gc_threads());
    builder.options.no_reference_types.set(true);
    builder.options.no_finalizer.set(true);
    for (key, value) in &request.peer_settings {
        if !builder.set_option(key, value) {
            return Err(Failure::Usage(format!("{key}={value}: refused by mmtk 0.33")));
        }
    }
    let made = MMTK_INSTANCE.set(memory_manager::mmtk_init::<PeerVm>(&builder)).is_ok();
    assert!(made, "one instance a process");
    memory_manager::initialize_collection(instance(), VMThread(OpaquePointer::UNINITIALIZED));
    let allocator = match memory_manager::get_allocator_mapping(instance(), DEFAULT) {
        AllocatorSelector::BumpPointer(0) => BUMP,
        AllocatorSelector::Immix(0) => IMMIX,
        AllocatorSelector::MarkCompact(0) => MARK_COMPACT,
        AllocatorSelector::FreeList(0) => FREE_LIST,
        other => return Err(Failure::Failed(format!("unexpected allocator {other:?}"))),
    };
    let barrier = match instance().get_plan().constraints().barrier {
        BarrierSelector::NoBarrier => NO_BARRIER,
        BarrierSelector::ObjectBarrier => OBJECT_BARRIER,
        BarrierSelector::SATBBarrier => SATB_BARRIER,
    };
    Ok((allocator, barrier))
}

/// A plan of the crate, by allocator and barrier.
struct UpstreamHeap<const A: u8, const B: u8>(());

/// Handle of a bound thread.
#[derive(Clone, Copy)]
struct Handle<const A: u8, const B: u8>(*mut State);

fn thread_of(state: *mut State) -> VMMutatorThread {
    VMMutatorThread(VMThread(OpaquePointer::from_address(Address::from_mut_ptr(state))))
}

impl<const A: u8, const B: u8> Heap for UpstreamHeap<A, B> {
    type M = Handle<A, B>;

    fn bind(&self) -> Self::M {
        let state = Box::into_raw(Box::<State>::new_uninit()).cast::<State>();
        world::bind_while_running(state, || {
            let mutator = memory_manager::bind_mutator(instance(), thread_of(state));
            let value = State {
                mutator: *mutator,
                roots: ShadowStack::new(),
                max_small: instance().get_plan().constraints().max_non_los_default_alloc_bytes,
                log_base: vm::log_bit_base(),
                valid_base: vo_bit_side_metadata_addr().as_usize(),
            };
            // SAFETY: a box of this type that nobody else knows yet.
            unsafe { state.write(value) };
        });
        Handle(state)
    }

    fn unbind(&self, mutator: Self::M) {
        // Lets a pause that waits for this thread begin, while it is still bound.
        mutator.poll();
        let state = mutator.state();
        assert!(state.roots.is_empty(), "unbound with roots on the shadow stack");
        memory_manager::destroy_mutator(&mut state.mutator);
        world::unbind(mutator.0);
        // SAFETY: the box of `bind`; `world` no longer lists it, so no GC worker reads it (I1).
        drop(unsafe { Box::from_raw(mutator.0) });
    }

    fn collect(&self, mutator: Self::M) {
        memory_manager::handle_user_collection_request(instance(), thread_of(mutator.0));
    }

    fn take_stats(&self) -> GcStats {
        let pauses = world::take_pauses();
        GcStats {
            gcs: pauses.len() as u64,
            pauses,
            gc_cpu_ns: world::take_worker_cpu_ns(),
            peak_reserved_bytes: {
                world::note_reserved(instance().get_plan().get_reserved_pages());
                world::take_peak_reserved_bytes()
            },
            ..GcStats::default()
        }
    }
}

impl<const A: u8, const B: u8> Handle<A, B> {
    #[inline(always)]
    fn state(&self) -> &mut State {
        // SAFETY: I1; no method keeps the borrow across a GC point.
        unsafe { &mut *self.0 }
    }

    #[inline(always)]
    fn bump(&self) -> &mut BumpPointer {
        let allocator = MmtkMutator::<PeerVm>::get_allocator_base_offset(selector(A));
        let field = match A {
            IMMIX => std::mem::offset_of!(ImmixAllocator<PeerVm>, bump_pointer),
            // `bump_allocator` is the only field of the mark-compact allocator.
            _ => std::mem::offset_of!(BumpAllocator<PeerVm>, bump_pointer),
        };
        // SAFETY: the mutator is the first field of the state, and the crate documents these offsets for
        // fast paths of compilers: there is a `BumpPointer`.
        unsafe { &mut *self.0.byte_add(allocator + field).cast::<BumpPointer>() }
    }

    #[inline(always)]
    fn free_list(&self) -> &mut FreeListAllocator<PeerVm> {
        let allocator = MmtkMutator::<PeerVm>::get_allocator_base_offset(selector(A));
        // SAFETY: as in `bump`: there is the plan's free-list allocator.
        unsafe { &mut *self.0.byte_add(allocator).cast::<FreeListAllocator<PeerVm>>() }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(self, bytes: usize) -> usize {
        let state = self.state();
        let mutator = &mut state.mutator;
        if bytes > state.max_small {
            let start = memory_manager::alloc(mutator, bytes, 8, 0, AllocationSemantics::Los);
            // SAFETY: fresh memory, aligned and not zero; the object begins where its memory does.
            let object = unsafe { ObjectReference::from_raw_address_unchecked(start) };
            memory_manager::post_alloc(mutator, object, bytes, AllocationSemantics::Los);
            start.as_usize()
        } else if A == MARK_COMPACT {
            // `alloc_slow` of this allocator does not reserve its header.
            memory_manager::alloc(mutator, bytes, 8, 0, DEFAULT).as_usize()
        } else {
            memory_manager::alloc_slow(mutator, bytes, 8, 0, DEFAULT).as_usize()
        }
    }

    #[cold]
    #[inline(never)]
    fn barrier_slow(self, object: Ref, slot: usize, value: Ref) {
        // SAFETY: addresses of live objects (I2); null becomes `None`.
        let (source, target) = unsafe {
            (
                ObjectReference::from_raw_address_unchecked(Address::from_usize(object.0)),
                ObjectReference::from_raw_address(Address::from_usize(value.0)),
            )
        };
        // SAFETY: the address of a slot of that object.
        let slot = SimpleSlot::from_address(unsafe { Address::from_usize(slot) });
        self.state().mutator.barrier.object_reference_write_slow(source, slot, target);
    }

    /// The unlog bit of the object: a byte load and a bit test.
    #[inline(always)]
    fn unlogged(self, object: Ref) -> bool {
        // SAFETY: the table is mapped for each address of the heap.
        let byte = unsafe { *((self.state().log_base + (object.0 >> 6)) as *const u8) };
        (byte >> ((object.0 >> 3) & 7)) & 1 != 0
    }

    /// Mark-compact walks its space by valid-object bits.
    #[inline(always)]
    fn set_valid(self, address: usize) {
        let byte = (self.state().valid_base + (address >> 6)) as *mut u8;
        // SAFETY: the table is mapped for each address of the heap. Buffers are whole blocks, so no other
        // thread writes this byte.
        unsafe { *byte |= 1 << ((address >> 3) & 7) };
    }

    #[inline(always)]
    fn alloc_bytes(self, bytes: usize) -> usize {
        if A == FREE_LIST {
            return if bytes > self.state().max_small {
                self.alloc_slow(bytes)
            } else {
                self.free_list().alloc(bytes, 8, 0).as_usize()
            };
        }
        let header = if A == MARK_COMPACT { MARK_COMPACT_HEADER } else { 0 };
        let bump = self.bump();
        let start = bump.cursor.as_usize();
        let end = start + bytes + header;
        // A large object must not go into a bump space even where it fits in the current buffer.
        let large = bytes > SURELY_SMALL && bytes > self.state().max_small;
        if end > bump.limit.as_usize() || large {
            return self.alloc_slow(bytes);
        }
        // SAFETY: within the buffer.
        bump.cursor = unsafe { Address::from_usize(end) };
        start + header
    }
}

impl<const A: u8, const B: u8> Mutator for Handle<A, B> {
    #[inline(always)]
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref {
        let words = (1 + nrefs + nbytes.div_ceil(8)).max(2);
        let bytes = words * 8;
        let address = self.alloc_bytes(bytes);
        // SAFETY: the first word of the new object.
        unsafe { *(address as *mut u64) = nrefs as u64 | (words as u64) << 32 };
        if A == MARK_COMPACT && bytes <= SURELY_SMALL {
            self.set_valid(address);
        }
        Ref(address)
    }

    #[inline(always)]
    fn read_ref(self, object: Ref, i: usize) -> Ref {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *const Ref) }
    }

    #[inline(always)]
    fn write_ref(self, object: Ref, i: usize, value: Ref) {
        let slot = object.0 + 8 + i * 8;
        if B == SATB_BARRIER && self.unlogged(object) {
            self.barrier_slow(object, slot, value);
        }
        // SAFETY: I2.
        unsafe { *(slot as *mut Ref) = value };
        if B == OBJECT_BARRIER && self.unlogged(object) {
            self.barrier_slow(object, slot, value);
        }
    }

    #[inline(always)]
    fn init_ref(self, object: Ref, i: usize, value: Ref) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *mut Ref) = value };
    }

    #[inline(always)]
    fn read_word(self, object: Ref, w: usize) -> u64 {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *const u64) }
    }

    #[inline(always)]
    fn write_word(self, object: Ref, w: usize, value: u64) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *mut u64) = value }
    }

    #[inline(always)]
    fn poll(self) {
        // Relaxed: `park` looks again under the lock.
        if world::STOP.load(Ordering::Relaxed) {
            world::park();
        }
    }

    #[inline(always)]
    fn push(self, value: Ref) -> usize {
        self.state().roots.push(value)
    }

    #[inline(always)]
    fn get(self, index: usize) -> Ref {
        self.state().roots.get(index)
    }

    #[inline(always)]
    fn set(self, index: usize, value: Ref) {
        self.state().roots.set(index, value);
    }

    #[inline(always)]
    fn peek(self, depth: usize) -> Ref {
        self.state().roots.peek(depth)
    }

    #[inline(always)]
    fn pop(self, n: usize) {
        self.state().roots.pop(n);
    }
}
