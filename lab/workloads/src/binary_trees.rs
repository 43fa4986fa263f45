//! binary-trees of the benchmarks game: many short-lived bottom-up trees of each depth beside one long-lived
//! tree.

use super::gcbench::count;
use super::heap::{Mutator, Ref};
use super::rng::mix;

fn make<M: Mutator>(m: M, depth: usize) -> Ref {
    if depth == 0 {
        return m.alloc(2, 0);
    }
    let left = make(m, depth - 1);
    m.push(left);
    let right = make(m, depth - 1);
    m.push(right);
    let node = m.alloc(2, 0);
    m.init_ref(node, 0, m.peek(1));
    m.init_ref(node, 1, m.peek(0));
    m.pop(2);
    node
}

/// Runs binary-trees up to this depth; returns the checksum.
pub(super) fn binary_trees<M: Mutator>(m: M, max_depth: usize) -> u64 {
    let stretch = make(m, max_depth + 1);
    let mut sum = mix(0, count(m, stretch, max_depth + 1));
    let long_lived = make(m, max_depth);
    m.push(long_lived);
    let mut depth = 4;
    while depth <= max_depth {
        let trees = 1usize << (max_depth - depth + 4);
        let mut nodes = 0;
        for _ in 0..trees {
            let tree = make(m, depth);
            nodes += count(m, tree, depth);
        }
        sum = mix(sum, nodes);
        depth += 2;
    }
    sum = mix(sum, count(m, m.peek(0), max_depth));
    m.pop(1);
    sum
}
