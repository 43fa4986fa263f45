//! Address space for a process that may not have much of it (`ulimit -v`): addresses are chosen, and mapped
//! piece by piece.
//!
//! The system counts what is mapped, whether or not there is memory behind it, and most of a heap's extents
//! are never used. So nothing of the range is mapped until it is committed. Other mappings of the program
//! must not use up what the heap will need. So as much memory is mapped elsewhere, and given up piece by
//! piece.
//!
//! ```text
//!   [m][ piece ][ free     ][ piece ][ free       ][m]            [ kept for the next pieces ]
//! ```
//! I1. Only pieces, markers and what is kept are ours. The range lies far from where the system puts mappings
//!     by itself, but another part of the program may take addresses in it: a piece is mapped only where
//!     nothing is.
//! I2. Markers, a page each, tell other heaps that the range is taken.
//! Callers: any thread that commits memory; its owner drops it.

use crate::address::Address;
use crate::os::{self, PAGE_BYTES};
use protocols::sync::Mutex;
use std::io;

/// Ranges begin at small multiples of these powers of two, the first that is free: between the program and
/// the mappings of the system. The smaller ones are for processors with shorter addresses.
const LOG_PLACES: [u32; 4] = [44, 41, 38, 36];

/// A range of addresses, and what of it is mapped.
pub(super) struct Sparse {
    start: Address,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pieces: Vec<(Address, usize)>,
    /// Inaccessible, as much as may still be committed without asking for more.
    kept: Option<(Address, usize)>,
}

