//! Tables keyed by objects, although objects move: an object's identity hash, or whatever a VM wants to know
//! about it from outside.
//!
//! A table maps an object to 64 bits. It does not keep the object alive. A collection removes the entries of
//! dead objects, and those of moved ones are found under their new addresses afterwards: all entries are put
//! into the index anew, by all workers, unless few of them moved or died. When few are left, a full
//! collection makes table and index smaller.
//!
//! I1. Between pauses the key of an entry is the address of an object that was live at the last collection
//!     that looked at it.
//! I2. The index is charged before it is allocated, and has room for every entry of the table: a pause needs
//!     no more.

use super::table::Table;
use crate::address::ObjectReference;
use crate::memory::{Charge, Memory};
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
    pub(crate) index: RwLock<Index>,
    pub(crate) memory: Arc<Memory>,
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.memory.uncharge_tables(self.table.bytes() + Index::bytes(self.index.get_mut().capacity()));
    }
}

impl Entries {
    fn new(generational: bool, memory: &Arc<Memory>) -> Entries {
        Entries { table: Table::new(generational), index: RwLock::new(Index::new(0)), memory: memory.clone() }
    }

    fn find(&self, index: &Index, object: ObjectReference) -> Option<usize> {
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
    /// index for so many, which is empty.
    pub fn shrink(&self) {
        self.table.compact(&self.memory);
        let mut index = self.index.write();
        let capacity = match self.table.numbers() {
            0 => 0,
            numbers => numbers.next_power_of_two(),
        };
        if capacity < index.capacity() {
            let before = std::mem::replace(&mut *index, Index::new(capacity)).capacity();
            self.memory.uncharge_tables(Index::bytes(before) - Index::bytes(capacity));
        } else {
            index.clear();
        }
    }

    /// A larger index, with all entries but the newest, which is the last.
    fn grow(&self, index: &mut Index) -> Result<(), usize> {
        let capacity = (index.capacity() * 2).max(64);
        let bytes = Index::bytes(capacity);
        if !self.memory.charge_tables(bytes, Charge::Mutator) {
            return Err(bytes);
        }
        let new = Index::new(capacity);
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
    pub fn in_use(&self) -> Vec<Arc<Entries>> {
        let mut others = self.others.lock();
        others.retain(|table| table.strong_count() > 0);
        others.iter().filter_map(Weak::upgrade).chain([self.hashes.clone(), self.pins.clone()]).collect()
    }

    pub fn create(&self) -> Arc<Entries> {
        let table = Arc::new(Entries::new(self.generational, &self.memory));
        self.others.lock().push(Arc::downgrade(&table));
        table
    }
}
