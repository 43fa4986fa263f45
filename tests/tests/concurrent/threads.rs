//! Threads and processes that come, go and fork while a heap is marked.

use super::driving::*;
use super::places::*;
use mmtk_core::{ObjectReference, OldToNew, SlotVisitor, StateLocation, VMBinding, WordSlot};
use plan_tests::{SideVM, TestVM, Watchdog, is_child, run_again};
use reference::{Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

/// The only mutator sits in a native region: the heap's thread marks to the end, and ends the collection.
#[test]
fn a_marking_ends_while_the_only_thread_is_in_a_native_region() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for step_objects in ["1", "7", "1000"] {
            let settings = [("gc.driver", "background"), ("stress.step_objects", step_objects)];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for cycle in 0..5 {
                let before = heap.statistics().concurrent_collections;
                begin(m);
                let taken = m.push(m.read_ref(m.read_ref(m.get(table), cycle), 0));
                m.write_ref(m.read_ref(m.get(table), cycle), 0, Ref::NULL);
                m.native(|| {
                    while heap.statistics().concurrent_collections == before {
                        std::thread::yield_now();
                    }
                });
                m.poll();
                m.write_ref(m.read_ref(m.get(table), cycle), 0, m.get(taken));
                m.pop(1);
                check_holders(m, table, plan);
            }
        }
    }
}

/// All threads ask for collections at once, in the middle of markings that others of them begin.
#[test]
fn threads_may_all_ask_for_collections_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let settings = [("gc.driver", driver), ("gc.workers", "2"), ("stress.every_bytes", "16K")];
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &settings].concat());
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let thread = Thread::attach(&heap);
                        let m = thread.handle();
                        let places = Places::of(&heap);
                        let table = table(m, PLACES.len(), |n| places.make(m, PLACES[n], n as u64));
                        for round in 0..25 {
                            (0..round).for_each(|_| _ = m.alloc(1, 500));
                            let before = heap.statistics().full_collections;
                            m.collect();
                            assert!(heap.statistics().full_collections > before);
                            for n in 0..PLACES.len() {
                                assert_eq!(m.read_word(m.read_ref(m.get(table), n), 2), n as u64);
                            }
                        }
                        // The region and the pool end with the thread.
                        m.pop(1);
                    });
                }
            });
        }
    }
}

/// A binding that panics where its objects are scanned beside the program ends the process, and says why:
/// others would wait for the rest of that step for ever.
#[test]
fn a_panic_in_a_scan_beside_the_program_ends_the_process() {
    const NAME: &str = "threads::a_panic_in_a_scan_beside_the_program_ends_the_process";
    if !is_child() {
        let output = run_again(NAME);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("a thread that marks") && said.contains("no such type"), "{said}");
        return;
    }
    let plan = concurrent_plans().next().unwrap();
    let heap = heap_with::<PanickingVM>(plan, &[&BY_STEPS[..], &[UNVERIFIED]].concat());
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let broken = m.push(m.alloc(0, 8));
    m.write_word(m.get(broken), 0, BROKEN);
    begin(m);
    finish(m);
}

/// What an object without slots holds whose scan panics.
const BROKEN: u64 = 0xbad0_bad0;

struct PanickingVM(ReferenceVM);

// SAFETY: as for the reference binding.
unsafe impl VMBinding for PanickingVM {
    plan_tests::delegate_to!(0);
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        if object::header(object).refs() == 0 {
            // SAFETY: each object has a word behind its header.
            assert!(unsafe { object::slot(object, 0).as_atomic_u64() }.load(Relaxed) != BROKEN, "no such type");
        }
        self.0.scan_object(object, visitor);
    }
}

