//! PageProtect: an access to a dead object faults, and the report names the object. Tests that end a process
//! run in a child, and so do those that use up the mappings of theirs.

use mmtk_core::Semantics;
use plan_tests::{Watchdog, assert_within_limit, is_child, options, pass_again, run_again, verified_heap};
use policies::new_heap;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

const NODE: Class = Class { refs: 2, bytes: 8 };

/// What is kept of an object, live or dead, says the book.
const NOTE_BYTES: usize = 48;

fn heap(limit: usize, settings: &[(&str, &str)]) -> ReferenceHeap {
    new_heap(ReferenceVM::default(), options("PageProtect", limit, settings)).unwrap()
}

/// An object that died in the second of four collections.
fn dead(thread: &Thread) -> Ref {
    thread.collect();
    let object = thread.alloc_class(NODE);
    (0..3).for_each(|_| thread.collect());
    object
}

#[test]
fn a_stale_reference_faults_and_the_report_says_what_it_was() {
    if is_child() {
        let heap = heap(8 << 20, &[]);
        let thread = Thread::attach(&heap);
        let object = dead(&thread);
        println!("it was at {:#x}", object.0);
        // SAFETY: not at all: the object is dead, and the access ends the process.
        unsafe { ((object.0 + 24) as *mut u64).write_volatile(7) };
        println!("and it was written to");
        return;
    }
    let output = run_again("a_stale_reference_faults_and_the_report_says_what_it_was");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{out}{error}");
    let at = out.split("it was at ").nth(1).expect("the child got so far").split_whitespace().next().unwrap();
    assert!(!out.contains("and it was written to"), "{out}");
    let wrote = if cfg!(target_arch = "x86_64") { "wrote, with the instruction at 0x" } else { "accessed memory" };
    let parts = [
        wrote,
        "(SIGSEGV)",
        &format!(
            "object with 2 references and 4 words in all, 32 bytes at {at}: it died in collection 2, 2 collections ago"
        ),
        "the access is 24 bytes into it",
    ];
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_and_leave(_signal: i32, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    if CALLS.fetch_add(1, SeqCst) == 0 {
        // SAFETY: ends the process without running anything else.
        unsafe { libc::_exit(42) };
    }
}

fn install_handler() {
    // SAFETY: an action is plain data; the handler has the signature that the flag asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_and_leave as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn the_handler_of_the_program_is_called_after_the_report() {
    if is_child() {
        install_handler();
        let heap = heap(8 << 20, &[]);
        let thread = Thread::attach(&heap);
        let object = dead(&thread);
        std::hint::black_box(thread.read_word(object, 2));
        return;
    }
    let output = run_again("the_handler_of_the_program_is_called_after_the_report");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(42), "{error}");
    assert!(error.contains("it died in collection 2"), "{error}");
}

#[test]
fn a_fault_elsewhere_is_the_program_s_alone() {
    if is_child() {
        install_handler();
        let heap = heap(8 << 20, &[]);
        let thread = Thread::attach(&heap);
        dead(&thread);
        // SAFETY: not at all: the address is nobody's, and the access ends the process.
        std::hint::black_box(unsafe { std::ptr::without_provenance::<u64>(4096).read_volatile() });
        return;
    }
    let output = run_again("a_fault_elsewhere_is_the_program_s_alone");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(42), "{error}");
    assert!(!error.contains("thread") && !error.contains("collection"), "{error}");
}

#[test]
fn each_of_two_heaps_explains_its_own() {
    if is_child() {
        let heaps = [heap(8 << 20, &[]), heap(8 << 20, &[]), heap(8 << 20, &[])];
        let threads = heaps.each_ref().map(Thread::attach);
        let [_, second, third] = threads;
        let object = second.alloc(0, 5000);
        second.collect();
        // One that is gone is not asked any more.
        drop((third, heaps.into_iter().nth(2)));
        std::hint::black_box(second.read_word(object, 600));
        return;
    }
    let output = run_again("each_of_two_heaps_explains_its_own");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{error}");
    assert!(error.contains("0 references and 626 words in all, 5008 bytes"), "{error}");
    assert!(error.contains("died in collection 1, 0 collections ago"), "{error}");
    assert_eq!(error.matches("collections ago").count(), 1, "{error}");
}

#[test]
fn no_address_is_used_again_while_there_are_others() {
    let _watchdog = Watchdog::new();
    let heap = heap(8 << 20, &[]);
    let thread = Thread::attach(&heap);
    let mut seen = HashSet::new();
    for round in 0..20 {
        for _ in 0..200 {
            assert!(seen.insert(thread.alloc_class(NODE).0), "an address came again in round {round}");
        }
        thread.collect();
    }
}

