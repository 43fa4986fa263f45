//! A complete binding in one file: objects, roots, threads, and every collector. The book's tutorial goes
//! through it.
//!
//! `cargo run --release -p heapwright --example minimal -- SemiSpace`

use heapwright::{
    Address, Heap, HeapError, Mapping, Mutator, ObjectReference, OldToNew, Options, Slot, SlotVisitor, StateLocation,
    VMBinding, WordSlot, new_heap,
};

/// The VM. It has no state of its own: roots live in the threads.
struct TinyVM;

// ANCHOR: objects
/// An object: a header word (references in the low 32 bits, all words in the next 24, the top byte is the
/// collector's), then the reference slots, then raw words.
fn header(object: ObjectReference) -> u64 {
    // SAFETY: every object of this VM begins with its header.
    unsafe { object.address().as_atomic_u64() }.load(std::sync::atomic::Ordering::Relaxed)
}
// ANCHOR_END: objects

/// A thread's roots: a fixed number of words that the collector may update.
struct Roots(Mapping);

impl Roots {
    const COUNT: usize = 512;
    fn slot(&self, index: usize) -> WordSlot {
        assert!(index < Self::COUNT);
        // SAFETY: a word of the mapping, zero or an object's address.
        unsafe { WordSlot::at(self.0.start().plus(index * 8)) }
    }
}

// ANCHOR: binding
// SAFETY: `new_object` writes the header before the next safepoint; it holds the true size and number of
// slots, which the allocator zeroed; all roots are in `Roots`.
unsafe impl VMBinding for TinyVM {
    type Slot = WordSlot;
    type Local = Roots;
    const STATE: StateLocation = StateLocation::HeaderTopByte(0);
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        (header(object) >> 32 & 0xff_ffff) as usize * 8
    }

    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        for index in 0..header(object) as u32 as usize {
            // SAFETY: the header says that the object has this slot.
            visitor.visit(unsafe { WordSlot::at(object.address().plus(8 + index * 8)) });
        }
    }

    fn scan_thread(&self, roots: &mut Roots, visitor: &mut impl SlotVisitor<WordSlot>) {
        (0..Roots::COUNT).for_each(|index| visitor.visit(roots.slot(index)));
    }
}
// ANCHOR_END: binding

/// What the VM's interpreter would use.
struct Thread(Mutator<TinyVM>);

impl Thread {
    fn attach(heap: &Heap<TinyVM>) -> Thread {
        Thread(heap.attach(Roots(Mapping::zeroed(Roots::COUNT * 8).expect("memory for roots"))))
    }

    /// A new object with `refs` null slots and `raw` zero words, into root `root`. Any object may move.
    fn new_object(&self, root: usize, refs: u64, raw: u64) {
        let words = 1 + refs + raw;
        let new = self.0.alloc(words as usize * 8);
        // SAFETY: the allocator just returned these words, and with its header they are an object.
        let object = unsafe {
            new.address().store(refs | words << 32);
            new.assume_object()
        };
        self.word(root, None, object.address().as_usize() as u64);
    }

    /// Writes root `root` (`field` none), or a word of the object it refers to.
    fn word(&self, root: usize, field: Option<u64>, value: u64) {
        let place = self.place(root, field);
        if field.is_some()
            && let Some(object) = self.slot(root).load()
        {
            // SAFETY: a word of a live object.
            self.0.write_barrier(object, unsafe { WordSlot::at(place) });
        }
        // SAFETY: the thread runs, so the collector does not; roots hold live objects, `field` is one of the
        // object's words.
        unsafe { place.store(value) };
    }

    fn slot(&self, root: usize) -> WordSlot {
        // SAFETY: the thread runs, so nobody else uses its roots.
        unsafe { &*self.0.local() }.slot(root)
    }

    fn read(&self, root: usize, field: Option<u64>) -> u64 {
        // SAFETY: as for `word`.
        unsafe { self.place(root, field).load() }
    }

    fn place(&self, root: usize, field: Option<u64>) -> Address {
        let slot = self.slot(root).address();
        match field {
            None => slot,
            // SAFETY: as for `word`.
            Some(field) => unsafe { slot.load::<Address>() }.plus(8 + field as usize * 8),
        }
    }
}

/// A list of `length` nodes in root 0, with as much garbage in between.
fn build_list(thread: &Thread, length: u64) {
    for number in 0..length {
        thread.new_object(1, 1, 1);
        thread.word(1, Some(0), thread.read(0, None));
        thread.word(1, Some(1), number);
        thread.word(0, None, thread.read(1, None));
        thread.new_object(1, 0, 8);
    }
}

fn main() -> Result<(), HeapError> {
    let mut options = Options::default();
    options.set("heap.limit", "32M")?;
    options.set("plan", &std::env::args().nth(1).unwrap_or("Immix".to_string()))?;
    let heap = new_heap(TinyVM, options)?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let thread = Thread::attach(&heap);
                for _ in 0..20 {
                    thread.word(0, None, 0);
                    build_list(&thread, 50_000);
                    let mut sum = 0;
                    while thread.read(0, None) != 0 {
                        sum += thread.read(0, Some(1));
                        thread.word(0, None, thread.read(0, Some(0)));
                    }
                    assert_eq!(sum, 50_000 * 49_999 / 2);
                    thread.0.poll();
                }
            });
        }
    });
    println!("{}: {} collections", heap.plan_name(), heap.statistics().collections);
    Ok(())
}
