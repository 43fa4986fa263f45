//! Native references, finalizers and tables keyed by objects, on every plan.

use mmtk_core::weak::{FinalizerOrder, Reference, ReferenceKind, Terms};
use mmtk_core::{AddressTable, Mutator, ObjectReference, References, Semantics, VMBinding, WeakProcessor};
use plan_tests::{TestVM, Watchdog, collecting_plans, options, verified_heap};
use policies::new_heap;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const NODE: Class = Class { refs: 2, bytes: 8 };

/// A heap with the verifier, all workers in every section, and everything that may move on the move.
fn heap(plan: &str) -> ReferenceHeap {
    let settings = [
        ("stress.always_defrag", "true"),
        ("gc.wake_helpers", "always"),
        ("verify.poison", "true"),
        ("nursery.bytes", "64K"),
    ];
    verified_heap(plan, 32 << 20, &settings)
}

fn on_every_plan(f: impl Fn(&str, &Thread)) {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan);
        f(plan, &Thread::attach(&heap));
    }
}

fn with<R>(thread: &Thread, f: impl FnOnce(&References<'_, ReferenceVM>) -> R) -> R {
    thread.with_mutator(|mutator| f(&mutator.references()))
}

fn object(value: Ref) -> ObjectReference {
    value.object().unwrap()
}

/// A new object with this number, on the stack; its root.
fn node(thread: &Thread, number: u64) -> usize {
    let node = thread.alloc_class(NODE);
    thread.write_word(node, 2, number);
    thread.push(node)
}

fn number(thread: &Thread, object: ObjectReference) -> u64 {
    thread.read_word(Ref::from(object), 2)
}

fn create(thread: &Thread, kind: ReferenceKind, target: Ref, terms: Terms) -> Reference {
    with(thread, |references| references.create(kind, object(target), terms).unwrap())
}

fn get(thread: &Thread, reference: Reference) -> Option<u64> {
    with(thread, |references| references.get(reference)).map(|target| number(thread, target))
}

/// Whether a reference has the place in the table that an earlier one had, and is not taken for it.
fn follows(new: Reference, before: Reference) -> bool {
    new.kind() == before.kind() && new.to_bits() as u32 == before.to_bits() as u32 && new != before
}

fn notified() -> Terms {
    Terms { notify: true, ..Terms::default() }
}

#[test]
fn references_follow_live_targets_and_are_cleared_with_dead_ones() {
    on_every_plan(|plan, thread| {
        let live = node(thread, 1);
        let dead = node(thread, 2);
        use ReferenceKind::{Phantom, Soft, Weak};
        let all = [Soft, Weak, Phantom]
            .map(|kind| [live, dead].map(|root| create(thread, kind, thread.get(root), notified())));
        thread.pop(1);
        for _ in 0..3 {
            thread.collect();
        }
        let [soft, weak, phantom] = all;
        assert_eq!(soft.map(|reference| get(thread, reference)), [Some(1), Some(2)], "{plan}: there is room");
        assert_eq!(
            weak.map(|reference| get(thread, reference)),
            [Some(1), Some(2)],
            "{plan}: a soft reference keeps it"
        );
        assert_eq!(phantom.map(|reference| get(thread, reference)), [None, None], "{plan}");
        with(thread, |references| {
            assert_eq!(references.next_cleared(), None, "{plan}");
            references.free(soft[1]);
        });
        thread.collect();
        assert_eq!(weak.map(|reference| get(thread, reference)), [Some(1), None], "{plan}");
        with(thread, |references| {
            assert_eq!(phantom.map(|reference| references.is_cleared(reference)), [false, true], "{plan}");
            assert_eq!(references.waiting(), 2, "{plan}");
            let cleared = [references.next_cleared(), references.next_cleared(), references.next_cleared()];
            assert_eq!(cleared, [Some(weak[1]), Some(phantom[1]), None], "{plan}");
        });
        assert_eq!(thread.get(live), Ref::from(with(thread, |r| r.get(weak[0])).unwrap()), "{plan}: where it is now");
    });
}

#[test]
fn minor_collections_clear_references_to_young_objects_that_died() {
    let _watchdog = Watchdog::new();
    for plan in policies::PLANS.iter().filter(|plan| plan.needs.old_to_new) {
        let heap = heap(plan.name);
        let thread = Thread::attach(&heap);
        let kept = node(&thread, 1);
        let weak = [1, 2].map(|number| {
            let root = node(&thread, number);
            let weak = create(&thread, ReferenceKind::Weak, thread.get(root), notified());
            if number == 1 {
                thread.set(kept, thread.get(root));
            }
            thread.pop(1);
            weak
        });
        while heap.statistics().collections == 0 {
            thread.alloc_class(NODE);
        }
        assert_eq!(heap.statistics().full_collections, 0, "{}", plan.name);
        assert_eq!(weak.map(|reference| get(&thread, reference)), [Some(1), None], "{}", plan.name);
        with(&thread, |references| assert_eq!(references.next_cleared(), Some(weak[1]), "{}", plan.name));
    }
}

#[test]
fn minor_collections_do_for_young_objects_what_full_ones_do_for_all() {
    const KINDS: [ReferenceKind; 3] = [ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron];
    let _watchdog = Watchdog::new();
    for plan in policies::PLANS.iter().filter(|plan| plan.needs.old_to_new) {
        let (plan, heap) = (plan.name, heap(plan.name));
        let thread = Thread::attach(&heap);
        let (lives, dies, softly, finalized) = (node(&thread, 1), node(&thread, 2), node(&thread, 3), node(&thread, 4));
        let make = |kind, root| create(&thread, kind, thread.get(root), Terms::default());
        let to_live = KINDS.map(|kind| make(kind, lives));
        let to_die = KINDS.map(|kind| make(kind, dies));
        let soft = make(ReferenceKind::Soft, softly);
        let finalizer =
            |root| with(&thread, |r| r.add_finalizer(object(thread.get(root)), FinalizerOrder::Any).unwrap());
        let _finalizers = [lives, finalized].map(finalizer);
        thread.pop(3);
        while heap.statistics().collections < 2 {
            thread.alloc_class(NODE);
        }
        assert_eq!(heap.statistics().full_collections, 0, "{plan}");
        let cleared = |reference: Reference| with(&thread, |references| references.is_cleared(reference));
        assert_eq!(to_live.map(cleared), [false; 3], "{plan}");
        assert_eq!(to_die.map(cleared), [true; 3], "{plan}");
        assert_eq!(get(&thread, soft), Some(3), "{plan}");
        let next = || with(&thread, |references| references.next_finalizable()).map(|object| number(&thread, object));
        assert_eq!([next(), next()], [Some(4), None], "{plan}");
    }
}

#[test]
fn an_old_ephemeron_keeps_the_young_value_that_it_was_given() {
    on_every_plan(|plan, thread| {
        let key = node(thread, 1);
        let ephemeron = with(thread, |r| r.create_ephemeron(object(thread.get(key)), None, Terms::default()).unwrap());
        thread.collect();
        for round in 0..3 {
            let value = node(thread, round);
            with(thread, |r| assert!(r.set_value(ephemeron, thread.get(value).object())));
            thread.pop(1);
            for _ in 0..4000 {
                thread.alloc_class(NODE);
            }
            let value = with(thread, |references| references.value(ephemeron)).unwrap();
            assert_eq!(number(thread, value), round, "{plan}");
        }
        thread.set(key, Ref::NULL);
        thread.collect();
        with(thread, |references| {
            assert!(references.is_cleared(ephemeron), "{plan}");
            assert_eq!(references.value(ephemeron), None, "{plan}");
            assert!(!references.set_value(ephemeron, None), "{plan}");
        });
    });
}

#[test]
fn an_entry_goes_with_its_owner_unless_its_owner_has_yet_to_be_told() {
    on_every_plan(|plan, thread| {
        let (owner, target) = (node(thread, 1), node(thread, 2));
        let terms = Terms { owner: thread.get(owner).object(), notify: true };
        let weak = create(thread, ReferenceKind::Weak, thread.get(target), terms);
        thread.collect();
        assert_eq!(with(thread, |r| r.owner(weak)), thread.get(owner).object(), "{plan}");
        // The target dies first: the owner is kept until it is told.
        thread.pop(1);
        thread.collect();
        thread.pop(1);
        thread.collect();
        let told = with(thread, |references| references.next_cleared()).expect("it was cleared");
        assert_eq!(told, weak, "{plan}");
        assert_eq!(with(thread, |r| r.owner(weak)).map(|owner| number(thread, owner)), Some(1), "{plan}");
        // Now nobody keeps the owner, and the next reference takes the entry.
        thread.collect();
        let other = node(thread, 3);
        assert!(follows(create(thread, ReferenceKind::Weak, thread.get(other), Terms::default()), weak), "{plan}");
        // Owner and target die together: nobody is told.
        let (owner, target) = (node(thread, 4), node(thread, 5));
        let terms = Terms { owner: thread.get(owner).object(), notify: true };
        let both = create(thread, ReferenceKind::Weak, thread.get(target), terms);
        thread.pop(2);
        thread.collect();
        with(thread, |references| assert_eq!(references.next_cleared(), None, "{plan}"));
        assert!(follows(create(thread, ReferenceKind::Weak, thread.get(other), Terms::default()), both), "{plan}");
    });
}

/// A VM with ephemerons of its own, in a list in whatever order they were made.
struct ByHand {
    vm: ReferenceVM,
    /// Key and value.
    ephemerons: Mutex<Vec<(ObjectReference, ObjectReference)>>,
}

// SAFETY: all but the ephemerons is the reference binding's.
unsafe impl VMBinding for ByHand {
    plan_tests::as_the_reference_binding!(vm);

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn trace_weak(&self, weak: &mut dyn WeakProcessor) -> bool {
        let mut kept = false;
        for (key, value) in self.ephemerons.lock().unwrap().iter() {
            if weak.live(*key).is_some() && weak.live(*value).is_none() {
                weak.keep_alive(*value);
                kept = true;
            }
        }
        kept
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        let mut ephemerons = self.ephemerons.lock().unwrap();
        *ephemerons = ephemerons.iter().filter_map(|(k, v)| Some((weak.live(*k)?, weak.live(*v)?))).collect();
    }
}

impl TestVM for ByHand {
    fn new() -> Self {
        ByHand { vm: ReferenceVM::default(), ephemerons: Mutex::default() }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

/// A chain whose links are the heap's ephemerons and the VM's by turns, made from its end.
#[test]
fn ephemerons_of_the_vm_and_of_the_heap_hold_each_other() {
    let _watchdog = Watchdog::new();
    const LINKS: usize = 20;
    for plan in collecting_plans() {
        let settings = [("verify.poison", "true"), ("stress.always_defrag", "true")];
        let heap = new_heap(ByHand::new(), options(plan, 8 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for link in 0..=LINKS {
            let one = m.alloc(0, 8);
            m.write_word(one, 0, link as u64);
            m.push(one);
        }
        let at = |link: usize| m.get(link).object().unwrap();
        let mut last = None;
        for link in (0..LINKS).rev() {
            if link % 2 == 0 {
                heap.vm().ephemerons.lock().unwrap().push((at(link), at(link + 1)));
            } else {
                let references = |mutator: &Mutator<ByHand>| {
                    mutator.references().create_ephemeron(at(link), Some(at(link + 1)), Terms::default()).unwrap()
                };
                last = last.or(Some(references(&m.mutator())));
            }
        }
        m.pop(LINKS);
        m.mutator().collect();
        let value = |m: &Mutator<ByHand>| m.references().value(last.unwrap());
        let end = value(&m.mutator()).map(|end| m.read_word(Ref(end.address().as_usize()), 0));
        assert_eq!(end, Some(LINKS as u64), "{plan}");
        assert_eq!(heap.vm().ephemerons.lock().unwrap().len(), LINKS / 2, "{plan}");
        m.pop(1);
        m.mutator().collect();
        assert_eq!(value(&m.mutator()), None, "{plan}");
        assert!(heap.vm().ephemerons.lock().unwrap().is_empty(), "{plan}");
    }
}

/// A VM whose ephemerons have keys with finalizers, and which go only when these have come: it clears none.
struct Patient {
    vm: ReferenceVM,
    /// Key and value.
    ephemeron: Mutex<Option<(ObjectReference, ObjectReference)>>,
}

// SAFETY: all but the ephemeron is the reference binding's.
unsafe impl VMBinding for Patient {
    plan_tests::as_the_reference_binding!(vm);

    fn object_size(&self, object: ObjectReference) -> usize {
        self.vm.object_size(object)
    }
    fn trace_weak(&self, weak: &mut dyn WeakProcessor) -> bool {
        let mut ephemeron = self.ephemeron.lock().unwrap();
        let Some((key, value)) = *ephemeron else { return false };
        let Some(place) = weak.live(key) else { return false };
        let is_new = weak.live(value).is_none();
        *ephemeron = Some((place, weak.keep_alive(value)));
        is_new
    }
    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        let mut ephemeron = self.ephemeron.lock().unwrap();
        if let Some((key, value)) = *ephemeron
            && let Some(place) = weak.live(key)
        {
            *ephemeron = Some((place, weak.keep_alive(value)));
        }
    }
}

impl TestVM for Patient {
    fn new() -> Self {
        Patient { vm: ReferenceVM::default(), ephemeron: Mutex::default() }
    }
    fn reference(&self) -> &ReferenceVM {
        &self.vm
    }
}

#[test]
fn the_vm_is_asked_again_what_its_ephemerons_hold_for_objects_that_finalizers_brought_back() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for order in [FinalizerOrder::Any, FinalizerOrder::ReferrersFirst, FinalizerOrder::Topological] {
            let settings = [("verify.poison", "true"), ("stress.always_defrag", "true"), ("gc.workers", "2")];
            let heap = new_heap(Patient::new(), options(plan, 8 << 20, &settings)).unwrap();
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            // The value leads to another object; neither is reached otherwise.
            let key = m.push(m.alloc(0, 8));
            let value = m.push(m.alloc(1, 0));
            let end = m.alloc(0, 8);
            m.write_word(end, 0, 7);
            m.write_ref(m.get(value), 0, end);
            let at = |root: usize| m.get(root).object().unwrap();
            *heap.vm().ephemeron.lock().unwrap() = Some((at(key), at(value)));
            m.mutator().references().add_finalizer(at(key), order).unwrap();
            m.pop(2);
            for _ in 0..2 {
                m.mutator().collect();
                let (key, value) = heap.vm().ephemeron.lock().unwrap().unwrap();
                let as_ref = |object: ObjectReference| Ref(object.address().as_usize());
                assert_eq!(m.read_word(m.read_ref(as_ref(value), 0), 0), 7, "{plan}, {order:?}");
                if let Some(due) = m.mutator().references().next_finalizable() {
                    assert_eq!(due, key, "{plan}, {order:?}");
                    m.push(as_ref(due));
                }
            }
            *heap.vm().ephemeron.lock().unwrap() = None;
        }
    }
}

/// A weak map in a value of its own would live as long as the key.
#[test]
fn an_ephemeron_does_not_keep_its_owner_by_way_of_its_value() {
    on_every_plan(|plan, thread| {
        let [key, map, value] = [1, 2, 3].map(|number| node(thread, number));
        thread.write_ref(thread.get(value), 0, thread.get(map));
        let terms = Terms { owner: thread.get(map).object(), notify: false };
        let ephemeron = with(thread, |references| {
            references.create_ephemeron(object(thread.get(key)), thread.get(value).object(), terms).unwrap()
        });
        let weak = [map, value].map(|root| create(thread, ReferenceKind::Weak, thread.get(root), Terms::default()));
        thread.pop(1);
        thread.collect();
        assert_eq!(weak.map(|weak| get(thread, weak)), [Some(2), Some(3)], "{plan}: key and owner live");
        thread.pop(1);
        thread.collect();
        assert_eq!(weak.map(|weak| get(thread, weak)), [None; 2], "{plan}");
        let next = with(thread, |r| r.create_ephemeron(object(thread.get(key)), None, Terms::default()).unwrap());
        assert!(follows(next, ephemeron), "{plan}: the entry is free");
    });
}

/// Key and owner must both live, whenever they are reached: here one of them is reached as the value of
/// another ephemeron, or brought back by its finalizer, and the other one is dead.
#[test]
fn a_value_dies_with_its_key_or_its_owner_although_the_other_one_is_reached_late() {
    on_every_plan(|plan, thread| {
        for (late, finalized) in [(0, false), (1, false), (0, true), (1, true)] {
            let [root, key, owner, value] = [1, 2, 3, 4].map(|number| node(thread, number));
            let at = |root: usize| object(thread.get(root));
            let ephemeron = with(thread, |r| {
                let terms = Terms { owner: Some(at(owner)), notify: false };
                let made = r.create_ephemeron(at(key), Some(at(value)), terms).unwrap();
                let late = at([key, owner][late]);
                match finalized {
                    true => _ = r.add_finalizer(late, FinalizerOrder::Any).unwrap(),
                    false => _ = r.create_ephemeron(at(root), Some(late), Terms::default()).unwrap(),
                }
                made
            });
            // A phantom reference is cleared after finalizers have brought back what they do.
            let of_value = create(thread, ReferenceKind::Phantom, thread.get(value), Terms::default());
            thread.pop(3);
            thread.collect();
            assert!(with(thread, |r| r.is_cleared(of_value)), "{plan}: the value was kept ({late}, {finalized})");
            if late == 1 {
                assert!(with(thread, |r| r.is_cleared(ephemeron)), "{plan}: its key is dead");
                with(thread, |r| r.free(ephemeron));
            } else {
                let next = with(thread, |r| r.create_ephemeron(at(root), None, Terms::default()).unwrap());
                assert!(follows(next, ephemeron), "{plan}: its owner is dead");
            }
            while with(thread, |r| r.next_finalizable()).is_some() {}
            thread.pop(1);
            thread.collect();
        }
    });
}

/// The owner is reached only through the value of another ephemeron, and the key through a third one.
#[test]
fn an_ephemeron_waits_for_key_and_owner_in_either_order() {
    on_every_plan(|plan, thread| {
        for order in [[0, 1], [1, 0]] {
            let [root, key, owner, value] = [1, 2, 3, 4].map(|number| node(thread, number));
            let ephemeron = |key, value, owner: Option<usize>| {
                let terms = Terms { owner: owner.and_then(|owner| thread.get(owner).object()), notify: false };
                let made = |r: &References<'_, ReferenceVM>| {
                    r.create_ephemeron(object(thread.get(key)), thread.get(value).object(), terms).unwrap()
                };
                with(thread, made)
            };
            let waits = ephemeron(key, value, Some(owner));
            let first = [key, owner][order[0]];
            let second = [key, owner][order[1]];
            ephemeron(root, first, None);
            ephemeron(first, second, None);
            thread.pop(3);
            thread.collect();
            let value = with(thread, |references| references.value(waits)).map(|value| number(thread, value));
            assert_eq!(value, Some(4), "{plan}");
            thread.pop(1);
            thread.collect();
        }
    });
}

#[test]
#[should_panic(expected = "native reference 0 is used, but does not exist: it was freed, or its owner died")]
fn a_reference_that_was_freed_is_not_used() {
    let heap = heap("Immix");
    let thread = Thread::attach(&heap);
    let target = node(&thread, 1);
    let weak = create(&thread, ReferenceKind::Weak, thread.get(target), Terms::default());
    with(&thread, |references| {
        references.free(weak);
        references.get(weak)
    });
}

/// The number of a reference that went with its owner is used again; the VM that kept the old one does not
/// reach the new one by it.
#[test]
fn a_stale_reference_or_finalizer_does_not_reach_what_took_its_place() {
    let heap = heap("Immix");
    let thread = Thread::attach(&heap);
    let (target, owner) = (node(&thread, 1), node(&thread, 2));
    let panics = |f: &dyn Fn(&References<'_, ReferenceVM>)| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with(&thread, |r| f(r)))).is_err()
    };
    for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
        let terms = Terms { owner: thread.get(owner).object(), notify: false };
        let stale = create(&thread, kind, thread.get(target), terms);
        let stale = Reference::from_bits(stale.to_bits()).unwrap();
        thread.set(owner, Ref::NULL);
        thread.collect();
        let new = create(&thread, kind, thread.get(target), Terms::default());
        assert!(follows(new, stale), "{kind:?}");
        assert!(panics(&|r| _ = r.get(stale)) && panics(&|r| r.free(stale)) && panics(&|r| r.clear(stale)), "{kind:?}");
        assert!(panics(&|r| _ = r.is_cleared(stale)) && panics(&|r| _ = r.owner(stale)), "{kind:?}");
        assert!(!with(&thread, |r| r.is_cleared(new)), "{kind:?}");
        with(&thread, |r| r.free(new));
        let other = thread.alloc_class(NODE);
        thread.set(owner, other);
    }
    let add = || with(&thread, |r| r.add_finalizer(object(thread.get(target)), FinalizerOrder::Any).unwrap());
    let stale = add();
    with(&thread, |r| r.cancel_finalizer(stale));
    let _new = add();
    assert!(panics(&|r| r.cancel_finalizer(stale)));
    thread.set(target, Ref::NULL);
    assert_eq!(finalizable(&thread), [1]);
}

