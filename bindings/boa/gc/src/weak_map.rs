//! A map whose entries die with their keys: a table of ephemerons.
//!
//! Objects do not move, so a key's address is its hash. The collector takes out the entries of dead keys
//! before the memory is used again; it cannot do so while the map is borrowed, so a lookup also asks the
//! ephemeron.

use crate::{Ephemeron, Finalize, Gc, GcRef, GcRefCell, Trace, custom_trace, heap};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::fmt;
use std::hash::BuildHasher;

/// A map from objects, which it does not keep alive, to values, which live as long as their keys.
#[derive(Clone, Finalize)]
pub struct WeakMap<K: Trace + ?Sized + 'static, V: Trace + 'static> {
    table: Gc<GcRefCell<Table<K, V>>>,
}

pub(crate) struct Table<K: Trace + ?Sized + 'static, V: Trace + 'static> {
    entries: HashTable<Entry<K, V>>,
    /// Keys given values since the collector last looked; then the heap knows of the map.
    new: Vec<usize>,
    hasher: DefaultHashBuilder,
}

struct Entry<K: Trace + ?Sized + 'static, V: Trace + 'static> {
    /// Of the key.
    address: usize,
    ephemeron: Ephemeron<K, V>,
}

/// A map of any type, as the collector sees it.
pub(crate) trait AnyWeakMap {
    /// Takes out the entries whose keys have died, among all or the new ones; whether it could.
    fn prune(&self, all: bool) -> bool;
}

impl<K: Trace + ?Sized, V: Trace> AnyWeakMap for GcRefCell<Table<K, V>> {
    fn prune(&self, all: bool) -> bool {
        let Ok(mut table) = self.try_borrow_mut() else { return false };
        let Table { entries, new, hasher } = &mut *table;
        if all {
            entries.retain(|entry| entry.ephemeron.has_value());
        } else {
            for &address in &*new {
                let is_dead = |entry: &Entry<K, V>| entry.address == address && !entry.ephemeron.has_value();
                while let Ok(entry) = entries.find_entry(hasher.hash_one(address), is_dead) {
                    entry.remove();
                }
            }
        }
        new.clear();
        true
    }
}

fn address<K: Trace + ?Sized>(key: &Gc<K>) -> usize {
    key.object().address().as_usize()
}

impl<K: Trace + ?Sized, V: Trace> Table<K, V> {
    fn find(&self, key: &Gc<K>) -> Option<&Ephemeron<K, V>> {
        let is_key = |entry: &Entry<K, V>| entry.address == address(key) && entry.ephemeron.has_key(key);
        self.entries.find(self.hasher.hash_one(address(key)), is_key).map(|entry| &entry.ephemeron)
    }

    /// Whether the key was there.
    fn remove(&mut self, key: &Gc<K>) -> bool {
        let is_key = |entry: &Entry<K, V>| entry.address == address(key) && entry.ephemeron.has_key(key);
        match self.entries.find_entry(self.hasher.hash_one(address(key)), is_key) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the entry is the first new one.
    fn insert(&mut self, key: &Gc<K>, ephemeron: Ephemeron<K, V>) -> bool {
        self.remove(key);
        let Table { entries, new, hasher } = self;
        let entry = Entry { address: address(key), ephemeron };
        new.push(entry.address);
        entries.insert_unique(hasher.hash_one(entry.address), entry, |entry| hasher.hash_one(entry.address));
        new.len() == 1
    }
}

impl<K: Trace + ?Sized, V: Trace> WeakMap<K, V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        let (entries, new, hasher) = (HashTable::new(), Vec::new(), DefaultHashBuilder::default());
        let table = Gc::new(GcRefCell::new(Table { entries, new, hasher }));
        heap::register_weak_map(table.as_ptr());
        WeakMap { table }
    }

    /// Gives a key a value.
    pub fn insert(&mut self, key: &Gc<K>, value: V) {
        // Made before the map is borrowed: it may collect.
        let ephemeron = Ephemeron::new(key, value);
        if self.table.borrow_mut().insert(key, ephemeron) {
            heap::map_is_written(self.table.as_ptr());
        }
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &Gc<K>) -> bool {
        self.table.borrow_mut().remove(key)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains_key(&self, key: &Gc<K>) -> bool {
        self.table.borrow().find(key).is_some()
    }

    /// The ephemeron of a key.
    #[must_use]
    pub fn get<'a>(&'a self, key: &Gc<K>) -> Option<GcRef<'a, Ephemeron<K, V>>> {
        GcRef::try_map(self.table.borrow(), |table| table.find(key))
    }
}

impl<K: Trace + ?Sized, V: Trace> Default for WeakMap<K, V> {
    fn default() -> Self {
        WeakMap::new()
    }
}

// SAFETY: the table is the only edge.
unsafe impl<K: Trace + ?Sized, V: Trace> Trace for WeakMap<K, V> {
    custom_trace!(this, mark, mark(&this.table));
}

impl<K: Trace + ?Sized, V: Trace> Finalize for Table<K, V> {}

// SAFETY: walks each ephemeron once.
unsafe impl<K: Trace + ?Sized, V: Trace> Trace for Table<K, V> {
    custom_trace!(
        this,
        mark,
        for entry in &this.entries {
            mark(&entry.ephemeron);
        }
    );
}

impl<K: Trace + ?Sized, V: Trace> fmt::Debug for WeakMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.table.try_borrow().map(|table| table.entries.len()).ok();
        f.debug_struct("WeakMap").field("entries", &entries).finish()
    }
}
