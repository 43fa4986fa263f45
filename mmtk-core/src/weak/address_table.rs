//! Tables keyed by objects, although objects move: for an object's identity hash, or for other data that a VM
//! keeps about an object outside it.
//!
//! A table maps an object to 64 bits. It does not keep the object alive. A collection removes the entries of
//! dead objects, and afterwards those of moved objects are found under the new addresses. For that, all
//! workers put all entries into the index anew, unless few of the objects moved or died. When few entries are
//! left, a full collection makes table and index smaller.
//!
//! I1. Between pauses the key of an entry is the address of an object that was live at the last collection
//!     that looked at it.
//! I2. The index is charged before it is allocated, and has room for every entry of the table: a pause needs
//!     no more.

use super::table::Table;
use crate::address::ObjectReference;
use crate::memory::{Arena, Charge, List, Memory};
use crate::os::Pages;
use protocols::index::Index;
use protocols::sync::{Mutex, RwLock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014): neighbours get numbers that have nothing in
/// common.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

pub(crate) fn key(object: ObjectReference) -> usize {
    object.address().as_usize()
}

/// The table of a heap; the VM's handle is `AddressTable`.
pub(crate) struct Entries {
    pub(crate) table: Table,
    /// Read by who looks up; written by who inserts or removes, and in pauses.
    pub(crate) index: RwLock<Index<Pages>>,
    pub(crate) memory: Arc<Memory>,
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.memory.uncharge_tables(self.table.bytes() + Index::bytes(self.index.get_mut().capacity()));
    }
}

impl Entries {
    fn new(generational: bool, memory: &Arc<Memory>) -> Entries {
        Entries { table: Table::new(generational), index: RwLock::new(Index::new_in(0, Pages)), memory: memory.clone() }
    }

    fn find(&self, index: &Index<Pages>, object: ObjectReference) -> Option<usize> {
        index.candidates(key(object)).find(|n| self.table.any(*n).target() == Some(object))
    }

    pub fn get(&self, object: ObjectReference) -> Option<u64> {
        let index = self.index.read();
        self.find(&index, object).map(|n| self.table.any(n).bits())
    }

    pub fn remove(&self, object: ObjectReference) -> Option<u64> {
        let mut before = None;
        self.alter(object, |bits| {
            before = Some(bits);
            None
        });
        before
    }

    /// Changes the bits of an object to what `f` makes of those it had; returns both.
    pub fn update(
        &self,
        object: ObjectReference,
        f: impl FnOnce(Option<u64>) -> u64,
    ) -> Result<(Option<u64>, u64), usize> {
        let mut index = self.index.write();
        if let Some(number) = self.find(&index, object) {
            let entry = self.table.any(number);
            let (before, now) = (entry.bits(), f(Some(entry.bits())));
            entry.set_bits(now);
            return Ok((Some(before), now));
        }
        let handle = self.table.create(&self.memory, object, None, 0)?;
        let number = handle.number as usize;
        if number >= index.capacity()
            && let Err(bytes) = self.grow(&mut index)
        {
            self.table.free(handle);
            return Err(bytes);
        }
        let bits = f(None);
        self.table.any(number).set_bits(bits);
        index.insert(key(object), number);
        Ok((None, bits))
    }

    /// Changes the bits of an object that has any, or forgets it; whether it had any.
    pub fn alter(&self, object: ObjectReference, f: impl FnOnce(u64) -> Option<u64>) -> bool {
        let index = self.index.write();
        let Some(number) = self.find(&index, object) else { return false };
        let entry = self.table.any(number);
        match f(entry.bits()) {
            Some(bits) => entry.set_bits(bits),
            None => {
                index.remove(key(object), number);
                self.table.free(self.table.handle(number as u32));
            }
        }
        true
    }

    /// In a pause: entries of dead objects go.
    pub fn forget(&self, dead: &[u32]) {
        let index = self.index.read();
        for number in dead {
            let target = self.table.any(*number as usize).target().expect("an entry has a key until it is freed");
            index.remove(key(target), *number as usize);
        }
        self.table.free_all(dead.iter().copied());
    }

