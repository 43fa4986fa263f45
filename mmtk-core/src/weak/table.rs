//! The table under every native reference: entries that never move, found by their number.
//!
//! ```text
//!            create                    the target dies               next_queued, free
//!   free ------------> holds a target -----------------> cleared ------------------------> free
//!                           |                               | who made it wants to know       ^
//!                           | free, or the owner dies       v                                 |
//!                           +------------------------>   queued  -----------------------------+
//! ```
//! Memory comes in chunks (`chunks`), so an entry's number leads to it without a lock. A full collection
//! gives back those in which no entry is in use, and looks at no others; new entries are made in the lowest
//! chunks that have room, so that the upper ones empty. Where the numbers are not known outside (tables keyed
//! by objects), entries of the upper chunks first move to the lower ones.
//!
//! A number is used again, so a VM holds a [`Handle`]: a number, and the serial of the entry that was made
//! there.
//!
//! I1. An entry's words are written by mutators with the table's lock held, and in a pause by the one worker
//!     that was given the entry.
//! I2. Mutators read without the lock: an entry changes only in pauses, or when their own VM changes it.
//! I3. In a generational plan an entry made or written since the last collection is in the list of young
//!     entries, once (`YOUNG`). The list is kept in the entries themselves: its `n`th element in the `n`th
//!     entry of the chunks in the order in which they were made. So there is room for all, and no chunk goes
//!     while one is listed.
//! I4. Chunks go in full collections only, when nothing is young any more.
//! Callers: mutators, and the workers of a pause.

use super::chunks::{CHUNK, Chunk, Chunks};
use crate::address::{Address, ObjectReference};
use crate::events::CollectionKind;
use crate::memory::{Arena, Charge, List, Memory};
use crate::os::{PageVec, Pages};
use allocator_api2::boxed::Box;
use protocols::sync::Mutex;
use std::array;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Who made the entry wants to know when its target dies. Of a finalizer: it is queued, and was not withdrawn
/// since.
pub(crate) const NOTIFY: usize = 1;
const YOUNG: usize = 2;
const QUEUED: usize = 4;
const FLAGS: usize = NOTIFY | YOUNG | QUEUED;
/// In the word of the target: the entry is free, and the rest of the word is the number of the next free one.
const FREE: usize = 1;
const NONE: u32 = u32::MAX;

/// What a chunk is charged for.
const CHUNK_BYTES: usize = size_of::<Chunk<Entry>>();
/// Bits of a serial, so that a handle fits into a word.
pub(crate) const SERIAL_BITS: u32 = 29;

/// How the VM knows an entry.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Handle {
    pub number: u32,
    /// Which of those that were made with this number. They repeat after half a billion entries of the table.
    pub serial: u32,
}

/// One native reference. All words are relaxed atomics (I1, I2).
pub(crate) struct Entry {
    /// The object; 0 once it is cleared.
    target: AtomicUsize,
    /// The object whose death frees the entry, or 0; and flags.
    owner: AtomicUsize,
    /// The value of an ephemeron, the bits of a table keyed by objects, the order of a finalizer. While the
    /// entry is queued, the number of the next one. Of a soft reference the number of full collections when
    /// it was last used.
    extra: AtomicUsize,
    /// Of its handle.
    serial: AtomicU32,
    /// An element of the table's list of young entries, which has nothing to do with this one.
    young: AtomicU32,
}

fn object(word: usize) -> Option<ObjectReference> {
    // SAFETY: zero, or what `self::word` has made of a reference.
    unsafe { ObjectReference::from_address(Address::from_usize(word)) }
}

fn word(object: Option<ObjectReference>) -> usize {
    object.map_or(0, |object| object.address().as_usize())
}

