//! Memory that is used for the first time, or again after it went back to the system: the system has to find pages for it and zero them.
//!
//! One call for a block is a fifth cheaper than a fault for each page, and shows what it costs: here 0.5 ns a byte where memory is at hand, ten times that
//! where the host of a virtual machine took free memory back. Nurseries are chosen by it.
//!
//! Callers: whoever takes a fresh block; the leader of a pause asks.

use super::os::{self, Mapping};
use crate::address::Address;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What it is taken to cost before it was measured, in ns a byte: 0.7 us a page.
const UNKNOWN_NS: f64 = 0.2;
/// Bytes after which what was measured counts half.
const HALF_LIFE: u64 = 32 << 20;
/// Bytes that tell something: with huge pages one block in 64 pays for all.
const ENOUGH: u64 = 2 << 20;

/// What first touches cost lately.
pub(super) struct FirstTouch {
    /// False where the system has no such call.
    possible: AtomicBool,
    ns: AtomicU64,
    bytes: AtomicU64,
}

impl FirstTouch {
    pub fn new() -> FirstTouch {
        FirstTouch { possible: AtomicBool::new(true), ns: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Puts memory behind whole pages that have none. If the system refuses, it does so when they are used.
    pub fn touch(&self, reservation: &Mapping, at: Address, bytes: usize) {
        if !self.possible.load(Relaxed) {
            return;
        }
        let began = os::thread_cpu_ns();
        match reservation.populate(at, bytes) {
            Ok(()) => self.cost(os::thread_cpu_ns() - began, bytes as u64),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.possible.store(false, Relaxed),
            Err(_) => (),
        }
    }

    fn cost(&self, ns: u64, bytes: u64) {
        self.ns.fetch_add(ns, Relaxed);
        let before = self.bytes.fetch_add(bytes, Relaxed);
        if before < 2 * HALF_LIFE && before + bytes >= 2 * HALF_LIFE {
            // One thread comes by here; what others add meanwhile may count by half.
            self.ns.fetch_sub(self.ns.load(Relaxed) / 2, Relaxed);
            self.bytes.fetch_sub(HALF_LIFE, Relaxed);
        }
    }

    /// What a byte costs, in ns of processor time.
    pub fn ns_per_byte(&self) -> f64 {
        match self.bytes.load(Relaxed) {
            few if few < ENOUGH => UNKNOWN_NS,
            bytes => self.ns.load(Relaxed) as f64 / bytes as f64,
        }
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
        first.touch(&mapping, mapping.start(), mapping.bytes());
        assert_eq!(mapping.is_resident(mapping.start()).unwrap(), first.possible.load(Relaxed));
        // SAFETY: committed above, used by this test alone.
        assert_eq!(unsafe { mapping.start().load::<u64>() }, 0);
        assert!(first.ns_per_byte() > 0.0);
    }

    #[test]
    fn what_it_costs_follows_what_was_measured() {
        let first = FirstTouch::new();
        let touch = |mib, ns_per_byte: u64| (0..mib * 32).for_each(|_| first.cost(ns_per_byte << 15, 1 << 15));
        touch(1, 5);
        assert_eq!(first.ns_per_byte(), UNKNOWN_NS, "too little to tell");
        touch(1, 5);
        assert_eq!(first.ns_per_byte(), 5.0);
        touch(500, 5);
        assert_eq!(first.ns_per_byte(), 5.0);
        touch(200, 1);
        assert!((1.0..1.1).contains(&first.ns_per_byte()), "{}", first.ns_per_byte());
    }
}
