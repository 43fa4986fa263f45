//! Short-lived garbage beside a fixed live set, so that every full collection traces that set.

use super::heap::{Mutator, Ref};

/// A tree of 15 objects whose leaves hold 32 bytes.
fn bush<M: Mutator>(m: M, depth: usize) -> Ref {
    if depth == 0 {
        return m.alloc(0, 32);
    }
    let left = bush(m, depth - 1);
    m.push(left);
    let right = bush(m, depth - 1);
    m.push(right);
    let node = m.alloc(2, 8);
    m.init_ref(node, 0, m.peek(1));
    m.init_ref(node, 1, m.peek(0));
    m.write_word(node, 2, depth as u64);
    m.pop(2);
    node
}

/// Allocates about `mb` MiB of bushes.
pub(super) fn churn<M: Mutator>(m: M, mb: usize) -> u64 {
    // 7 nodes of 32 bytes and 8 leaves of 40.
    let bushes = (mb << 20) / (7 * 32 + 8 * 40);
    let mut sum = 0;
    for _ in 0..bushes {
        let root = bush(m, 3);
        sum += m.read_word(root, 2);
        m.poll();
    }
    sum
}