impl Entry {
    /// A free one; the number of the next.
    fn free(next: u32) -> Entry {
        Entry {
            target: AtomicUsize::new((next as usize) << 1 | FREE),
            owner: AtomicUsize::new(0),
            extra: AtomicUsize::new(0),
            serial: AtomicU32::new(0),
            young: AtomicU32::new(0),
        }
    }
    fn next_free(&self) -> u32 {
        (self.target.load(Relaxed) >> 1) as u32
    }
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
    /// The value, as bits of the VM.
    pub fn bits(&self) -> u64 {
        self.extra.load(Relaxed) as u64
    }
    pub fn set_bits(&self, bits: u64) {
        self.extra.store(bits as usize, Relaxed);
    }
    /// The number of full collections when a soft reference was last used.
    pub fn last_used(&self) -> u32 {
        self.extra.load(Relaxed) as u32
    }
    pub fn use_now(&self, fulls: u32) {
        self.extra.store(fulls as usize, Relaxed);
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

/// What is known of a chunk.
#[derive(Copy, Clone)]
struct ChunkState {
    /// The first of its free entries; none if there is no such chunk now.
    free: u32,
    in_use: u32,
    is_there: bool,
    /// Whether it is among those with room.
    listed: bool,
}

struct State {
    /// By number. The last one is there.
    chunks: PageVec<ChunkState>,
    /// Those that are there, in the order in which they were made.
    made: PageVec<u32>,
    /// Those that have a free entry; and numbers below the last one's that have no chunk. The next to be used
    /// is the last.
    with_room: PageVec<u32>,
    absent: PageVec<u32>,
    /// Entries that are not free.
    in_use: usize,
    young: u32,
    /// The serial of the entry made last.
    serial: u32,
    /// First and last of the queue.
    queue: (u32, u32),
    queued: usize,
}

/// The entries of one kind of reference.
pub(crate) struct Table {
    chunks: Chunks<Entry>,
    state: Mutex<State>,
    /// Whether young entries are listed.
    generational: bool,
}

/// The entries that a collection looks at.
pub(crate) struct Scan<'a> {
    table: &'a Table,
    which: Which<'a>,
    pub entries: usize,
}

/// Which entries those are.
enum Which<'a> {
    /// All that are in chunks, which are known by the number of their first entry.
    All(List<'a, (u32, &'a Chunk<Entry>)>),
    /// Those whose numbers are in the list of young entries, which is in these chunks.
    Young(List<'a, (u32, &'a Chunk<Entry>)>),
    /// Those with these numbers, as far as they are there.
    Left(&'a [u32], Range<u32>),
}

impl<'a> Scan<'a> {
    fn entry(&self, position: usize) -> Option<(u32, &'a Entry)> {
        let within = |chunks: &List<'a, (u32, &'a Chunk<Entry>)>| {
            let (first, chunk) = chunks[position / CHUNK as usize];
            let within = position % CHUNK as usize;
            (first + within as u32, &chunk[within])
        };
        match &self.which {
            Which::All(chunks) => Some(within(chunks)),
            Which::Young(chunks) => {
                let number = within(chunks).1.young.load(Relaxed);
                Some((number, self.table.entry(number)))
            }
            Which::Left(numbers, rest) => {
                let of_rest = || rest.start + (position - numbers.len()) as u32;
                let number = numbers.get(position).copied().unwrap_or_else(of_rest);
                Some((number, self.table.chunks.entry(number)?))
            }
        }
    }

    /// The entry with this position, unless it is free, and its number. It is young no more.
    #[inline(always)]
    pub fn at(&self, position: usize) -> Option<(u32, &'a Entry)> {
        let (number, entry) = self.entry(position)?;
        entry.set(YOUNG, false);
        (!entry.is_free()).then_some((number, entry))
    }

    /// The same, and nothing changes. Of all entries.
    pub fn look(&self, position: usize) -> Option<&'a Entry> {
        let (_, entry) = self.entry(position)?;
        (!entry.is_free()).then_some(entry)
    }

    /// The number and the target of the entry with this position, if it has one. Of all entries.
    pub fn target(&self, position: usize) -> Option<(usize, ObjectReference)> {
        let (number, entry) = self.entry(position)?;
        Some((number as usize, entry.target()?))
    }

    /// Those that are not free.
    pub fn iter(&self) -> impl Iterator<Item = &'a Entry> {
        (0..self.entries).filter_map(|position| self.look(position))
    }
}

impl Table {
    pub fn new(generational: bool) -> Table {
        let state = State {
            chunks: PageVec::new(),
            made: PageVec::new(),
            with_room: PageVec::new(),
            absent: PageVec::new(),
            in_use: 0,
            young: 0,
            serial: 0,
            queue: (NONE, NONE),
            queued: 0,
        };
        Table { chunks: Chunks::new(), state: Mutex::new(state), generational }
    }

    #[inline(always)]
    fn entry(&self, number: u32) -> &Entry {
        self.chunks.entry(number).expect("the number of an entry")
    }

    /// The entry with this handle, which was created and not freed.
    ///
    /// # Panics
    /// When it was never created, or freed: the VM uses what it gave up, or what went with its owner.
    #[inline(always)]
    pub fn in_use(&self, handle: Handle) -> &Entry {
        let entry = self.chunks.entry(handle.number);
        let is_it = |entry: &&Entry| !entry.is_free() && entry.serial.load(Relaxed) == handle.serial;
        entry.filter(is_it).unwrap_or_else(|| {
            let number = handle.number;
            panic!("native reference {number} is used, but does not exist: it was freed, or its owner died")
        })
    }

