//! A program of a few dozen objects on every plan, with each thing once that a collection does: two mutators,
//! two workers, objects that are shared, a large array, old objects that refer to new ones, a pin, weak
//! references, an ephemeron, a finalizer.
//!
//! It is small enough for Miri, an interpreter that looks for undefined behaviour and data races
//! (`sanitize.sh`). There each plan is a run of its own.

use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use mmtk_core::{Heap, ObjectReference, Semantics};
use plan_tests::{HEAPS, MakeHeap, TestVM, Watchdog, collecting_plans, options};
use reference::{Class, Ref, Thread, ThreadHandle};

/// The timer and the warnings go by the clock, which runs at another speed in an interpreter.
const SETTINGS: [(&str, &str); 9] = [
    ("verify.trace", if cfg!(miri) { "false" } else { "true" }),
    ("verify.poison", "true"),
    ("gc.workers", "2"),
    ("gc.wake_helpers", "always"),
    ("heap.idle_gc_s", "0"),
    ("heap.return_memory", "never"),
    ("os.huge_pages", "never"),
    ("safepoint.warn_ms", "0"),
    ("stress.always_defrag", "true"),
];

/// Miri takes minutes for what takes a processor milliseconds: there the graphs are smaller, and the verifier
/// is off.
const NODES: u64 = if cfg!(miri) { 8 } else { 24 };
/// References of the array: outside Miri enough to be visited in parts.
const ARRAY: usize = if cfg!(miri) { 16 } else { 1200 };
/// Full collections that a mutator asks for.
const ROUNDS: usize = if cfg!(miri) { 2 } else { 3 };
const GARBAGE: usize = if cfg!(miri) { 3 } else { 20 };
const GARBAGE_BYTES: usize = if cfg!(miri) { 800 } else { 200 };

fn object(value: Ref) -> ObjectReference {
    value.object().expect("not null")
}

/// Nodes that refer to the node before and to the one with half their number. The last is left on the stack.
fn graph<VM: TestVM>(m: ThreadHandle<VM>, tag: u64) -> usize {
    let (nodes, root) = (m.push(Ref::NULL), m.push(Ref::NULL));
    // An array of all nodes; a root until the graph is there.
    let array = m.alloc(ARRAY, 0);
    m.set(nodes, array);
    for number in 0..NODES {
        let node = m.alloc(2, 8);
        m.write_word(node, 2, tag + number);
        m.write_ref(node, 0, m.get(root));
        let half = m.read_ref(m.get(nodes), number as usize / 2);
        m.write_ref(node, 1, half);
        m.set(root, node);
        m.write_ref(m.get(nodes), number as usize, node);
    }
    root
}

fn check<VM: TestVM>(m: ThreadHandle<VM>, root: usize, tag: u64) {
    let mut node = m.get(root);
    for number in (0..NODES).rev() {
        assert_eq!(m.read_word(node, 2), tag + number);
        match m.read_ref(node, 1) {
            Ref::NULL => assert_eq!(number, 0, "the first alone has no half"),
            half => assert_eq!(m.read_word(half, 2), tag + number / 2),
        }
        node = m.read_ref(node, 0);
    }
    assert_eq!(node, Ref::NULL);
}

fn garbage<VM: TestVM>(m: ThreadHandle<VM>) {
    for _ in 0..GARBAGE {
        m.alloc(1, GARBAGE_BYTES);
    }
}

/// Objects and references come and go through full collections, and minor ones between where the plan has
/// them.
fn run<VM: TestVM>(heap: &Heap<VM>, pins: bool) {
    let thread = Thread::attach(heap);
    let m = thread.handle();
    let root = graph(m, 100);
    let other = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let thread = Thread::attach(heap);
            let m = thread.handle();
            let root = graph(m, 1000);
            (0..ROUNDS).for_each(|_| {
                garbage(m);
                m.poll();
            });
            check(m, root, 1000);
        });
        m.mutator().native(|| other.join())
    });
    other.expect("the other thread found its graph");

    let key = m.push(m.read_ref(m.get(root), 0));
    let value = m.alloc(0, 8);
    m.write_word(value, 0, 7);
    let (live, ephemeron, dead) = {
        let mutator = m.mutator();
        let references = mutator.references();
        let terms = Terms::default();
        let ephemeron = references.create_ephemeron(object(m.get(key)), Some(object(value)), terms).unwrap();
        let live = references.create(ReferenceKind::Weak, object(m.get(key)), terms).unwrap();
        let dying = m.alloc(0, 8);
        let dead = references.create(ReferenceKind::Weak, object(dying), terms).unwrap();
        references.add_finalizer(object(dying), FinalizerOrder::Any).unwrap();
        (live, ephemeron, dead)
    };
    if pins {
        m.mutator().pin(object(m.get(key))).unwrap();
    }
    let pinned_at = m.get(key);
    for round in 0..ROUNDS {
        garbage(m);
        m.mutator().collect();
        check(m, root, 100);
        let mutator = m.mutator();
        let references = mutator.references();
        assert_eq!(references.get(live), Some(object(m.get(key))));
        let value = references.value(ephemeron).expect("the key is live");
        assert_eq!(m.read_word(Ref(value.address().as_usize()), 0), 7);
        assert_eq!(references.get(dead), None);
        assert_eq!(references.next_finalizable().is_some(), round == 0, "due once");
        if pins {
            assert_eq!(m.get(key), pinned_at);
        }
        // What is old now refers to something new, and is read after the next collection.
        let new = m.alloc(2, 8);
        m.write_word(new, 2, 100);
        let mut first = m.get(root);
        while m.read_ref(first, 0) != Ref::NULL {
            first = m.read_ref(first, 0);
            if m.read_word(first, 2) == 101 {
                m.write_ref(first, 0, new);
                m.write_ref(first, 1, new);
                break;
            }
        }
    }
}

