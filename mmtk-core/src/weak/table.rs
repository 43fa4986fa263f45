//! The table under every native reference: entries that never move, found by their number.
//!
//! ```text
//!            create                    the target dies               next_queued, free
//!   free ------------> holds a target -----------------> cleared ------------------------> free
//!                           |                               | who made it wants to know       ^
//!                           | free, or the owner dies       v                                 |
//!                           +------------------------>   queued  -----------------------------+
//! ```
//! Memory comes in segments of geometric sizes, four to a doubling, so an entry's number leads to it without a lock. Segments stay until
//! the heap goes.
//!
//! I1. An entry's words are written by mutators with the table's lock held, and in a pause by the one worker that was given the entry.
//! I2. Mutators read without the lock: what they read changes in pauses, or by their own VM's doing.
//! I3. In a generational plan an entry made or written since the last collection is in the list of young entries, once (`YOUNG`).
//! Callers: mutators, and the workers of a pause.

use crate::address::{Address, ObjectReference};
use crate::events::CollectionKind;
use crate::heap::{Charge, Memory};
use crate::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Who made the entry wants to know when its target dies. Of a finalizer: it is queued, and was not withdrawn since.
pub(super) const NOTIFY: usize = 1;
const YOUNG: usize = 2;
const QUEUED: usize = 4;
const FLAGS: usize = NOTIFY | YOUNG | QUEUED;
/// In the word of the target: the entry is free, and the rest of the word is the number of the next free one.
const FREE: usize = 1;
const NONE: u32 = u32::MAX;

/// Entries of the first doubling.
const FIRST: u32 = 256;
/// Segments a doubling.
const PIECES: u32 = 4;
const SEGMENTS: usize = ((32 - FIRST.trailing_zeros()) * PIECES) as usize;

/// One native reference. All words are relaxed atomics (I1, I2).
#[derive(Default)]
pub(super) struct Entry {
    /// The object; 0 once it is cleared.
    target: AtomicUsize,
    /// The object whose death frees the entry, or 0; and flags.
    owner: AtomicUsize,
    /// The value of an ephemeron, the bits of a table keyed by objects, the order of a finalizer. While the entry is queued, the number of
    /// the next one.
    extra: AtomicUsize,
    /// Of a soft reference: the number of full collections when it was last used.
    used: AtomicU32,
    /// An element of the table's list of young entries, which has nothing to do with this one.
    young: AtomicU32,
}

fn object(word: usize) -> Option<ObjectReference> {
    ObjectReference::from_address(Address::from_usize(word))
}

fn word(object: Option<ObjectReference>) -> usize {
    object.map_or(0, |object| object.address().as_usize())
}

impl Entry {
    /// What it refers to; none if it is cleared or free.
    #[inline(always)]
    pub fn target(&self) -> Option<ObjectReference> {
        let target = self.target.load(Relaxed);
        if target & FREE != 0 { None } else { object(target) }
    }
    pub fn set_target(&self, target: Option<ObjectReference>) {
        self.target.store(word(target), Relaxed);
    }
    pub fn is_free(&self) -> bool {
        self.target.load(Relaxed) & FREE != 0
    }
    pub fn owner(&self) -> Option<ObjectReference> {
        object(self.owner.load(Relaxed) & !FLAGS)
    }
    pub fn set_owner(&self, owner: Option<ObjectReference>) {
        self.owner.store(word(owner) | self.owner.load(Relaxed) & FLAGS, Relaxed);
    }
    pub fn value(&self) -> Option<ObjectReference> {
        object(self.extra.load(Relaxed))
    }
    pub fn set_value(&self, value: Option<ObjectReference>) {
        self.extra.store(word(value), Relaxed);
    }
    /// The value as bits of the VM's.
    pub fn bits(&self) -> u64 {
        self.extra.load(Relaxed) as u64
    }
    pub fn set_bits(&self, bits: u64) {
        self.extra.store(bits as usize, Relaxed);
    }
    pub fn used(&self) -> &AtomicU32 {
        &self.used
    }
    pub fn has(&self, flag: usize) -> bool {
        self.owner.load(Relaxed) & flag != 0
    }
    /// Its target and its owner have moved.
    pub fn forward(&self, forward: impl Fn(ObjectReference) -> ObjectReference) {
        if !self.is_free() {
            self.set_target(self.target().map(&forward));
            self.set_owner(self.owner().map(&forward));
        }
    }
    pub fn is_queued(&self) -> bool {
        self.has(QUEUED)
    }
    fn set(&self, flag: usize, on: bool) {
        let owner = self.owner.load(Relaxed);
        self.owner.store(if on { owner | flag } else { owner & !flag }, Relaxed);
    }
}

