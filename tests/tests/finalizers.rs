//! Ordered finalizers: their order, that objects are intact when their turn comes, and that the cost is
//! linear in their number.

use mmtk_core::weak::FinalizerOrder;
use mmtk_core::{Heap, ObjectReference, OldToNew, SlotVisitor, StateLocation, VMBinding, WordSlot};
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, delegate_to, dense_plans, options};
use policies::new_heap;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A heap in which everything that may move does, and workers take part in every section.
fn heap<VM: TestVM>(plan: &str, limit: usize, settings: &[(&str, &str)]) -> Heap<VM> {
    let mut all = vec![("stress.always_defrag", "true"), ("gc.wake_helpers", "always"), ("verify.trace", "true")];
    all.extend(settings);
    new_heap(VM::new(), options(plan, limit, &all)).unwrap()
}

fn object(at: Ref) -> ObjectReference {
    at.object().expect("not null")
}

fn add_finalizer<VM: TestVM>(m: ThreadHandle<VM>, at: Ref, order: FinalizerOrder) {
    m.mutator().references().add_finalizer(object(at), order).unwrap();
}

/// The objects whose finalizers are due, without a collection.
fn due<VM: TestVM>(m: ThreadHandle<VM>) -> Vec<Ref> {
    std::iter::from_fn(|| m.mutator().references().next_finalizable()).map(|o| Ref(o.address().as_usize())).collect()
}

/// A list of nodes, the head in the last root; its numbers rise from the head on.
fn list<VM: TestVM>(m: ThreadHandle<VM>, length: usize) {
    let list = m.push(Ref::NULL);
    for number in (0..length).rev() {
        let node = m.alloc(1, 16);
        m.write_word(node, 1, number as u64);
        let rest = m.get(list);
        m.write_ref(node, 0, rest);
        m.set(list, node);
    }
}

/// The numbers of a list from here on.
fn numbers<VM: TestVM>(m: ThreadHandle<VM>, mut node: Ref) -> Vec<u64> {
    let mut numbers = Vec::new();
    while node != Ref::NULL {
        numbers.push(m.read_word(node, 1));
        node = m.read_ref(node, 0);
    }
    numbers
}

/// Scanned before they were claimed, objects were read when others had been moved: a forwarding word was
/// taken for a header.
fn a_long_list_is_intact_for_its_head<VM: TestVM>(workers: &str) {
    const LENGTH: usize = 20_000;
    for plan in dense_plans() {
        let heap = heap::<VM>(plan, 32 << 20, &[("gc.workers", workers)]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        list(m, LENGTH);
        let mut node = m.peek(0);
        while node != Ref::NULL {
            add_finalizer(m, node, FinalizerOrder::ReferrersFirst);
            node = m.read_ref(node, 0);
        }
        m.pop(1);
        for first in 0..3 {
            m.mutator().collect();
            let due = due(m);
            assert_eq!(due.len(), 1, "{plan}");
            assert!(numbers(m, due[0]).into_iter().eq(first..LENGTH as u64), "{plan}, {workers} workers");
        }
    }
}

#[test]
fn a_long_list_of_ordered_finalizers_is_intact_while_objects_move() {
    let _watchdog = Watchdog::new();
    for workers in ["1", "2"] {
        a_long_list_is_intact_for_its_head::<ReferenceVM>(workers);
        a_long_list_is_intact_for_its_head::<SideVM<3>>(workers);
    }
}

fn on_every_plan(f: impl Fn(&str, ThreadHandle<ReferenceVM>)) {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<ReferenceVM>(plan, 32 << 20, &[("gc.workers", "2"), ("verify.poison", "true")]);
        let thread = Thread::attach(&heap);
        f(plan, thread.handle());
    }
}

/// References of a node in a graph.
const REFS: usize = 3;

/// New nodes, numbered, with these edges; in an array at the last root.
fn graph<VM: TestVM>(m: ThreadHandle<VM>, edges: &[Vec<usize>]) {
    let array = m.alloc(edges.len(), 0);
    let array = m.push(array);
    for number in 0..edges.len() {
        let node = m.alloc(REFS, 8);
        m.write_word(node, REFS, number as u64);
        m.write_ref(m.get(array), number, node);
    }
    for (number, ends) in edges.iter().enumerate() {
        for (slot, end) in ends.iter().enumerate() {
            let nodes = m.get(array);
            m.write_ref(m.read_ref(nodes, number), slot, m.read_ref(nodes, *end));
        }
    }
}

