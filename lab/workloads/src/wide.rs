//! wide: one array of references to leaves. A trace has all its parallelism behind one object.

use super::churn::churn;
use super::heap::Mutator;
use super::params::Params;
use super::rng::mix;

/// An array of `size` leaves, then `ops` MiB of garbage, then a walk of the leaves; returns the checksum.
pub(super) fn wide<M: Mutator>(m: M, params: &Params) -> u64 {
    let n = params.size;
    let array = m.alloc(n, 0);
    let array = m.push(array);
    for i in 0..n {
        let leaf = m.alloc(0, 16);
        m.write_word(leaf, 0, i as u64);
        m.write_ref(m.get(array), i, leaf);
    }
    let garbage = churn(m, params.ops);
    let array = m.get(array);
    let mut sum = 0u64;
    for i in 0..n {
        sum = mix(sum, m.read_word(m.read_ref(array, i), 0));
    }
    m.pop(1);
    mix(sum, garbage)
}