#[test]
fn soft_references_go_when_they_are_not_used_or_memory_is_short() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[("references.soft_collections", "2")]);
        let thread = Thread::attach(&heap);
        let soft = [1, 2].map(|number| {
            let root = node(&thread, number);
            let soft = create(&thread, ReferenceKind::Soft, thread.get(root), notified());
            thread.pop(1);
            soft
        });
        for _ in 0..4 {
            assert_eq!(get(&thread, soft[0]), Some(1), "{plan}");
            thread.collect();
        }
        assert_eq!(soft.map(|reference| get(&thread, reference)), [Some(1), None], "{plan}");
        // Live data that leave no room beside what the soft reference keeps.
        let large = thread.try_alloc(Class { refs: 0, bytes: 3 << 20 }, Semantics::Default).unwrap();
        thread.push(large);
        let cache = create(&thread, ReferenceKind::Soft, large, Terms::default());
        thread.pop(1);
        let more = thread.try_alloc(Class { refs: 0, bytes: 5 << 20 }, Semantics::Default);
        assert!(more.is_ok(), "{plan}: {}", more.unwrap_err());
        assert!(with(&thread, |references| references.is_cleared(cache)), "{plan}");
    }
}

/// However much they were used.
#[test]
fn an_emergency_clears_soft_references_and_an_ordinary_collection_does_not() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[("references.soft_collections", "1000000")]);
        let thread = Thread::attach(&heap);
        let large = thread.push(thread.try_alloc(Class { refs: 0, bytes: 3 << 20 }, Semantics::Default).unwrap());
        let cache = create(&thread, ReferenceKind::Soft, thread.get(large), Terms::default());
        thread.pop(1);
        (0..5).for_each(|_| thread.collect());
        assert!(!with(&thread, |references| references.is_cleared(cache)), "{plan}");
        let more = thread.try_alloc(Class { refs: 0, bytes: 5 << 20 }, Semantics::Default);
        assert!(more.is_ok(), "{plan}: {}", more.unwrap_err());
        assert!(with(&thread, |references| references.is_cleared(cache)), "{plan}");
    }
}

