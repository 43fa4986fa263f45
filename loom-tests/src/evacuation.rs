//! Blocks that are evacuated: no worker writes where another still reads.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::evacuation::{Evacuation, left, wait_for};
use protocols::sync::Atomic;
use protocols::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

const BLOCKS: usize = 3;

/// Each block holds a number; each slides one block down, into the one that the number below it has left.
struct Space {
    next: AtomicU32,
    evacuated: [Atomic<Evacuation>; BLOCKS],
    blocks: [UnsafeCell<usize>; BLOCKS],
}

// SAFETY: that the accesses to `blocks` do not race is what the models check.
unsafe impl Sync for Space {}
// SAFETY: as for Sync.
unsafe impl Send for Space {}

impl Space {
    fn full() -> Arc<Space> {
        Arc::new(Space {
            next: AtomicU32::new(0),
            evacuated: std::array::from_fn(|_| Atomic::new(Evacuation::Full)),
            blocks: std::array::from_fn(UnsafeCell::new),
        })
    }

    /// What each worker does; the first block is dead.
    fn compact(&self) {
        loop {
            let block = self.next.fetch_add(1, Relaxed) as usize;
            if block >= BLOCKS {
                return;
            }
            // SAFETY: loom reports a race.
            let number = self.blocks[block].with(|number| unsafe { *number });
            if block > 0 {
                wait_for(&self.evacuated[block - 1]);
                // SAFETY: as above.
                self.blocks[block - 1].with_mut(|target| unsafe { *target = number });
            }
            left(&self.evacuated[block]);
        }
    }
}

fn two_workers_slide_blocks_down() {
    let space = Space::full();
    let other = {
        let space = space.clone();
        thread::spawn(move || space.compact())
    };
    space.compact();
    other.join().unwrap();
    assert!(space.evacuated.iter().all(|block| block.load(Relaxed) == Evacuation::Left));
    // SAFETY: the other worker is gone.
    let numbers = [0, 1].map(|block| space.blocks[block].with(|number| unsafe { *number }));
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_block_is_written_over_only_when_its_worker_has_read_it() {
    holds(Some(3), two_workers_slide_blocks_down);
}

#[test]
fn who_slides_waits_releases_and_acquires() {
    for step in ["evacuation-wait", "evacuation-left", "evacuation-seen"] {
        fails_without(step, Failure::Race, Some(3), two_workers_slide_blocks_down);
    }
}
