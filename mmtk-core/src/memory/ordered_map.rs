//! A map in the order of its keys whose memory is whole pages: pauses change it, and may not call `malloc` as
//! the maps of the standard library do ([`PageVec`]).
//!
//! A treap: a binary search tree by the keys, and a heap by priorities that are random, so that it is as deep
//! as one whose keys came in random order. The nodes are in one list, and refer to each other by their
//! places in it.
//!
//! I1. Nodes below a node have no higher priority; those to its left have smaller keys, those to its right
//!     larger ones.
//! I2. Places that hold no node are linked through their `left`.
//! Source: Seidel and Aragon, "Randomized search trees" (Algorithmica 1996).

use crate::os::PageVec;

const NONE: u32 = u32::MAX;
/// Memory that an empty map keeps.
const KEPT_NODES: usize = 256;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    /// None in a place that holds no node.
    value: Option<V>,
    priority: u32,
    left: u32,
    right: u32,
}

/// Where the place of a node is noted.
#[derive(Copy, Clone)]
enum Link {
    Root,
    Left(u32),
    Right(u32),
}

/// The map.
#[derive(Debug)]
pub struct OrderedMap<K, V> {
    nodes: PageVec<Node<K, V>>,
    root: u32,
    /// The first place without a node.
    unused: u32,
    len: usize,
    random: u32,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        OrderedMap { nodes: PageVec::new(), root: NONE, unused: NONE, len: 0, random: 0x9e37_79b9 }
    }
}

