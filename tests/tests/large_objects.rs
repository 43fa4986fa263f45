//! Large objects: their memory is used again.

use mmtk_core::Semantics;
use plan_tests::{Watchdog, assert_within_limit, collecting_plans, verified_heap};
use reference::{Class, Ref, Thread, object};

#[test]
fn what_the_memory_of_a_large_object_held_before_is_never_seen() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        // With and without memory that went back to the system in between.
        for give_back in ["auto", "always"] {
            let heap = verified_heap(plan, 8 << 20, &[("heap.return_memory", give_back)]);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let slots = 5;
            for _ in 0..slots {
                m.push(Ref(0));
            }
            let mut random = 1usize;
            for n in 0..150 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bytes = (40_000 + (random >> 33) % 900_000) & !7;
                let new = m.try_alloc(Class { refs: 0, bytes }, Semantics::Default).unwrap();
                let words = object::header(Ref::object(new).unwrap()).words() - 1;
                for word in 0..words {
                    assert_eq!(m.read_word(new, word), 0, "{plan}, object {n}, word {word} of {words}");
                    m.write_word(new, word, u64::MAX);
                }
                m.set((random >> 13) % slots, new);
            }
            let collections = heap.statistics().collections;
            assert!(collections > 3, "{plan}: only {collections} collections");
            assert_within_limit(&heap);
            m.pop(slots);
        }
    }
}