/// It keeps nothing once its owner is dead, and what it did when its owner comes back.
#[test]
fn a_soft_reference_keeps_its_target_as_long_as_its_owner_lives() {
    on_every_plan(|plan, thread| {
        for finalized in [false, true] {
            let [owner, target] = [1, 2].map(|number| node(thread, number));
            let terms = Terms { owner: thread.get(owner).object(), notify: false };
            let soft = create(thread, ReferenceKind::Soft, thread.get(target), terms);
            let of_target = create(thread, ReferenceKind::Phantom, thread.get(target), Terms::default());
            if finalized {
                with(thread, |r| r.add_finalizer(object(thread.get(owner)), FinalizerOrder::Any).unwrap());
            }
            thread.pop(2);
            thread.collect();
            assert_eq!(with(thread, |r| r.is_cleared(of_target)), !finalized, "{plan}");
            if finalized {
                assert_eq!(get(thread, soft), Some(2), "{plan}: its owner came back");
                assert!(with(thread, |r| r.next_finalizable()).is_some(), "{plan}");
            }
            with(thread, |r| r.free(of_target));
            thread.collect();
        }
    });
}

/// It waits to be told of, with the others in the queue.
#[test]
fn a_reference_that_is_cleared_while_it_is_queued_stays_in_the_queue() {
    on_every_plan(|plan, thread| {
        for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
            let target = node(thread, 1);
            let made: Vec<Reference> = (0..3).map(|_| create(thread, kind, thread.get(target), notified())).collect();
            thread.pop(1);
            if kind == ReferenceKind::Soft {
                with(thread, |r| made.iter().for_each(|soft| r.clear(*soft)));
                assert_eq!(with(thread, |r| r.waiting()), 0, "{plan}: nobody is told of what the VM clears");
                with(thread, |r| made.into_iter().for_each(|soft| r.free(soft)));
                continue;
            }
            thread.collect();
            with(thread, |r| r.clear(made[0]));
            let told: Vec<Reference> = std::iter::from_fn(|| with(thread, |r| r.next_cleared())).collect();
            assert_eq!(told, made, "{plan}, {kind:?}");
            with(thread, |r| made.into_iter().for_each(|reference| r.free(reference)));
        }
    });
}

