//! A VM is a value: what it knows of its objects may be in its fields, and two heaps of one process differ.

use mmtk_core::{Address, Heap, Mutator, ObjectReference, OldToNew, SlotVisitor, VMBinding, WordSlot};
use plan_tests::{Watchdog, options};
use policies::{PLANS, new_heap};

/// How the objects of a type are laid out, in words. Word 0 is for the collector, word 1 has the number of
/// the type, word 2 a value.
#[derive(Copy, Clone)]
struct Layout {
    words: usize,
    slot: usize,
}

/// A VM whose objects say the number of their type, and no more.
struct Described(Vec<Layout>);

fn word(object: ObjectReference, index: usize) -> *mut usize {
    object.address().plus(8 * index).as_usize() as *mut usize
}

impl Described {
    fn layout(&self, object: ObjectReference) -> Layout {
        // SAFETY: written by `cons` before anything can stop it.
        self.0[unsafe { *word(object, 1) }]
    }
}

// SAFETY: sizes and slots are those of the table, by which `cons` makes objects; a thread's root is a word.
unsafe impl VMBinding for Described {
    type Slot = WordSlot;
    type Local = Box<usize>;

    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.layout(object).words * 8
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        let slot = self.layout(object).slot;
        // SAFETY: a word of the object that holds zero or a reference.
        visitor.visit(unsafe { WordSlot::at(object.address().plus(8 * slot)) });
    }
    fn scan_thread(&self, root: &mut Box<usize>, visitor: &mut impl SlotVisitor<WordSlot>) {
        // SAFETY: it holds zero or a reference, and lives as long as the thread's part.
        visitor.visit(unsafe { WordSlot::at(Address::from_ptr(&raw const **root)) });
    }
}

/// The root of the thread.
fn root(mutator: &Mutator<Described>) -> *mut usize {
    // SAFETY: the mutator is attached, and its thread runs.
    unsafe { &raw mut **mutator.local() }
}

/// A new head of the list in the thread's root; dropped again if it is `garbage`.
fn cons(mutator: &Mutator<Described>, of_type: usize, value: usize, garbage: bool) {
    let layout = mutator.vm().0[of_type];
    // SAFETY: its header is written below, before the next safepoint.
    let object = unsafe { mutator.alloc(layout.words * 8).assume_object() };
    let root = root(mutator);
    // SAFETY: words of the new object, and the root.
    unsafe {
        *word(object, 1) = of_type;
        *word(object, 2) = value;
        *word(object, layout.slot) = *root;
        if !garbage {
            *root = object.address().as_usize();
        }
    }
}

/// The values of the list, from its head.
fn values(mutator: &Mutator<Described>) -> Vec<usize> {
    let mut values = Vec::new();
    // SAFETY: read by its own thread.
    let mut next = unsafe { *root(mutator) };
    // SAFETY: a word that holds an object's address or zero.
    while let Some(object) = unsafe { ObjectReference::from_address(Address::from_usize(next)) } {
        // SAFETY: words of a live object, and no safepoint between.
        unsafe {
            values.push(*word(object, 2));
            next = *word(object, mutator.vm().layout(object).slot);
        }
    }
    values
}

#[test]
fn two_vms_of_one_type_lay_out_their_objects_differently() {
    let _watchdog = Watchdog::new();
    let tables = [
        vec![Layout { words: 4, slot: 3 }, Layout { words: 9, slot: 8 }],
        vec![Layout { words: 6, slot: 5 }, Layout { words: 5, slot: 4 }],
    ];
    for plan in PLANS.iter().filter(|plan| plan.name != "NoGC") {
        let heaps = tables.clone().map(|table| -> Heap<Described> {
            let settings = [("verify.trace", "true"), ("stress.every_bytes", "20000")];
            new_heap(Described(table), options(plan.name, 4 << 20, &settings)).unwrap()
        });
        let mutators = [0, 1].map(|n| heaps[n].attach(Box::new(0)));
        for value in 0..2000 {
            for mutator in &mutators {
                cons(mutator, value % 2, value, value % 4 != 0);
            }
        }
        let expected: Vec<usize> = (0..2000).step_by(4).rev().collect();
        for mutator in &mutators {
            assert_eq!(values(mutator), expected, "{}", plan.name);
        }
    }
}
