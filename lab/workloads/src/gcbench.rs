//! GCBench, after Boehm, Ellis and Kovac: short-lived trees of all depths beside one long-lived tree and one
//! large array.
//!
//! 1. A stretch tree, two levels deeper than the long-lived one, is built and dropped.
//! 2. A long-lived tree is filled top-down, and an array of floats is written.
//! 3. For each even depth: as many trees as weigh twice the stretch tree, half top-down (stores into older
//!    objects), half bottom-up.
//! 4. The long-lived data is read back.

use super::heap::{Mutator, Ref};
use super::rng::mix;

/// Left and right.
const NODE_REFS: usize = 2;
/// Two 32-bit integers.
const NODE_BYTES: usize = 8;

fn tree_size(depth: usize) -> usize {
    (1 << (depth + 1)) - 1
}

fn bottom_up<M: Mutator>(m: M, depth: usize) -> Ref {
    if depth == 0 {
        return m.alloc(NODE_REFS, NODE_BYTES);
    }
    let left = bottom_up(m, depth - 1);
    m.push(left);
    let right = bottom_up(m, depth - 1);
    m.push(right);
    let node = m.alloc(NODE_REFS, NODE_BYTES);
    m.init_ref(node, 0, m.peek(1));
    m.init_ref(node, 1, m.peek(0));
    m.pop(2);
    node
}

/// Grows the node on top of the shadow stack into a tree.
fn top_down<M: Mutator>(m: M, depth: usize) {
    if depth == 0 {
        return;
    }
    let left = m.alloc(NODE_REFS, NODE_BYTES);
    m.write_ref(m.peek(0), 0, left);
    let right = m.alloc(NODE_REFS, NODE_BYTES);
    m.write_ref(m.peek(0), 1, right);
    m.push(m.read_ref(m.peek(0), 0));
    top_down(m, depth - 1);
    m.pop(1);
    m.push(m.read_ref(m.peek(0), 1));
    top_down(m, depth - 1);
    m.pop(1);
}

/// Counts the nodes of a tree.
///
/// Small subtrees are walked with plain locals and without a GC point; the upper levels keep the node on the
/// shadow stack and poll.
pub(super) fn count<M: Mutator>(m: M, node: Ref, depth: usize) -> u64 {
    if depth <= 10 {
        return count_without_poll(m, node);
    }
    m.push(node);
    m.poll();
    let mut nodes = 1;
    let left = m.read_ref(m.peek(0), 0);
    if !left.is_null() {
        nodes += count(m, left, depth - 1);
    }
    let right = m.read_ref(m.peek(0), 1);
    if !right.is_null() {
        nodes += count(m, right, depth - 1);
    }
    m.pop(1);
    nodes
}

fn count_without_poll<M: Mutator>(m: M, node: Ref) -> u64 {
    let left = m.read_ref(node, 0);
    if left.is_null() {
        return 1;
    }
    1 + count_without_poll(m, left) + count_without_poll(m, m.read_ref(node, 1))
}

fn left_depth<M: Mutator>(m: M, mut node: Ref) -> u64 {
    let mut depth = 0;
    loop {
        node = m.read_ref(node, 0);
        if node.is_null() {
            return depth;
        }
        depth += 1;
    }
}

/// Half a million floats at depth 16, in proportion to the tree at others.
fn array_len(long_depth: usize) -> usize {
    if long_depth < 16 { 500_000 >> (16 - long_depth) } else { 500_000 << (long_depth - 16) }
}

/// Runs GCBench with a long-lived tree of this depth; returns the checksum.
pub(super) fn gcbench<M: Mutator>(m: M, long_depth: usize) -> u64 {
    let stretch_depth = long_depth + 2;
    let array_len = array_len(long_depth);
    let mut sum = 0u64;

    let tree = bottom_up(m, stretch_depth);
    sum = mix(sum, left_depth(m, tree));

    let root = m.alloc(NODE_REFS, NODE_BYTES);
    let long_lived = m.push(root);
    top_down(m, long_depth);

    let floats = m.alloc(0, array_len * 8);
    let array = m.push(floats);
    for i in 1..array_len {
        if i & 4095 == 0 {
            m.poll();
        }
        m.write_word(m.get(array), i, (1.0 / i as f64).to_bits());
    }

    let mut depth = 4;
    while depth <= long_depth {
        let trees = 2 * tree_size(stretch_depth) / tree_size(depth);
        for _ in 0..trees {
            let root = m.alloc(NODE_REFS, NODE_BYTES);
            m.push(root);
            top_down(m, depth);
            m.pop(1);
        }
        for i in 0..trees {
            let tree = bottom_up(m, depth);
            if i == trees - 1 {
                sum = mix(sum, left_depth(m, tree));
            }
        }
        depth += 2;
    }

    sum = mix(sum, count(m, m.get(long_lived), long_depth));
    let floats = m.get(array);
    let mut total = 0f64;
    for i in 1..array_len {
        total += f64::from_bits(m.read_word(floats, i));
    }
    m.pop(2);
    mix(sum, total.to_bits())
}