/// A chain of ephemerons: the value of each leads to the key of the next. Created from its end, or in a wild
/// order.
fn chain(plan: &str, links: usize, wild: bool) {
    let limit = 96 * links.max(1 << 15) * 4;
    let heap = new_heap(ReferenceVM::default(), options(plan, limit, &[("gc.workers", "2")])).unwrap();
    let thread = Thread::attach(&heap);
    let keys = thread.push(thread.alloc(links + 1, 0));
    for link in 0..=links {
        let key = thread.alloc_class(NODE);
        thread.write_word(key, 2, link as u64);
        thread.write_ref(thread.get(keys), link, key);
    }
    let key = |link: usize| object(thread.read_ref(thread.get(keys), link));
    let first = thread.push(Ref::from(key(0)));
    // 31 and the number of links have no common divisor, so every link comes once.
    assert_ne!(links % 31, 0);
    let order: Vec<usize> = (0..links).rev().map(|n| if wild { n * 31 % links } else { n }).collect();
    let ephemerons: Vec<Reference> = order
        .iter()
        .map(|link| with(&thread, |r| r.create_ephemeron(key(*link), Some(key(link + 1)), Terms::default()).unwrap()))
        .collect();
    thread.set(keys, Ref::NULL);
    thread.collect();
    for (link, ephemeron) in order.iter().zip(&ephemerons) {
        let value = with(&thread, |references| references.value(*ephemeron)).expect("its key is live");
        assert_eq!(number(&thread, value), *link as u64 + 1, "{plan}");
    }
    thread.set(first, Ref::NULL);
    thread.collect();
    with(&thread, |references| assert!(ephemerons.iter().all(|e| references.is_cleared(*e)), "{plan}"));
}