/// Makes a graph with these finalizers, all of it unreachable.
fn unreachable_graph<VM: TestVM>(m: ThreadHandle<VM>, edges: &[Vec<usize>], finalizers: &[(usize, FinalizerOrder)]) {
    graph(m, edges);
    for (node, order) in finalizers {
        add_finalizer(m, m.read_ref(m.peek(0), *node), *order);
    }
    m.pop(1);
}

/// Collects; the numbers of the nodes whose finalizers are due.
fn collected<VM: TestVM>(m: ThreadHandle<VM>) -> Vec<usize> {
    m.mutator().collect();
    due(m).into_iter().map(|node| m.read_word(node, REFS) as usize).collect()
}

use FinalizerOrder::{Any, ReferrersFirst, Topological};

#[test]
fn one_collection_queues_a_whole_chain_referrers_first() {
    on_every_plan(|plan, m| {
        // Every third node has no finalizer; the others are registered in another order than that of the
        // chain.
        const LENGTH: usize = 300;
        let edges: Vec<Vec<usize>> = (0..LENGTH).map(|n| if n + 1 < LENGTH { vec![n + 1] } else { vec![] }).collect();
        let with: Vec<usize> = (0..LENGTH).filter(|n| n % 3 != 1).collect();
        let finalizers: Vec<_> = (0..with.len()).map(|n| (with[n * 77 % with.len()], Topological)).collect();
        unreachable_graph(m, &edges, &finalizers);
        assert_eq!(collected(m), with, "{plan}");
        assert!(collected(m).is_empty(), "{plan}");
    });
}

#[test]
fn the_ends_of_a_diamond_come_first_and_last() {
    on_every_plan(|plan, m| {
        let edges = [vec![2], vec![3, 0], vec![], vec![2]];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            unreachable_graph(m, &edges, &order.map(|node| (node, Topological)));
            let came = collected(m);
            assert!(came[0] == 1 && came[3] == 2 && came.len() == 4, "{plan}: {came:?}");
        }
    });
}

#[test]
fn cycles_wait_until_nothing_else_is_due() {
    on_every_plan(|plan, m| {
        // 0 <-> 1 -> 2; 3 -> 4; 5 refers to itself, and through a node without finalizer.
        let edges = [vec![1], vec![0, 2], vec![], vec![4], vec![], vec![5, 6], vec![5]];
        for ordered in [ReferrersFirst, Topological] {
            let finalizers = [(2, ordered), (0, ordered), (5, ordered), (1, ordered), (4, ordered), (3, ordered)];
            unreachable_graph(m, &edges, &finalizers);
            let mut came = collected(m);
            if ordered == ReferrersFirst {
                assert_eq!(came, [5, 3], "{plan}");
                assert_eq!(collected(m), [4], "{plan}");
            } else {
                assert!(came.iter().position(|n| *n == 3) < came.iter().position(|n| *n == 4), "{plan}: {came:?}");
                came.sort_unstable();
                assert_eq!(came, [3, 4, 5], "{plan}");
            }
            assert_eq!(collected(m), [0, 1, 2], "{plan}: what a cycle leads to comes after it");
            assert!(collected(m).is_empty(), "{plan}");
        }
    });
}

#[test]
fn what_was_queued_behind_a_referrer_comes_even_if_that_is_kept() {
    on_every_plan(|plan, m| {
        for (order, behind) in [(ReferrersFirst, vec![]), (Topological, vec![1])] {
            unreachable_graph(m, &[vec![1], vec![]], &[(0, order), (1, order)]);
            m.mutator().collect();
            let first = due(m);
            assert_eq!(m.read_word(first[0], REFS), 0, "{plan}");
            let rest: Vec<usize> = first[1..].iter().map(|node| m.read_word(*node, REFS) as usize).collect();
            assert_eq!(rest, behind, "{plan}");
            m.push(first[0]);
            assert!(collected(m).is_empty(), "{plan}: the referrer lives");
            assert_eq!(m.read_word(m.read_ref(m.peek(0), 0), REFS), 1, "{plan}");
            m.pop(1);
            assert_eq!(collected(m).is_empty(), order == Topological, "{plan}");
        }
    });
}

