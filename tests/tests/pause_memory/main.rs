//! A pause neither takes memory from the C library nor gives it back: a thread that stopped may hold the lock
//! of `malloc`.
//!
//! What a binding's own functions do in a pause is its own affair, and those of the tests' bindings do not
//! allocate.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod interposed;

use interposed::Call;
use mmtk_core::events::Event;
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use mmtk_core::{
    AddressTable, Heap, ObjectReference, OldToNew, Semantics, SlotVisitor, StateLocation, VMBinding, WordSlot,
};
use plan_tests::{AmbiguousVM, SideVM, TestVM, Watchdog, collecting_plans, matrix, options, pool_in, region_in};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::collections::BTreeSet;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};
use workloads::{SPECS, Workload};

/// What was seen belongs to one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    interposed::prepare();
    interposed::take();
    guard
}

fn object_of(reference: Ref) -> ObjectReference {
    reference.object().expect("not null")
}

/// An object in memory that the heap just gave.
fn made(new: mmtk_core::NewObject, refs: usize, words: usize) -> Ref {
    let at = new.address();
    // SAFETY: just returned by the allocator, of that many words.
    unsafe { object::write_header(at, refs, words) };
    Ref(at.as_usize())
}

/// A list of `length` new objects of changing sizes; every seventh is left out again, so that holes remain.
fn list<VM: TestVM>(m: ThreadHandle<VM>, length: usize) -> usize {
    let root = m.push(Ref::NULL);
    for n in 0..length {
        let node = m.alloc(2, [8, 40, 200, 16][n % 4]);
        if n % 7 != 0 {
            m.write_ref(node, 0, m.get(root));
            m.set(root, node);
        }
    }
    root
}

/// Everything that a heap can be asked to keep, a few times each, with collections between.
fn all_that_pauses_look_after<VM: TestVM>(heap: &Heap<VM>, rounds: usize) {
    let thread = Thread::attach(heap);
    let m = thread.handle();
    let mutator = m.mutator();
    let pins = PLANS.iter().any(|plan| plan.name == heap.plan_name() && plan.needs.pins);
    let (kept, pool) = (region_in(heap), pool_in(heap, ThreadHandle::<VM>::words(Class { refs: 2, bytes: 16 }) * 8));
    let table = AddressTable::new(&mutator);
    let old = m.push(Ref::NULL);
    let first = m.alloc(50, 8);
    m.set(old, first);
    for round in 0..rounds {
        let base = m.push(Ref::NULL);
        list(m, 300);
        // Large arrays, which several workers share, objects with pages of their own, and others that stay.
        let array = m.alloc(20_000, 8);
        m.write_ref(array, 77, m.peek(0));
        m.push(array);
        let large = m.alloc(2, 50_000);
        m.write_ref(m.get(old), round % 50, large);
        for semantics in [Semantics::NonMoving, Semantics::Immortal] {
            let at = m.try_alloc(Class { refs: 1, bytes: 64 }, semantics).unwrap();
            m.write_ref(m.get(old), (round + 7) % 50, at);
        }
        let request = region_in(heap);
        for region in [&kept, &request] {
            for bytes in [16, 3000, 100_000] {
                let words = ThreadHandle::<VM>::words(Class { refs: 2, bytes });
                let element = made(region.alloc(&mutator, words * 8), 2, words);
                m.write_ref(element, 0, m.peek(0));
                m.push(element);
            }
        }
        for _ in 0..20 {
            let cell = made(pool.alloc(&mutator), 2, pool.object_bytes() / 8);
            m.push(cell);
        }
        let references = mutator.references();
        for n in 0..40 {
            let target = m.alloc(2, 16);
            m.push(target);
            if n % 3 == 0 {
                m.write_ref(m.get(old), (n + round) % 50, target);
            }
            let target = object_of(m.peek(0));
            for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
                let owner = (n % 5 == 0).then(|| object_of(m.get(old)));
                let made = references.create(kind, target, Terms { owner, notify: n % 2 == 0 }).unwrap();
                if kind == ReferenceKind::Ephemeron {
                    references.set_value(made, Some(object_of(m.get(old))));
                }
            }
            for order in [FinalizerOrder::Any, FinalizerOrder::ReferrersFirst, FinalizerOrder::Topological] {
                references.add_finalizer(target, order).unwrap();
            }
            table.insert(&mutator, target, 7).unwrap();
            references.identity_hash(target).unwrap();
            if pins && n % 4 == 0 {
                mutator.pin(target).unwrap();
            }
            (0..30).for_each(|_| _ = m.alloc(1, 120));
        }
        mutator.collect();
        m.pop(20);
        mutator.poll();
        // Now most of it dies.
        let depth = m.push(Ref::NULL) - base;
        m.pop(depth + 1);
        request.release(&mutator);
        list(m, 300);
        m.pop(1);
        mutator.collect();
        while references.next_cleared().is_some() || references.next_finalizable().is_some() {}
    }
    pool.release(&mutator);
}

