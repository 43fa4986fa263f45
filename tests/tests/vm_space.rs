//! Objects outside the heap refer into it: what they refer to lives, and their slots follow it.

use mmtk_core::{Address, Heap, ObjectReference};
use plan_tests::{SideVM, TestVM, Watchdog, collecting_plans, options, panic_of};
use policies::new_heap;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle, object};

const SETTINGS: [(&str, &str); 5] = [
    ("verify.trace", "true"),
    ("verify.poison", "true"),
    ("gc.workers", "2"),
    ("gc.wake_helpers", "always"),
    ("stress.every_bytes", "64K"),
];

fn heap<VM: TestVM>(plan: &str) -> Heap<VM> {
    new_heap(VM::new(), options(plan, 16 << 20, &SETTINGS)).unwrap()
}

/// Objects in memory of our own: each has two slots.
struct Image(Vec<u64>);

const WORDS: usize = 4;

impl Image {
    fn new(objects: usize) -> Image {
        let mut words = vec![0u64; objects * WORDS];
        for object in words.chunks_mut(WORDS) {
            // SAFETY: so many words, of this vector, which never grows.
            unsafe { object::write_header(Address::from_ptr(object.as_mut_ptr()), 2, WORDS) };
        }
        Image(words)
    }
    fn len(&self) -> usize {
        self.0.len() / WORDS
    }
    fn object(&self, n: usize) -> ObjectReference {
        // SAFETY: `new` has made an object there.
        unsafe { ObjectReference::from_address(Address::from_ptr(&raw const self.0[n * WORDS])) }.unwrap()
    }
    fn slot(&self, n: usize, slot: usize) -> *mut u64 {
        object::slot(self.object(n), slot).as_mut_ptr()
    }
    fn get(&self, n: usize, slot: usize) -> Ref {
        // SAFETY: a word of the image; the collector changes it in pauses alone, and this thread runs.
        Ref(unsafe { self.slot(n, slot).read_volatile() } as usize)
    }
    fn set(&self, n: usize, slot: usize, value: Ref) {
        // SAFETY: as for `get`.
        unsafe { self.slot(n, slot).write_volatile(value.0 as u64) };
    }
}

fn churn<VM: TestVM>(m: ThreadHandle<VM>) {
    (0..4000).for_each(|_| {
        m.alloc(1, 24);
    });
}

fn what_they_refer_to_lives_and_their_slots_follow_it<VM: TestVM>() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let heap = heap::<VM>(plan);
        let image = Image::new(500);
        // SAFETY: the image is as it should be, and outlives the heap.
        let add = |n| unsafe { heap.add_vm_object(image.object(n)) }.unwrap();
        (0..image.len()).for_each(add);
        add(0);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        // Objects of the heap, known to the image alone; each refers back to the image, which is nothing to
        // the collector.
        for n in 0..image.len() {
            let node = m.alloc(2, 16);
            m.write_word(node, 2, n as u64);
            m.write_ref(node, 0, Ref(image.object(n).address().as_usize()));
            image.set(n, n % 2, node);
        }
        for round in 0..3 {
            churn(m);
            m.mutator().collect();
            for n in 0..image.len() {
                let node = image.get(n, n % 2);
                assert_eq!(m.read_word(node, 2), n as u64, "{plan}, round {round}");
                assert_eq!(m.read_ref(node, 0).0, image.object(n).address().as_usize(), "{plan}");
                // A store without barrier, of a new object.
                let next = m.alloc(2, 16);
                let node = image.get(n, n % 2);
                m.write_word(next, 2, n as u64);
                m.write_ref(next, 0, m.read_ref(node, 0));
                image.set(n, n % 2, next);
            }
        }
        (0..image.len()).for_each(|n| assert!(heap.remove_vm_object(image.object(n))));
        assert!(!heap.remove_vm_object(image.object(7)), "it was removed");
        drop(thread);
        heap.collect();
        assert_eq!(heap.statistics().live_bytes, 0, "{plan}: nothing refers into the heap any more");
    }
}

#[test]
fn what_objects_outside_the_heap_refer_to_lives_and_their_slots_follow_it() {
    what_they_refer_to_lives_and_their_slots_follow_it::<ReferenceVM>();
}

#[test]
fn what_objects_outside_the_heap_refer_to_lives_where_states_are_in_side_tables() {
    what_they_refer_to_lives_and_their_slots_follow_it::<SideVM<3>>();
}

#[test]
fn an_object_of_the_heap_is_refused() {
    let _watchdog = Watchdog::new();
    let heap = heap::<ReferenceVM>("Immix");
    let thread = Thread::attach(&heap);
    let inside = Ref(thread.handle().alloc(0, 8).0).object().unwrap();
    // SAFETY: it is refused.
    let text = panic_of(|| drop(unsafe { heap.add_vm_object(inside) }));
    assert!(text.contains("lies in the heap"), "{text}");
}

#[test]
fn the_list_of_objects_outside_the_heap_counts_against_the_limit() {
    let _watchdog = Watchdog::new();
    let heap = new_heap(ReferenceVM::new(), options("Immix", 1 << 20, &[])).unwrap();
    let image = Image::new(40_000);
    let before = heap.statistics().reserved_bytes;
    // SAFETY: the image is as it should be, and outlives the heap.
    let add = |n: &usize| unsafe { heap.add_vm_object(image.object(*n)) }.is_ok();
    let added = (0..image.len()).take_while(add).count();
    assert!((1000..image.len()).contains(&added), "{added} objects were listed within a megabyte");
    assert!(heap.statistics().reserved_bytes > before + added * 16);
    (0..added).for_each(|n| assert!(heap.remove_vm_object(image.object(n))));
    assert!(heap.statistics().reserved_bytes < before + (64 << 10), "{:?}", heap.statistics());
}
