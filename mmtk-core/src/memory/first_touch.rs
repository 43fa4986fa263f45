//! Memory that is used for the first time, or again after it went back to the system: the system has to find
//! pages for it and zero them.
//!
//! One call for a block is a fifth cheaper than a fault for each page, and it can be timed: 0.5 ns a byte
//! where memory is at hand, ten times that where the host of a virtual machine took free memory back. The
//! heap chooses its nursery by that cost.
//!
//! A huge page should cost less than the small pages in its place. On such a host it costs many times as
//! much, since the host takes free memory back by the huge page. So the heap asks for huge pages at first
//! touch only if they have been cheap.
//!
//! Callers: threads that take a fresh block tell; threads that commit memory and the leader of a pause ask.

use crate::address::Address;
use crate::os::{self, HUGE_PAGE_BYTES, Mapping};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What it is taken to cost before it was measured, in ns a byte: 0.7 us a page.
const UNKNOWN_NS: f64 = 0.2;
/// Bytes after which what was measured counts half.
const HALF_LIFE: u64 = 32 << 20;
/// Bytes that tell something: with huge pages one block in 64 pays for all.
const ENOUGH: u64 = 2 << 20;
/// The same of huge pages alone.
const ENOUGH_HUGE: u64 = 4 * HUGE_PAGE_BYTES as u64;
/// Huge pages may cost up to this many times as much as small ones: they save translations later.
const MAX_RATIO: f64 = 2.0;

/// What first touches cost lately.
pub(super) struct FirstTouch {
    /// False where the system has no such call.
    possible: AtomicBool,
    small: Cost,
    huge: Cost,
}

#[derive(Default)]
struct Cost {
    ns: AtomicU64,
    bytes: AtomicU64,
}

impl Cost {
    fn add(&self, ns: u64, bytes: u64) {
        self.ns.fetch_add(ns, Relaxed);
        let before = self.bytes.fetch_add(bytes, Relaxed);
        if before < 2 * HALF_LIFE && before + bytes >= 2 * HALF_LIFE {
            // One thread comes by here; what others add meanwhile may count by half.
            self.ns.fetch_sub(self.ns.load(Relaxed) / 2, Relaxed);
            self.bytes.fetch_sub(HALF_LIFE, Relaxed);
        }
    }

    fn ns_and_bytes(&self) -> (u64, u64) {
        (self.ns.load(Relaxed), self.bytes.load(Relaxed))
    }

    fn ns_per_byte((ns, bytes): (u64, u64), enough: u64) -> Option<f64> {
        (bytes >= enough).then(|| ns as f64 / bytes as f64)
    }
}

impl FirstTouch {
    pub fn new() -> FirstTouch {
        FirstTouch { possible: AtomicBool::new(true), small: Cost::default(), huge: Cost::default() }
    }

    /// Puts memory behind whole pages that have none, for which huge pages were asked or not. If the system
    /// refuses, it does so when they are used.
    pub fn touch(&self, reservation: &Mapping, at: Address, bytes: usize, huge: bool) {
        if !self.possible.load(Relaxed) {
            return;
        }
        let began = os::thread_cpu_ns();
        let cost = if huge { &self.huge } else { &self.small };
        match reservation.populate(at, bytes) {
            Ok(()) => cost.add(os::thread_cpu_ns() - began, bytes as u64),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.possible.store(false, Relaxed),
            Err(_) => (),
        }
    }

    /// What a byte costs, in ns of processor time.
    pub fn ns_per_byte(&self) -> f64 {
        let (small, huge) = (self.small.ns_and_bytes(), self.huge.ns_and_bytes());
        Cost::ns_per_byte((small.0 + huge.0, small.1 + huge.1), ENOUGH).unwrap_or(UNKNOWN_NS)
    }

    /// Whether huge pages may be asked for: they are not much dearer than small ones, or their cost is not
    /// known.
    pub fn huge_pages_pay(&self) -> bool {
        let small = Cost::ns_per_byte(self.small.ns_and_bytes(), ENOUGH).unwrap_or(UNKNOWN_NS);
        Cost::ns_per_byte(self.huge.ns_and_bytes(), ENOUGH_HUGE).is_none_or(|huge| huge <= MAX_RATIO * small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_is_resident_and_reads_as_zero() {
        let mapping = Mapping::reserve(os::HUGE_PAGE_BYTES, os::HUGE_PAGE_BYTES).unwrap();
        mapping.commit(mapping.start(), mapping.bytes(), Some(false)).unwrap();
        let first = FirstTouch::new();
        first.touch(&mapping, mapping.start(), mapping.bytes(), false);
        assert_eq!(mapping.is_resident(mapping.start()).unwrap(), first.possible.load(Relaxed));
        // SAFETY: committed above, used by this test alone.
        assert_eq!(unsafe { mapping.start().load::<u64>() }, 0);
        assert!(first.ns_per_byte() > 0.0);
    }

    #[test]
    fn what_it_costs_follows_what_was_measured() {
        let first = FirstTouch::new();
        let touch = |mib, ns_per_byte: u64| (0..mib * 32).for_each(|_| first.small.add(ns_per_byte << 15, 1 << 15));
        touch(1, 5);
        assert_eq!(first.ns_per_byte(), UNKNOWN_NS, "too little to tell");
        touch(1, 5);
        assert_eq!(first.ns_per_byte(), 5.0);
        touch(500, 5);
        assert_eq!(first.ns_per_byte(), 5.0);
        touch(200, 1);
        assert!((1.0..1.1).contains(&first.ns_per_byte()), "{}", first.ns_per_byte());
    }

    #[test]
    fn huge_pages_are_asked_for_until_they_turn_out_to_be_much_dearer() {
        let first = FirstTouch::new();
        let touch = |cost: &Cost, ns| cost.add(ns, HUGE_PAGE_BYTES as u64);
        touch(&first.small, 1_000_000);
        (0..3).for_each(|_| touch(&first.huge, 9_000_000));
        assert!(first.huge_pages_pay(), "too few to tell");
        touch(&first.huge, 9_000_000);
        assert!(!first.huge_pages_pay());
        assert!((3.0..4.0).contains(&first.ns_per_byte()), "both count: {}", first.ns_per_byte());
        let first = FirstTouch::new();
        touch(&first.small, 1_000_000);
        (0..100).for_each(|_| touch(&first.huge, 1_500_000));
        assert!(first.huge_pages_pay());
    }
}
