//! How objects of different sizes search the same blocks for holes.
//!
//! A large object must not use up the blocks whose holes are too small for it: smaller objects need them. So
//! there are two lists. A block without a hole for the present object goes from the searched list to the
//! other one. When the searched list is empty, the lists change roles, and a new turn begins. The new turn is
//! for objects smaller than the largest that searched in the turn before.
//!
//! I1. A turn is for smaller objects than the turn before it, so there are at most as many turns as a block
//!     has lines.
//! I2. The lists change roles under the lock, and blocks go from list to list under it. The lock is taken
//!     once for a block, not once for an object.
//! I3. One thread gets a block from a list, and sees what the last owner wrote (`BlockList`), even while
//!     other threads take blocks from the lists, or put blocks on them, without the lock.
//! I4. When the caller leaves a block, the line marks say which parts of the block it has handed out.
//! Callers: `next_block` any mutator between pauses, or any worker in one; `restart` the leader.

use super::lines::LINES;
use mmtk_core::memory::{Block, BlockList, Links};
use protocols::sync::Mutex;

/// The state of the search.
#[derive(Default)]
pub struct HoleSearch {
    turn: Mutex<Turn>,
}

struct Turn {
    /// How often the lists have changed roles. If the number is even, the first list is searched.
    number: u32,
    /// Objects of this many lines or more do not search.
    none_from: u32,
    /// Lines of the largest object that has searched in this turn.
    largest: u32,
}

impl Default for Turn {
    fn default() -> Self {
        Turn { number: 0, none_from: LINES, largest: 0 }
    }
}

impl HoleSearch {
    /// The next block in which an object of `lines` lines looks for a hole, if there may be one. The caller
    /// has `searched` in vain; the block is taken from it and kept for smaller objects, unless the search is
    /// over for this one.
    pub fn next_block(
        &self,
        lists: [&BlockList; 2],
        links: &impl Links,
        searched: &mut Option<Block>,
        lines: u32,
    ) -> Option<Block> {
        let mut turn = self.turn.lock();
        while lines < turn.none_from {
            turn.largest = turn.largest.max(lines);
            let (from, kept) = match turn.number % 2 {
                0 => (lists[0], lists[1]),
                _ => (lists[1], lists[0]),
            };
            if let Some(block) = searched.take() {
                kept.push(links, block.0);
            }
            if let Some(number) = from.pop(links) {
                return Some(Block(number));
            }
            *turn = Turn { number: turn.number + 1, none_from: turn.largest, largest: 0 };
        }
        None
    }