    /// The handle of an entry that is not free.
    pub fn handle(&self, number: u32) -> Handle {
        Handle { number, serial: self.entry(number).serial.load(Relaxed) }
    }

    /// A new entry; none if the budget has no room for more. The bytes that were asked for are then in the
    /// error.
    pub fn create(
        &self,
        memory: &Memory,
        target: ObjectReference,
        owner: Option<ObjectReference>,
        flags: usize,
    ) -> Result<Handle, usize> {
        let mut state = self.state.lock();
        let chunk = match state.with_room.last() {
            Some(chunk) => *chunk,
            None => self.make_chunk(&mut state, memory)?,
        };
        let here = &mut state.chunks[chunk as usize];
        let number = here.free;
        let entry = self.entry(number);
        here.free = entry.next_free();
        here.in_use += 1;
        if here.free == NONE {
            here.listed = false;
            state.with_room.pop();
        }
        state.in_use += 1;
        state.serial = (state.serial + 1) % (1 << SERIAL_BITS);
        let handle = Handle { number, serial: state.serial };
        entry.owner.store(entry.owner.load(Relaxed) & YOUNG | word(owner) | flags, Relaxed);
        entry.extra.store(0, Relaxed);
        entry.serial.store(handle.serial, Relaxed);
        entry.set_target(Some(target));
        self.note_young(&mut state, number);
        Ok(handle)
    }

    /// The lowest chunk that is not there.
    fn make_chunk(&self, state: &mut State, memory: &Memory) -> Result<u32, usize> {
        if !memory.charge_tables(CHUNK_BYTES, Charge::Mutator) {
            return Err(CHUNK_BYTES);
        }
        let chunk = state.absent.pop().unwrap_or(state.chunks.len() as u32);
        assert!(chunk < NONE / CHUNK, "there can be no more than 4 billion native references of a kind");
        let first = chunk * CHUNK;
        let next = |n: usize| if n + 1 < CHUNK as usize { first + n as u32 + 1 } else { NONE };
        self.chunks.make(chunk, Box::new_in(array::from_fn(|n| Entry::free(next(n))), Pages));
        let here = ChunkState { free: first, in_use: 0, is_there: true, listed: true };
        match state.chunks.get_mut(chunk as usize) {
            Some(known) => *known = here,
            None => state.chunks.push(here),
        }
        state.made.push(chunk);
        state.with_room.push(chunk);
        Ok(chunk)
    }

    fn note_young(&self, state: &mut State, number: u32) {
        if self.generational && !self.entry(number).has(YOUNG) {
            self.entry(number).set(YOUNG, true);
            let chunk = state.made[(state.young / CHUNK) as usize];
            self.entry(chunk * CHUNK + state.young % CHUNK).young.store(number, Relaxed);
            state.young += 1;
        }
    }

    /// A mutator changes the value of an ephemeron; false if it is cleared.
    pub fn set_value(&self, handle: Handle, value: Option<ObjectReference>) -> bool {
        let mut state = self.state.lock();
        let entry = self.in_use(handle);
        if entry.target().is_none() {
            return false;
        }
        entry.set_value(value);
        self.note_young(&mut state, handle.number);
        true
    }

    /// A mutator clears an entry: its target no longer matters, and nobody is told.
    pub fn clear(&self, handle: Handle) {
        let _state = self.state.lock();
        let entry = self.in_use(handle);
        if !entry.is_queued() {
            entry.set_target(None);
            entry.set_value(None);
            entry.set(NOTIFY, false);
        }
    }

    /// Frees an entry that a mutator gives up. If it is queued, it goes when its turn comes.
    pub fn free(&self, handle: Handle) {
        let mut state = self.state.lock();
        let entry = self.in_use(handle);
        match entry.is_queued() {
            true => entry.set(NOTIFY, false),
            false => self.free_entry(&mut state, handle.number),
        }
    }

    /// In a pause: frees entries whose owners died.
    pub fn free_all(&self, numbers: impl Iterator<Item = u32>) {
        let mut state = self.state.lock();
        numbers.for_each(|number| self.free_entry(&mut state, number));
    }

    fn free_entry(&self, state: &mut State, number: u32) {
        let chunk = number / CHUNK;
        let here = &mut state.chunks[chunk as usize];
        let entry = self.entry(number);
        entry.owner.store(entry.owner.load(Relaxed) & YOUNG, Relaxed);
        entry.target.store((here.free as usize) << 1 | FREE, Relaxed);
        here.free = number;
        here.in_use -= 1;
        if !std::mem::replace(&mut here.listed, true) {
            state.with_room.push(chunk);
        }
        state.in_use -= 1;
    }

