//! list and list-shuffled: one long chain. A trace cannot be split, and in random order every hop misses the
//! cache.

use super::churn::churn;
use super::heap::{Mutator, Ref};
use super::params::Params;
use super::rng::{Rng, mix};

/// The order of a chain in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Allocation,
    Shuffled,
}

/// Pushes a chain on the shadow stack, linked in allocation order.
fn build<M: Mutator>(m: M, n: usize) -> usize {
    let head = m.push(Ref::NULL);
    for i in 0..n {
        let node = m.alloc(1, 8);
        m.init_ref(node, 0, m.get(head));
        m.write_word(node, 1, i as u64);
        m.set(head, node);
    }
    head
}

/// As `build`, but linked in random order by way of an index array that dies.
fn build_shuffled<M: Mutator>(m: M, n: usize, mut rng: Rng) -> usize {
    let head = m.push(Ref::NULL);
    let array = m.alloc(n, 0);
    let array = m.push(array);
    for i in 0..n {
        let node = m.alloc(1, 8);
        m.write_word(node, 1, i as u64);
        m.write_ref(m.get(array), i, node);
    }
    let order = rng.permutation(n);
    for (k, &i) in order.iter().enumerate() {
        if k & 1023 == 0 {
            m.poll();
        }
        let node = m.read_ref(m.get(array), i as usize);
        m.write_ref(node, 0, m.get(head));
        m.set(head, node);
    }
    m.pop(1);
    head
}

/// A chain of `size` nodes, then `ops` MiB of garbage, then a walk of the chain; returns the checksum.
pub(super) fn list<M: Mutator>(m: M, params: &Params, order: Order) -> u64 {
    let head = match order {
        Order::Allocation => build(m, params.size),
        Order::Shuffled => build_shuffled(m, params.size, Rng::new(77 + params.tid as u64)),
    };
    let garbage = churn(m, params.ops);
    let (mut sum, mut len) = (0u64, 0usize);
    let mut node = m.get(head);
    while !node.is_null() {
        sum = mix(sum, m.read_word(node, 1));
        node = m.read_ref(node, 0);
        len += 1;
    }
    assert_eq!(len, params.size, "the chain was cut");
    m.pop(1);
    mix(sum, garbage)
}
