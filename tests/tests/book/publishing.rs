//! The chapter "Publishing objects between threads": stores that other mutators read without a lock.

use mmtk_core::{ObjectReference, WordSlot};
use plan_tests::{Watchdog, collecting_plans, verified_heap};
use reference::{Class, Ref, Thread, ThreadHandle, object};
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

// ANCHOR: publish
/// Stores `value` into slot `index` of `holder`, an object that other threads see. All that this thread has
/// written into `value` before is there for a thread that reads the slot with `read_published`.
fn publish(thread: ThreadHandle, holder: ObjectReference, index: usize, value: ObjectReference) {
    let place = object::slot(holder, index);
    thread.with_mutator(|mutator| {
        // SAFETY: a slot of a live object.
        let (slot, word) = unsafe { (WordSlot::at(place), place.as_atomic_u64()) };
        // No safepoint between the barrier and the store.
        mutator.write_barrier(holder, slot);
        word.store(value.address().as_usize() as u64, Release);
    });
}

/// What `publish` has stored, or null. Stale after the next safepoint, as any reference.
fn read_published(holder: ObjectReference, index: usize) -> Ref {
    // SAFETY: a slot of a live object.
    let word = unsafe { object::slot(holder, index).as_atomic_u64() };
    Ref(word.load(Acquire) as usize)
}
// ANCHOR_END: publish

const WORDS: usize = 8;
const VALUE: Class = Class { refs: 0, bytes: 8 * WORDS };
const BOARD: Class = Class { refs: 4, bytes: 0 };

#[test]
fn what_is_published_is_read_complete_by_another_thread() {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        let heap = verified_heap(plan, 8 << 20, &[("stress.every_bytes", "8K")]);
        heap.vm().set_global(0, Ref::NULL);
        let done = AtomicBool::new(false);
        let holder = || heap.vm().global(0).object().expect("set before the threads began");
        let main = Thread::attach(&heap);
        heap.vm().set_global(0, main.alloc_class(BOARD));
        let writer = || {
            let thread = Thread::attach(&heap);
            for round in 1..=400u64 {
                let value = thread.alloc_class(VALUE);
                (0..WORDS).for_each(|word| thread.write_word(value, word, round));
                publish(*thread, holder(), round as usize % BOARD.refs, value.object().unwrap());
            }
            done.store(true, Relaxed);
        };
        let reader = || {
            let thread = Thread::attach(&heap);
            let mut seen = 0;
            while !done.load(Relaxed) || seen == 0 {
                for index in 0..BOARD.refs {
                    let value = read_published(holder(), index);
                    if !value.is_null() {
                        seen += 1;
                        let first = thread.read_word(value, 0);
                        assert!(first > 0 && (1..WORDS).all(|word| thread.read_word(value, word) == first), "{plan}");
                    }
                }
                thread.poll();
            }
        };
        main.native(|| {
            std::thread::scope(|scope| {
                scope.spawn(writer);
                scope.spawn(reader);
            });
        });
    }
}
