//! Graphs that overflow buffers that are too small: one as deep as it has objects, and one array that refers
//! to everything.

use mmtk_core::Heap;
use mmtk_core::events::Event;
use plan_tests::{Extent, TestVM, Watchdog, assert_within_limit, dense_plans, options};
use policies::new_heap;
use reference::{Class, Ref, ReferenceVM, Thread};
use std::sync::{Arc, Mutex};

fn heap(plan: &str, limit: usize, settings: &[(&str, &str)]) -> Heap<ReferenceVM> {
    new_heap(ReferenceVM::new(), options(plan, limit, settings)).unwrap()
}

#[test]
fn a_list_of_millions_of_nodes_overflows_nothing() {
    let nodes = Extent::chosen().pick(2_000_000, 10_000_000);
    let node = Class { refs: 1, bytes: 8 };
    for plan in dense_plans() {
        let _watchdog = Watchdog::new();
        let heap = heap(plan, 1 << 30, &[("gc.workers", "2"), ("gc.wake_helpers", "always")]);
        let thread = Thread::attach(&heap);
        let m = *thread;
        m.push(Ref::NULL);
        for id in 0..nodes {
            let object = m.alloc_class(node);
            m.write_word(object, 1, id as u64);
            m.write_ref(object, 0, m.get(0));
            m.set(0, object);
        }
        m.collect();
        assert_eq!(heap.statistics().live_bytes, nodes * node.words() * 8, "{plan}");
        let mut next = m.get(0);
        for id in (0..nodes).rev() {
            assert_eq!(m.read_word(next, 1), id as u64, "{plan}");
            next = m.read_ref(next, 0);
        }
        assert!(next.is_null());
        m.pop(1);
        assert_within_limit(&heap);
    }
}

#[test]
fn one_huge_array_keeps_several_workers_busy() {
    const LEAVES: usize = 400_000;
    for plan in dense_plans() {
        let _watchdog = Watchdog::new();
        let heap = heap(plan, 256 << 20, &[("gc.workers", "2"), ("gc.wake_helpers", "always")]);
        let last: Arc<Mutex<Vec<u64>>> = Arc::default();
        let pauses = last.clone();
        heap.listen(Box::new(move |event: &Event| {
            if let Event::Pause(report) = event {
                *pauses.lock().unwrap() = report.worker_cpu_ns.clone();
            }
        }));
        let thread = Thread::attach(&heap);
        let m = *thread;
        m.push(m.alloc(LEAVES, 0));
        for index in 0..LEAVES {
            let leaf = m.alloc(0, 16);
            m.write_word(leaf, 0, index as u64);
            m.write_ref(m.peek(0), index, leaf);
        }
        // A helper may find the work done if it gets no processor in time; one of many collections is enough.
        let shared = (0..100).any(|_| {
            m.collect();
            let cpu_ns = last.lock().unwrap().clone();
            assert_eq!(cpu_ns.len(), 2);
            cpu_ns[1] * 5 > cpu_ns.iter().sum::<u64>()
        });
        assert!(shared, "{plan}: the second worker never did a fifth of the work");
        for index in 0..LEAVES {
            assert_eq!(m.read_word(m.read_ref(m.peek(0), index), 0), index as u64);
        }
        m.pop(1);
    }
}
