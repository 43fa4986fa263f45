//! The tables of native references, which are looked through while the heap is marked.

use super::driving::*;
use super::places::*;
use mmtk_core::events::Event;
use mmtk_core::weak::{FinalizerOrder, Reference, ReferenceKind, Terms};
use mmtk_core::{AddressTable, Heap, ObjectReference};
use plan_tests::Watchdog;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::{Arc, Mutex};

/// What the marking that ended last has reported.
#[derive(Copy, Clone, Default, Debug)]
struct Looked {
    beside: usize,
    in_pause: usize,
    bytes_beside: usize,
}

fn listen(heap: &Heap<ReferenceVM>) -> Arc<Mutex<Looked>> {
    let looked = Arc::new(Mutex::new(Looked::default()));
    let log = looked.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(pause) = event
            && let Some(marking) = pause.marking
        {
            let bytes_beside = marking.bytes_beside;
            *log.lock().unwrap() =
                Looked { beside: marking.entries_beside, in_pause: marking.entries_in_pause, bytes_beside };
        }
    }));
    looked
}

/// Without the verifier, which looks at everything, and in steps of the usual size.
const LARGE: [(&str, &str); 3] = [UNVERIFIED, ("stress.step_objects", "0"), ("stress.every_bytes", "1M")];

/// Of many native references, the pause that ends a marking looks at those whose objects died.
#[test]
fn the_end_pause_looks_at_what_dies_and_not_at_what_lives() {
    const COUNT: usize = 100_000;
    const DEAD: usize = 50;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &LARGE].concat());
        let looked = listen(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let numbers = AddressTable::new(&mutator);
        let objects = table(m, COUNT, |_| m.alloc(0, 8));
        let at = |n: usize| object_of(m.read_ref(m.get(objects), n));
        let create = |kind, n| known.create(kind, at(n), Terms { owner: Some(at(n / 2)), notify: true }).unwrap();
        let weak: Vec<_> = (0..COUNT).map(|n| create(ReferenceKind::Weak, n)).collect();
        (0..COUNT).for_each(|n| _ = create(ReferenceKind::Phantom, n));
        let ephemerons: Vec<_> =
            (0..COUNT).map(|n| known.create_ephemeron(at(n), Some(at(n / 2)), Terms::default()).unwrap()).collect();
        (0..COUNT).for_each(|n| _ = known.add_finalizer(at(n), FinalizerOrder::Any).unwrap());
        (0..COUNT).for_each(|n| _ = numbers.insert(&mutator, at(n), n as u64).unwrap());
        for cycle in 1..3 {
            // In the upper half, where nothing is an owner or a value.
            let dies = |n: &usize| n % (COUNT / DEAD) == cycle && *n >= COUNT / 2;
            (0..COUNT).filter(dies).for_each(|n| m.write_ref(m.get(objects), n, Ref::NULL));
            let dead = (0..COUNT).filter(dies).count();
            begin(m);
            finish(m);
            let Looked { beside, in_pause, .. } = *looked.lock().unwrap();
            let what = format!("{plan}, cycle {cycle}: {beside} beside, {in_pause} in the pause");
            // Its own finalizer keeps what is dead until the next collection.
            assert!(beside >= 5 * COUNT, "{what}");
            assert!((2 * dead..40 * dead).contains(&in_pause), "{what}, {dead} are dead");
            (0..COUNT).filter(dies).for_each(|n| {
                assert!(known.is_cleared(weak[n]), "{what}");
                assert!(known.value(ephemerons[n]).is_some(), "{what}");
            });
            let cleared = (0..COUNT).filter(|n| known.is_cleared(weak[*n])).count();
            assert_eq!(cleared, cycle * dead, "{what}");
            let notices = std::iter::from_fn(|| known.next_cleared()).filter(|r| r.kind() == ReferenceKind::Weak);
            assert_eq!(notices.count(), dead, "{what}");
            assert_eq!(std::iter::from_fn(|| known.next_finalizable()).count(), dead, "{what}");
        }
    }
}

/// What ephemerons hold is marked while the program runs, also if what one holds leads to the key of another.
#[test]
fn values_of_ephemerons_are_marked_beside_mutators() {
    const VALUES: usize = 3000;
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &[&BY_STEPS[..], &LARGE].concat());
        let looked = listen(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let mutator = m.mutator();
        let known = mutator.references();
        let first = m.push(m.alloc(0, 8));
        // Three tables: the keys of the second and the third are in the one before. The last come first.
        let values = [(); 3].map(|()| table(m, VALUES, |_| m.alloc(0, 8)));
        let mut chain = Vec::new();
        for level in [2, 1, 0] {
            let key = if level == 0 { m.get(first) } else { m.read_ref(m.get(values[level - 1]), 1) };
            for n in 0..VALUES {
                let value = if n == 0 { m.get(values[level]) } else { m.read_ref(m.get(values[level]), n) };
                chain.push(known.create_ephemeron(object_of(key), value.object(), Terms::default()).unwrap());
            }
        }
        m.pop(3);
        begin(m);
        finish(m);
        let Looked { in_pause, bytes_beside, .. } = *looked.lock().unwrap();
        assert!(bytes_beside >= 3 * VALUES * 24, "{plan}: {bytes_beside} bytes were marked beside mutators");
        assert!(in_pause < 100, "{plan}: {in_pause} entries were looked at in the pause");
        assert!(chain.iter().all(|ephemeron| known.value(*ephemeron).is_some()), "{plan}");
        m.pop(1);
        begin(m);
        finish(m);
        assert!(chain.iter().all(|ephemeron| known.is_cleared(*ephemeron)), "{plan}");
    }
}