#[test]
fn chains_of_ephemerons_hold_whatever_their_order() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        chain(plan, 20_000, false);
        chain(plan, 20_000, true);
    }
}

#[test]
fn a_chain_of_a_million_ephemerons_takes_no_more_than_a_trace() {
    let _watchdog = Watchdog::new();
    chain("Immix", 1_000_000, true);
}

const MILLION: usize = 1_000_000;

/// A heap for a million objects, all in an array at the first root, each of which `f` is told when it is
/// made; then every second is unlinked, and what is left is collected.
fn every_second_of_a_million_dies(mut f: impl FnMut(&Thread, usize, Ref)) -> (ReferenceHeap, Thread) {
    let heap = new_heap(ReferenceVM::default(), options("Immix", 512 << 20, &[("gc.workers", "2")])).unwrap();
    let thread = Thread::attach(&heap);
    let keys = thread.push(thread.alloc(MILLION, 0));
    for n in 0..MILLION {
        let key = thread.alloc_class(NODE);
        thread.write_word(key, 2, n as u64);
        thread.write_ref(thread.get(keys), n, key);
        f(&thread, n, key);
    }
    (0..MILLION).step_by(2).for_each(|n| thread.write_ref(thread.get(keys), n, Ref::NULL));
    thread.collect();
    (heap, thread)
}

