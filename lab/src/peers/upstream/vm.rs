//! The binding proper: object model, scanning, collection, active plan.
//!
//! The safety invariants are those of the parent module: objects handed in by the crate are live and begin
//! with our header.

use mmtk::util::alloc::AllocationError;
use mmtk::util::copy::{CopySemantics, GCWorkerCopyContext};
use mmtk::util::opaque_pointer::*;
use mmtk::util::{Address, ObjectReference};
use mmtk::vm::slot::{SimpleSlot, UnimplementedMemorySlice};
use mmtk::vm::*;
use mmtk::{MMTK, Mutator, memory_manager};

use super::world;
use crate::oom;
use std::sync::OnceLock;
use workloads::shadow_stack::ShadowStack;

/// The VM of the workloads.
#[derive(Default)]
pub(super) struct PeerVm;

impl VMBinding for PeerVm {
    type VMObjectModel = Model;
    type VMScanning = Scan;
    type VMCollection = Stopper;
    type VMActivePlan = Mutators;
    type VMReferenceGlue = NoReferences;
    type VMSlot = SimpleSlot;
    type VMMemorySlice = UnimplementedMemorySlice<SimpleSlot>;
    const ALIGNMENT_VALUE: u8 = 0;
    const MIN_ALIGNMENT: usize = 8;
    const MAX_ALIGNMENT: usize = 8;
    const USE_ALLOCATION_OFFSET: bool = false;
    const ALLOC_END_ALIGNMENT: usize = 8;
}

pub(super) static MMTK_INSTANCE: OnceLock<Box<MMTK<PeerVm>>> = OnceLock::new();

pub(super) fn instance() -> &'static MMTK<PeerVm> {
    MMTK_INSTANCE.get().expect("the instance is made before it is used (I3)")
}

/// State of a bound thread. `mutator` stays first: allocator offsets are constants from its beginning.
#[repr(C)]
pub(super) struct State {
    pub mutator: Mutator<PeerVm>,
    pub roots: ShadowStack,
    /// Larger objects go to the large-object space.
    pub max_small: usize,
    /// Start of the table of log bits, shifted so that an address indexes it directly.
    pub log_base: usize,
    /// The same for valid-object bits.
    pub valid_base: usize,
}

/// The top byte of the header holds the forwarding bits.
const FORWARDING_SHIFT: isize = 56;
const WITHOUT_FORWARDING: u64 = (1 << FORWARDING_SHIFT) - 1;

#[inline(always)]
fn header(object: ObjectReference) -> u64 {
    // SAFETY: an object begins with its header word.
    unsafe { object.to_raw_address().load() }
}

/// Words of the object, its header included.
#[inline(always)]
fn words(object: ObjectReference) -> usize {
    ((header(object) & WITHOUT_FORWARDING) >> 32) as usize
}

/// Slots of the object.
#[inline(always)]
fn nrefs(object: ObjectReference) -> usize {
    header(object) as u32 as usize
}

/// Start of the table of log bits: bit `(addr >> 3) & 7` of byte `base + (addr >> 6)`.
pub(super) fn log_bit_base() -> usize {
    let spec = Model::GLOBAL_LOG_BIT_SPEC.as_spec().extract_side_spec();
    assert_eq!((spec.log_bytes_in_region, spec.log_num_of_bits), (3, 0));
    spec.get_starting_address().as_usize()
}

/// Copies `n` words; a loop for small objects, where a call to memcpy costs more.
#[inline(always)]
fn copy_words(from: Address, to: Address, n: usize) {
    let (from, to) = (from.to_ptr::<u64>(), to.to_mut_ptr::<u64>());
    // SAFETY: `from` is an object of n words, and `to` is fresh memory of that size elsewhere.
    unsafe {
        if n <= 16 {
            for i in 0..n {
                *to.add(i) = *from.add(i);
            }
        } else {
            std::ptr::copy_nonoverlapping(from, to, n);
        }
    }
}

pub(super) struct Model;