impl Sparse {
    /// Chooses `bytes` of addresses aligned to `align`, and keeps `kept` bytes of address space for them, all
    /// whole pages.
    pub fn choose(bytes: usize, align: usize, kept: usize) -> io::Result<Sparse> {
        let kept = match kept {
            0 => None,
            _ => Some(os::map_anywhere(kept, PAGE_BYTES, libc::PROT_NONE)?),
        };
        // Owns what is kept from here on, and no range yet.
        let mut sparse =
            Sparse { start: Address::ZERO, bytes: 0, state: Mutex::new(State { pieces: Vec::new(), kept }) };
        let taken = mapped_ranges();
        for log in LOG_PLACES {
            for n in 1usize..8 {
                let start = n << log;
                let end = start.saturating_add(bytes).saturating_add(PAGE_BYTES);
                let free = !taken.iter().any(|(from, to)| *from < end && start - PAGE_BYTES < *to);
                if start.is_multiple_of(align) && end < usize::MAX >> 1 && free && sparse.mark(start, bytes) {
                    return Ok(sparse);
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// Maps the markers around a range, which is then this one's.
    fn mark(&mut self, start: usize, bytes: usize) -> bool {
        let start = Address::from_usize(start);
        let (before, behind) = (start.minus(PAGE_BYTES), start.plus(bytes));
        if os::map_free(before, PAGE_BYTES, false).is_err() {
            return false;
        }
        if os::map_free(behind, PAGE_BYTES, false).is_err() {
            // SAFETY: mapped above, and nobody knows of it.
            unsafe { os::unmap(before, PAGE_BYTES) };
            return false;
        }
        (self.start, self.bytes) = (start, bytes);
        true
    }

    /// Where it begins.
    pub fn start(&self) -> Address {
        self.start
    }

    /// Keeps nothing for pieces any more.
    pub fn keep_nothing(&self) {
        let mut state = self.state.lock();
        state.give_up(usize::MAX);
    }

    /// Maps whole pages of the range, which were not mapped before, for reading and writing.
    pub fn commit(&self, at: Address, bytes: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        let given_up = state.give_up(bytes);
        if let Err(error) = os::map_free(at, bytes, true) {
            if let Some((start, bytes)) = given_up
                && os::map_free(start, bytes, false).is_ok()
                && let Some(kept) = &mut state.kept
            {
                kept.1 += bytes;
            }
            return Err(error);
        }
        state.pieces.push((at, bytes));
        Ok(())
    }
}

impl State {
    /// Unmaps the end of what is kept, so that a piece of this size can be mapped; what it was.
    fn give_up(&mut self, bytes: usize) -> Option<(Address, usize)> {
        let (start, kept) = self.kept.as_mut()?;
        let bytes = bytes.min(*kept);
        let end = start.plus(*kept - bytes);
        // SAFETY: ours, inaccessible, and nobody knows of it.
        let given_up = bytes > 0 && unsafe { os::unmap(end, bytes) };
        given_up.then(|| {
            *kept -= bytes;
            (end, bytes)
        })
    }
}

impl Drop for Sparse {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let markers = [(self.start.minus(PAGE_BYTES), PAGE_BYTES), (self.start.plus(self.bytes), PAGE_BYTES)];
        let markers = if self.bytes > 0 { &markers[..] } else { &[] };
        for (at, bytes) in state.pieces.iter().chain(&state.kept).chain(markers) {
            if *bytes > 0 {
                // SAFETY: mapped by this value; a value that holds addresses into it holds them no longer
                // than its owner lives.
                unsafe { os::unmap(*at, *bytes) };
            }
        }
    }
}

/// What is mapped in this process; nothing if the system does not say, and then a collision is found when a
/// piece is mapped.
fn mapped_ranges() -> Vec<(usize, usize)> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn mapped_in(range: &Sparse) -> usize {
        let (start, end) = (range.start.as_usize(), range.start.plus(range.bytes).as_usize());
        let inside = |(from, to): (usize, usize)| to.min(end).saturating_sub(from.max(start));
        mapped_ranges().into_iter().map(inside).sum()
    }

    #[test]
    fn only_what_is_committed_is_mapped_and_all_of_it_goes() {
        let range = Sparse::choose(1 << 30, 1 << 27, 8 * MIB).unwrap();
        assert!(range.start.is_aligned_to(1 << 27));
        assert_eq!(mapped_in(&range), 0);
        range.commit(range.start.plus(4 * MIB), 4 * MIB).unwrap();
        range.commit(range.start, 4 * MIB).unwrap();
        // More than was kept for it.
        range.keep_nothing();
        range.commit(range.start.plus(512 * MIB), 8 * MIB).unwrap();
        assert_eq!(mapped_in(&range), 16 * MIB);
        // SAFETY: committed above, used by this test alone.
        unsafe {
            range.start.store(7u64);
            assert_eq!(range.start.plus(512 * MIB).load::<u64>(), 0);
        }
        assert!(range.commit(range.start, 4 * MIB).is_err(), "it is mapped");
        let (start, bytes) = (range.start, range.bytes);
        drop(range);
        os::map_free(start.minus(PAGE_BYTES), bytes + 2 * PAGE_BYTES, false).expect("all of it is free again");
        // SAFETY: mapped above.
        assert!(unsafe { os::unmap(start.minus(PAGE_BYTES), bytes + 2 * PAGE_BYTES) });
    }

    #[test]
    fn two_ranges_do_not_overlap_and_a_foreign_mapping_in_one_is_left_alone() {
        let ranges = [0; 2].map(|_| Sparse::choose(1 << 30, 1 << 27, 0).unwrap());
        assert!(ranges[0].start.as_usize().abs_diff(ranges[1].start.as_usize()) > 1 << 30);
        let foreign = ranges[0].start.plus(4 * MIB);
        os::map_free(foreign, PAGE_BYTES, true).unwrap();
        // SAFETY: mapped above, used by this test alone.
        unsafe {
            foreign.store(7u64);
            assert!(ranges[0].commit(foreign, 4 * MIB).is_err());
            drop(ranges);
            assert_eq!(foreign.load::<u64>(), 7);
            assert!(os::unmap(foreign, PAGE_BYTES));
        }
    }
}