/// A table keyed by objects whose values lead back to their keys would hold them up.
#[test]
fn an_ephemeron_does_not_refer_to_its_value_and_keeps_it() {
    on_every_plan(|plan, m| {
        for order in [ReferrersFirst, Topological] {
            // 0 is the key of 1, which leads to 0 and 2; 3 -> 4 makes sure that there is an order to be
            // found.
            graph(m, &[vec![], vec![0, 2], vec![], vec![4], vec![]]);
            let node = |n: usize| m.read_ref(m.peek(0), n);
            let (key, value) = (object(node(0)), object(node(1)));
            let terms = mmtk_core::weak::Terms::default();
            let ephemeron = m.mutator().references().create_ephemeron(key, Some(value), terms).unwrap();
            [0, 2, 3, 4].into_iter().for_each(|n| add_finalizer(m, node(n), order));
            m.pop(1);
            m.mutator().collect();
            let value = m.mutator().references().value(ephemeron).expect("its key waits for its finalizer");
            let value = Ref(value.address().as_usize());
            assert_eq!([1, 0].map(|i| m.read_word(m.read_ref(value, i), REFS)), [2, 0], "{plan}");
            let mut came: Vec<u64> = due(m).into_iter().map(|node| m.read_word(node, REFS)).collect();
            came.sort_unstable();
            let expected: &[u64] = if order == Topological { &[0, 2, 3, 4] } else { &[0, 2, 3] };
            assert_eq!(came, expected, "{plan}");
            m.mutator().collect();
            assert_eq!(due(m).len(), usize::from(order == ReferrersFirst), "{plan}");
            m.mutator().collect();
            assert!(m.mutator().references().is_cleared(ephemeron), "{plan}");
            m.mutator().references().free(ephemeron);
        }
    });
}

/// The value is followed when the order is known: what it leads to is a link in a chain.
#[test]
fn a_chain_through_the_value_of_an_ephemeron_keeps_its_order() {
    on_every_plan(|plan, m| {
        // 0 -> 1 -> 2, of which 1 has no finalizer, and is the value of an ephemeron whose key is 3.
        graph(m, &[vec![1], vec![2], vec![], vec![]]);
        let node = |n: usize| m.read_ref(m.peek(0), n);
        let terms = mmtk_core::weak::Terms::default();
        let made = m.mutator().references().create_ephemeron(object(node(3)), Some(object(node(1))), terms).unwrap();
        [3, 2, 0].into_iter().for_each(|n| add_finalizer(m, node(n), Topological));
        m.pop(1);
        let came = collected(m);
        assert_eq!(came.len(), 3, "{plan}");
        assert!(came.iter().position(|n| *n == 0) < came.iter().position(|n| *n == 2), "{plan}: {came:?}");
        m.mutator().references().free(made);
    });
}

#[test]
fn cycles_wait_for_finalizers_without_order_too() {
    on_every_plan(|plan, m| {
        for ordered in [ReferrersFirst, Topological] {
            let finalizers = [(0, ordered), (1, ordered), (2, Any)];
            unreachable_graph(m, &[vec![1], vec![0], vec![]], &finalizers);
            assert_eq!(collected(m), [2], "{plan}");
            let mut came = collected(m);
            came.sort_unstable();
            assert_eq!(came, [0, 1], "{plan}");
        }
    });
}

/// What the next collection of an unreachable graph is to queue, by definition; these finalizers are left.
fn expected(reaches: &[Vec<bool>], left: &[(usize, FinalizerOrder)]) -> Vec<bool> {
    let any = |(_, order): &(usize, FinalizerOrder)| *order == Any;
    let from_any = |node: usize| left.iter().any(|f| any(f) && (f.0 == node || reaches[f.0][node]));
    let waits: Vec<usize> = (0..left.len()).filter(|f| !any(&left[*f]) && !from_any(left[*f].0)).collect();
    let refers = |a: usize, b: usize| left[a].0 != left[b].0 && reaches[left[a].0][left[b].0];
    let mut due: Vec<bool> = left.iter().map(any).collect();
    let without_order = due.contains(&true);
    loop {
        let before = due.clone();
        for this in &waits {
            let holds_up =
                |other: &&usize| refers(**other, *this) && (left[*this].1 == ReferrersFirst || !due[**other]);
            due[*this] = !waits.iter().any(|other| holds_up(&other));
        }
        if due == before {
            break;
        }
    }
    if !without_order && !due.contains(&true) {
        waits.iter().for_each(|this| due[*this] = true);
    }
    due
}