#[test]
fn a_million_references_of_each_kind_go_with_their_targets() {
    let _watchdog = Watchdog::new();
    for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
        let mut made = Vec::with_capacity(MILLION);
        let (_heap, thread) =
            every_second_of_a_million_dies(|thread, _, key| made.push(create(thread, kind, key, Terms::default())));
        with(&thread, |references| {
            for (n, reference) in made.iter().enumerate() {
                let dies = n.is_multiple_of(2) && kind != ReferenceKind::Soft;
                assert_eq!(references.is_cleared(*reference), dies, "{kind:?} {n}");
            }
        });
    }
}

#[test]
fn a_million_finalizers_come_once_each_for_what_died() {
    let _watchdog = Watchdog::new();
    let (_heap, thread) = every_second_of_a_million_dies(|thread, _, key| {
        with(thread, |references| references.add_finalizer(object(key), FinalizerOrder::Any).unwrap());
    });
    let mut seen = vec![false; MILLION];
    while let Some(dead) = with(&thread, |references| references.next_finalizable()) {
        let n = number(&thread, dead) as usize;
        assert!(n.is_multiple_of(2) && !std::mem::replace(&mut seen[n], true), "{n}");
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), MILLION / 2);
}

#[test]
fn a_table_of_a_million_objects_forgets_those_that_died() {
    let _watchdog = Watchdog::new();
    let mut table = None;
    let (_heap, thread) = every_second_of_a_million_dies(|thread, n, key| {
        thread.with_mutator(|mutator| {
            let table = table.get_or_insert_with(|| AddressTable::new(mutator));
            table.insert(mutator, object(key), n as u64).unwrap();
        });
    });
    let table = table.unwrap();
    assert_eq!(table.len(), MILLION / 2);
    for n in (1..MILLION).step_by(2) {
        let key = object(thread.read_ref(thread.get(0), n));
        assert_eq!(thread.with_mutator(|mutator| table.get(mutator, key)), Some(n as u64));
    }
}

#[test]
fn a_finalizer_brings_back_what_died_with_all_it_refers_to() {
    on_every_plan(|plan, thread| {
        // A cycle of two with a tail, both with finalizers.
        let (a, b, tail) = (node(thread, 1), node(thread, 2), node(thread, 3));
        thread.write_ref(thread.get(a), 0, thread.get(b));
        thread.write_ref(thread.get(b), 0, thread.get(a));
        thread.write_ref(thread.get(b), 1, thread.get(tail));
        let weak = create(thread, ReferenceKind::Weak, thread.get(tail), Terms::default());
        let phantom = create(thread, ReferenceKind::Phantom, thread.get(tail), Terms::default());
        let ephemeron = with(thread, |r| {
            r.add_finalizer(object(thread.get(a)), FinalizerOrder::Any).unwrap();
            r.add_finalizer(object(thread.get(b)), FinalizerOrder::Any).unwrap();
            r.create_ephemeron(object(thread.get(tail)), thread.get(a).object(), Terms::default()).unwrap()
        });
        thread.collect();
        assert_eq!(with(thread, |r| r.next_finalizable()), None, "{plan}: they live");
        thread.pop(3);
        // More collections change nothing for what is queued.
        for _ in 0..3 {
            thread.collect();
        }
        assert_eq!(get(thread, weak), None, "{plan}: weak references are cleared before finalizers");
        assert!(!with(thread, |r| r.is_cleared(phantom)), "{plan}: phantom references after them");
        assert!(with(thread, |r| r.value(ephemeron)).is_some(), "{plan}: its key came back");
        assert_eq!(with(thread, |r| r.waiting()), 2, "{plan}");
        let first = with(thread, |r| r.next_finalizable()).unwrap();
        thread.push(Ref::from(first));
        let second = with(thread, |r| r.next_finalizable()).unwrap();
        assert_eq!([first, second].map(|object| number(thread, object)), [1, 2], "{plan}");
        let tail = object(thread.read_ref(Ref::from(second), 1));
        assert_eq!(number(thread, tail), 3, "{plan}");
        assert_eq!(with(thread, |r| r.next_finalizable()), None, "{plan}");
        // A finalizer is good for one time.
        thread.pop(1);
        thread.collect();
        assert_eq!(with(thread, |r| r.next_finalizable()), None, "{plan}");
        assert!(with(thread, |r| r.is_cleared(phantom) && r.is_cleared(ephemeron)), "{plan}");
    });
}