#[test]
fn when_addresses_are_scarce_the_oldest_come_again_and_live_objects_are_passed_over() {
    let _watchdog = Watchdog::new();
    let pages = (64 << 20) / 4096;
    let heap = heap(32 << 20, &[("page_protect.addresses", "64M"), ("verify.trace", "true")]);
    let thread = Thread::attach(&heap);
    let kept = thread.alloc_class(NODE);
    thread.write_word(kept, 2, 7);
    thread.push(kept);
    let page = |object: Ref| object.0 / 4096;
    let mut first = Vec::new();
    for n in 1..pages {
        let object = thread.alloc(0, 8);
        if n <= 100 {
            first.push(page(object));
        }
        if n % 1000 == 0 {
            thread.collect();
        }
    }
    thread.collect();
    // Once round.
    let again: Vec<usize> = (0..100).map(|_| page(thread.alloc(0, 8))).collect();
    assert_eq!(again, first);
    assert_eq!(thread.read_word(kept, 2), 7);
}

/// The notes of the dead take more than there is room for, and addresses have come round: known are those
/// that died last, though others lie above them.
#[test]
fn when_room_is_scarce_those_who_died_first_are_forgotten_first() {
    // More than there are addresses.
    const DEAD: usize = 24_000;
    const LATE: usize = DEAD - 1_500;
    let _watchdog = Watchdog::new();
    if is_child() {
        let heap = heap(3 << 19, &[("page_protect.addresses", "64M")]);
        let thread = Thread::attach(&heap);
        let mut objects = Vec::new();
        for n in 1..=DEAD {
            objects.push(thread.alloc(0, 8).0);
            if n % 1000 == 0 {
                thread.collect();
            }
        }
        assert!(objects[..LATE].iter().any(|at| *at > objects[LATE]), "addresses have come round");
        let notes = heap.statistics().reserved_bytes / NOTE_BYTES;
        assert!(notes > DEAD - LATE && notes < LATE / 2, "room for {notes} notes");
        // SAFETY: not at all: the object is dead, and the access ends the process.
        unsafe { (objects[LATE] as *mut u64).write_volatile(7) };
        return;
    }
    let output = run_again("when_room_is_scarce_those_who_died_first_are_forgotten_first");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{}{error}", String::from_utf8_lossy(&output.stdout));
    assert!(error.contains("it died in collection"), "{error}");
}

#[test]
fn small_objects_share_memory() {
    let _watchdog = Watchdog::new();
    const OBJECTS: usize = 10_000;
    let heap = heap(32 << 20, &[("verify.trace", "true")]);
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(OBJECTS, 0));
    let before = heap.statistics().resident_bytes;
    for n in 0..OBJECTS {
        let object = thread.alloc_class(NODE);
        thread.write_word(object, 2, n as u64);
        thread.write_ref(thread.get(array), n, object);
    }
    let each = (heap.statistics().resident_bytes - before) / OBJECTS;
    assert!((64..=160).contains(&each), "{each} bytes an object of 32, which has a page of 4096");
    thread.collect();
    let places: HashSet<usize> = (0..OBJECTS).map(|n| thread.read_ref(thread.get(array), n).0 / 4096).collect();
    assert_eq!(places.len(), OBJECTS, "each on a page of its own");
    for n in 0..OBJECTS {
        assert_eq!(thread.read_word(thread.read_ref(thread.get(array), n), 2), n as u64);
    }
    // Every other object dies: those beside them in memory stay as they are, and new ones take the room.
    for n in (0..OBJECTS).step_by(2) {
        thread.write_ref(thread.get(array), n, Ref::NULL);
    }
    thread.collect();
    for n in (0..OBJECTS).step_by(2) {
        let object = thread.alloc_class(NODE);
        assert_eq!([0, 1, 2].map(|word| thread.read_word(object, word)), [0; 3], "a new object is zeroed");
        thread.write_word(object, 2, n as u64);
        thread.write_ref(thread.get(array), n, object);
    }
    for n in 0..OBJECTS {
        assert_eq!(thread.read_word(thread.read_ref(thread.get(array), n), 2), n as u64);
    }
}

