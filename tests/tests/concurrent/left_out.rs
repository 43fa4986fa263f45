//! A call that the program owes while it is marked is left out, and the verifier says so in that cycle: for
//! each place in the reference runtime where there is one.

use super::driving::*;
use mmtk_core::{Heap, WordSlot};
use plan_tests::panic_of;
use reference::{Ref, ReferenceVM, Site, Thread, ThreadHandle, object};
use std::path::Path;

/// What the held object says of itself.
const HELD: u64 = 0x1234;

/// A holder of one object as the first root, and a weak reference to that object.
fn holder_of_one(m: ThreadHandle<ReferenceVM>, heap: &Heap<ReferenceVM>) {
    let holder = m.push(m.alloc(2, 8));
    let held = m.alloc(0, 8);
    m.write_word(held, 0, HELD);
    m.write_ref(m.get(holder), 0, held);
    heap.vm().new_weak(held);
}

/// What the verifier says of this program. A holder of one object is a root, the first, and of a weak
/// reference, the first; a marking has begun, and has come to neither.
fn said_of(wrong: impl Fn(ThreadHandle<ReferenceVM>, &Heap<ReferenceVM>)) -> String {
    let mut said = Vec::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        holder_of_one(m, &heap);
        begin(m);
        let cycles = heap.statistics().full_collections;
        // The end of the thread cannot collect any more.
        let _thread = std::mem::ManuallyDrop::new(thread);
        let heap = std::mem::ManuallyDrop::new(heap);
        said.push(panic_of(|| {
            wrong(m, &heap);
            finish(m);
            assert_eq!(heap.statistics().full_collections, cycles + 1);
        }));
    }
    said.remove(0)
}

/// What the holder refers to is a root, and is taken out of it.
fn take_out(m: ThreadHandle<ReferenceVM>, heap: &Heap<ReferenceVM>, site: Site) {
    let held = m.read_ref(m.get(0), 0);
    match site {
        Site::Store => m.write_ref(m.get(0), 0, Ref::NULL),
        Site::Swap => assert_eq!(m.swap_ref(m.get(0), 0, Ref::NULL), held),
        Site::Replace => assert!(m.replace_ref(m.get(0), 0, held, Ref::NULL)),
        Site::Copy => m.copy_refs(m.get(0), 1..2, m.get(0), 0),
        Site::Clear => m.clear_refs(m.get(0), 0..2),
        Site::Truncate => m.truncate_refs(m.get(0), 0),
        Site::Keep => {
            m.write_ref(m.get(0), 0, Ref::NULL);
            // From here on the object is known to the weak reference alone.
            begin(m);
            let held = heap.vm().weak(0);
            m.keep(held);
            m.push(held);
            return;
        }
    }
    m.push(held);
}

fn names(said: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} is missing in: {said}"));
}

#[test]
fn the_verifier_names_what_each_place_of_the_runtime_has_left_out() {
    for site in Site::ALL {
        // SAFETY: the verifier ends the program at the end of the marking, before anything is freed.
        let said = said_of(|m, heap| unsafe { site.without(|| take_out(m, heap, site)) });
        let holder = "while the heap was marked: object with 2 references and 4 words in all (object ";
        let changed = " was changed, and was not claimed before: ";
        match site {
            Site::Keep => {
                assert!(said.starts_with("after the collection: root "), "{site:?}: {said}");
                names(&said, &["a reference that a mutator took from a table of the VM", "without Mutator::keep"]);
            }
            Site::Truncate => {
                assert!(said.starts_with("while the heap was marked: object with 0 references"), "{site:?}: {said}");
                let layout = "it had 2 slots when the marking began, and has 0: ";
                let gone = " when the marking began, and is none";
                names(&said, &[changed, layout, "the slot at +8 held object ", gone, "without before_reshape"]);
            }
            Site::Store | Site::Swap | Site::Replace | Site::Copy | Site::Clear => {
                assert!(said.starts_with(holder), "{site:?}: {said}");
                let slot = "the slot at +8 held object ";
                let now = " when the marking began, and holds nothing";
                names(&said, &[changed, slot, now, "a store without write_barrier before it"]);
            }
        }
    }
}

/// With all calls in place the same program is right.
#[test]
fn the_verifier_says_nothing_where_nothing_is_left_out() {
    for (site, plan) in Site::ALL.into_iter().flat_map(|site| concurrent_plans().map(move |plan| (site, plan))) {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        holder_of_one(m, &heap);
        begin(m);
        take_out(m, &heap, site);
        finish(m);
        assert_eq!(m.read_word(m.get(1), 0), HELD, "{site:?}");
    }
}

/// It is found though nothing is lost by it.
#[test]
fn the_barrier_of_a_store_that_loses_nothing() {
    let said = said_of(|m, _| {
        let other = m.alloc(0, 8);
        // SAFETY: as above.
        unsafe { Site::Store.without(|| m.write_ref(m.get(0), 0, other)) };
    });
    names(&said, &["the slot at +8 held object ", " when the marking began, and holds object "]);
}

/// The barrier is told another slot of a large array, which lies in another part.
#[test]
fn the_barrier_of_the_part_that_a_store_is_to() {
    let said = said_of(|m, _| {
        let array = m.push(m.alloc(3000, 0));
        m.write_ref(m.get(array), 2000, m.read_ref(m.get(0), 0));
        m.collect();
        begin(m);
        let object = object_of(m.get(array));
        // SAFETY: slots of a live object.
        let [told, stored] = [0, 2000].map(|slot| unsafe { WordSlot::at(object::slot(object, slot)) });
        m.mutator().write_barrier(object, told);
        stored.write(None);
        // The marking would read it so.
        m.collect();
    });
    let what = "while the heap was marked: object with 3000 references and 3001 words in all (object ";
    assert!(said.starts_with(what), "{said}");
    assert!(said.contains("was changed, and was not claimed before: the slot at +16008 held object "), "{said}");
}

/// Each call of the heap in the runtime's sources that changes of references owe goes through a place of its
/// own, and each place has one.
#[test]
fn each_call_of_the_runtime_has_a_switch() {
    const CALLS: [&str; 6] = [
        "write_barrier(",
        "array_copy_barrier(",
        "before_reshape(",
        "mutator().keep(",
        "remember(",
        "mutator().store(",
    ];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings/reference/src");
    let mut found = Vec::new();
    for file in std::fs::read_dir(sources).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| CALLS.iter().any(|call| line.contains(call))) {
            let switched = line.trim_start().strip_prefix("Site::").and_then(|rest| rest.split_once(".call(|| "));
            let Some((site, _)) = switched else { panic!("a call without a switch: {line}") };
            found.push(site.to_string());
        }
    }
    let mut sites = Site::ALL.map(|site| format!("{site:?}"));
    found.sort();
    sites.sort();
    assert_eq!(found, sites);
}