/// What there is to be told of the references of a program, by numbers of objects.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    /// Target and value.
    references: Vec<(Option<u64>, Option<u64>)>,
    notices: Vec<Reference>,
    finalizable: Vec<u64>,
    numbers: Vec<Option<u64>>,
}

/// How a marking ends.
type End = fn(ThreadHandle<ReferenceVM>);

/// Some references of each kind, as `seed` says; a marking of `steps` steps; then the program uses them, with
/// a step after each use; then it comes to its `end`. None if it ended before. Without `steps` it begins when
/// the program has used them.
fn run(plan: &str, settings: &[(&str, &str)], seed: u64, steps: Option<usize>, end: End) -> Option<Outcome> {
    const OBJECTS: usize = 24;
    let heap = heap_with::<ReferenceVM>(plan, settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let mutator = m.mutator();
    let known = mutator.references();
    let numbers = AddressTable::new(&mutator);
    let mut state = seed;
    let mut random = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % below
    };
    let number = |object: ObjectReference| m.read_word(object.into(), 2);
    // Every second object refers to one before it. A third is held, and so lives.
    let held = m.push(m.alloc(OBJECTS, 0));
    let all = table(m, OBJECTS, |n| {
        let new = m.alloc(2, 8);
        m.write_word(new, 2, n as u64);
        new
    });
    let at = |n: usize| object_of(m.read_ref(m.get(all), n));
    for n in (1..OBJECTS).step_by(2) {
        m.write_ref(at(n).into(), 0, at(random(n)).into());
    }
    (0..OBJECTS).filter(|_| random(3) == 0).for_each(|n| m.write_ref(m.get(held), n, at(n).into()));
    let mut known_references = Vec::new();
    for _ in 0..OBJECTS {
        for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
            let owner = (random(4) == 0).then(|| object_of(m.get(held)));
            let terms = Terms { owner, notify: random(2) == 0 };
            let (target, value) = (at(random(OBJECTS)), at(random(OBJECTS)));
            known_references.push(match kind {
                ReferenceKind::Ephemeron => known.create_ephemeron(target, Some(value), terms).unwrap(),
                kind => known.create(kind, target, terms).unwrap(),
            });
        }
        let order = [FinalizerOrder::Any, FinalizerOrder::ReferrersFirst, FinalizerOrder::Topological][random(3)];
        _ = known.add_finalizer(at(random(OBJECTS)), order).unwrap();
        numbers.insert(&mutator, at(random(OBJECTS)), 0).unwrap();
    }
    let addresses: Vec<_> = (0..OBJECTS).map(at).collect();
    m.pop(1);
    begin(m);
    if !step(m, steps.unwrap_or(0)) {
        return None;
    }
    for _ in 0..6 {
        let reference = known_references[random(known_references.len())];
        let other = m.push(m.read_ref(m.get(held), random(OBJECTS)));
        match random(6) {
            0 => _ = known.get(reference).map(|object| m.push(object.into())),
            1 if reference.kind() == ReferenceKind::Ephemeron => _ = known.set_value(reference, m.get(other).object()),
            2 if reference.kind() == ReferenceKind::Ephemeron => {
                _ = known.value(reference).map(|object| m.push(object.into()));
            }
            3 => known.clear(reference),
            // Its number is used again at once.
            4 => {
                known.free(reference);
                known_references.retain(|known| *known != reference);
                let target = m.get(other).object().unwrap_or_else(|| object_of(m.alloc(2, 8)));
                known_references.push(known.create(reference.kind(), target, Terms::default()).unwrap());
            }
            _ => m.write_ref(m.get(held), random(OBJECTS), Ref::NULL),
        }
        if !step(m, steps.map_or(0, |_| 1)) {
            return None;
        }
    }
    end(m);
    let told = |object: Option<ObjectReference>| object.map(number);
    Some(Outcome {
        notices: std::iter::from_fn(|| known.next_cleared()).collect(),
        finalizable: std::iter::from_fn(|| known.next_finalizable()).map(number).collect(),
        numbers: addresses.iter().map(|object| numbers.get(&mutator, *object)).collect(),
        references: known_references
            .iter()
            .map(|reference| match reference.kind() {
                ReferenceKind::Phantom => (known.is_cleared(*reference).then_some(0), None),
                ReferenceKind::Ephemeron => (told(known.get(*reference)), told(known.value(*reference))),
                _ => (told(known.get(*reference)), None),
            })
            .collect(),
    })
}

/// Wherever the program uses its references while tables are looked through, entry by entry, all comes out as
/// if the pause had looked at them; also if a pause comes before all were looked at.
#[test]
fn it_does_not_matter_when_the_tables_are_looked_through() {
    let _watchdog = Watchdog::new();
    for plan in concurrent_plans() {
        let ends: [(&str, End); 2] = [("to the end", finish), ("in a pause", |m| m.collect())];
        // Soft references that stay, and others.
        let softness = |seed: u64| ("references.soft_collections", if seed == 2 { "16" } else { "0" });
        for ((how, end), seed) in ends.into_iter().flat_map(|end| [(end, 0), (end, 1), (end, 2)]) {
            // So few entries are left to the pause.
            let settings = [&BY_STEPS[..], &[softness(seed), ("stress.step_objects", "0")]].concat();
            let by_pause = run(plan, &settings, seed, None, end).expect("a marking that has just begun");
            let mut reached = 0;
            for steps in (0..).step_by(5) {
                let Some(outcome) = run(plan, &[&BY_STEPS[..], &[softness(seed)]].concat(), seed, Some(steps), end)
                else {
                    break;
                };
                assert_eq!(outcome, by_pause, "{plan}, seed {seed}, {steps} steps, {how}");
                reached = steps;
            }
            assert!(reached > 150, "{plan}, seed {seed}: no table was looked at in {reached} steps");
        }
    }
}
