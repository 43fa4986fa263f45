//! A call that the program owes while it is marked is left out, and the verifier says so in that cycle: for
//! each place in the reference runtime where there is one.

use super::driving::*;
use mmtk_core::{Heap, WordSlot};
use plan_tests::panic_of;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle, object};
use std::sync::atomic::Ordering::Relaxed;

/// What the verifier says of this program. A holder of one object is a root, the first, and of a weak
/// reference, the first; a marking has begun, and has come to neither.
fn said_of(wrong: impl Fn(ThreadHandle<ReferenceVM>, &Heap<ReferenceVM>)) -> String {
    let mut said = Vec::new();
    for plan in concurrent_plans() {
        let heap = heap_with::<ReferenceVM>(plan, &BY_STEPS);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let holder = m.push(m.alloc(2, 8));
        let held = m.alloc(0, 8);
        m.write_ref(m.get(holder), 0, held);
        heap.vm().new_weak(held);
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

fn held(m: ThreadHandle<ReferenceVM>) -> Ref {
    m.read_ref(m.get(0), 0)
}

/// The first slot of the holder.
fn slot(m: ThreadHandle<ReferenceVM>) -> WordSlot {
    // SAFETY: a slot of a live object.
    unsafe { WordSlot::at(object::slot(object_of(m.get(0)), 0)) }
}

/// The holder is named, with its slot.
fn names_the_holder(said: &str, now: &str) {
    let what = "while the heap was marked: object with 2 references and 4 words in all (object ";
    assert!(said.starts_with(what), "{said}");
    assert!(said.contains("was changed, and was not claimed before: the slot at +8 held object "), "{said}");
    assert!(said.contains(&format!(" when the marking began, and holds {now}")), "{said}");
    assert!(said.contains("likely causes: a store without write_barrier before it"), "{said}");
}

#[test]
fn the_barrier_of_a_store() {
    let said = said_of(|m, _| {
        m.push(held(m));
        slot(m).write(None);
    });
    names_the_holder(&said, "nothing");
}

/// It is found though nothing is lost by it.
#[test]
fn the_barrier_of_a_store_that_loses_nothing() {
    let said = said_of(|m, _| {
        let other = object_of(m.alloc(0, 8));
        slot(m).write(Some(other));
    });
    names_the_holder(&said, "object ");
}

#[test]
fn the_barrier_of_a_copy() {
    let said = said_of(|m, _| {
        let from = m.alloc(2, 0);
        m.push(held(m));
        let word = |object: Ref| object::slot(object_of(object), 0).as_usize() as *mut u64;
        // SAFETY: both have two slots.
        unsafe { std::ptr::copy(word(from), word(m.get(0)), 2) };
    });
    names_the_holder(&said, "nothing");
}

/// The barrier is told another slot of a large array, which lies in another part.
#[test]
fn the_barrier_of_the_part_that_a_store_is_to() {
    let said = said_of(|m, _| {
        let array = m.push(m.alloc(3000, 0));
        m.write_ref(m.get(array), 2000, held(m));
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

#[test]
fn the_call_before_a_change_of_layout() {
    let said = said_of(|m, _| {
        m.push(held(m));
        // SAFETY: the header of a live object.
        unsafe { object_of(m.get(0)).address().as_atomic_u64() }.fetch_sub(2, Relaxed);
    });
    assert!(said.contains("it had 2 slots when the marking began, and has 0"), "{said}");
    assert!(said.contains("without before_reshape"), "{said}");
}

#[test]
fn the_call_that_keeps_what_comes_from_a_table_of_the_vm() {
    let said = said_of(|m, heap| {
        m.write_ref(m.get(0), 0, Ref::NULL);
        // From here on the object is known to the weak reference alone.
        begin(m);
        m.push(heap.vm().weak(0));
    });
    assert!(said.starts_with("after the collection: root "), "{said}");
    assert!(said.contains("likely causes: a reference that a mutator took from a table of the VM"), "{said}");
    assert!(said.contains("without Mutator::keep"), "{said}");
}
