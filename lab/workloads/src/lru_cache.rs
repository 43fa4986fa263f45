//! lru-cache: a cache server in miniature. A hash table of `size` entries, random replacement, every request
//! timed.

use super::heap::{Mutator, Ref};
use super::params::{Outcome, Params};
use super::rng::{Rng, mix};
use super::ticks;

// An entry: next in its chain, value | key, slot.
const NEXT: usize = 0;
const VALUE: usize = 1;
const KEY: usize = 2; // word
const SLOT: usize = 3; // word

#[inline(always)]
fn hash(key: u64, mask: usize) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask
}

/// A value of 64 to 511 bytes, filled from its key.
#[inline(always)]
fn new_value<M: Mutator>(m: M, rng: &mut Rng, key: u64) -> Ref {
    let bytes = 64 + rng.below(448);
    let value = m.alloc(0, bytes);
    m.write_word(value, 0, key);
    for i in 1..bytes / 8 {
        m.write_word(value, i, key ^ i as u64);
    }
    value
}

/// The cache: a table of chains and an array that finds an entry by its slot, both on the shadow stack.
#[derive(Clone, Copy)]
struct Cache<M: Mutator> {
    m: M,
    table: usize,
    slots: usize,
    mask: usize,
}

impl<M: Mutator> Cache<M> {
    /// Puts an entry for `key` into slot `s`, which is empty.
    #[inline(always)]
    fn put(self, rng: &mut Rng, s: usize, key: u64) {
        let m = self.m;
        let value = new_value(m, rng, key);
        m.push(value);
        let entry = m.alloc(2, 16);
        let h = hash(key, self.mask);
        m.init_ref(entry, VALUE, m.peek(0));
        m.init_ref(entry, NEXT, m.read_ref(m.get(self.table), h));
        m.pop(1);
        m.write_word(entry, KEY, key);
        m.write_word(entry, SLOT, s as u64);
        m.write_ref(m.get(self.table), h, entry);
        m.write_ref(m.get(self.slots), s, entry);
    }

    #[inline(always)]
    fn find(self, key: u64) -> Ref {
        let m = self.m;
        let mut entry = m.read_ref(m.get(self.table), hash(key, self.mask));
        while !entry.is_null() && m.read_word(entry, KEY) != key {
            entry = m.read_ref(entry, NEXT);
        }
        entry
    }

    /// Unlinks the entry in slot `s` from its chain.
    #[inline(always)]
    fn evict(self, s: usize) {
        let m = self.m;
        let old = m.read_ref(m.get(self.slots), s);
        let h = hash(m.read_word(old, KEY), self.mask);
        let table = m.get(self.table);
        let first = m.read_ref(table, h);
        if first == old {
            m.write_ref(table, h, m.read_ref(old, NEXT));
            return;
        }
        let mut before = first;
        loop {
            let next = m.read_ref(before, NEXT);
            if next == old {
                m.write_ref(before, NEXT, m.read_ref(old, NEXT));
                return;
            }
            before = next;
        }
    }
}

/// Serves `ops` requests; returns the checksum and the service times.
pub(super) fn lru_cache<M: Mutator>(m: M, params: &Params) -> Outcome {
    let k = params.size;
    let buckets = k.next_power_of_two();
    let mut rng = Rng::new(31 + params.tid as u64);
    let table = m.alloc(buckets, 0);
    let table = m.push(table);
    let slots = m.alloc(k, 0);
    let slots = m.push(slots);
    let cache = Cache { m, table, slots, mask: buckets - 1 };
    for s in 0..k {
        cache.put(&mut rng, s, s as u64);
    }

    let universe = k + k / 2;
    let mut latency: Vec<u32> = Vec::with_capacity(params.ops);
    let (mut sum, mut hits) = (0u64, 0u64);
    for _ in 0..params.ops {
        m.poll();
        let start = ticks::now();
        // 80% of the requests go to 20% of the keys.
        let key = if rng.below(10) < 8 { rng.below(universe / 5) } else { rng.below(universe) };
        let key = key as u64;
        let write = rng.below(10) == 0;
        // What parsing a request leaves behind.
        let garbage = m.alloc(1, 56);
        m.write_word(garbage, 1, key);
        m.push(garbage);
        let garbage = m.alloc(1, 120);
        m.init_ref(garbage, 0, m.peek(0));
        m.pop(1);
        let entry = cache.find(key);
        if entry.is_null() {
            let s = rng.below(k);
            cache.evict(s);
            cache.put(&mut rng, s, key);
        } else {
            hits += 1;
            if write {
                m.push(entry);
                let value = new_value(m, &mut rng, key);
                m.write_ref(m.peek(0), VALUE, value);
                m.pop(1);
            } else {
                let value = m.read_ref(entry, VALUE);
                let words = (0..8).map(|i| m.read_word(value, i));
                sum = mix(sum, words.fold(0u64, u64::wrapping_add));
            }
        }
        latency.push((ticks::now() - start).min(u64::from(u32::MAX)) as u32);
    }
    m.pop(2);
    Outcome { checksum: mix(sum, hits), latency_ticks: latency }
}
