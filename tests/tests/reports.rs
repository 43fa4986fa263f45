//! What a heap says of itself is true: phases with names of their own, and the words of out of memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use mmtk_core::Semantics;
use mmtk_core::events::{Event, PauseReport};
use mmtk_core::weak::{FinalizerOrder, ReferenceKind, Terms};
use plan_tests::{TestVM, Watchdog, collecting_plans, options, verified_heap};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread};

const NODE: Class = Class { refs: 2, bytes: 8 };

/// The pauses of a program that uses every native service.
fn pauses_with_every_service(plan: &str) -> Vec<PauseReport> {
    let heap = verified_heap(plan, 32 << 20, &[("nursery.bytes", "64K")]);
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let heard = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            heard.lock().unwrap().push((**report).clone());
        }
    }));
    let thread = Thread::attach(&heap);
    for round in 0..4 {
        for _ in 0..100 {
            let root = thread.push(thread.alloc_class(NODE));
            let object = thread.get(root).object().unwrap();
            thread.with_mutator(|mutator| {
                let references = mutator.references();
                for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom] {
                    references.create(kind, object, Terms { notify: true, ..Terms::default() }).unwrap();
                }
                references.create_ephemeron(object, Some(object), Terms::default()).unwrap();
                references.add_finalizer(object, FinalizerOrder::Any).unwrap();
            });
            if round % 2 == 0 {
                thread.pop(1);
            }
        }
        thread.collect();
    }
    drop(thread);
    pauses.lock().unwrap().clone()
}

#[test]
fn each_phase_of_a_pause_has_a_name_of_its_own() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let pauses = pauses_with_every_service(plan);
        assert!(pauses.len() >= 4, "{plan}");
        for pause in pauses {
            let names: Vec<&str> = pause.phases.iter().map(|phase| phase.name).collect();
            let different: HashSet<&str> = names.iter().copied().collect();
            assert_eq!(different.len(), names.len(), "{plan}: {names:?}");
        }
    }
}

/// Chains objects until there is no room, and returns what is said then.
fn out_of_memory(plan: &str, semantics: Semantics) -> String {
    let heap = new_heap(ReferenceVM::new(), options(plan, 2 << 20, &[])).unwrap();
    let thread = Thread::attach(&heap);
    thread.push(Ref::NULL);
    loop {
        match thread.try_alloc(NODE, semantics) {
            Ok(object) => {
                thread.write_ref(object, 0, thread.get(0));
                thread.set(0, object);
            }
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn out_of_memory_says_what_was_tried() {
    let _watchdog = Watchdog::new();
    for plan in PLANS {
        let text = out_of_memory(plan.name, Semantics::Default);
        let tried = if plan.name == "NoGC" { "this plan never collects" } else { "after an emergency collection" };
        let first = text.lines().next().unwrap();
        assert!(first.contains(tried), "{}: {text}", plan.name);
        assert_eq!(first.contains("emergency"), plan.name != "NoGC", "{text}");
        assert!(text.contains("heap.limit"), "{}: {text}", plan.name);
    }
}

#[test]
fn a_request_above_the_limit_says_that_no_collection_can_make_room() {
    for plan in PLANS {
        let heap = new_heap(ReferenceVM::new(), options(plan.name, 2 << 20, &[])).unwrap();
        let thread = Thread::attach(&heap);
        let error = thread.try_alloc(Class { refs: 0, bytes: 3 << 20 }, Semantics::Default).unwrap_err().to_string();
        assert!(error.contains("more than the limit") && !error.contains("emergency"), "{}: {error}", plan.name);
    }
}
