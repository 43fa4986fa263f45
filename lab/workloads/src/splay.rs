//! splay: a splay tree with churn, after the idea of the Octane benchmark.
//!
//! Every node carries a payload tree of depth 5; each step inserts one random key and removes the greatest
//! smaller one. Long-lived data that is rearranged all the time: hard on generational collectors and on
//! barriers.

use super::heap::{Mutator, Ref};
use super::params::Params;
use super::rng::{Rng, mix};

const LEFT: usize = 0;
const RIGHT: usize = 1;
const VALUE: usize = 2;
const KEY: usize = 3; // word

const PAYLOAD_DEPTH: usize = 5;

fn payload<M: Mutator>(m: M, depth: usize, tag: u64) -> Ref {
    if depth == 0 {
        let array = m.alloc(0, 80);
        for i in 0..10 {
            m.write_word(array, i, i as u64);
        }
        m.push(array);
        let string = m.alloc(0, 40);
        m.write_word(string, 0, tag);
        m.push(string);
    } else {
        let left = payload(m, depth - 1, tag);
        m.push(left);
        let right = payload(m, depth - 1, tag);
        m.push(right);
    }
    let node = m.alloc(2, 0);
    m.init_ref(node, 0, m.peek(1));
    m.init_ref(node, 1, m.peek(0));
    m.pop(2);
    node
}

/// A splay tree whose root is an entry of the shadow stack.
#[derive(Clone, Copy)]
struct Tree<M: Mutator> {
    m: M,
    root: usize,
}

impl<M: Mutator> Tree<M> {
    #[inline(always)]
    fn key(self, node: Ref) -> u64 {
        self.m.read_word(node, KEY)
    }

    /// Top-down splay; no GC point but the allocation of the header node.
    fn splay(self, key: u64) {
        let m = self.m;
        if m.get(self.root).is_null() {
            return;
        }
        let header = m.alloc(3, 8);
        let (mut left, mut right) = (header, header);
        let mut current = m.get(self.root);
        loop {
            let current_key = self.key(current);
            if key < current_key {
                let mut l = m.read_ref(current, LEFT);
                if l.is_null() {
                    break;
                }
                if key < self.key(l) {
                    m.write_ref(current, LEFT, m.read_ref(l, RIGHT));
                    m.write_ref(l, RIGHT, current);
                    current = l;
                    l = m.read_ref(current, LEFT);
                    if l.is_null() {
                        break;
                    }
                }
                m.write_ref(right, LEFT, current);
                right = current;
                current = l;
            } else if key > current_key {
                let mut r = m.read_ref(current, RIGHT);
                if r.is_null() {
                    break;
                }
                if key > self.key(r) {
                    m.write_ref(current, RIGHT, m.read_ref(r, LEFT));
                    m.write_ref(r, LEFT, current);
                    current = r;
                    r = m.read_ref(current, RIGHT);
                    if r.is_null() {
                        break;
                    }
                }
                m.write_ref(left, RIGHT, current);
                left = current;
                current = r;
            } else {
                break;
            }
        }
        m.write_ref(left, RIGHT, m.read_ref(current, LEFT));
        m.write_ref(right, LEFT, m.read_ref(current, RIGHT));
        m.write_ref(current, LEFT, m.read_ref(header, RIGHT));
        m.write_ref(current, RIGHT, m.read_ref(header, LEFT));
        m.set(self.root, current);
    }

    /// Whether the key was new.
    fn insert(self, key: u64) -> bool {
        let m = self.m;
        self.splay(key);
        if !m.get(self.root).is_null() && self.key(m.get(self.root)) == key {
            return false;
        }
        let value = payload(m, PAYLOAD_DEPTH, key);
        m.push(value);
        let node = m.alloc(3, 8);
        m.init_ref(node, VALUE, m.peek(0));
        m.pop(1);
        m.write_word(node, KEY, key);
        let root = m.get(self.root);
        if !root.is_null() {
            if key > self.key(root) {
                m.write_ref(node, LEFT, root);
                m.write_ref(node, RIGHT, m.read_ref(root, RIGHT));
                m.write_ref(root, RIGHT, Ref::NULL);
            } else {
                m.write_ref(node, RIGHT, root);
                m.write_ref(node, LEFT, m.read_ref(root, LEFT));
                m.write_ref(root, LEFT, Ref::NULL);
            }
        }
        m.set(self.root, node);
        true
    }

    fn remove(self, key: u64) {
        let m = self.m;
        self.splay(key);
        let root = m.get(self.root);
        debug_assert_eq!(self.key(root), key);
        let left = m.read_ref(root, LEFT);
        let right = m.read_ref(root, RIGHT);
        if left.is_null() {
            m.set(self.root, right);
        } else {
            m.push(right);
            m.set(self.root, left);
            self.splay(key);
            m.write_ref(m.get(self.root), RIGHT, m.peek(0));
            m.pop(1);
        }
    }

    /// The greatest key less than `key`, if any.
    fn greatest_below(self, key: u64) -> Option<u64> {
        let m = self.m;
        self.splay(key);
        let root = m.get(self.root);
        if self.key(root) < key {
            return Some(self.key(root));
        }
        let mut node = m.read_ref(root, LEFT);
        if node.is_null() {
            return None;
        }
        loop {
            let right = m.read_ref(node, RIGHT);
            if right.is_null() {
                return Some(self.key(node));
            }
            node = right;
        }
    }

    /// Walks the tree in order with an explicit stack of references and no GC point; checks keys and
    /// payloads.
    fn checksum(self, expected_len: usize) -> u64 {
        let m = self.m;
        let mut path: Vec<Ref> = vec![];
        let (mut sum, mut len, mut last) = (0u64, 0usize, 0u64);
        let mut current = m.get(self.root);
        while !current.is_null() || !path.is_empty() {
            while !current.is_null() {
                path.push(current);
                current = m.read_ref(current, LEFT);
            }
            let Some(node) = path.pop() else { break };
            let key = self.key(node);
            assert!(key >= last, "the keys are out of order");
            last = key;
            // Down the left edge of the payload to its string.
            let mut value = m.read_ref(node, VALUE);
            for _ in 0..PAYLOAD_DEPTH {
                value = m.read_ref(value, 0);
            }
            let tag = m.read_word(m.read_ref(value, 1), 0);
            assert_eq!(tag, key, "a payload belongs to another node");
            sum = mix(sum, key);
            len += 1;
            current = m.read_ref(node, RIGHT);
        }
        assert_eq!(len, expected_len, "nodes were lost");
        sum
    }
}

/// A tree of `size` nodes and `ops` steps; returns the checksum.
pub(super) fn splay<M: Mutator>(m: M, params: &Params) -> u64 {
    let mut rng = Rng::new(1000 + params.tid as u64);
    let tree = Tree { m, root: m.push(Ref::NULL) };
    let mut len = 0;
    while len < params.size {
        if tree.insert(rng.bits() >> 16) {
            len += 1;
        }
    }
    for _ in 0..params.ops {
        m.poll();
        let mut key = rng.bits() >> 16;
        while !tree.insert(key) {
            key = rng.bits() >> 16;
        }
        let dead = tree.greatest_below(key).unwrap_or(key);
        tree.remove(dead);
    }
    let sum = tree.checksum(params.size);
    m.pop(1);
    sum
}