    /// At the end of a full collection, if the table is sparse: fewer entries, some with new numbers, and an
    /// empty index for that many.
    pub fn shrink(&self) {
        self.table.compact(&self.memory);
        let mut index = self.index.write();
        let capacity = match self.table.numbers() {
            0 => 0,
            numbers => numbers.next_power_of_two(),
        };
        if capacity < index.capacity() {
            let before = std::mem::replace(&mut *index, Index::new_in(capacity, Pages)).capacity();
            self.memory.uncharge_tables(Index::bytes(before) - Index::bytes(capacity));
        } else {
            index.clear();
        }
    }

    /// A larger index, with all entries but the newest, which is the last.
    fn grow(&self, index: &mut Index<Pages>) -> Result<(), usize> {
        let capacity = (index.capacity() * 2).max(64);
        let bytes = Index::bytes(capacity);
        if !self.memory.charge_tables(bytes, Charge::Mutator) {
            return Err(bytes);
        }
        let new = Index::new_in(capacity, Pages);
        for number in 0..index.capacity() {
            self.table.any(number).target().into_iter().for_each(|object| new.insert(key(object), number));
        }
        let before = std::mem::replace(index, new).capacity();
        self.memory.uncharge_tables(Index::bytes(before));
        Ok(())
    }
}

/// The tables keyed by objects of one heap.
pub(crate) struct AddressTables {
    hashes: Arc<Entries>,
    /// How often objects are pinned (`pin`).
    pub pins: Arc<Entries>,
    next_hash: AtomicU64,
    others: Mutex<Vec<Weak<Entries>>>,
    generational: bool,
    memory: Arc<Memory>,
}

impl AddressTables {
    pub fn new(generational: bool, memory: &Arc<Memory>) -> AddressTables {
        let [hashes, pins] = std::array::from_fn(|_| Arc::new(Entries::new(generational, memory)));
        let memory = memory.clone();
        AddressTables { hashes, pins, next_hash: AtomicU64::new(0), others: Mutex::default(), generational, memory }
    }

