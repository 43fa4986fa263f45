//! What lives, what dies, and in which order. Each test runs on a thread, and so on a heap, of its own.

use boa_gc::{
    Ephemeron, Finalize, Gc, GcErased, GcRefCell, Trace, WeakGc, WeakMap, custom_trace, empty_trace, finalizer_safe,
    force_collect,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Tells when it is finalized and when it is dropped.
struct Told {
    name: &'static str,
    log: Rc<RefCell<Vec<String>>>,
    other: GcRefCell<Option<Gc<Told>>>,
}

impl Finalize for Told {
    fn finalize(&self) {
        self.log.borrow_mut().push(format!("finalize {}", self.name));
        if let Ok(other) = self.other.try_borrow()
            && let Some(other) = &*other
        {
            assert!(!other.name.is_empty(), "a finalizer can look at other dead objects");
        }
    }
}

// SAFETY: `other` is the only place of a handle.
unsafe impl Trace for Told {
    custom_trace!(this, mark, mark(&this.other));
}

impl Drop for Told {
    fn drop(&mut self) {
        self.log.borrow_mut().push(format!("drop {}", self.name));
    }
}

fn told(name: &'static str, log: &Rc<RefCell<Vec<String>>>) -> Gc<Told> {
    Gc::new(Told { name, log: log.clone(), other: GcRefCell::new(None) })
}

#[derive(Trace, Finalize)]
struct Node {
    next: GcRefCell<Option<Gc<Node>>>,
    number: usize,
}

fn node(number: usize, next: Option<Gc<Node>>) -> Gc<Node> {
    Gc::new(Node { next: GcRefCell::new(next), number })
}

#[test]
fn a_cycle_dies_with_its_last_outside_handle_and_finalizers_come_before_drops() {
    let log = Rc::default();
    let (a, b) = (told("a", &log), told("b", &log));
    *a.other.borrow_mut() = Some(b.clone());
    *b.other.borrow_mut() = Some(a.clone());
    drop(b);
    force_collect();
    assert!(log.borrow().is_empty(), "a handle on the stack keeps the whole cycle");
    drop(a);
    force_collect();
    assert_eq!(*log.borrow(), ["finalize a", "finalize b", "drop a", "drop b"]);
}

#[test]
fn handles_in_the_rust_heap_are_roots() {
    let held: Vec<Box<Gc<Node>>> = (0..1000).map(|n| Box::new(node(n, Some(node(n + 1, None))))).collect();
    for n in 0..100_000 {
        let _ = node(n, None);
    }
    force_collect();
    for (n, object) in held.iter().enumerate() {
        assert_eq!((object.number, object.next.borrow().as_ref().unwrap().number), (n, n + 1));
    }
}

#[test]
fn the_target_of_a_cell_that_is_being_written_survives() {
    let holder = node(0, Some(node(1, None)));
    {
        let mut writing = holder.next.borrow_mut();
        force_collect();
        assert_eq!(writing.as_ref().unwrap().number, 1);
        *writing = Some(node(2, None));
        force_collect();
    }
    assert_eq!(holder.next.borrow().as_ref().unwrap().number, 2);
}

#[test]
fn a_long_list_overflows_no_stack() {
    let mut list = None;
    for n in 0..300_000 {
        list = Some(node(n, list));
    }
    force_collect();
    assert_eq!(boa_gc::with_heap(|heap| heap.statistics().live_bytes) / 48, 300_000);
    drop(list);
    force_collect();
    assert_eq!(boa_gc::with_heap(|heap| heap.statistics().live_bytes), 0);
}

thread_local!(static SAVED: RefCell<Option<Gc<Phoenix>>> = const { RefCell::new(None) });

struct Phoenix {
    me: GcRefCell<Option<Gc<Phoenix>>>,
    child: GcRefCell<Option<Gc<Node>>>,
    by_move: bool,
    weak: GcRefCell<Option<WeakGc<Node>>>,
}

impl Finalize for Phoenix {
    fn finalize(&self) {
        let me = if self.by_move { self.me.borrow_mut().take() } else { self.me.borrow().clone() };
        SAVED.with(|saved| *saved.borrow_mut() = me);
    }
}

// SAFETY: all places of handles.
unsafe impl Trace for Phoenix {
    custom_trace!(this, mark, {
        mark(&this.me);
        mark(&this.child);
        mark(&this.weak);
    });
}

#[test]
fn what_a_finalizer_stores_lives_on_whether_it_clones_or_moves_the_handle() {
    for by_move in [false, true] {
        let child = node(7, Some(node(8, None)));
        let weak = GcRefCell::new(Some(WeakGc::new(&child)));
        let phoenix = Gc::new(Phoenix { me: GcRefCell::new(None), child: GcRefCell::new(Some(child)), by_move, weak });
        *phoenix.me.borrow_mut() = Some(phoenix.clone());
        let outside = WeakGc::new(&phoenix);
        drop(phoenix);
        force_collect();
        let saved = SAVED.with(|saved| saved.borrow_mut().take()).expect("saved by its finalizer");
        for n in 0..10_000 {
            let _ = node(n, None);
        }
        force_collect();
        let child = saved.child.borrow().clone().unwrap();
        assert_eq!((child.number, child.next.borrow().as_ref().unwrap().number), (7, 8));
        assert!(outside.upgrade().is_none(), "a weak handle that was alive when its object was not has ended for good");
        assert!(
            saved.weak.borrow().as_ref().unwrap().upgrade().is_some(),
            "one that came back with its object has not"
        );
    }
    SAVED.with(|saved| saved.borrow_mut().take());
}

#[test]
fn a_weak_handle_ends_with_its_object() {
    let strong = node(1, None);
    let weak = WeakGc::new(&strong);
    let copy = weak.clone();
    force_collect();
    assert!(weak == copy && Gc::ptr_eq(&weak.upgrade().unwrap(), &strong));
    drop(strong);
    assert!(weak.is_upgradable(), "until somebody collects");
    force_collect();
    assert!(!weak.is_upgradable() && weak.upgrade().is_none() && weak != copy);
}

#[test]
fn an_object_can_hold_a_weak_handle_of_itself() {
    #[derive(Trace, Finalize)]
    struct Own {
        weak: WeakGc<Own>,
        number: u32,
    }
    let gc = Gc::new_cyclic(|weak| {
        assert!(weak.upgrade().is_none());
        force_collect();
        Own { weak: weak.clone(), number: 3 }
    });
    force_collect();
    assert_eq!(gc.weak.upgrade().unwrap().number, 3);
    let weak = gc.weak.clone();
    drop(gc);
    force_collect();
    assert!(weak.upgrade().is_none());
}

#[test]
fn ephemerons_resolve_whatever_their_order() {
    let keys: Vec<Gc<Node>> = (0..50).map(|n| node(n, None)).collect();
    // Each value is the next key: made backwards, so that a single pass in order of creation does not do.
    let chain: Vec<_> = (0..49).rev().map(|n| Ephemeron::new(&keys[n], keys[n + 1].clone())).collect();
    let first = keys[0].clone();
    drop(keys);
    force_collect();
    assert!(chain.iter().all(Ephemeron::has_value));
    assert_eq!(chain[0].value().unwrap().number, 49);
    drop(first);
    force_collect();
    assert!(chain.iter().all(|e| !e.has_value() && e.key().is_none() && e.value().is_none()));
}

#[test]
fn an_ephemeron_whose_value_holds_its_key_does_not_keep_it() {
    let key = node(1, None);
    let ephemeron = Ephemeron::new(&key, key.clone());
    drop(key);
    force_collect();
    assert!(!ephemeron.has_value());
}

#[test]
fn entries_of_a_weak_map_die_with_their_keys() {
    let mut map = WeakMap::<Node, Gc<Node>>::new();
    let keys: Vec<Gc<Node>> = (0..1000).map(|n| node(n, None)).collect();
    for key in &keys {
        map.insert(key, node(key.number * 2, Some(key.clone())));
    }
    map.insert(&keys[4], node(99, None));
    assert!(map.remove(&keys[6]) && !map.remove(&keys[6]) && !map.contains_key(&keys[6]));
    let kept: Vec<_> = keys.into_iter().filter(|key| key.number % 10 == 4).collect();
    for _ in 0..3 {
        force_collect();
    }
    assert_eq!(map.get(&kept[0]).unwrap().value().unwrap().number, 99);
    for key in &kept[1..] {
        assert_eq!(map.get(key).unwrap().value().unwrap().number, key.number * 2);
    }
    assert_eq!(format!("{map:?}"), "WeakMap { entries: Some(100) }");
    let fresh: Vec<Gc<Node>> = (0..1000).map(|n| node(n, None)).collect();
    assert!(fresh.iter().all(|key| !map.contains_key(key)), "an address that is used again is not the old key");
}

#[test]
fn a_finalizer_that_panics_does_so_after_the_collection() {
    struct Bad(Rc<Cell<u32>>);
    impl Finalize for Bad {
        fn finalize(&self) {
            self.0.set(self.0.get() + 1);
            panic!("bad finalizer");
        }
    }
    // SAFETY: no handles.
    unsafe impl Trace for Bad {
        empty_trace!();
    }
    let count = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let _ = Gc::new(Bad(count.clone()));
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(force_collect);
    std::panic::set_hook(hook);
    assert!(result.is_err());
    assert_eq!((count.get(), Rc::strong_count(&count)), (3, 1), "all were finalized and dropped");
    let _ = node(1, None);
    force_collect();
}

#[test]
fn large_and_strongly_aligned_values_keep_their_place() {
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    impl Finalize for Aligned {}
    // SAFETY: no handles.
    unsafe impl Trace for Aligned {
        empty_trace!();
    }
    #[repr(align(16))]
    struct Sixteen<const N: usize>([u8; N]);
    impl<const N: usize> Finalize for Sixteen<N> {}
    // SAFETY: no handles.
    unsafe impl<const N: usize> Trace for Sixteen<N> {
        empty_trace!();
    }
    let aligned: Vec<_> = (0..20u8).map(|n| Gc::new(Aligned([n; 64]))).collect();
    let large: Vec<_> = (0..20u8).map(|n| Gc::new([n; 20_000])).collect();
    let odd: Vec<_> = (0..200).map(|n| Gc::new(Sixteen([n as u8; 560]))).collect();
    let seven: Vec<_> = (0..200).map(|n| Gc::new(Sixteen([n as u8; 1200]))).collect();
    force_collect();
    for (n, gc) in aligned.iter().enumerate() {
        assert!(std::ptr::from_ref(&**gc).addr() % 64 == 0 && gc.0 == [n as u8; 64]);
    }
    assert!(large.iter().enumerate().all(|(n, gc)| gc.iter().all(|&b| b as usize == n)));
    assert!(odd.iter().all(|gc| std::ptr::from_ref(&**gc).addr() % 16 == 0 && gc.0[0] == gc.0[559]));
    assert!(seven.iter().all(|gc| std::ptr::from_ref(&**gc).addr() % 16 == 0 && gc.0[0] == gc.0[1199]));
}

#[test]
fn a_handle_remembers_the_type_it_was_made_with() {
    let erased = GcErased::new(Gc::new(5u32));
    assert!(erased.is::<u32>() && !erased.is::<i32>());
    let again = erased.clone();
    assert!(GcErased::ptr_eq(&erased, &again));
    drop(erased);
    force_collect();
    let gc = again.downcast::<u32>().unwrap();
    assert_eq!((*gc, Gc::is::<u32>(&gc)), (5, true));
    assert!(Gc::downcast::<u8>(gc).is_none());
}

#[test]
fn a_handle_coerces_to_a_trait_object_through_its_raw_form() {
    trait Speaks: Trace {
        fn says(&self) -> usize;
    }
    impl Speaks for Node {
        fn says(&self) -> usize {
            self.number
        }
    }
    let raw = Gc::into_raw(node(11, Some(node(12, None))));
    // SAFETY: the same object, with the methods of its type.
    let gc: Gc<dyn Speaks> = unsafe { Gc::from_raw(raw) };
    force_collect();
    assert_eq!(gc.says(), 11);
    let weak = WeakGc::new(&gc);
    drop(gc);
    force_collect();
    assert!(weak.upgrade().is_none());
}

#[test]
fn values_are_dropped_when_the_thread_ends_and_finalizers_do_not_run_then() {
    let dropped = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    struct Counts(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Finalize for Counts {
        fn finalize(&self) {
            panic!("finalized");
        }
    }
    // SAFETY: no handles.
    unsafe impl Trace for Counts {
        empty_trace!();
    }
    impl Drop for Counts {
        fn drop(&mut self) {
            assert!(!finalizer_safe());
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let theirs = dropped.clone();
    std::thread::spawn(move || {
        for _ in 0..10 {
            std::mem::forget(Gc::new(Counts(theirs.clone())));
        }
    })
    .join()
    .unwrap();
    assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 10);
}

#[test]
fn a_plan_that_moves_is_refused() {
    let mut options = boa_gc::default_options().unwrap();
    options.set("plan", "SemiSpace").unwrap();
    let error = boa_gc::configure(options.clone()).unwrap_err().to_string();
    assert!(error.contains("SemiSpace moves objects") && error.contains("MarkSweep"), "{error}");
    options.set("plan", "MarkSwep").unwrap();
    let error = boa_gc::configure(options).unwrap_err().to_string();
    assert!(error.contains("did you mean MarkSweep"), "{error}");
}

/// Allocates until there was a minor collection, of which nothing but the heap's trigger was asked; how many
/// full ones there were.
fn minor_collection() -> u64 {
    let counts = || boa_gc::with_heap(|heap| (heap.statistics().collections, heap.statistics().full_collections));
    let (collections, fulls) = counts();
    loop {
        let _ = node(0, None);
        let (now, fulls_now) = counts();
        if now > collections {
            assert_eq!((now, fulls_now), (collections + 1, fulls), "a minor collection");
            return fulls;
        }
    }
}

#[test]
fn what_only_an_old_object_refers_to_survives_minor_collections() {
    let holder = node(0, None);
    force_collect();
    for round in 0..100 {
        // The old value of the cell dies, and the new one is known to `holder` alone.
        *holder.next.borrow_mut() = Some(node(round, Some(node(round + 1, None))));
        minor_collection();
        let next = holder.next.borrow().clone().unwrap();
        assert_eq!((next.number, next.next.borrow().as_ref().unwrap().number), (round, round + 1));
    }
}

#[test]
fn old_objects_without_handles_die_in_minor_collections_and_their_memory_is_used_again() {
    let log = Rc::default();
    let old = told("old", &log);
    *old.other.borrow_mut() = Some(told("its child", &log));
    let many: Vec<Gc<Node>> = (0..20_000).map(|n| node(n, None)).collect();
    force_collect();
    drop(old);
    let fulls = minor_collection();
    // Each looks at a part of the old objects.
    while log.borrow().is_empty() {
        minor_collection();
    }
    assert_eq!(*log.borrow(), ["finalize old", "drop old", "finalize its child", "drop its child"]);
    let before = boa_gc::with_heap(|heap| heap.statistics().reserved_bytes);
    drop(many);
    for _ in 0..50 {
        minor_collection();
    }
    let again: Vec<Gc<Node>> = (0..20_000).map(|n| node(n, None)).collect();
    assert_eq!(boa_gc::with_heap(|heap| heap.statistics().full_collections), fulls);
    assert!(boa_gc::with_heap(|heap| heap.statistics().reserved_bytes) <= before);
    assert!(again.iter().enumerate().all(|(n, node)| node.number == n));
}

#[test]
fn what_dies_old_and_is_in_no_cycle_needs_no_full_collection() {
    const LIVE: usize = 50_000;
    let mut live: Vec<Gc<Node>> = (0..LIVE).map(|n| node(n, Some(node(n, None)))).collect();
    force_collect();
    let fulls = || boa_gc::with_heap(|heap| heap.statistics().full_collections);
    let before = fulls();
    // Four times the heap, each old when it dies.
    for n in 0..4 * LIVE {
        live[n % LIVE] = node(n, Some(node(n, None)));
    }
    assert_eq!(fulls(), before);
    assert!(live.iter().enumerate().all(|(n, node)| node.number == 3 * LIVE + n));
    // In cycles, they do need one.
    for n in 0..4 * LIVE {
        let last = node(n, None);
        let first = node(n, Some(last.clone()));
        *last.next.borrow_mut() = Some(first.clone());
        live[n % LIVE] = first;
    }
    assert!(fulls() > before);
}

#[test]
fn a_minor_collection_leaves_dead_cycles_of_old_objects_to_the_next_full_one() {
    let log = Rc::default();
    let (a, b) = (told("a", &log), told("b", &log));
    *a.other.borrow_mut() = Some(b.clone());
    *b.other.borrow_mut() = Some(a.clone());
    force_collect();
    drop((a, b));
    minor_collection();
    assert!(log.borrow().is_empty());
    force_collect();
    assert_eq!(*log.borrow(), ["finalize a", "finalize b", "drop a", "drop b"]);
}

#[test]
fn a_handle_made_anew_keeps_what_had_none_for_a_while() {
    let object = node(5, None);
    let weak = WeakGc::new(&object);
    force_collect();
    drop(object);
    let again = weak.upgrade().expect("until a full collection");
    minor_collection();
    assert_eq!(again.number, 5);
    drop(again);
    minor_collection();
    assert!(weak.is_upgradable(), "what a weak handle knows is left to full collections");
    force_collect();
    assert!(!weak.is_upgradable());
}

#[test]
fn a_new_object_with_an_older_weak_handle_of_itself_dies_in_a_minor_collection() {
    let gc = Gc::new_cyclic(|_: &WeakGc<Node>| {
        minor_collection();
        Node { next: GcRefCell::new(None), number: 1 }
    });
    assert_eq!(gc.number, 1);
    let weak = Rc::new(RefCell::new(None));
    let theirs = weak.clone();
    let gc = Gc::new_cyclic(move |own| {
        *theirs.borrow_mut() = Some(own.clone());
        minor_collection();
        Node { next: GcRefCell::new(None), number: 2 }
    });
    assert_eq!(weak.borrow().as_ref().unwrap().upgrade().unwrap().number, 2);
    drop(gc);
    minor_collection();
    assert!(weak.borrow().as_ref().unwrap().upgrade().is_none());
}

#[test]
fn entries_of_an_old_weak_map_die_with_their_new_keys() {
    let mut map = WeakMap::<Node, Gc<Node>>::new();
    let kept = node(1, None);
    force_collect();
    let fulls = minor_collection();
    let collections = || boa_gc::with_heap(|heap| heap.statistics().collections) as usize;
    let before = collections();
    for n in 0..5000 {
        let key = node(n, None);
        // The value refers to the key, and so to itself.
        map.insert(&key, node(n, Some(key.clone())));
        map.insert(&kept, node(n, None));
    }
    minor_collection();
    // Each collection found one key with a handle at most, which is old since then, and left to a full
    // collection.
    let (most, shown) = (1 + collections() - before, format!("{map:?}"));
    assert!((1..=most).any(|n| shown == format!("WeakMap {{ entries: Some({n}) }}")), "{shown}, at most {most}");
    assert!(most < 100);
    assert_eq!(map.get(&kept).unwrap().value().unwrap().number, 4999);
    assert_eq!(boa_gc::with_heap(|heap| heap.statistics().full_collections), fulls);
}

#[test]
fn a_panic_in_a_collection_that_the_heap_started_goes_on_at_an_allocation() {
    struct Bad;
    impl Finalize for Bad {
        fn finalize(&self) {
            panic!("bad finalizer");
        }
    }
    // SAFETY: no handles.
    unsafe impl Trace for Bad {
        empty_trace!();
    }
    let _ = node(0, None);
    let _ = Gc::new(Bad);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(|| (0..100_000).for_each(|n| drop(node(n, None))));
    std::panic::set_hook(hook);
    assert!(result.is_err());
    for _ in 0..3 {
        minor_collection();
    }
}