impl TestVM for PanickingVM {
    fn new() -> Self {
        PanickingVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// A thread marks an object and is held up before it reads the slots. Meanwhile another takes the object for
/// a reshape, and the slots hold other words. The first one forgets them: it was not the one who claimed it.
#[test]
fn what_a_thread_reads_of_an_object_that_another_has_claimed_is_forgotten() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<HeldUpVM>(plan, &BY_STEPS);
        let vm = heap.vm();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (object, other) = (m.push(m.alloc(2, 16)), m.push(m.alloc(2, 16)));
        begin(m);
        let (object, inside) = (m.get(object), m.get(other).0 + 16);
        vm.inside.store(inside, Relaxed);
        vm.held_up.store(object.0, Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                m.native(|| vm.until(READING));
                m.mutator().before_reshape(object_of(object));
                // SAFETY: the header of a live object; the top byte stays.
                unsafe { object_of(object).address().as_atomic_u64() }.fetch_sub(2, Relaxed);
                [0, 1].into_iter().for_each(|n| m.write_word(object, n, inside as u64));
                vm.stage.store(CHANGED, Release);
            });
            finish(m);
        });
        assert_eq!(vm.stage.load(Relaxed), CHANGED);
        assert!(!vm.followed.load(Relaxed), "{plan}: a word that is no reference was followed");
    }
}

const READING: u8 = 1;
const CHANGED: u8 = 2;

/// Holds up the first scan of an object.
struct HeldUpVM {
    vm: ReferenceVM,
    stage: AtomicU8,
    /// The address of the object.
    held_up: AtomicUsize,
    /// An address in an object, and whether it was followed.
    inside: AtomicUsize,
    followed: AtomicBool,
}

impl HeldUpVM {
    fn until(&self, stage: u8) {
        while self.stage.load(Acquire) != stage {
            std::thread::yield_now();
        }
    }
}

// SAFETY: as for the reference binding; what is held up has two slots.
unsafe impl VMBinding for HeldUpVM {
    plan_tests::delegate_to!(vm);
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        if object.address().as_usize() == self.inside.load(Relaxed) { 16 } else { self.vm.object_size(object) }
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        let address = object.address().as_usize();
        if address == self.inside.load(Relaxed) {
            self.followed.store(true, Relaxed);
        } else if address == self.held_up.load(Relaxed)
            && self.stage.compare_exchange(0, READING, Release, Relaxed).is_ok()
        {
            self.until(CHANGED);
            for n in [0, 1] {
                // SAFETY: it has two slots, as its header said.
                visitor.visit(unsafe { WordSlot::at(object::slot(object, n)) });
            }
        } else {
            self.vm.scan_object(object, visitor);
        }
    }
}

impl TestVM for HeldUpVM {
    fn new() -> Self {
        HeldUpVM {
            vm: ReferenceVM::new(),
            stage: AtomicU8::new(0),
            held_up: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            followed: AtomicBool::new(false),
        }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// Threads come and go while it is marked, and take the last reference to objects with them to others.
#[test]
fn threads_may_come_and_go_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            heap.vm().set_global(0, m.get(table));
            for cycle in 0..20usize {
                begin(m);
                step(m, cycle * 5);
                m.native(|| {
                    std::thread::scope(|scope| {
                        for t in 0..3usize {
                            let heap = &heap;
                            scope.spawn(move || {
                                let thread = Thread::attach(heap);
                                let m = thread.handle();
                                for n in (t..pairs().len()).step_by(3) {
                                    let holder = m.push(m.read_ref(heap.vm().global(0), n));
                                    let held = m.push(m.read_ref(m.get(holder), 0));
                                    m.write_ref(m.get(holder), 0, Ref::NULL);
                                    // What was noted goes to others, or stays until the thread leaves.
                                    if n % 4 == 0 {
                                        m.mutator().step(Duration::ZERO);
                                    }
                                    let new = m.alloc(2, 16);
                                    m.write_ref(new, 1, m.get(held));
                                    m.write_ref(m.get(holder), 1, new);
                                    m.pop(2);
                                }
                            });
                        }
                    });
                });
                finish(m);
                for n in 0..pairs().len() {
                    let holder = m.read_ref(m.get(table), n);
                    let held = m.read_ref(m.read_ref(holder, 1), 1);
                    m.write_ref(holder, 0, held);
                    m.write_ref(holder, 1, Ref::NULL);
                }
                check_holders(m, table, &format!("{plan}, {driver}, cycle {cycle}"));
            }
        }
    }
}

/// A slot that threads read and write at the same time.
fn shared<'a>(object: Ref, slot: usize) -> &'a AtomicU64 {
    // SAFETY: of a live object; all who use it meanwhile do so atomically.
    unsafe { object::slot(object_of(object), slot).as_atomic_u64() }
}