    pub fn identity_hash(&self, object: ObjectReference) -> Result<u64, usize> {
        if let Some(hash) = self.hashes.get(object) {
            return Ok(hash);
        }
        let new = || mix(self.next_hash.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed));
        // Another thread may have been faster: then its number stands.
        Ok(self.hashes.update(object, |known| known.unwrap_or_else(new))?.1)
    }

    /// The tables that are still in use. For the leader of a pause.
    pub fn in_use<'a>(&self, arena: &'a Arena) -> List<'a, Arc<Entries>> {
        let others = self.others.lock();
        let others = others.iter().filter_map(Weak::upgrade);
        arena.collect(others.chain([self.hashes.clone(), self.pins.clone()]))
    }

    pub fn create(&self) -> Arc<Entries> {
        let table = Arc::new(Entries::new(self.generational, &self.memory));
        let mut others = self.others.lock();
        // Here and not in a pause, which gives nothing back to `malloc`.
        others.retain(|table| table.strong_count() > 0);
        others.push(Arc::downgrade(&table));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::options::Options;
    use std::collections::BTreeMap;

    fn an_object(n: usize) -> ObjectReference {
        ObjectReference::for_test(Address::from_usize((n + 1) * 16))
    }

    fn a_heap(limit: usize) -> Arc<Memory> {
        Memory::new(&Options { heap_limit: limit, ..Options::default() }).unwrap()
    }

    #[test]
    fn numbers_are_mixed_as_splitmix64_does() {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let outputs = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        for (n, output) in (1..).zip(outputs) {
            assert_eq!(mix(STEP.wrapping_mul(n)), output);
        }
    }

    #[test]
    fn a_table_agrees_with_a_map_and_gives_back_what_it_was_charged_for() {
        let memory = a_heap(4 << 20);
        let entries = Entries::new(true, &memory);
        let mut known = BTreeMap::new();
        // Numbers that look like any, a third of them to forget; from few objects, then from many.
        for n in 0..6000u64 {
            let key = mix(n) as usize % (n as usize / 4 + 3);
            let object = an_object(key);
            assert_eq!(entries.get(object), known.get(&key).copied());
            if mix(n) >> 32 & 3 == 0 {
                assert_eq!(entries.remove(object), known.remove(&key));
                assert!(!entries.alter(object, |_| panic!("it has no bits any more")));
                continue;
            }
            assert_eq!(
                entries.update(object, |bits| bits.unwrap_or(0) + n),
                Ok((known.get(&key).copied(), {
                    let bits = known.entry(key).or_insert(0);
                    *bits += n;
                    *bits
                }))
            );
            assert!(entries.alter(object, |bits| Some(bits ^ 1)));
            known.entry(key).and_modify(|bits| *bits ^= 1);
        }
        assert_eq!(entries.table.in_use_now(), known.len());
        let capacity = entries.index.read().capacity();
        assert!((known.len()..4 * known.len()).contains(&capacity), "{capacity} for {}", known.len());
        assert_eq!(memory.budget().reserved(), entries.table.bytes() + Index::bytes(capacity));
        // The entries of every second object die.
        let dead: Vec<u32> = {
            let scan = entries.table.all(memory.arena());
            (0..scan.entries)
                .filter_map(|n| scan.target(n))
                .filter(|(_, object)| object.address().as_usize() / 16 % 2 == 0)
                .map(|(number, _)| number as u32)
                .collect()
        };
        entries.forget(&dead);
        known.retain(|key, _| (key + 1) % 2 != 0);
        assert_eq!(entries.table.in_use_now(), known.len());
        for key in 0..1600 {
            assert_eq!(entries.get(an_object(key)), known.get(&key).copied());
        }
        drop(entries);
        assert_eq!((memory.budget().reserved(), memory.budget().resident()), (0, 0));
    }

    #[test]
    fn an_index_that_finds_no_room_leaves_the_table_as_it_was() {
        let memory = a_heap(1 << 20);
        let entries = Entries::new(false, &memory);
        let mut known = 0;
        let refused = loop {
            match entries.update(an_object(known), |_| known as u64) {
                Ok(_) => known += 1,
                Err(bytes) => break bytes,
            }
        };
        assert!(refused > 0 && memory.budget().reserved() + refused > 1 << 20);
        assert_eq!((entries.get(an_object(known)), entries.table.in_use_now()), (None, known));
        assert!((0..known).all(|key| entries.get(an_object(key)) == Some(key as u64)));
        // What is there can be changed all the same.
        assert_eq!(entries.update(an_object(0), |_| 77), Ok((Some(0), 77)));
    }

    #[test]
    fn a_table_with_few_entries_left_shrinks_and_its_index_too() {
        const COUNT: usize = 5000;
        let memory = a_heap(8 << 20);
        let entries = Entries::new(false, &memory);
        (0..COUNT).for_each(|key| _ = entries.update(an_object(key), |_| key as u64).unwrap());
        let shrink = |left: usize, capacity: usize| {
            (left..COUNT).for_each(|key| _ = entries.remove(an_object(key)));
            entries.shrink();
            assert_eq!(entries.index.read().capacity(), capacity);
            assert_eq!(memory.budget().reserved(), entries.table.bytes() + Index::bytes(capacity));
            assert_eq!((entries.get(an_object(0)), entries.table.in_use_now()), (None, left), "the index is empty");
            let (scan, index) = (entries.table.all(memory.arena()), entries.index.read());
            (0..scan.entries).filter_map(|n| scan.target(n)).for_each(|(n, object)| index.insert(key(object), n));
            assert!((0..left).all(|key| entries.get(an_object(key)) == Some(key as u64)));
        };
        let before = entries.index.read().capacity();
        assert_eq!(before, COUNT.next_power_of_two());
        shrink(COUNT - 1, before);
        shrink(200, 256);
        shrink(0, 0);
        assert_eq!(memory.budget().reserved(), 0);
    }

    #[test]
    fn a_heap_knows_the_tables_that_are_in_use_and_forgets_the_others() {
        let memory = a_heap(1 << 20);
        let tables = AddressTables::new(false, &memory);
        let arena = Arena::default();
        assert_eq!(tables.in_use(&arena).len(), 2, "hashes and pins");
        let [first, second] = [tables.create(), tables.create()];
        assert_eq!(tables.in_use(&arena).len(), 4);
        assert!(
            [&first, &second, &tables.pins].iter().all(|one| tables.in_use(&arena).iter().any(|t| Arc::ptr_eq(t, one)))
        );
        drop(first);
        assert_eq!(tables.in_use(&arena).len(), 3);
        let third = tables.create();
        assert_eq!(tables.others.lock().len(), 2, "those that are gone are forgotten when the next is made");
        drop(third);
        let hashes: Vec<u64> = (0..3).map(|n| tables.identity_hash(an_object(n)).unwrap()).collect();
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
        assert_eq!(tables.identity_hash(an_object(1)), Ok(hashes[1]), "it stays");
    }
}