impl ObjectModel<PeerVm> for Model {
    const GLOBAL_LOG_BIT_SPEC: VMGlobalLogBitSpec = VMGlobalLogBitSpec::side_first();
    const LOCAL_FORWARDING_POINTER_SPEC: VMLocalForwardingPointerSpec = VMLocalForwardingPointerSpec::in_header(0);
    const LOCAL_FORWARDING_BITS_SPEC: VMLocalForwardingBitsSpec =
        VMLocalForwardingBitsSpec::in_header(FORWARDING_SHIFT);
    const LOCAL_MARK_BIT_SPEC: VMLocalMarkBitSpec = VMLocalMarkBitSpec::side_first();
    const LOCAL_LOS_MARK_NURSERY_SPEC: VMLocalLOSMarkNurserySpec =
        VMLocalLOSMarkNurserySpec::side_after(Self::LOCAL_MARK_BIT_SPEC.as_spec());

    const UNIFIED_OBJECT_REFERENCE_ADDRESS: bool = true;
    const OBJECT_REF_OFFSET_LOWER_BOUND: isize = 0;

    #[inline(always)]
    fn copy(
        from: ObjectReference,
        semantics: CopySemantics,
        context: &mut GCWorkerCopyContext<PeerVm>,
    ) -> ObjectReference {
        let header = header(from);
        let n = words(from);
        let to = context.alloc_copy(from, n * 8, 8, 0, semantics);
        copy_words(from.to_raw_address(), to, n);
        // SAFETY: the first word of the copy, which starts unforwarded.
        unsafe { to.store(header & WITHOUT_FORWARDING) };
        // SAFETY: aligned and not zero; the object begins where its memory does.
        let to = unsafe { ObjectReference::from_raw_address_unchecked(to) };
        context.post_copy(to, n * 8, semantics);
        to
    }

    fn copy_to(from: ObjectReference, to: ObjectReference, _region: Address) -> Address {
        let bytes = words(from) * 8;
        let (source, target) = (from.to_raw_address(), to.to_raw_address());
        // SAFETY: the collector chose a place of this size; it may overlap the old one, hence not
        // `nonoverlapping`.
        unsafe { std::ptr::copy(source.to_ptr::<u8>(), target.to_mut_ptr::<u8>(), bytes) };
        target + bytes
    }

    fn get_reference_when_copied_to(_from: ObjectReference, to: Address) -> ObjectReference {
        // SAFETY: aligned and not zero; the object begins where its memory does.
        unsafe { ObjectReference::from_raw_address_unchecked(to) }
    }

    #[inline(always)]
    fn get_current_size(object: ObjectReference) -> usize {
        words(object) * 8
    }

    #[inline(always)]
    fn get_size_when_copied(object: ObjectReference) -> usize {
        words(object) * 8
    }

    #[inline(always)]
    fn get_align_when_copied(_object: ObjectReference) -> usize {
        8
    }

    #[inline(always)]
    fn get_align_offset_when_copied(_object: ObjectReference) -> usize {
        0
    }

    fn get_type_descriptor(_object: ObjectReference) -> &'static [i8] {
        unreachable!("no caller in the crate")
    }

    #[inline(always)]
    fn ref_to_object_start(object: ObjectReference) -> Address {
        object.to_raw_address()
    }

    #[inline(always)]
    fn ref_to_header(object: ObjectReference) -> Address {
        object.to_raw_address()
    }

    fn dump_object(_object: ObjectReference) {}
}

pub(super) struct Scan;

/// Slots of a shadow stack in one work packet.
const ROOTS_IN_PACKET: usize = 4096;

impl Scanning<PeerVm> for Scan {
    #[inline(always)]
    fn scan_object<SV: SlotVisitor<SimpleSlot>>(_tls: VMWorkerThread, object: ObjectReference, visitor: &mut SV) {
        let first = object.to_raw_address() + 8usize;
        for i in 0..nrefs(object) {
            visitor.visit_slot(SimpleSlot::from_address(first + i * 8));
        }
    }