fn on_plan<VM: TestVM>(make: MakeHeap<VM>, plan: &str) {
    let info = policies::PLANS.iter().find(|info| info.name == plan).expect("a plan of that name");
    let mut settings = SETTINGS.to_vec();
    if info.needs.old_to_new {
        settings.push(("nursery.bytes", "4K"));
    }
    if !plan.contains("Immix") {
        settings.retain(|(key, _)| *key != "stress.always_defrag");
    }
    run(&make(VM::new(), options(plan, 2 << 20, &settings)).unwrap(), info.needs.pins);
}

/// A test for each plan, so that an interpreter can run them one by one.
macro_rules! on_each_plan {
    ($($(#[$attribute:meta])* $module:ident: $plan:literal),* $(,)?) => {
        $(
            mod $module {
                use super::*;

                $(#[$attribute])*
                #[test]
                fn keeps_its_objects() {
                    let _watchdog = Watchdog::new();
                    on_plan(HEAPS.0, $plan);
                }

                $(#[$attribute])*
                #[test]
                fn keeps_its_objects_with_side_tables() {
                    let _watchdog = Watchdog::new();
                    on_plan(HEAPS.1, $plan);
                }
            }
        )*

        #[test]
        fn no_plan_is_left_out() {
            let mut tried = [$($plan),*];
            let mut all: Vec<_> = collecting_plans().collect();
            tried.sort_unstable();
            all.sort_unstable();
            assert_eq!(all, tried);
        }
    };
}

on_each_plan! {
    semispace: "SemiSpace",
    marksweep: "MarkSweep",
    markcompact: "MarkCompact",
    immix: "Immix",
    gencopy: "GenCopy",
    genimmix: "GenImmix",
    stickyimmix: "StickyImmix",
    concurrentimmix: "ConcurrentImmix",
    stickymarksweep: "StickyMarkSweep",
    #[cfg_attr(miri, ignore = "there is no page protection in Miri")]
    pageprotect: "PageProtect",
}

/// Two workers scan the same objects, whose marks are plain stores. The second goes from a slot to the copy
/// that the first has made, so the slot must publish the copy. Miri can see it if it does not, in few of its
/// schedules; the loom model of slots always does.
#[test]
fn workers_that_scan_the_same_objects_see_each_others_copies() {
    const LEAVES: usize = 12;
    let _watchdog = Watchdog::new();
    // Without the verifier and poison, which only take time here.
    let heap = HEAPS.0(TestVM::new(), options("Immix", 2 << 20, &SETTINGS[2..])).unwrap();
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let new = |refs| m.try_alloc(Class { refs, bytes: 8 }, Semantics::Default).unwrap();
    let top = m.push(new(LEAVES));
    for n in 0..LEAVES {
        // Each refers to the one before, which two workers then reach at about the same time.
        let node = new(2);
        m.write_word(node, 2, n as u64);
        m.write_ref(m.get(top), n, node);
        m.write_ref(node, 0, m.read_ref(m.get(top), n.saturating_sub(1)));
        m.write_ref(node, 1, m.read_ref(m.get(top), n / 2));
    }
    for _ in 0..2 {
        m.mutator().collect();
        for n in 0..LEAVES {
            let node = m.read_ref(m.get(top), n);
            assert_eq!(m.read_word(node, 2), n as u64);
            assert_eq!(m.read_ref(node, 0), m.read_ref(m.get(top), n.saturating_sub(1)));
            assert_eq!(m.read_ref(node, 1), m.read_ref(m.get(top), n / 2));
        }
    }
}