/// What such a slot holds: Acquire pairs with Release in `put`, so it is as the thread left it that put it
/// there.
fn see(object: Ref, slot: usize) -> Ref {
    Ref(shared(object, slot).load(Acquire) as usize)
}

/// Stores into such a slot.
fn put<VM: TestVM>(m: ThreadHandle<VM>, object: Ref, slot: usize, value: Ref) {
    // SAFETY: as in `shared`.
    let place = unsafe { WordSlot::at(object::slot(object_of(object), slot)) };
    m.mutator().write_barrier(object_of(object), place);
    shared(object, slot).store(value.0 as u64, Release);
}

/// Threads pass objects to and fro in the same places, while the heap's thread marks and others end its
/// markings in pauses. Whatever a slot holds is whole.
fn threads_pass_objects_on<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    const PLACES_EACH: usize = 7;
    const HOLDERS: usize = PLACES.len() * PLACES_EACH;
    const THREADS: u64 = 3;
    // What the first word of an object says of it.
    let seal = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for plan in concurrent_plans() {
        for (workers, step_objects, every_bytes) in [("1", "1", "24K"), ("2", "7", "64K"), ("2", "1000", "96K")] {
            let settings = [
                ("gc.driver", "background"),
                ("gc.workers", workers),
                ("stress.step_objects", step_objects),
                ("stress.every_bytes", every_bytes),
                ("gc.sweep_beside", "always"),
            ];
            let heap = heap_with::<VM>(plan, &[&BY_STEPS[..], &settings].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let holders = table(m, HOLDERS, |n| {
                let held = m.push(m.alloc(2, 16));
                m.write_word(m.get(held), 2, n as u64);
                m.write_word(m.get(held), 3, seal(n as u64));
                let holder = places.make(m, PLACES[n % PLACES.len()], n as u64);
                m.write_ref(holder, 0, m.get(held));
                m.pop(1);
                holder
            });
            heap.vm().reference().set_global(0, m.get(holders));
            let check = |m: ThreadHandle<VM>, object: Ref| {
                let (number, sealed) = (m.read_word(object, 2), m.read_word(object, 3));
                assert_eq!(sealed, seal(number), "{plan}, {settings:?}: {object:x?}");
            };
            let pass_on = |m: ThreadHandle<VM>, t: u64| {
                let mut random = 0x1234_5678_9abc_def1 * (t + 1);
                let mut next = |below: usize| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random >> 33) as usize % below
                };
                let at = |n: usize| m.read_ref(heap.vm().reference().global(0), n);
                for operation in 0..6000 {
                    let (from, to, slot) = (at(next(HOLDERS)), at(next(HOLDERS)), next(2));
                    let held = see(from, slot);
                    if !held.is_null() {
                        check(m, held);
                    }
                    match next(8) {
                        0 => put(m, from, slot, Ref::NULL),
                        1 | 2 => put(m, to, 1 - slot, held),
                        3 => {
                            // Both slots, as a copy.
                            let word = |object: Ref, n| object::slot(object_of(object), n);
                            m.mutator().array_copy_barrier(object_of(to), word(to, 0)..word(to, 2));
                            for n in [0, 1] {
                                shared(to, n).store(see(from, n).0 as u64, Release);
                            }
                        }
                        4 if !held.is_null() => {
                            // What the object refers to, in its place.
                            let inner = see(held, slot);
                            put(m, held, slot, Ref::NULL);
                            put(m, to, slot, inner);
                        }
                        5 => m.poll(),
                        _ => {
                            let number = t << 32 | operation;
                            let kept = m.push(held);
                            let (depth, to) = (m.depth(), m.push(to));
                            let new = m.alloc(2, 16);
                            m.write_word(new, 2, number);
                            m.write_word(new, 3, seal(number));
                            m.write_ref(new, 0, m.get(kept));
                            put(m, m.get(to), slot, new);
                            m.pop(m.depth() - depth + 1);
                            // Chains do not grow for ever.
                            if next(4) == 0 {
                                put(m, new, 0, Ref::NULL);
                            }
                        }
                    }
                }
            };
            m.native(|| {
                std::thread::scope(|scope| {
                    for t in 0..THREADS {
                        let (heap, pass_on) = (&heap, &pass_on);
                        scope.spawn(move || pass_on(Thread::attach(heap).handle(), t));
                    }
                });
            });
            for n in 0..HOLDERS {
                for slot in [0, 1] {
                    let held = m.read_ref(m.read_ref(m.get(holders), n), slot);
                    if !held.is_null() {
                        check(m, held);
                    }
                }
            }
            let statistics = heap.statistics();
            assert!(statistics.concurrent_collections > 1, "{plan}, {settings:?}: {statistics:?}");
        }
    }
}