#[test]
fn a_full_heap_is_out_of_memory_and_a_freed_one_serves_again() {
    let _watchdog = Watchdog::new();
    let heap = verified_heap("PageProtect", 8 << 20, &[]);
    let thread = Thread::attach(&heap);
    for class in [Class { refs: 1, bytes: 100_000 }, Class { refs: 1, bytes: 1000 }] {
        for _ in 0..2 {
            let list = thread.push(Ref::NULL);
            let mut made = 0;
            let error = loop {
                match thread.try_alloc(class, Semantics::Default) {
                    Ok(object) => {
                        thread.write_ref(object, 0, thread.get(list));
                        thread.set(list, object);
                        made += 1;
                    }
                    Err(error) => break error,
                }
            };
            assert!(made * class.words() * 8 > 6 << 20, "{made} objects of {} bytes", class.words() * 8);
            assert!(error.report.contains("page-protect"), "{error}");
            assert_within_limit(&heap);
            thread.pop(1);
        }
    }
    assert!(thread.try_alloc(NODE, Semantics::Immortal).is_ok());
}

#[test]
fn a_heap_whose_addresses_are_all_live_says_that_they_are_used_up() {
    let _watchdog = Watchdog::new();
    let heap = heap(256 << 20, &[("page_protect.addresses", "64M")]);
    let thread = Thread::attach(&heap);
    thread.push(Ref::NULL);
    let error = loop {
        match thread.try_alloc(NODE, Semantics::Default) {
            Ok(node) => {
                thread.write_ref(node, 0, thread.get(0));
                thread.set(0, node);
            }
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("of addresses (page_protect.addresses)"), "{error}");
}

/// A page that stayed accessible for want of mappings when its object died was made inaccessible when another
/// lived there.
#[test]
fn pages_that_were_used_again_before_they_could_be_protected_stay_accessible() {
    const FIRST: usize = 400;
    let _watchdog = Watchdog::new();
    let heap = heap(64 << 20, &[("page_protect.addresses", "64M")]);
    heap.memory().limit_mappings(FIRST);
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(2 * FIRST, 0));
    let new = |number: u64| {
        let object = thread.try_alloc(NODE, Semantics::Default).unwrap_or_else(|error| panic!("{number}: {error}"));
        thread.write_word(object, 2, number);
        object
    };
    let keep = |slot: usize, object: Ref| thread.write_ref(thread.get(array), slot, object);
    let mut dead = Vec::new();
    for slot in 0..FIRST {
        keep(slot, new(slot as u64));
        dead.push(new(0).0 & !4095);
    }
    thread.collect();
    assert!(heap.statistics().refusals > 0, "all could be protected");
    // Once round all addresses. What comes to lie between the first ones stays.
    let mut again = 0;
    for n in 0..20_000 {
        let object = new(n);
        if again < FIRST && dead.contains(&(object.0 & !4095)) {
            thread.write_word(object, 2, again as u64);
            keep(FIRST + again, object);
            again += 1;
        }
    }
    assert!(again > FIRST / 2, "{again} pages were used again");
    thread.collect();
    for slot in 0..FIRST + again {
        assert_eq!(thread.read_word(thread.read_ref(thread.get(array), slot), 2), (slot % FIRST) as u64);
    }
}

/// The page of the first object in shared memory may be free while others live there: no new memory is begun
/// under its number.
#[test]
fn memory_whose_first_object_died_is_not_given_to_others() {
    const OBJECTS: usize = 6400;
    // As many share a page of memory.
    const SHARED: usize = 64;
    let _watchdog = Watchdog::new();
    let heap = heap(64 << 20, &[("page_protect.addresses", "64M")]);
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(OBJECTS, 0));
    for n in 0..OBJECTS {
        let object = thread.alloc_class(NODE);
        thread.write_word(object, 2, n as u64);
        if n % SHARED > 0 {
            thread.write_ref(thread.get(array), n, object);
        }
    }
    thread.collect();
    // Twice round all addresses.
    for n in 0..40_000 {
        thread.write_word(thread.alloc_class(NODE), 2, u64::MAX);
        if n % 4000 == 0 {
            thread.collect();
        }
    }
    for n in (0..OBJECTS).filter(|n| n % SHARED > 0) {
        assert_eq!(thread.read_word(thread.read_ref(thread.get(array), n), 2), n as u64);
    }
}

#[test]
fn the_room_of_dead_objects_in_shared_memory_serves_others() {
    const SHARED: usize = 64;
    const OBJECTS: usize = 10 * SHARED;
    let _watchdog = Watchdog::new();
    let heap = heap(16 << 20, &[]);
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(OBJECTS, 0));
    let keep = |n: usize| thread.write_ref(thread.get(array), n, thread.alloc_class(NODE));
    (0..OBJECTS).for_each(keep);
    (0..OBJECTS).filter(|n| n % SHARED > 0).for_each(|n| thread.write_ref(thread.get(array), n, Ref::NULL));
    thread.collect();
    let before = heap.statistics().reserved_bytes;
    (0..OBJECTS).filter(|n| n % SHARED > 0).for_each(keep);
    let grown = heap.statistics().reserved_bytes - before;
    assert!(grown <= NOTE_BYTES * OBJECTS + (8 << 10), "{grown} bytes beside the notes");
}

