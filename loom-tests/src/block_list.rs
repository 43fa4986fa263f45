//! The list of blocks: each comes out once, with what was done to it before it went in.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::block_list::BlockList;
use protocols::sync::atomic::AtomicU32;
use std::sync::Arc;

const BLOCKS: usize = 3;

struct Space {
    list: BlockList,
    /// Its blocks have their links where those of `list` have them.
    kept: BlockList,
    links: [AtomicU32; BLOCKS],
    blocks: [UnsafeCell<u32>; BLOCKS],
}

// SAFETY: that the accesses to `blocks` do not race is what the models check.
unsafe impl Sync for Space {}
// SAFETY: as for Sync.
unsafe impl Send for Space {}

impl Space {
    fn with(listed: u32) -> Arc<Space> {
        let space = Space {
            list: BlockList::new(),
            kept: BlockList::new(),
            links: std::array::from_fn(|_| AtomicU32::new(0)),
            blocks: std::array::from_fn(|_| UnsafeCell::new(0)),
        };
        (0..listed).for_each(|number| space.push(number));
        Arc::new(space)
    }

    /// The owner fills the block and gives it away.
    fn push(&self, number: u32) {
        self.push_to(&self.list, number);
    }

    fn push_to(&self, list: &BlockList, number: u32) {
        // SAFETY: loom reports a race.
        self.blocks[number as usize].with_mut(|block| unsafe { *block += 1 });
        list.push(&self.links[..], number);
    }

    /// The new owner finds it filled, and empties it. Two owners are a race.
    fn pop(&self) -> Option<u32> {
        self.pop_from(&self.list)
    }

    fn pop_from(&self, list: &BlockList) -> Option<u32> {
        let number = list.pop(&self.links[..])?;
        self.blocks[number as usize].with_mut(|block| {
            // SAFETY: loom reports a race.
            let filled = unsafe { &mut *block };
            assert_eq!(*filled, 1, "block {number} has two owners");
            *filled = 0;
        });
        Some(number)
    }
}

/// A pop that sleeps while the block it saw is taken, the one behind it too, and the first one is put back.
fn pops_beside_a_push_of_the_same_block() {
    let space = Space::with(2);
    let other = {
        let space = space.clone();
        thread::spawn(move || space.pop())
    };
    let mut owned: Vec<u32> = [space.pop(), space.pop()].into_iter().flatten().collect();
    if owned.len() == 2 {
        space.push(owned.remove(0));
    }
    owned.extend(other.join().unwrap());
    owned.extend(std::iter::from_fn(|| space.pop()));
    owned.sort_unstable();
    assert_eq!(owned, [0, 1]);
}

/// Two threads give away a block each, the third takes both, or what is there.
fn pops_beside_pushes() {
    let space = Space::with(0);
    let others = [0, 1].map(|number| {
        let space = space.clone();
        thread::spawn(move || space.push(number))
    });
    let mut owned: Vec<u32> = [space.pop(), space.pop()].into_iter().flatten().collect();
    others.into_iter().for_each(|other| other.join().unwrap());
    owned.extend(std::iter::from_fn(|| space.pop()));
    owned.sort_unstable();
    assert_eq!(owned, [0, 1]);
}

/// Two takers and one giver: the second taker reaches through the first one's exchange to the push below it.
fn pops_beside_a_pop() {
    let space = Space::with(0);
    let giver = {
        let space = space.clone();
        thread::spawn(move || (0..2).for_each(|number| space.push(number)))
    };
    let taker = {
        let space = space.clone();
        thread::spawn(move || space.pop())
    };
    let mut owned: Vec<u32> = space.pop().into_iter().collect();
    giver.join().unwrap();
    owned.extend(taker.join().unwrap());
    owned.extend(std::iter::from_fn(|| space.pop()));
    owned.sort_unstable();
    assert_eq!(owned, [0, 1]);
}

/// A thread takes the first block from either list while another one searches both in vain: it keeps one on
/// the other list, and puts one back.
fn pops_beside_a_block_that_changes_lists() {
    let space = Space::with(2);
    let other = {
        let space = space.clone();
        thread::spawn(move || space.pop_from(&space.kept).or_else(|| space.pop()))
    };
    let (first, second) = (space.pop(), space.pop());
    second.into_iter().for_each(|number| space.push_to(&space.kept, number));
    first.into_iter().for_each(|number| space.push(number));
    let mut owned: Vec<u32> = other.join().unwrap().into_iter().collect();
    owned.extend(std::iter::from_fn(|| space.pop()));
    owned.extend(std::iter::from_fn(|| space.pop_from(&space.kept)));
    owned.sort_unstable();
    assert_eq!(owned, [0, 1]);
}

#[test]
fn a_block_that_returns_to_the_front_is_not_taken_for_the_one_seen_before() {
    holds(Some(3), pops_beside_a_push_of_the_same_block);
}

#[test]
fn a_block_comes_out_once_with_what_its_last_owner_wrote() {
    holds(Some(3), pops_beside_pushes);
    holds(Some(3), pops_beside_a_pop);
}

#[test]
fn a_block_that_changes_lists_comes_out_of_one_of_them() {
    holds(Some(3), pops_beside_a_block_that_changes_lists);
}

#[test]
fn without_the_tag_a_block_gets_two_owners() {
    fails_without("block-list-tag", Failure::Race, None, pops_beside_a_block_that_changes_lists);
    fails_without("block-list-tag", Failure::Race, None, pops_beside_a_push_of_the_same_block);
}

#[test]
fn push_releases_and_pop_acquires() {
    fails_without("block-list-push", Failure::Race, Some(3), pops_beside_pushes);
    fails_without("block-list-pop", Failure::Race, Some(3), pops_beside_pushes);
    fails_without("block-list-pop-again", Failure::Race, Some(3), pops_beside_pushes);
}
