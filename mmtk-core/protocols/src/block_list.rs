//! A lock-free list of blocks: free blocks, or blocks that wait to be reused.
//!
//! Treiber's stack over block numbers. The links live in a table beside the heap (one word a block), so the
//! memory of a listed block is never touched, and a block number is never a dangling pointer.
//!
//! ```text
//! head = tag:32 | number + 1:32         links[number] = number + 1 of the next one, 0 = end
//! ```
//! I1. A block is on at most one list, once; its link is written only by the thread that is pushing it. Lists
//!     may share their links, and a block may go from one to the other at any time.
//! I2. The tag grows with every push, so a pop that slept between reading a link and its exchange fails (the
//!     ABA problem).
//! Callers: any mutator or worker, at a buffer refill. Source: Treiber, RJ 5118, 1986.

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::sync::{dropped, order};

/// Where the links of a family of lists are kept.
pub trait Links {
    /// The link word of block `number`.
    fn link(&self, number: u32) -> &AtomicU32;
}

impl Links for [AtomicU32] {
    fn link(&self, number: u32) -> &AtomicU32 {
        &self[number as usize]
    }
}

/// The head of one list.
#[derive(Debug)]
pub struct BlockList {
    head: AtomicU64,
}

impl Default for BlockList {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockList {
    /// An empty list.
    pub fn new() -> BlockList {
        BlockList { head: AtomicU64::new(0) }
    }

    /// Whether the list was empty a moment ago.
    pub fn is_empty(&self) -> bool {
        self.head.load(Relaxed) as u32 == 0
    }

    /// Puts a block in front. The caller owns it until now (I1).
    pub fn push(&self, links: &(impl Links + ?Sized), number: u32) {
        let mut head = self.head.load(Relaxed);
        loop {
            links.link(number).store(head as u32, Relaxed);
            let tag = if dropped!("block-list-tag") { 0 } else { (head >> 32).wrapping_add(1) };
            let new = tag << 32 | u64::from(number + 1);
            // Release publishes the link, and all that the caller did to the block, to the pop that takes it.
            match self.head.compare_exchange_weak(head, new, order!(Release, "block-list-push"), Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes the block in front; the caller owns it from now.
    pub fn pop(&self, links: &(impl Links + ?Sized)) -> Option<u32> {
        // Acquire pairs with Release in `push`: the link read below is the one of this head, and what the
        // pusher did to the block is visible. Every change of the head is a read-modify-write, so this
        // reaches the pushes further down too.
        let mut head = self.head.load(order!(Acquire, "block-list-pop"));
        loop {
            let number = (head as u32).checked_sub(1)?;
            let next = links.link(number).load(Relaxed);
            let new = head >> 32 << 32 | u64::from(next);
            // Relaxed on success: no value of the head comes twice (I2), so this reads the store that was
            // acquired above.
            match self.head.compare_exchange_weak(head, new, Relaxed, order!(Acquire, "block-list-pop-again")) {
                Ok(_) => return Some(number),
                Err(now) => head = now,
            }
        }
    }

    /// Forgets all blocks. Call while nobody else uses the list (mutators stopped, one worker).
    pub fn clear(&self) {
        let head = self.head.load(Relaxed);
        self.head.store((head >> 32).wrapping_add(1) << 32, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(n: usize) -> Vec<AtomicU32> {
        (0..n).map(|_| AtomicU32::new(0)).collect()
    }

    #[test]
    fn last_in_first_out() {
        let (links, list) = (links(4), BlockList::new());
        assert_eq!(list.pop(&links[..]), None);
        list.push(&links[..], 0);
        list.push(&links[..], 3);
        assert_eq!(list.pop(&links[..]), Some(3));
        assert_eq!(list.pop(&links[..]), Some(0));
        assert!(list.is_empty());
    }

    #[test]
    fn every_block_comes_out_once_under_contention() {
        let (links, list) = (links(1000), BlockList::new());
        for n in 0..1000 {
            list.push(&links[..], n);
        }
        let taken: Vec<AtomicU32> = (0..1000).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..5000 {
                        if let Some(n) = list.pop(&links[..]) {
                            assert_eq!(taken[n as usize].fetch_add(1, Relaxed), 0, "block {n} was handed out twice");
                            taken[n as usize].fetch_sub(1, Relaxed);
                            list.push(&links[..], n);
                        }
                    }
                });
            }
        });
        let mut left = 0;
        while list.pop(&links[..]).is_some() {
            left += 1;
        }
        assert_eq!(left, 1000);
    }
}