/// Held by a test that uses up the mappings of the process: two such tests at the same time would each find
/// half of them.
static MAPPINGS: Mutex<()> = Mutex::new(());

/// More live objects than the system grants mappings.
#[test]
fn more_objects_than_mappings_share_them() {
    let _alone = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new();
    if !is_child() {
        // While no mapping is left, no test beside this one could start a thread.
        pass_again("more_objects_than_mappings_share_them");
        return;
    }
    let objects = mmtk_core::memory::Memory::max_mappings() + 10_000;
    let heap = heap(1 << 30, &[]);
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(objects, 0));
    for n in 0..objects {
        let object = thread
            .try_alloc(Class { refs: 0, bytes: 8 }, Semantics::Default)
            .unwrap_or_else(|error| panic!("after {n}: {error}"));
        thread.write_ref(thread.get(array), n, object);
    }
    thread.collect();
    thread.pop(1);
    thread.collect();
    assert!(heap.statistics().live_bytes < 1 << 20);
}

/// Whether the page of an object can be read, as the system tells.
fn is_accessible(object: Ref) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        (hex(start)..hex(end)).contains(&object.0)
    });
    line.is_some_and(|line| line.split(' ').nth(1).unwrap().starts_with('r'))
}

/// As many live objects among as many dead ones, by turns, each on a page of its own.
fn live_among_dead(objects: usize, limit: usize, mappings: Option<usize>) {
    let heap = heap(limit, &[]);
    if let Some(mappings) = mappings {
        heap.memory().limit_mappings(mappings);
    }
    let thread = Thread::attach(&heap);
    let array = thread.push(thread.alloc(objects, 0));
    let mut dead = Vec::new();
    for n in 0..objects {
        let object = thread.try_alloc(NODE, Semantics::Default).unwrap_or_else(|error| panic!("after {n}: {error}"));
        thread.write_word(object, 2, n as u64);
        thread.write_ref(thread.get(array), n, object);
        dead.push(thread.try_alloc(NODE, Semantics::Default).unwrap_or_else(|error| panic!("after {n}: {error}")));
    }
    thread.collect();
    for n in 0..objects {
        assert_eq!(thread.read_word(thread.read_ref(thread.get(array), n), 2), n as u64);
    }
    let report = heap.report();
    assert!(report.contains("to make dead objects inaccessible") && report.contains("vm.max_map_count"), "{report}");
    assert!(!is_accessible(dead[0]), "the first could be made so");
    // The last one of all lies beside pages that were never used.
    let last = dead[objects - 2];
    assert!(is_accessible(last), "the last could not");
    assert_within_limit(&heap);
    // Once the others have died too, few mappings are needed.
    thread.pop(1);
    let kept = thread.push(thread.alloc_class(NODE));
    thread.collect();
    assert!(!is_accessible(last));
    let refusals = heap.statistics().refusals;
    dead.clear();
    dead.extend((0..1000).map(|_| thread.alloc_class(NODE)));
    thread.collect();
    assert!(dead.iter().all(|object| !is_accessible(*object)) && is_accessible(thread.get(kept)));
    assert_eq!(heap.statistics().refusals, refusals, "{}", heap.report());
    // Nothing is left but what is known of the dead, and that goes where the memory is needed.
    let notes = NOTE_BYTES * (2 * objects + 1001);
    let reserved = heap.statistics().reserved_bytes;
    assert!(reserved < notes + (64 << 10), "{}", heap.report());
    // A large object, with the notes of its own pages.
    let bytes = (limit - reserved / 2) / (4096 + NOTE_BYTES) * 4096;
    let large = thread.try_alloc(Class { refs: 0, bytes }, Semantics::Default);
    assert!(large.is_ok(), "{bytes} bytes beside {reserved}: {}", large.unwrap_err());
}

#[test]
fn where_mappings_are_used_up_dead_objects_stay_accessible_and_the_program_goes_on() {
    let _watchdog = Watchdog::new();
    live_among_dead(8000, 128 << 20, Some(4000));
}

#[test]
fn two_hundred_thousand_live_objects_among_as_many_dead_ones_complete() {
    let _alone = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let _watchdog = Watchdog::new();
    if !is_child() {
        // As above.
        pass_again("two_hundred_thousand_live_objects_among_as_many_dead_ones_complete");
        return;
    }
    live_among_dead(200_000, 768 << 20, None);
}