/// One heap, and what its pauses have to do.
fn run<VM: TestVM>(plan: &str, workers: usize, wake: &str) {
    let workers = workers.to_string();
    let moving = [("heap.return_memory", "always"), ("stress.always_defrag", "true"), ("nursery.bytes", "64K")];
    for more in [&moving[..], &[("heap.mode", "proportional")]] {
        let common = [("gc.workers", &workers[..]), ("gc.wake_helpers", wake), ("stress.every_bytes", "100K")];
        let heap = new_heap(VM::new(), options(plan, 64 << 20, &[&common, more].concat())).unwrap();
        heap.listen(Box::new(|_: &Event| ()));
        all_that_pauses_look_after(&heap, 3);
        for spec in SPECS.iter().filter(|spec| matches!(spec.workload, Workload::MtGcBench | Workload::Fragger)) {
            matrix::run(spec, &heap, 2).unwrap();
        }
        // The threads have gone, and left what they had.
        heap.collect();
    }
}

/// PageProtect is for debugging. It keeps the names of types, and maps of all objects, in memory of `malloc`.
const EXCEPTED_PLANS: [&str; 1] = ["PageProtect"];

#[test]
fn pauses_leave_the_memory_of_the_c_library_alone() {
    let _alone = alone();
    for plan in collecting_plans().filter(|plan| !EXCEPTED_PLANS.contains(plan)) {
        let _watchdog = Watchdog::new();
        for (workers, wake) in [(1, "auto"), (2, "always"), (4, "always")] {
            run::<ReferenceVM>(plan, workers, wake);
        }
        run::<SideVM<3>>(plan, 2, "auto");
        if PLANS.iter().any(|known| known.name == plan && known.needs.pins) {
            run::<AmbiguousVM<false>>(plan, 2, "always");
        }
    }
    let calls = interposed::take();
    let places: BTreeSet<String> = calls.iter().map(place).collect();
    assert!(places.is_empty(), "pauses call from {} places:\n{}", places.len(), Vec::from_iter(places).join("\n"));
}

fn place(call: &Call) -> String {
    format!("{} from {}", call.function, call.through[..call.through.len().min(5)].join(" <- "))
}

/// Objects and roots of the reference VM; whoever scans an object calls a function.
struct Calls {
    vm: ReferenceVM,
    function: Mutex<fn()>,
}

// SAFETY: as for the reference binding, to which all is delegated.
unsafe impl VMBinding for Calls {
    plan_tests::delegate_to!(vm);

    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        (self.function.lock().unwrap())();
        self.vm.scan_object(object, visitor);
    }
}

impl TestVM for Calls {
    fn new() -> Self {
        Calls { vm: ReferenceVM::new(), function: Mutex::new(|| ()) }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

fn call_each_function() {
    // The compiler knows these functions, and leaves out what comes to nothing.
    let seen = std::hint::black_box::<*mut c_void>;
    // SAFETY: each piece of memory is given back once.
    unsafe {
        libc::free(seen(libc::realloc(seen(libc::malloc(8)), 64)));
        libc::free(seen(libc::calloc(2, 8)));
        libc::free(seen(libc::memalign(64, 64)));
        libc::free(seen(libc::aligned_alloc(64, 64)));
        let mut place = std::ptr::null_mut();
        assert_eq!(libc::posix_memalign(&mut place, 64, 64), 0);
        libc::free(seen(place));
    }
}

fn functions(calls: &[Call]) -> BTreeSet<&'static str> {
    calls.iter().map(|call| call.function).collect()
}

/// The control: the test above would see a call of each function.
#[test]
fn calls_in_a_pause_are_seen_and_those_of_mutators_are_not() {
    let _alone = alone();
    let _watchdog = Watchdog::new();
    let vm = Calls::new();
    let heap = new_heap(vm, options("MarkSweep", 16 << 20, &[("gc.workers", "1")])).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.push(m.alloc(1, 8));
    let seen_in_a_pause = |function: fn()| {
        m.mutator().collect();
        interposed::take();
        *heap.vm().function.lock().unwrap() = function;
        function();
        assert!(interposed::take().is_empty(), "mutators may call");
        m.mutator().collect();
        *heap.vm().function.lock().unwrap() = || ();
        interposed::take()
    };
    let all = ["aligned_alloc", "calloc", "free", "malloc", "memalign", "posix_memalign", "realloc"];
    assert_eq!(functions(&seen_in_a_pause(call_each_function)), BTreeSet::from(all));
    let of_rust = seen_in_a_pause(|| drop(std::hint::black_box(Box::new(7u64))));
    assert!(functions(&of_rust).is_superset(&BTreeSet::from(["free", "malloc"])));
}

#[test]
fn calls_of_helpers_are_seen() {
    let _alone = alone();
    let _watchdog = Watchdog::new();
    let settings = [("gc.workers", "2"), ("gc.wake_helpers", "always")];
    let heap = new_heap(Calls::new(), options("MarkSweep", 16 << 20, &settings)).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    // Several lists: there is something for each.
    (0..64).for_each(|_| _ = list(m, 300));
    *heap.vm().function.lock().unwrap() = || drop(std::hint::black_box(Box::new(7u64)));
    let me = std::thread::current().id();
    let mut seen = false;
    while !seen {
        m.mutator().collect();
        let scans = |call: &Call| call.through.iter().any(|name| name.contains("pause_memory::Calls"));
        seen = interposed::take().iter().any(|call| call.thread != me && scans(call));
    }
}