    /// All objects search from the first list again. Returns whether the lists had changed roles.
    pub fn restart(&self) -> bool {
        std::mem::take(&mut *self.turn.lock()).number > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// The links of a few blocks.
    struct Table<const N: usize>([AtomicU32; N]);

    impl<const N: usize> Links for Table<N> {
        fn link(&self, number: u32) -> &AtomicU32 {
            &self.0[number as usize]
        }
    }

    /// Blocks that have one hole each, of as many lines as `holes` says; all are listed.
    struct Space<const N: usize> {
        holes: [u32; N],
        links: Table<N>,
        lists: [BlockList; 2],
        search: HoleSearch,
    }

    impl<const N: usize> Space<N> {
        fn new(holes: [u32; N]) -> Self {
            let space = Space {
                holes,
                links: Table(std::array::from_fn(|_| AtomicU32::new(0))),
                lists: [BlockList::new(), BlockList::new()],
                search: HoleSearch::default(),
            };
            (0..N as u32).for_each(|number| space.lists[0].push(&space.links, number));
            space
        }

        fn next_block(&self, searched: &mut Option<Block>, lines: u32) -> Option<Block> {
            self.search.next_block([&self.lists[0], &self.lists[1]], &self.links, searched, lines)
        }

        /// A block with a hole for the object; the caller uses up the hole, and the block with it.
        fn place(&self, cursor: &mut Option<Block>, lines: u32) -> Option<Block> {
            loop {
                *cursor = Some(self.next_block(cursor, lines)?);
                if cursor.is_some_and(|block| lines <= self.holes[block.0 as usize]) {
                    return cursor.take();
                }
            }
        }
    }

    #[test]
    fn smaller_objects_find_the_holes_that_larger_ones_passed_over() {
        // The last comes first.
        let (space, mut cursor) = (Space::new([20, 3, 5, 2, 3]), None);
        let mut place = |lines| space.place(&mut cursor, lines).map(|block| space.holes[block.0 as usize]);
        assert_eq!(place(20), Some(20));
        // The first list is empty now. What is left is in the other.
        assert_eq!(place(3), Some(3));
        assert_eq!(place(4), Some(5));
        assert_eq!(place(3), Some(3));
        assert_eq!(place(3), None);
        assert_eq!(place(2), Some(2));
        assert_eq!(place(1), None);
    }

    #[test]
    fn objects_as_large_as_one_that_found_nothing_do_not_search() {
        let (space, mut cursor) = (Space::new([4, 4, 4]), None);
        assert_eq!(space.place(&mut cursor, 9), None);
        assert_eq!(space.search.turn.lock().number, 1);
        assert_eq!(space.place(&mut cursor, 9), None);
        assert_eq!(space.place(&mut cursor, 10), None);
        assert_eq!(space.search.turn.lock().number, 1);
        assert!(space.search.restart());
        assert!(!space.search.restart());
    }

    /// The block that it has searched stays with the thread, whose smaller objects find holes in it.
    #[test]
    fn an_object_that_may_not_search_takes_no_block_from_its_thread() {
        let (space, mut cursor) = (Space::new([4, 4, 4]), None);
        assert_eq!(space.place(&mut cursor, 9), None);
        let mut searched = space.next_block(&mut None, 3);
        assert!(searched.is_some());
        assert_eq!(space.next_block(&mut searched, 9), None);
        assert!(searched.is_some());
    }

    #[test]
    fn there_are_no_more_turns_than_lines() {
        let (space, mut cursor) = (Space::new([0; 8]), None);
        for lines in (1..LINES).rev() {
            assert_eq!(space.place(&mut cursor, lines), None);
        }
        assert_eq!(space.search.turn.lock().number, LINES - 1);
        assert_eq!(space.place(&mut cursor, 1), None);
        assert_eq!(space.search.turn.lock().number, LINES - 1);
    }

    #[test]
    fn no_block_is_lost_or_has_two_owners_when_threads_search_for_different_sizes() {
        const BLOCKS: usize = 64;
        for _ in 0..50 {
            let space = Space::new([2; BLOCKS]);
            let owners: [AtomicU32; BLOCKS] = std::array::from_fn(|_| AtomicU32::new(0));
            let take = |block: Block| assert_eq!(owners[block.0 as usize].fetch_add(1, Relaxed), 0, "{block:?}");
            let leave = |block: Block| assert_eq!(owners[block.0 as usize].fetch_sub(1, Relaxed), 1, "{block:?}");
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (space, take, leave) = (&space, &take, &leave);
                    scope.spawn(move || {
                        for lines in (3 + thread..30).rev().step_by(3) {
                            let mut cursor = None;
                            loop {
                                // Before another thread can have it.
                                cursor.into_iter().for_each(leave);
                                let next = space.next_block(&mut cursor, lines);
                                // Its block was not taken.
                                cursor.into_iter().for_each(take);
                                let Some(block) = next else { break };
                                take(block);
                                cursor = Some(block);
                            }
                            // As a mutator that detaches does it, without the lock.
                            if let Some(block) = cursor {
                                leave(block);
                                space.lists[1].push(&space.links, block.0);
                            }
                        }
                    });
                }
            });
            let listed = space.lists.iter().map(|list| std::iter::from_fn(|| list.pop(&space.links)).count());
            assert_eq!(listed.sum::<usize>(), BLOCKS);
        }
    }
}