struct State {
    /// Entries that were handed out at some time: those below this number.
    len: u32,
    /// Entries there is memory for.
    capacity: u32,
    free: u32,
    /// Entries that are not free.
    in_use: usize,
    young: u32,
    /// First and last of the queue.
    queue: (u32, u32),
    queued: usize,
}

/// The entries of one kind of reference.
pub(super) struct Table {
    segments: Box<[OnceLock<Box<[Entry]>>]>,
    state: Mutex<State>,
    /// Whether young entries are listed.
    generational: bool,
}

/// The entries that a collection looks at.
pub(super) struct Scan<'a> {
    table: &'a Table,
    pub entries: usize,
    young: bool,
}

impl<'a> Scan<'a> {
    /// The entry with this position, unless it is free, and its number.
    #[inline(always)]
    pub fn at(&self, position: usize) -> Option<(u32, &'a Entry)> {
        let mut number = position as u32;
        if self.young {
            number = self.table.entry(number).young.load(Relaxed);
        }
        let entry = self.table.entry(number);
        entry.set(YOUNG, false);
        (!entry.is_free()).then_some((number, entry))
    }
}

/// Where an entry is: segment and position in it.
fn place(number: u32) -> (usize, usize) {
    let n = u64::from(number) + u64::from(FIRST);
    let log = n.ilog2();
    let log_piece = log - PIECES.ilog2();
    let piece = (n >> log_piece) as u32 & (PIECES - 1);
    let segment = (log - FIRST.ilog2()) * PIECES + piece;
    (segment as usize, (n & ((1 << log_piece) - 1)) as usize)
}

/// How many entries a segment has.
fn segment_len(segment: usize) -> u32 {
    (FIRST / PIECES) << (segment as u32 / PIECES)
}

impl Table {
    pub fn new(generational: bool) -> Table {
        let state = State { len: 0, capacity: 0, free: NONE, in_use: 0, young: 0, queue: (NONE, NONE), queued: 0 };
        Table { segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect(), state: Mutex::new(state), generational }
    }

    #[inline(always)]
    fn entry(&self, number: u32) -> &Entry {
        let (segment, position) = place(number);
        &self.segments[segment].get().expect("the number of an entry")[position]
    }

    /// The entry with this number, which was created and not freed.
    ///
    /// # Panics
    /// When it was never created, or freed: the VM uses what it gave up, or what went with its owner.
    #[inline(always)]
    pub fn in_use(&self, number: u32) -> &Entry {
        let (segment, position) = place(number);
        let entry = self.segments.get(segment).and_then(OnceLock::get).map(|entries| &entries[position]);
        entry.filter(|entry| !entry.is_free()).unwrap_or_else(|| {
            panic!("native reference {number} is used, but does not exist: it was freed, or its owner died")
        })
    }

    /// A new entry; none if the budget has no room for more. The bytes that were asked for are then in the error.
    pub fn create(
        &self,
        memory: &Memory,
        target: ObjectReference,
        owner: Option<ObjectReference>,
        flags: usize,
    ) -> Result<u32, usize> {
        let mut state = self.state.lock();
        let number = match state.free {
            NONE => {
                if state.len == state.capacity {
                    self.grow(&mut state, memory)?;
                }
                state.len += 1;
                state.len - 1
            }
            free => {
                state.free = (self.entry(free).target.load(Relaxed) >> 1) as u32;
                free
            }
        };
        state.in_use += 1;
        let entry = self.entry(number);
        entry.owner.store(entry.owner.load(Relaxed) & YOUNG | word(owner) | flags, Relaxed);
        entry.extra.store(0, Relaxed);
        entry.set_target(Some(target));
        self.note_young(&mut state, number);
        Ok(number)
    }