impl<K: Copy + Ord, V> OrderedMap<K, V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn node(&self, place: u32) -> &Node<K, V> {
        &self.nodes[place as usize]
    }

    fn linked(&self, link: Link) -> u32 {
        match link {
            Link::Root => self.root,
            Link::Left(place) => self.node(place).left,
            Link::Right(place) => self.node(place).right,
        }
    }

    fn link(&mut self, link: Link, to: u32) {
        match link {
            Link::Root => self.root = to,
            Link::Left(place) => self.nodes[place as usize].left = to,
            Link::Right(place) => self.nodes[place as usize].right = to,
        }
    }

    /// Where the key is, if it is there.
    fn find(&self, key: K) -> Option<(Link, u32)> {
        let mut link = Link::Root;
        loop {
            let place = self.linked(link);
            if place == NONE {
                return None;
            }
            link = match key.cmp(&self.node(place).key) {
                std::cmp::Ordering::Equal => return Some((link, place)),
                std::cmp::Ordering::Less => Link::Left(place),
                std::cmp::Ordering::Greater => Link::Right(place),
            };
        }
    }

    fn entry(&self, place: u32) -> Option<(K, &V)> {
        let node = self.nodes.get(place as usize)?;
        Some((node.key, node.value.as_ref()?))
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        self.node(self.find(key)?.1).value.as_ref()
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let (_, place) = self.find(key)?;
        self.nodes[place as usize].value.as_mut()
    }

    /// Whether the key is there.
    pub fn contains(&self, key: K) -> bool {
        self.find(key).is_some()
    }

    /// The last of the keys for which `is_before` is true; these are all before the others.
    fn last_where(&self, is_before: impl Fn(&K) -> bool) -> Option<(K, &V)> {
        let (mut place, mut last) = (self.root, NONE);
        while place != NONE {
            let node = self.node(place);
            let before = is_before(&node.key);
            last = if before { place } else { last };
            place = if before { node.right } else { node.left };
        }
        self.entry(last)
    }

    /// The first of the keys for which `is_before` is false.
    fn first_where_not(&self, is_before: impl Fn(&K) -> bool) -> Option<(K, &V)> {
        let (mut place, mut first) = (self.root, NONE);
        while place != NONE {
            let node = self.node(place);
            let before = is_before(&node.key);
            first = if before { first } else { place };
            place = if before { node.right } else { node.left };
        }
        self.entry(first)
    }

    /// The last key below this one.
    pub fn below(&self, key: K) -> Option<(K, &V)> {
        self.last_where(|known| *known < key)
    }

    /// This key, or else the last one below it.
    pub fn at_or_below(&self, key: K) -> Option<(K, &V)> {
        self.last_where(|known| *known <= key)
    }

    /// This key, or else the first one above it.
    pub fn at_or_above(&self, key: K) -> Option<(K, &V)> {
        self.first_where_not(|known| *known < key)
    }

    /// The first key.
    pub fn first(&self) -> Option<(K, &V)> {
        self.first_where_not(|_| false)
    }

    /// The last key.
    pub fn last(&self) -> Option<(K, &V)> {
        self.last_where(|_| true)
    }

    /// The first key above this one.
    pub fn above(&self, key: K) -> Option<(K, &V)> {
        self.first_where_not(|known| *known <= key)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        std::iter::successors(self.first(), |(key, _)| self.above(*key))
    }

    /// Those above this one, in order.
    pub fn iter_above(&self, key: K) -> impl Iterator<Item = (K, &V)> {
        std::iter::successors(self.above(key), |(key, _)| self.above(*key))
    }

    /// A place for a new node.
    fn place_for(&mut self, key: K, value: V) -> u32 {
        // Xorshift (Marsaglia, Journal of Statistical Software 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let node = Node { key, value: Some(value), priority: self.random, left: NONE, right: NONE };
        match self.nodes.get_mut(self.unused as usize) {
            Some(place) => {
                let unused = std::mem::replace(&mut self.unused, place.left);
                *place = node;
                unused
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    /// Gives the key this value; returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some((_, place)) = self.find(key) {
            return self.nodes[place as usize].value.replace(value);
        }
        let new = self.place_for(key, value);
        let priority = self.node(new).priority;
        let mut link = Link::Root;
        let mut place = self.root;
        while place != NONE && self.node(place).priority >= priority {
            link = if key < self.node(place).key { Link::Left(place) } else { Link::Right(place) };
            place = self.linked(link);
        }
        self.link(link, new);
        // What was there is cut in two along the way to the key.
        let (mut left, mut right) = (Link::Left(new), Link::Right(new));
        while place != NONE {
            match self.node(place).key < key {
                true => {
                    self.link(left, place);
                    left = Link::Right(place);
                    place = self.linked(left);
                }
                false => {
                    self.link(right, place);
                    right = Link::Left(place);
                    place = self.linked(right);
                }
            }
        }
        self.link(left, NONE);
        self.link(right, NONE);
        self.len += 1;
        None
    }

    /// Takes a key out; returns its value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let (mut link, place) = self.find(key)?;
        let (mut left, mut right) = (self.node(place).left, self.node(place).right);
        // What is below the node takes its place, higher priorities first.
        while left != NONE && right != NONE {
            match self.node(left).priority >= self.node(right).priority {
                true => {
                    self.link(link, left);
                    link = Link::Right(left);
                    left = self.linked(link);
                }
                false => {
                    self.link(link, right);
                    link = Link::Left(right);
                    right = self.linked(link);
                }
            }
        }
        self.link(link, if left == NONE { right } else { left });
        self.len -= 1;
        let node = &mut self.nodes[place as usize];
        node.left = self.unused;
        self.unused = place;
        let value = node.value.take();
        if self.len == 0 {
            self.clear();
        }
        value
    }

    /// Takes all keys out.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.nodes.shrink_to(KEPT_NODES);
        (self.root, self.unused, self.len) = (NONE, NONE, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The number of nodes, and whether I1 holds below `place`.
    fn check(map: &OrderedMap<u8, usize>, place: u32) -> usize {
        if place == NONE {
            return 0;
        }
        let node = map.node(place);
        for (below, is_left) in [(node.left, true), (node.right, false)] {
            if below != NONE {
                assert!(map.node(below).priority <= node.priority);
                assert_eq!(map.node(below).key < node.key, is_left);
            }
        }
        1 + check(map, node.left) + check(map, node.right)
    }

    proptest! {
        #[test]
        fn it_answers_as_the_map_of_the_standard_library(ops in prop::collection::vec((any::<u8>(), 0..3u8), 1..300)) {
            let (mut map, mut model) = (OrderedMap::default(), BTreeMap::new());
            for (value, (key, what)) in ops.into_iter().enumerate() {
                match what {
                    0 => prop_assert_eq!(map.remove(key), model.remove(&key)),
                    _ => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                }
                prop_assert_eq!(check(&map, map.root), model.len());
                prop_assert_eq!(map.len(), model.len());
                let of = |entry: Option<(&u8, &usize)>| entry.map(|(key, value)| (*key, *value));
                let is = |entry: Option<(u8, &usize)>| entry.map(|(key, value)| (key, *value));
                prop_assert_eq!(is(map.below(key)), of(model.range(..key).next_back()));
                prop_assert_eq!(is(map.at_or_below(key)), of(model.range(..=key).next_back()));
                prop_assert_eq!(is(map.at_or_above(key)), of(model.range(key..).next()));
                prop_assert!(map.iter_above(key).map(|(k, v)| (k, *v)).eq(model.range(key..).skip_while(|(k, _)| **k == key).map(|(k, v)| (*k, *v))));
                prop_assert_eq!((is(map.first()), is(map.last())), (of(model.first_key_value()), of(model.last_key_value())));
                prop_assert_eq!((map.get(key), map.contains(key)), (model.get(&key), model.contains_key(&key)));
            }
            prop_assert!(map.iter().map(|(key, value)| (key, *value)).eq(model));
        }
    }

    #[test]
    fn keys_that_come_in_order_do_not_make_it_deep() {
        fn depth(map: &OrderedMap<usize, ()>, place: u32) -> usize {
            if place == NONE {
                return 0;
            }
            1 + depth(map, map.node(place).left).max(depth(map, map.node(place).right))
        }
        let mut map = OrderedMap::default();
        let keys = if cfg!(miri) { 200 } else { 10_000 };
        (0..keys).for_each(|key| _ = map.insert(key, ()));
        assert!(depth(&map, map.root) < 50);
        (0..keys).for_each(|key| _ = map.remove(key));
        assert!(map.is_empty() && map.nodes.capacity() <= KEPT_NODES);
    }
}