    fn notify_initial_thread_scan_complete(_partial: bool, _tls: VMWorkerThread) {}

    fn scan_roots_in_mutator_thread(
        _tls: VMWorkerThread,
        mutator: &'static mut Mutator<PeerVm>,
        mut factory: impl RootsWorkFactory<SimpleSlot>,
    ) {
        let state = mutator.mutator_tls.0.0.to_address().to_ptr::<State>();
        // SAFETY: the thread is parked and its state alive (I1).
        let (from, to) = unsafe { (*state).roots.range() };
        let (mut from, to) = (Address::from_mut_ptr(from), Address::from_mut_ptr(to));
        while from < to {
            let n = ROOTS_IN_PACKET.min((to - from) / 8);
            let slots = (0..n).map(|i| SimpleSlot::from_address(from + i * 8)).collect();
            factory.create_process_roots_work(slots);
            from += n * 8;
        }
    }

    fn scan_vm_specific_roots(_tls: VMWorkerThread, _factory: impl RootsWorkFactory<SimpleSlot>) {}

    fn supports_return_barrier() -> bool {
        false
    }

    fn prepare_for_roots_re_scanning() {}
}

pub(super) struct Stopper;

impl Collection<PeerVm> for Stopper {
    fn stop_all_mutators<F: FnMut(&'static mut Mutator<PeerVm>)>(_tls: VMWorkerThread, mut visit: F) {
        world::stop();
        world::note_reserved(instance().get_plan().get_reserved_pages());
        for state in world::states::<State>() {
            // SAFETY: the thread is parked and its state alive (I1).
            visit(unsafe { &mut (*state).mutator });
        }
    }

    fn resume_mutators(_tls: VMWorkerThread) {
        world::resume();
    }

    fn block_for_gc(_tls: VMMutatorThread) {
        world::block();
    }

    fn spawn_gc_thread(_tls: VMThread, context: GCThreadContext<PeerVm>) {
        let work = move || {
            world::note_worker();
            let GCThreadContext::Worker(worker) = context;
            let tls = VMWorkerThread(VMThread(OpaquePointer::UNINITIALIZED));
            memory_manager::start_worker(instance(), tls, worker);
        };
        let thread = std::thread::Builder::new().name("gc".into()).spawn(work);
        thread.expect("the system starts a GC thread");
    }

    fn out_of_memory(_tls: VMThread, kind: AllocationError) {
        oom::exit(&format!("mmtk 0.33 reports {kind:?}"));
    }
}

pub(super) struct Mutators;

impl ActivePlan<PeerVm> for Mutators {
    fn is_mutator(tls: VMThread) -> bool {
        !tls.0.is_null()
    }

    fn mutator(tls: VMMutatorThread) -> &'static mut Mutator<PeerVm> {
        // SAFETY: the thread's identity is the address of its state (I1).
        unsafe { &mut (*tls.0.0.to_address().to_mut_ptr::<State>()).mutator }
    }

    fn mutators<'a>() -> Box<dyn Iterator<Item = &'a mut Mutator<PeerVm>> + 'a> {
        // SAFETY: called in a pause: each thread is parked and its state alive (I1).
        Box::new(world::states::<State>().into_iter().map(|state| unsafe { &mut (*state).mutator }))
    }

    fn number_of_mutators() -> usize {
        world::states::<State>().len()
    }
}

/// The workloads have no weak references: the options say so, and none of this is called.
pub(super) struct NoReferences;

impl ReferenceGlue<PeerVm> for NoReferences {
    type FinalizableType = ObjectReference;

    fn set_referent(_reference: ObjectReference, _referent: ObjectReference) {
        unreachable!("no weak references")
    }

    fn get_referent(_reference: ObjectReference) -> Option<ObjectReference> {
        unreachable!("no weak references")
    }

    fn clear_referent(_reference: ObjectReference) {
        unreachable!("no weak references")
    }

    fn enqueue_references(_references: &[ObjectReference], _tls: VMWorkerThread) {
        unreachable!("no weak references")
    }
}