    fn grow(&self, state: &mut State, memory: &Memory) -> Result<(), usize> {
        let (segment, position) = place(state.capacity);
        assert!(position == 0 && segment < SEGMENTS, "there can be no more than 4 billion native references of a kind");
        let entries = segment_len(segment);
        let bytes = entries as usize * size_of::<Entry>();
        if !memory.charge_tables(bytes, Charge::Mutator) {
            return Err(bytes);
        }
        let new = self.segments[segment].set((0..entries).map(|_| Entry::default()).collect());
        assert!(new.is_ok(), "a segment is made once");
        state.capacity += entries;
        Ok(())
    }

    fn note_young(&self, state: &mut State, number: u32) {
        if self.generational && !self.entry(number).has(YOUNG) {
            self.entry(number).set(YOUNG, true);
            self.entry(state.young).young.store(number, Relaxed);
            state.young += 1;
        }
    }

    /// A mutator changes the value of an ephemeron; false if it is cleared.
    pub fn set_value(&self, number: u32, value: Option<ObjectReference>) -> bool {
        let mut state = self.state.lock();
        let entry = self.in_use(number);
        if entry.target().is_none() {
            return false;
        }
        entry.set_value(value);
        self.note_young(&mut state, number);
        true
    }

    /// A mutator clears an entry: its target no longer matters, and nobody is told.
    pub fn clear(&self, number: u32) {
        let _state = self.state.lock();
        let entry = self.in_use(number);
        if !entry.is_queued() {
            entry.set_target(None);
            entry.set_value(None);
            entry.set(NOTIFY, false);
        }
    }

    /// Frees an entry that a mutator gives up. If it is queued, it goes when its turn comes.
    pub fn free(&self, number: u32) {
        let mut state = self.state.lock();
        let entry = self.in_use(number);
        match entry.is_queued() {
            true => entry.set(NOTIFY, false),
            false => self.free_entry(&mut state, number),
        }
    }

    /// In a pause: frees entries whose owners died.
    pub fn free_all(&self, numbers: impl Iterator<Item = u32>) {
        let mut state = self.state.lock();
        numbers.for_each(|number| self.free_entry(&mut state, number));
    }

    fn free_entry(&self, state: &mut State, number: u32) {
        let entry = self.entry(number);
        entry.owner.store(entry.owner.load(Relaxed) & YOUNG, Relaxed);
        entry.target.store((state.free as usize) << 1 | FREE, Relaxed);
        state.free = number;
        state.in_use -= 1;
    }

    /// In a pause: queues entries for the VM.
    pub fn enqueue(&self, numbers: impl Iterator<Item = u32>) {
        let mut state = self.state.lock();
        for number in numbers {
            let entry = self.entry(number);
            entry.set(QUEUED | NOTIFY, true);
            entry.extra.store(NONE as usize, Relaxed);
            match state.queue {
                (NONE, _) => state.queue.0 = number,
                (_, last) => self.entry(last).extra.store(number as usize, Relaxed),
            }
            state.queue.1 = number;
            state.queued += 1;
        }
    }

    /// The next in the queue, and its target: it leaves the queue, and is freed if `free`.
    pub fn next_queued(&self, free: bool) -> Option<(u32, Option<ObjectReference>)> {
        let mut state = self.state.lock();
        while state.queue.0 != NONE {
            let number = state.queue.0;
            let entry = self.entry(number);
            state.queue.0 = entry.extra.swap(0, Relaxed) as u32;
            state.queued -= 1;
            let (target, wanted) = (entry.target(), entry.has(NOTIFY));
            entry.set(QUEUED | NOTIFY, false);
            if free || !wanted {
                self.free_entry(&mut state, number);
            }
            if wanted {
                return Some((number, target));
            }
        }
        None
    }