    /// At the end of a full collection, when nothing is young (I4): chunks in which no entry is in use go.
    /// The leader.
    pub fn give_back_empty(&self, memory: &Memory) {
        let mut state = self.state.lock();
        debug_assert_eq!(state.young, 0);
        self.give_back(&mut state, memory, |_, state| state.in_use == 0);
    }

    /// At the end of a full collection that gives no chunks back: those that it passed over, because nothing
    /// in them is in use, have young entries no more than the others.
    pub fn forget_young_of_empty(&self) {
        self.forget_young_of_empty_chunks(&self.state.lock());
    }

    fn forget_young_of_empty_chunks(&self, state: &State) {
        for chunk in state.made.iter().filter(|chunk| state.chunks[**chunk as usize].in_use == 0) {
            (0..CHUNK).for_each(|n| self.entry(chunk * CHUNK + n).set(YOUNG, false));
        }
    }

    /// Whether more than half of the chunks would go in [`Table::compact`], once `fewer` more entries are
    /// free.
    pub fn is_sparse_without(&self, fewer: usize) -> bool {
        let state = self.state.lock();
        state.made.len() > 2 * (state.in_use - fewer).div_ceil(CHUNK as usize)
    }

    /// At the end of a full collection, in a table whose numbers nobody outside knows: entries move down to
    /// the lowest numbers, and the other chunks go. The leader.
    pub fn compact(&self, memory: &Memory) {
        let mut state = self.state.lock();
        debug_assert!(state.young == 0 && state.absent.is_empty() && state.queued == 0);
        self.forget_young_of_empty_chunks(&state);
        let needed = state.in_use.div_ceil(CHUNK as usize) as u32;
        let mut to = 0;
        for from in needed * CHUNK..state.chunks.len() as u32 * CHUNK {
            let entry = self.entry(from);
            if entry.is_free() {
                continue;
            }
            while !self.entry(to).is_free() {
                to += 1;
            }
            let place = self.entry(to);
            place.extra.store(entry.extra.load(Relaxed), Relaxed);
            place.serial.store(entry.serial.load(Relaxed), Relaxed);
            place.owner.store(entry.owner.load(Relaxed), Relaxed);
            place.set_target(entry.target());
        }
        debug_assert!(to < (needed * CHUNK).max(1));
        self.give_back(&mut state, memory, |chunk, _| chunk >= needed);
        for chunk in 0..needed {
            self.count_chunk(&mut state, chunk);
        }
    }

    /// Finds the free entries of a chunk anew.
    fn count_chunk(&self, state: &mut State, chunk: u32) {
        let here = &mut state.chunks[chunk as usize];
        (here.free, here.in_use) = (NONE, 0);
        for number in (chunk * CHUNK..(chunk + 1) * CHUNK).rev() {
            let entry = self.entry(number);
            match entry.is_free() {
                true => {
                    entry.target.store((here.free as usize) << 1 | FREE, Relaxed);
                    here.free = number;
                }
                false => here.in_use += 1,
            }
        }
        let is_listed = std::mem::replace(&mut here.listed, here.free != NONE);
        if here.listed && !is_listed {
            state.with_room.push(chunk);
        } else if is_listed && !here.listed {
            state.with_room.retain(|listed| *listed != chunk);
        }
    }