/// References and finalizers have queues of their own.
#[test]
fn what_waits_in_several_queues_lives_until_it_is_asked_for() {
    on_every_plan(|plan, thread| {
        let (owner, target) = (node(thread, 1), node(thread, 2));
        let terms = Terms { owner: thread.get(owner).object(), notify: true };
        let weak = create(thread, ReferenceKind::Weak, thread.get(target), terms);
        thread.pop(1);
        let (finalizable, tail) = (node(thread, 3), node(thread, 4));
        thread.write_ref(thread.get(finalizable), 0, thread.get(tail));
        with(thread, |r| r.add_finalizer(object(thread.get(finalizable)), FinalizerOrder::Any).unwrap());
        thread.pop(2);
        thread.collect();
        thread.pop(1);
        for _ in 0..3 {
            assert_eq!(with(thread, |r| r.waiting()), 2, "{plan}");
            thread.collect();
            (0..100).for_each(|_| _ = thread.alloc_class(NODE));
        }
        assert_eq!(with(thread, |r| r.next_cleared()), Some(weak), "{plan}");
        let finalizable = with(thread, |r| r.next_finalizable()).unwrap();
        assert_eq!(number(thread, finalizable), 3, "{plan}");
        assert_eq!(number(thread, object(thread.read_ref(Ref::from(finalizable), 0))), 4, "{plan}");
    });
}

/// The numbers of the objects that one collection queues.
fn finalizable(thread: &Thread) -> Vec<u64> {
    thread.collect();
    std::iter::from_fn(|| with(thread, |r| r.next_finalizable())).map(|object| number(thread, object)).collect()
}

#[test]
fn who_refers_to_others_is_finalized_before_them() {
    on_every_plan(|plan, thread| {
        // 3 -> 2 -> (without finalizer) -> 1 -> 0, registered in another order.
        let chain: Vec<usize> = (0..4).map(|number| node(thread, number)).collect();
        let between = node(thread, 100);
        thread.write_ref(thread.get(chain[3]), 0, thread.get(chain[2]));
        thread.write_ref(thread.get(chain[2]), 0, thread.get(between));
        thread.write_ref(thread.get(between), 1, thread.get(chain[1]));
        thread.write_ref(thread.get(chain[1]), 0, thread.get(chain[0]));
        for link in [1, 3, 0, 2] {
            with(thread, |r| r.add_finalizer(object(thread.get(chain[link])), FinalizerOrder::ReferrersFirst).unwrap());
        }
        thread.pop(5);
        let rounds: Vec<Vec<u64>> = (0..5).map(|_| finalizable(thread)).collect();
        assert_eq!(rounds, [vec![3], vec![2], vec![1], vec![0], vec![]], "{plan}");
    });
}

#[test]
fn a_cycle_of_ordered_finalizers_waits_for_others_and_then_goes() {
    on_every_plan(|plan, thread| {
        let [a, b, behind, alone, any] = [1, 2, 3, 4, 5].map(|number| node(thread, number));
        thread.write_ref(thread.get(a), 0, thread.get(b));
        thread.write_ref(thread.get(b), 0, thread.get(a));
        thread.write_ref(thread.get(b), 1, thread.get(behind));
        for root in [a, b, behind, alone] {
            with(thread, |r| r.add_finalizer(object(thread.get(root)), FinalizerOrder::ReferrersFirst).unwrap());
        }
        with(thread, |r| r.add_finalizer(object(thread.get(any)), FinalizerOrder::Any).unwrap());
        thread.pop(5);
        let rounds: Vec<Vec<u64>> = (0..3).map(|_| finalizable(thread)).collect();
        assert_eq!(rounds, [vec![5, 4], vec![1, 2, 3], vec![]], "{plan}");
    });
}

#[test]
fn a_withdrawn_finalizer_does_not_come() {
    on_every_plan(|plan, thread| {
        let finalizers = [1, 2].map(|number| {
            let root = node(thread, number);
            with(thread, |r| r.add_finalizer(object(thread.get(root)), FinalizerOrder::Any).unwrap())
        });
        with(thread, |r| r.cancel_finalizer(finalizers[0]));
        thread.pop(2);
        thread.collect();
        with(thread, |r| r.cancel_finalizer(finalizers[1]));
        assert_eq!(with(thread, |r| r.next_finalizable()), None, "{plan}: withdrawn even from the queue");
        assert!(finalizable(thread).is_empty(), "{plan}");
    });
}