#[test]
fn threads_may_pass_objects_on_while_they_are_marked() {
    threads_pass_objects_on::<ReferenceVM>();
}

#[test]
fn threads_may_pass_objects_on_while_they_are_marked_with_side_tables() {
    threads_pass_objects_on::<SideVM<3>>();
}

/// A heap that is dropped while it is marked, by its own thread or by nobody.
#[test]
fn a_heap_may_be_dropped_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            for round in 0..20 {
                let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
                let thread = Thread::attach(&heap);
                let m = thread.handle();
                let places = Places::of(&heap);
                holders(m, &places);
                begin(m);
                step(m, round * 5);
            }
        }
    }
}

/// A process forks in the middle; both come to the end.
#[test]
fn a_process_may_fork_while_it_is_marked() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        for driver in ["quanta", "background"] {
            let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &[("gc.driver", driver)]].concat());
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let places = Places::of(&heap);
            let table = holders(m, &places);
            for cycle in 0..4 {
                begin(m);
                step(m, cycle * 10);
                let taken = m.push(m.read_ref(m.read_ref(m.get(table), 1), 0));
                m.write_ref(m.read_ref(m.get(table), 1), 0, Ref::NULL);
                let goes_on = || {
                    finish(m);
                    m.write_ref(m.read_ref(m.get(table), 1), 0, m.get(taken));
                    check_holders(m, table, plan);
                    m.collect();
                    begin(m);
                    finish(m);
                    check_holders(m, table, plan);
                };
                assert!(fork(m, goes_on), "{plan}, {driver}");
                goes_on();
                m.pop(1);
            }
        }
    }
}

/// In the child the other threads are gone. What they had noted is marked all the same.
#[test]
fn what_threads_had_noted_is_marked_in_a_forked_process() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let places = Places::of(&heap);
        let table = holders(m, &places);
        heap.vm().set_global(0, m.get(table));
        let length = pairs().len();
        begin(m);
        let (noted, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let wait_for = |flag: &AtomicBool| {
            while !flag.load(Acquire) {
                std::thread::yield_now();
            }
        };
        // Each holder gets what the one before it held.
        let other = || {
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            for n in 1..length {
                let (from, to) = (m.read_ref(heap.vm().global(0), n - 1), m.read_ref(heap.vm().global(0), n));
                m.write_ref(to, 1, m.read_ref(from, 0));
                m.write_ref(from, 0, Ref::NULL);
            }
            m.native(|| {
                noted.store(true, Release);
                wait_for(&over);
            });
        };
        let goes_on = || {
            finish(m);
            for n in 1..length {
                let moved = m.read_ref(m.read_ref(m.get(table), n), 1);
                assert_eq!(m.read_word(moved, 2), n as u64 - 1, "{plan}: {:?}", pairs()[n]);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(other);
            m.native(|| wait_for(&noted));
            let forked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fork(m, goes_on)));
            over.store(true, Release);
            assert!(forked.unwrap(), "{plan}");
            // The other thread hands in what it has noted.
        });
        goes_on();
    }
}

/// Forks; `child` runs in the child, which ends with it. Whether it ended well.
pub fn fork<VM: TestVM>(m: ThreadHandle<VM>, child: impl FnOnce()) -> bool {
    // SAFETY: it forks, when the heap has come to rest; the child does nothing but what it was made for.
    let pid = unsafe { m.mutator().fork(|| libc::fork()) }.unwrap();
    if pid == 0 {
        // SAFETY: plain calls; `_exit` leaves everything as it is, since it is the parent's, too.
        unsafe { libc::alarm(30) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: as above.
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status has a place.
    assert_eq!(m.native(|| unsafe { libc::waitpid(pid, &mut status, 0) }), pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
