//! large: arrays of 64 KB to 4 MB, few alive at a time: the large-object space and the return of its pages.

use super::heap::Mutator;
use super::params::Params;
use super::rng::{Rng, mix};

/// One word a page is touched.
const STRIDE_WORDS: usize = 512;

/// Replaces `ops` arrays in `size` slots; returns the checksum.
pub(super) fn large<M: Mutator>(m: M, params: &Params) -> u64 {
    let n = params.size;
    let mut rng = Rng::new(9 + params.tid as u64);
    let slots = m.alloc(n, 0);
    let slots = m.push(slots);
    let mut sizes = vec![0usize; n];
    let mut sum = 0;
    for i in 0..params.ops {
        let s = rng.below(n);
        let old = m.read_ref(m.get(slots), s);
        if !old.is_null() {
            for w in (0..sizes[s] / 8).step_by(STRIDE_WORDS) {
                sum = mix(sum, m.read_word(old, w));
            }
        }
        let bytes = rng.log_uniform(64 << 10, 4 << 20) & !7;
        let array = m.alloc(0, bytes);
        for w in (0..bytes / 8).step_by(STRIDE_WORDS) {
            m.write_word(array, w, (i ^ w) as u64);
        }
        m.write_ref(m.get(slots), s, array);
        sizes[s] = bytes;
    }
    m.pop(1);
    sum
}
