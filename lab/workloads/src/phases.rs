//! phases: a program whose live set and allocation rate change.
//!
//! A table of `size` records, of which a phase uses a part; each step replaces a record at random and reads
//! some others. Phases differ in both, so they are hard on a pacer that predicts rates and sizes from the
//! last few collections.

use super::heap::{Mutator, Ref};
use super::params::Params;
use super::rng::{Rng, mix};

/// Phases one after the other, again and again: sixteenths of the table in use, records read in a step.
const PHASES: [(usize, usize); 6] = [(16, 0), (4, 0), (4, 16), (10, 4), (16, 16), (2, 4)];
/// Steps of a phase for each record of the table.
const STEPS: usize = 2;
/// A record: its payload | word.
const PAYLOAD: usize = 0;
const NUMBER: usize = 1;

/// `ops` phases on a table of `size` records; returns the checksum.
pub(super) fn phases<M: Mutator>(m: M, params: &Params) -> u64 {
    let mut rng = Rng::new(77 + params.tid as u64);
    let table = m.alloc(params.size, 0);
    let table = m.push(table);
    let mut sum = 0;
    for phase in 0..params.ops {
        let (part, reads) = PHASES[phase % PHASES.len()];
        let used = (params.size * part / 16).max(1);
        for i in used..params.size {
            m.write_ref(m.get(table), i, Ref::NULL);
        }
        for step in 0..params.size * STEPS {
            m.poll();
            let payload = m.alloc(0, 16 + rng.below(48));
            m.write_word(payload, 0, step as u64);
            m.push(payload);
            let record = m.alloc(1, 24);
            m.init_ref(record, PAYLOAD, m.peek(0));
            m.pop(1);
            m.write_word(record, NUMBER, (phase ^ step) as u64);
            m.write_ref(m.get(table), rng.below(used), record);
            for _ in 0..reads {
                let other = m.read_ref(m.get(table), rng.below(used));
                if !other.is_null() {
                    let payload = m.read_ref(other, PAYLOAD);
                    sum = mix(sum, m.read_word(other, NUMBER) ^ m.read_word(payload, 0));
                }
            }
        }
    }
    for i in 0..params.size {
        let record = m.read_ref(m.get(table), i);
        if !record.is_null() {
            sum = mix(sum, m.read_word(record, NUMBER));
        }
    }
    m.pop(1);
    sum
}