    /// Gives the chunks back of which `f` says so.
    fn give_back(&self, state: &mut State, memory: &Memory, f: impl Fn(u32, &ChunkState) -> bool) {
        let State { chunks, made, with_room, absent, .. } = state;
        let mut given = 0;
        made.retain(|chunk| {
            let known = &mut chunks[*chunk as usize];
            let goes = f(*chunk, known);
            if goes {
                *known = ChunkState { free: NONE, in_use: 0, is_there: false, listed: false };
                // SAFETY: in a pause, between sections: no mutator runs, and no worker holds an entry
                // (`chunks`, I2).
                unsafe { self.chunks.give_back(*chunk) };
                given += 1;
            }
            !goes
        });
        if given > 0 {
            with_room.retain(|chunk| chunks[*chunk as usize].is_there);
            let len = chunks.iter().rposition(|chunk| chunk.is_there).map_or(0, |last| last + 1);
            chunks.truncate(len);
            absent.clear();
            absent.extend((0..len as u32).rev().filter(|chunk| !chunks[*chunk as usize].is_there));
            chunks.shrink_to(2 * len);
            made.shrink_to(2 * len);
            memory.uncharge_tables(given * CHUNK_BYTES);
        }
        // The lowest is used next.
        with_room.sort_unstable_by(|a, b| b.cmp(a));
        let used = with_room.len();
        with_room.shrink_to(2 * used);
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
    pub fn next_queued(&self, free: bool) -> Option<(Handle, Option<ObjectReference>)> {
        let mut state = self.state.lock();
        while state.queue.0 != NONE {
            let number = state.queue.0;
            let entry = self.entry(number);
            state.queue.0 = entry.extra.swap(0, Relaxed) as u32;
            state.queued -= 1;
            let (handle, target, wanted) = (self.handle(number), entry.target(), entry.has(NOTIFY));
            entry.set(QUEUED | NOTIFY, false);
            if free || !wanted {
                self.free_entry(&mut state, number);
            }
            if wanted {
                return Some((handle, target));
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
        self.state.lock().made.len() * CHUNK_BYTES
    }

    /// Every entry has a number below this.
    pub fn numbers(&self) -> usize {
        self.state.lock().chunks.len() * CHUNK as usize
    }

    /// The entry with this number, which may be free. For the leader of a pause, and its workers.
    #[inline(always)]
    pub fn any(&self, number: usize) -> &Entry {
        self.entry(number as u32)
    }

    /// What a collection of this kind looks at: everything in use, or what is young. For the leader.
    pub fn scan<'a>(&'a self, kind: CollectionKind, arena: &'a Arena) -> Scan<'a> {
        match kind {
            CollectionKind::Full => self.all(arena),
            CollectionKind::Minor => {
                let state = self.state.lock();
                let made = state.made.iter().copied().take(state.young.div_ceil(CHUNK) as usize);
                Scan { table: self, which: Which::Young(self.chunks_of(made, arena)), entries: state.young as usize }
            }
        }
    }

    /// What a sift has left: the entries with these numbers, as far as they are there. For the leader.
    pub fn scan_left<'a>(&'a self, (numbers, rest): (&'a [u32], Range<u32>)) -> Scan<'a> {
        debug_assert!(!self.generational, "what is young is listed, and this scan leaves it so");
        Scan { table: self, entries: numbers.len() + rest.len(), which: Which::Left(numbers, rest) }
    }

    /// Calls `f` with a function that finds an entry by its number, if its chunk is there. No mutator writes
    /// to an entry meanwhile. By a thread that a pause waits for, so that no chunk goes (`chunks`, I2).
    pub fn with_mutators_held_off<'a>(&'a self, f: impl FnOnce(&dyn Fn(u32) -> Option<&'a Entry>)) {
        let _state = self.state.lock();
        f(&|number| self.chunks.entry(number));
    }

    /// Everything in use. For the leader.
    pub fn all<'a>(&'a self, arena: &'a Arena) -> Scan<'a> {
        let state = self.state.lock();
        let in_use = (0..state.chunks.len() as u32).filter(|chunk| state.chunks[*chunk as usize].in_use > 0);
        let chunks = self.chunks_of(in_use, arena);
        Scan { table: self, entries: chunks.len() * CHUNK as usize, which: Which::All(chunks) }
    }

    fn chunks_of<'a>(
        &'a self,
        chunks: impl Iterator<Item = u32>,
        arena: &'a Arena,
    ) -> List<'a, (u32, &'a Chunk<Entry>)> {
        let entries_of = |chunk| self.chunks.get(chunk).expect("a chunk that is there");
        arena.collect(chunks.map(|chunk| (chunk * CHUNK, entries_of(chunk))))
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

    fn arena() -> &'static Arena {
        std::boxed::Box::leak(std::boxed::Box::default())
    }

    fn an_object(n: usize) -> ObjectReference {
        object(n * 8).unwrap()
    }

    fn a_heap(limit: usize) -> std::sync::Arc<Memory> {
        Memory::new(&Options { heap_limit: limit, ..Options::default() }).unwrap()
    }

    fn look_at_all(table: &Table) {
        let scan = table.scan(CollectionKind::Full, arena());
        (0..scan.entries).for_each(|position| _ = scan.at(position));
    }

    fn end_full(table: &Table, memory: &Memory) {
        table.forget_young();
        table.give_back_empty(memory);
    }

    #[test]
    fn memory_is_charged_by_chunks_and_refused_at_the_limit() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let mut created = 0;
        let refused = loop {
            match table.create(&memory, an_object(created + 1), None, 0) {
                Ok(handle) => assert_eq!(handle.number as usize, created),
                Err(bytes) => break bytes,
            }
            created += 1;
        };
        let reserved = memory.budget().reserved();
        assert_eq!(reserved, created * size_of::<Entry>(), "every entry there is memory for was used");
        assert!(reserved + refused > 1 << 20 && created > 20_000, "{created} entries, then {refused} bytes refused");
        table.free(table.handle(17));
        assert_eq!(
            table.create(&memory, an_object(1), None, 0).map(|h| h.number),
            Ok(17),
            "a freed entry is used again"
        );
    }

    #[test]
    fn a_table_that_was_emptied_gives_its_memory_back_and_is_not_walked() {
        let memory = a_heap(64 << 20);
        let table = Table::new(true);
        for round in 0..3 {
            let made: Vec<Handle> =
                (0..100_000).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap()).collect();
            assert_eq!(made[99_999].number, 99_999, "round {round}: the lowest numbers are used");
            made.iter().for_each(|handle| table.free(*handle));
            assert_eq!(table.scan(CollectionKind::Full, arena()).entries, 0);
            end_full(&table, &memory);
            assert_eq!((memory.budget().reserved(), memory.budget().resident()), (0, 0));
        }
    }

