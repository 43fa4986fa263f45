//! mutation: stores into old objects, one in four of a fresh object. What a write barrier costs, and what it
//! records.

use super::heap::Mutator;
use super::params::Params;
use super::rng::{Rng, mix};

/// `ops` stores into `size` old objects of eight slots; returns the checksum.
pub(super) fn mutation<M: Mutator>(m: M, params: &Params) -> u64 {
    let n = params.size;
    let mut rng = Rng::new(3 + params.tid as u64);
    let array = m.alloc(n, 0);
    let array = m.push(array);
    for i in 0..n {
        let old = m.alloc(8, 8);
        m.write_word(old, 8, i as u64);
        m.write_ref(m.get(array), i, old);
    }
    for i in 0..params.ops {
        let bits = rng.bits();
        let target = (((bits >> 32) * n as u64) >> 32) as usize;
        let field = bits as usize & 7;
        if i & 3 == 0 {
            let young = m.alloc(1, 16);
            m.write_word(young, 1, i as u64);
            let old = m.read_ref(m.get(array), target);
            m.write_ref(old, field, young);
        } else {
            let source = (((bits & 0xffff_ffff) * n as u64) >> 32) as usize;
            let objects = m.get(array);
            let value = m.read_ref(m.read_ref(objects, source), field);
            m.write_ref(m.read_ref(objects, target), (field + 1) & 7, value);
        }
        if i & 15 == 0 {
            m.poll();
        }
    }
    let mut sum = 0;
    let objects = m.get(array);
    for i in 0..n {
        let old = m.read_ref(objects, i);
        sum = mix(sum, m.read_word(old, 8));
        for field in 0..8 {
            let young = m.read_ref(old, field);
            if !young.is_null() {
                sum = mix(sum, m.read_word(young, 1));
            }
        }
    }
    m.pop(1);
    sum
}