    /// How many entries are queued.
    pub fn queued(&self) -> usize {
        self.state.lock().queued
    }

    /// How many entries are not free.
    pub fn in_use_now(&self) -> usize {
        self.state.lock().in_use
    }

    /// The bytes it was charged for.
    pub fn bytes(&self) -> usize {
        self.state.lock().capacity as usize * size_of::<Entry>()
    }

    /// How many entries were ever in use at the same time, about.
    pub fn len(&self) -> usize {
        self.state.lock().len as usize
    }

    /// The entry with this number, which may be free. For the leader of a pause, and its workers.
    pub fn any(&self, number: usize) -> &Entry {
        self.entry(number as u32)
    }

    /// What a collection of this kind looks at: everything, or what is young. For the leader.
    pub fn scan(&self, kind: CollectionKind) -> Scan<'_> {
        let state = self.state.lock();
        let young = kind == CollectionKind::Minor;
        Scan { table: self, entries: if young { state.young } else { state.len } as usize, young }
    }

    /// No entry is young any more. After a scan.
    pub fn forget_young(&self) {
        self.state.lock().young = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn an_object(n: usize) -> ObjectReference {
        object(n * 8).unwrap()
    }

    #[test]
    fn numbers_lead_to_places_without_gaps() {
        let mut next = (0, 0);
        for number in 0..100_000 {
            assert_eq!(place(number), next, "entry {number}");
            next.1 += 1;
            if next.1 == segment_len(next.0) as usize {
                next = (next.0 + 1, 0);
            }
        }
        let (segment, position) = place(u32::MAX);
        assert!(segment < SEGMENTS + PIECES as usize && position < segment_len(segment) as usize);
    }

    #[test]
    fn memory_is_charged_by_segments_and_refused_at_the_limit() {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        let table = Table::new(false);
        let mut created = 0;
        let refused = loop {
            match table.create(&memory, an_object(created + 1), None, 0) {
                Ok(number) => assert_eq!(number as usize, created),
                Err(bytes) => break bytes,
            }
            created += 1;
        };
        let reserved = memory.budget().reserved();
        assert_eq!(reserved, created * size_of::<Entry>(), "every entry there is memory for was used");
        assert!(reserved + refused > 1 << 20 && created > 20_000, "{created} entries, then {refused} bytes refused");
        table.free(17);
        assert_eq!(table.create(&memory, an_object(1), None, 0), Ok(17), "a freed entry is used again");
    }

    #[test]
    fn an_entry_is_young_once_however_often_it_is_written_or_made() {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        let table = Table::new(true);
        let number = table.create(&memory, an_object(1), None, 0).unwrap();
        table.free(number);
        assert_eq!(table.create(&memory, an_object(2), None, 0), Ok(number));
        assert!(table.set_value(number, Some(an_object(3))));
        assert_eq!(table.scan(CollectionKind::Minor).entries, 1);
        assert!(table.scan(CollectionKind::Minor).at(0).is_some());
        table.forget_young();
        assert!(table.set_value(number, None));
        assert_eq!(table.scan(CollectionKind::Minor).entries, 1, "written again, so young again");
    }

    #[test]
    fn the_queue_is_first_in_first_out_and_skips_what_was_given_up() {
        let memory = Memory::new(&Options { heap_limit: 1 << 20, ..Options::default() }).unwrap();
        let table = Table::new(false);
        let numbers: Vec<u32> = (1..5).map(|n| table.create(&memory, an_object(n), None, NOTIFY).unwrap()).collect();
        table.enqueue(numbers.iter().copied());
        table.free(numbers[1]);
        assert_eq!(table.queued(), 4);
        let order: Vec<u32> = std::iter::from_fn(|| table.next_queued(true)).map(|(number, _)| number).collect();
        assert_eq!(order, [numbers[0], numbers[2], numbers[3]]);
        assert_eq!(table.queued(), 0);
        assert!(numbers.iter().all(|n| table.any(*n as usize).is_free()));
    }
}
