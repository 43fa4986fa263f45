//! fragger: allocates objects of random sizes, of which most die in a random pattern, and then objects of
//! another size class.
//!
//! A collector that cannot move or reuse small holes needs several times the live bytes here.

use super::heap::{Mutator, Ref};
use super::params::Params;
use super::rng::{Rng, mix};

/// The live objects: an array in the heap, and their sizes outside it.
struct Slots<M: Mutator> {
    m: M,
    /// Index of the array on the shadow stack.
    array: usize,
    sizes: Vec<u32>,
    next_id: u64,
    rng: Rng,
}

impl<M: Mutator> Slots<M> {
    /// Puts a new object of `lo..hi` bytes, log-uniform, into slot `s`. Its first and last word hold its
    /// number.
    #[inline(always)]
    fn fill(&mut self, s: usize, lo: usize, hi: usize) {
        let bytes = (self.rng.log_uniform(lo, hi) + 7) & !7;
        let object = self.m.alloc(0, bytes);
        self.m.write_word(object, 0, self.next_id);
        self.m.write_word(object, bytes / 8 - 1, self.next_id);
        self.m.write_ref(self.m.get(self.array), s, object);
        self.sizes[s] = bytes as u32;
        self.next_id += 1;
    }

    /// The number of the object in slot `s`, 0 if there is none.
    fn check(&self, s: usize) -> u64 {
        let object = self.m.read_ref(self.m.get(self.array), s);
        if object.is_null() {
            return 0;
        }
        let last = self.sizes[s] as usize / 8 - 1;
        let (first, last) = (self.m.read_word(object, 0), self.m.read_word(object, last));
        assert_eq!(first, last, "an object in slot {s} was overwritten");
        first
    }

    fn clear(&mut self, s: usize) {
        self.m.write_ref(self.m.get(self.array), s, Ref::NULL);
        self.sizes[s] = 0;
    }
}

/// Runs `ops` phases over `size` slots; returns the checksum.
pub(super) fn fragger<M: Mutator>(m: M, params: &Params) -> u64 {
    let n = params.size;
    let rng = Rng::new(5 + params.tid as u64);
    let array = m.alloc(n, 0);
    let mut slots = Slots { m, array: m.push(array), sizes: vec![0u32; n], next_id: 1, rng };
    let mut sum = 0u64;
    for s in 0..n {
        slots.fill(s, 16, 2048);
    }
    for phase in 0..params.ops {
        // Random replacement in the phase's size range.
        let (lo, hi) = match phase % 3 {
            0 => (16, 128),
            1 => (256, 4096),
            _ => (16, 4096),
        };
        for _ in 0..4 * n {
            let s = slots.rng.below(n);
            sum = mix(sum, slots.check(s));
            slots.fill(s, lo, hi);
        }
        // Three in four die, in a random pattern; then another size class takes their place.
        for s in 0..n {
            if slots.rng.below(4) != 0 {
                slots.clear(s);
            }
        }
        m.poll();
        let (lo, hi) = if phase & 1 == 0 { (512, 2048) } else { (32, 256) };
        for s in 0..n {
            if slots.sizes[s] == 0 {
                slots.fill(s, lo, hi);
            }
        }
    }
    for s in 0..n {
        sum = mix(sum, slots.check(s));
    }
    m.pop(1);
    sum
}