#[test]
fn identity_hashes_and_tables_know_objects_wherever_they_move() {
    on_every_plan(|plan, thread| {
        const COUNT: usize = 3000;
        let table = thread.with_mutator(AddressTable::new);
        let array = thread.push(thread.alloc(COUNT, 0));
        let at = |n: usize| object(thread.read_ref(thread.get(array), n));
        let hash = |n: usize| with(thread, |r| r.identity_hash(at(n)).unwrap());
        let mut hashes = Vec::new();
        for n in 0..COUNT {
            let one = thread.alloc_class(NODE);
            thread.write_ref(thread.get(array), n, one);
            hashes.push(hash(n));
            thread.with_mutator(|mutator| assert_eq!(table.insert(mutator, at(n), n as u64).unwrap(), None, "{plan}"));
        }
        let different: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), COUNT, "{plan}");
        for round in 0..4 {
            // Some die, so that the others move even where only sparse blocks are evacuated.
            for n in (round..COUNT).step_by(5) {
                thread.write_ref(thread.get(array), n, Ref::NULL);
            }
            thread.collect();
            for n in (0..COUNT).filter(|n| !thread.read_ref(thread.get(array), *n).is_null()) {
                assert_eq!(hash(n), hashes[n], "{plan}");
                thread.with_mutator(|mutator| assert_eq!(table.get(mutator, at(n)), Some(n as u64), "{plan}"));
            }
        }
        // The fifth that is left, and nothing of the dead.
        assert_eq!((table.len(), table.is_empty()), (COUNT / 5, false), "{plan}");
        thread.with_mutator(|mutator| {
            for n in (4..COUNT).step_by(5) {
                assert_eq!(table.remove(mutator, at(n)), Some(n as u64), "{plan}");
                assert_eq!(table.get(mutator, at(n)), None, "{plan}");
            }
            assert!(table.is_empty(), "{plan}");
        });
        let new = thread.alloc_class(NODE);
        thread.with_mutator(|mutator| assert_eq!(table.get(mutator, object(new)), None, "{plan}"));
    });
}

#[test]
fn a_table_that_goes_gives_its_memory_back() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap(plan);
        let thread = Thread::attach(&heap);
        let root = node(&thread, 1);
        let before = heap.statistics().reserved_bytes;
        let table = thread.with_mutator(AddressTable::new);
        thread.with_mutator(|mutator| table.insert(mutator, object(thread.get(root)), 7).unwrap());
        assert!(heap.statistics().reserved_bytes > before, "{plan}");
        drop(table);
        assert_eq!(heap.statistics().reserved_bytes, before, "{plan}");
    }
}

#[test]
fn references_may_be_made_while_others_collect() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 32 << 20, &[("stress.every_bytes", "64K"), ("stress.random_yield", "true")]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    heap.collect();
                }
            });
            let makers: Vec<_> = (0..2)
                .map(|me: u64| {
                    let heap = &heap;
                    scope.spawn(move || {
                        let thread = Thread::attach(heap);
                        let mut hashes = Vec::new();
                        let mut made = Vec::new();
                        for n in 0..200 {
                            let root = node(&thread, me << 32 | n);
                            let target = object(thread.get(root));
                            let weak = create(&thread, ReferenceKind::Weak, thread.get(root), Terms::default());
                            with(&thread, |r| r.add_finalizer(target, FinalizerOrder::Any).unwrap());
                            hashes.push(with(&thread, |r| r.identity_hash(target).unwrap()));
                            let value = thread.push(thread.alloc_class(NODE));
                            thread.write_word(thread.get(value), 2, n);
                            let key = object(thread.get(root));
                            let ephemeron = with(&thread, |r| {
                                r.create_ephemeron(key, thread.get(value).object(), Terms::default()).unwrap()
                            });
                            thread.pop(1);
                            made.push((weak, ephemeron));
                        }
                        for (n, (weak, ephemeron)) in made.iter().enumerate() {
                            assert_eq!(get(&thread, *weak), Some(me << 32 | n as u64));
                            let value = with(&thread, |r| r.value(*ephemeron)).unwrap();
                            assert_eq!(number(&thread, value), n as u64);
                            let hash = with(&thread, |r| r.identity_hash(object(thread.get(n))).unwrap());
                            assert_eq!(hash, hashes[n]);
                        }
                    })
                })
                .collect();
            let done: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
            stop.store(true, Relaxed);
            done.into_iter().for_each(|done| done.unwrap());
        });
        let thread = Thread::attach(&heap);
        let mut numbers = finalizable(&thread);
        numbers.sort_unstable();
        let all: Vec<u64> = (0..2).flat_map(|me| (0..200).map(move |n| me << 32 | n)).collect();
        assert_eq!(numbers, all, "{plan}: each object was finalized once");
    }
}

#[test]
fn a_table_that_cannot_grow_is_out_of_memory_and_loses_nothing() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 4 << 20, &[]);
        let thread = Thread::attach(&heap);
        let target = node(&thread, 1);
        let mut made = Vec::new();
        let error = loop {
            match with(&thread, |r| r.create(ReferenceKind::Weak, object(thread.get(target)), Terms::default())) {
                Ok(weak) => made.push(weak),
                Err(error) => break error,
            }
        };
        assert!(made.len() > 1000 && error.to_string().contains("out of memory"), "{plan}: {error}");
        plan_tests::assert_within_limit(&heap);
        thread.collect();
        assert!(made.iter().all(|weak| get(&thread, *weak) == Some(1)), "{plan}");
        made.iter().for_each(|weak| with(&thread, |r| r.free(*weak)));
        create(&thread, ReferenceKind::Weak, thread.get(target), Terms::default());
    }
}

#[test]
fn objects_that_do_not_move_have_references_too() {
    on_every_plan(|plan, thread| {
        for semantics in [Semantics::NonMoving, Semantics::Immortal] {
            let kept = thread.try_alloc(NODE, semantics).unwrap();
            thread.write_word(kept, 2, 1);
            thread.push(kept);
            let weak = create(thread, ReferenceKind::Weak, kept, Terms::default());
            let hash = with(thread, |r| r.identity_hash(object(kept)).unwrap());
            thread.collect();
            assert_eq!(get(thread, weak), Some(1), "{plan}");
            assert_eq!(with(thread, |r| r.identity_hash(object(kept)).unwrap()), hash, "{plan}");
            thread.pop(1);
            thread.collect();
            // An immortal object keeps its memory, but what it refers to is gone.
            assert_eq!(get(thread, weak), None, "{plan}");
        }
    });
}