    #[test]
    fn what_is_left_keeps_its_number_and_a_collection_looks_at_little_else() {
        const COUNT: usize = 100_000;
        let memory = a_heap(64 << 20);
        let table = Table::new(false);
        let made: Vec<Handle> = (0..COUNT).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap()).collect();
        let stays = |n: usize| n % 10_000 == 5000;
        (0..COUNT).filter(|n| !stays(*n)).for_each(|n| table.free(made[n]));
        end_full(&table, &memory);
        assert_eq!(memory.budget().reserved(), 10 * CHUNK_BYTES);
        let scan = table.scan(CollectionKind::Full, arena());
        assert_eq!((scan.entries, scan.iter().count()), (10 * CHUNK as usize, 10));
        assert_eq!(scan.at(scan.entries - 1 - 127 + 95_000 % 128).unwrap().0, 95_000);
        for n in (0..COUNT).filter(|n| stays(*n)) {
            assert_eq!(table.in_use(made[n]).target(), Some(an_object(n + 1)));
        }
        // Room in the chunks that are there is used first, then the lowest numbers.
        let more: Vec<u32> =
            (0..10 * 127 + 1).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap().number).collect();
        assert_eq!(memory.budget().reserved(), 11 * CHUNK_BYTES);
        assert!(more[0] / CHUNK == 5000 / CHUNK && *more.last().unwrap() == 0, "{} {}", more[0], more[10 * 127]);
    }

    #[test]
    fn a_stale_handle_leads_to_no_entry_that_took_its_number() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let first = table.create(&memory, an_object(1), None, 0).unwrap();
        let is_refused = |stale: Handle| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| table.in_use(stale).target())).is_err()
        };
        assert!(!is_refused(first));
        table.free(first);
        let second = table.create(&memory, an_object(2), None, 0).unwrap();
        assert!(first.number == second.number && is_refused(first) && !is_refused(second));
        table.free(second);
        end_full(&table, &memory);
        assert!(is_refused(first) && is_refused(second), "the chunk is gone");
        let third = table.create(&memory, an_object(3), None, 0).unwrap();
        assert!(third.number == second.number && is_refused(first) && is_refused(second) && !is_refused(third));
    }

    #[test]
    fn a_table_without_handles_moves_its_entries_together() {
        let memory = a_heap(64 << 20);
        let table = Table::new(true);
        let made: Vec<Handle> =
            (0..10_000).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap()).collect();
        made.iter().enumerate().for_each(|(n, handle)| table.in_use(*handle).set_bits(n as u64));
        let stays = |n: usize| n % 50 == 49 || n >= 9900;
        (0..10_000).filter(|n| !stays(*n)).for_each(|n| table.free(made[n]));
        look_at_all(&table);
        table.forget_young();
        table.compact(&memory);
        let all: std::collections::BTreeMap<_, _> = table
            .all(arena())
            .iter()
            .map(|entry| (entry.target().unwrap().address().as_usize() / 8, entry.bits()))
            .collect();
        let expected = (0..10_000).filter(|n| stays(*n)).map(|n| (n + 1, n as u64)).collect();
        assert_eq!(all, expected);
        assert_eq!(memory.budget().reserved(), 3 * CHUNK_BYTES, "{} entries", all.len());
        assert_eq!(table.numbers(), 3 * CHUNK as usize);
        // All room is found again, and new entries are young.
        let room = 3 * CHUNK as usize - all.len();
        let mut numbers: Vec<u32> =
            (0..room).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap().number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((numbers.len(), memory.budget().reserved()), (room, 3 * CHUNK_BYTES));
        assert_eq!(table.scan(CollectionKind::Minor, arena()).entries, room);
        assert!(!table.is_sparse_without(CHUNK as usize) && table.is_sparse_without(2 * CHUNK as usize));
        // Then there is more, and when all are free nothing is left.
        let next = table.create(&memory, an_object(1), None, 0).unwrap().number;
        assert_eq!((next, memory.budget().reserved()), (3 * CHUNK, 4 * CHUNK_BYTES));
        table.free_all(0..next + 1);
        end_full(&table, &memory);
        assert_eq!((table.in_use_now(), memory.budget().reserved()), (0, 0));
    }

    #[test]
    fn an_entry_that_was_young_when_it_was_freed_is_young_again_after_a_full_collection() {
        let memory = a_heap(1 << 20);
        for compacts in [false, true] {
            let table = Table::new(true);
            let all: Vec<Handle> =
                (0..2 * CHUNK as usize).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap()).collect();
            // A chunk that is empty, but not worth giving back if entries may move; none of its entries was
            // looked at.
            all[CHUNK as usize..].iter().for_each(|handle| table.free(*handle));
            look_at_all(&table);
            table.forget_young();
            if compacts {
                table.forget_young_of_empty()
            } else {
                table.give_back_empty(&memory)
            }
            (0..CHUNK as usize).for_each(|n| _ = table.create(&memory, an_object(n + 1), None, 0).unwrap());
            assert_eq!(table.scan(CollectionKind::Minor, arena()).entries, CHUNK as usize);
        }
    }

    #[test]
    fn an_entry_is_young_once_however_often_it_is_written_or_made() {
        let memory = a_heap(1 << 20);
        let table = Table::new(true);
        let first = table.create(&memory, an_object(1), None, 0).unwrap();
        table.free(first);
        let handle = table.create(&memory, an_object(2), None, 0).unwrap();
        assert_eq!(handle.number, first.number);
        assert!(table.set_value(handle, Some(an_object(3))));
        assert_eq!(table.scan(CollectionKind::Minor, arena()).entries, 1);
        assert!(table.scan(CollectionKind::Minor, arena()).at(0).is_some());
        table.forget_young();
        assert!(table.set_value(handle, None));
        assert_eq!(table.scan(CollectionKind::Minor, arena()).entries, 1, "written again, so young again");
    }

    #[test]
    fn an_entry_keeps_target_owner_value_and_flags_apart() {
        let memory = a_heap(1 << 20);
        let table = Table::new(true);
        let handle = table.create(&memory, an_object(1), Some(an_object(2)), NOTIFY).unwrap();
        let entry = table.in_use(handle);
        let is = |target: usize, owner: Option<usize>, value: Option<usize>| {
            assert_eq!(entry.target(), Some(an_object(target)));
            assert_eq!((entry.owner(), entry.value()), (owner.map(an_object), value.map(an_object)));
            assert!(entry.has(NOTIFY) && entry.has(YOUNG) && !entry.is_queued() && !entry.is_free());
        };
        is(1, Some(2), None);
        entry.set_value(Some(an_object(3)));
        entry.set_owner(Some(an_object(4)));
        is(1, Some(4), Some(3));
        entry.forward(|object| an_object(object.address().as_usize() / 8 + 10));
        is(11, Some(14), Some(3));
        entry.set_owner(None);
        is(11, None, Some(3));
        entry.set_owner(Some(an_object(5)));
        entry.use_now(77);
        assert_eq!((entry.last_used(), entry.bits()), (77, 77));
        // Free, and what is made there next knows nothing of it, but that the place is listed as young.
        table.free_all([handle.number].into_iter());
        assert_eq!((table.in_use_now(), entry.target(), entry.owner()), (0, None, None));
        assert!(entry.is_free() && entry.has(YOUNG) && !entry.has(NOTIFY));
        entry.forward(|_| panic!("a free entry refers to nothing"));
        let again = table.create(&memory, an_object(6), Some(an_object(7)), 0).unwrap();
        assert_eq!((again.number, entry.owner(), entry.bits()), (handle.number, Some(an_object(7)), 0));
        assert!(!entry.has(NOTIFY) && table.in_use_now() == 1);
        assert_eq!(table.all(arena()).target(again.number as usize), Some((again.number as usize, an_object(6))));
    }

    #[test]
    fn a_cleared_entry_refers_to_nothing_and_tells_nobody_and_a_queued_one_is_not_cleared() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let [cleared, queued] =
            [1, 2].map(|n| table.create(&memory, an_object(n), Some(an_object(9)), NOTIFY).unwrap());
        assert!(table.set_value(cleared, Some(an_object(3))));
        table.enqueue([queued.number].into_iter());
        table.clear(cleared);
        table.clear(queued);
        let entry = table.in_use(cleared);
        assert_eq!((entry.target(), entry.value(), entry.owner()), (None, None, Some(an_object(9))));
        assert!(!entry.has(NOTIFY) && !entry.is_free());
        assert!(!table.set_value(cleared, Some(an_object(3))), "it stays cleared");
        assert_eq!(entry.value(), None);
        // The queued one comes, and stays in use until it is freed.
        assert_eq!(table.next_queued(false), Some((queued, Some(an_object(2)))));
        assert_eq!((table.next_queued(false), table.in_use_now()), (None, 2));
        assert!(!table.in_use(queued).is_queued() && !table.in_use(queued).has(NOTIFY));
    }

    #[test]
    fn freed_entries_of_several_chunks_are_all_used_again_before_more_memory_is() {
        const CHUNKS: usize = 5;
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let create = || table.create(&memory, an_object(1), None, 0).unwrap();
        let made: Vec<Handle> = (0..CHUNKS * CHUNK as usize).map(|_| create()).collect();
        assert_eq!((table.bytes(), table.numbers()), (CHUNKS * CHUNK_BYTES, made.len()));
        for every in [1, 2, 7, 128] {
            let freed: Vec<u32> = made.iter().map(|handle| handle.number).step_by(every).collect();
            table.free_all(freed.iter().copied());
            assert_eq!(table.in_use_now(), made.len() - freed.len());
            let mut again: Vec<u32> = freed.iter().map(|_| create().number).collect();
            again.sort_unstable();
            assert_eq!(again, freed);
            assert_eq!((table.in_use_now(), table.bytes()), (made.len(), CHUNKS * CHUNK_BYTES));
        }
    }

    #[test]
    fn what_a_collection_gives_back_is_what_no_entry_is_in() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let made: Vec<Handle> =
            (0..4 * CHUNK as usize).map(|_| table.create(&memory, an_object(1), None, 0).unwrap()).collect();
        end_full(&table, &memory);
        assert_eq!(memory.budget().reserved(), 4 * CHUNK_BYTES, "all are in use");
        // The third chunk keeps one entry, the others are full or empty.
        let goes = |n: usize| (CHUNK as usize..3 * CHUNK as usize - 1).contains(&n);
        (0..made.len()).filter(|n| goes(*n)).for_each(|n| table.free(made[n]));
        end_full(&table, &memory);
        assert_eq!((memory.budget().reserved(), table.bytes()), (3 * CHUNK_BYTES, 3 * CHUNK_BYTES));
        assert_eq!(table.all(arena()).iter().count(), 2 * CHUNK as usize + 1);
        assert_eq!((table.all(arena()).entries, table.numbers()), (3 * CHUNK as usize, made.len()));
    }

    #[test]
    fn what_a_sift_has_left_is_scanned_by_number_and_chunks_that_are_gone_are_passed_over() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let made: Vec<Handle> =
            (0..4 * CHUNK as usize).map(|n| table.create(&memory, an_object(n + 1), None, 0).unwrap()).collect();
        made[CHUNK as usize..2 * CHUNK as usize].iter().for_each(|handle| table.free(*handle));
        table.free(made[7]);
        end_full(&table, &memory);
        let numbers = [7, 3, CHUNK + 1];
        let scan = table.scan_left((&numbers, 2 * CHUNK - 1..2 * CHUNK + 2));
        let found: Vec<u32> = (0..scan.entries).filter_map(|n| Some(scan.at(n)?.0)).collect();
        assert_eq!((scan.entries, found), (6, vec![3, 2 * CHUNK, 2 * CHUNK + 1]));
        table.with_mutators_held_off(|entry| {
            assert!(entry(CHUNK).is_none() && entry(7).unwrap().is_free() && entry(3).unwrap().target().is_some());
        });
    }

    #[test]
    fn the_queue_is_first_in_first_out_and_skips_what_was_given_up() {
        let memory = a_heap(1 << 20);
        let table = Table::new(false);
        let made: Vec<Handle> = (1..5).map(|n| table.create(&memory, an_object(n), None, NOTIFY).unwrap()).collect();
        table.enqueue(made.iter().map(|handle| handle.number));
        table.free(made[1]);
        assert_eq!(table.queued(), 4);
        let order: Vec<Handle> = std::iter::from_fn(|| table.next_queued(true)).map(|(handle, _)| handle).collect();
        assert_eq!(order, [made[0], made[2], made[3]]);
        assert_eq!(table.queued(), 0);
        assert!(made.iter().all(|handle| table.any(handle.number as usize).is_free()));
    }
}