/// Chains, diamonds, cycles and what leads from one to another, with finalizers of all orders.
#[test]
fn the_finalizers_of_any_graph_come_in_the_order_that_the_definition_gives() {
    const NODES: usize = 20;
    on_every_plan(|plan, m| {
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..25 {
            // Few edges make chains and trees, more make cycles.
            let mut edges = vec![Vec::new(); NODES];
            for _ in 0..12 + round {
                let (from, to) = (random(NODES), random(NODES));
                if edges[from].len() < REFS {
                    edges[from].push(to);
                }
            }
            let mut left: Vec<(usize, FinalizerOrder)> = (0..14)
                .map(|_| {
                    let order = [Topological, ReferrersFirst, Topological, ReferrersFirst, Topological, Any][random(6)];
                    (random(NODES), order)
                })
                .collect();
            let mut reaches = vec![vec![false; NODES]; NODES];
            edges.iter().enumerate().for_each(|(n, ends)| ends.iter().for_each(|end| reaches[n][*end] = true));
            for (k, i) in (0..NODES * NODES).map(|n| (n / NODES, n % NODES)) {
                (0..NODES).for_each(|j| reaches[i][j] |= reaches[i][k] && reaches[k][j]);
            }
            unreachable_graph(m, &edges, &left);
            while !left.is_empty() {
                let expected = expected(&reaches, &left);
                let came = collected(m);
                let mut due: Vec<usize> = (0..left.len()).filter(|f| expected[*f]).map(|f| left[f].0).collect();
                // Those without order come first.
                let any = left.iter().filter(|(_, order)| *order == Any).count();
                for (turn, before) in came.iter().enumerate().skip(any) {
                    for after in &came[turn + 1..] {
                        let is_wrong = reaches[*after][*before] && !reaches[*before][*after];
                        assert!(!is_wrong, "{plan}, round {round}: {after} refers to {before}, which came before");
                    }
                }
                let mut came = came;
                came.sort_unstable();
                due.sort_unstable();
                assert_eq!(came, due, "{plan}, round {round}: {left:?} {edges:?}");
                left = left.iter().zip(&expected).filter(|(_, due)| !**due).map(|(f, _)| *f).collect();
            }
            assert!(collected(m).is_empty(), "{plan}, round {round}");
        }
    });
}

/// The reference VM, whose scans of objects are counted.
struct Counting(ReferenceVM);

static SCANS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: as for the reference binding, to which all is delegated.
unsafe impl VMBinding for Counting {
    delegate_to!(0);

    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        SCANS.fetch_add(1, Relaxed);
        self.0.scan_object(object, visitor);
    }
}

impl TestVM for Counting {
    fn new() -> Self {
        Counting(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// A collection of one object a link took as many collections as there are links, and as many scans as their
/// square.
#[test]
fn a_chain_of_finalizers_is_scanned_a_few_times_however_long_it_is() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for links in [500, 4000] {
            let heap = heap::<Counting>(plan, 32 << 20, &[("gc.workers", "1"), ("verify.trace", "false")]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            // A chain with a cycle at its end.
            let edges: Vec<Vec<usize>> =
                (0..links).map(|n| vec![if n + 1 < links { n + 1 } else { links - 2 }]).collect();
            let finalizers: Vec<_> = (0..links).rev().map(|n| (n, Topological)).collect();
            unreachable_graph(m, &edges, &finalizers);
            SCANS.store(0, Relaxed);
            assert!(collected(m).into_iter().eq(0..links - 2), "{plan}");
            let scans = SCANS.load(Relaxed);
            // Traced, put in order; in another round of the same collection, or to be compacted.
            assert!(scans <= 4 * links + 16, "{plan}: {scans} scans of {links} objects");
            assert_eq!(collected(m).len(), 2, "{plan}");
        }
    }
}
