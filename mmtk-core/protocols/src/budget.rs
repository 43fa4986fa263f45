//! The admission budget: what may be reserved, and what may be resident.
//!
//! Every block and every run of pages is charged here before it is used, so the hard limit holds by
//! construction. Two counters, because they differ on purpose: a copying space *reserves* room for survivors
//! that it has not touched, and a freed block stays *resident* until it is given back to the system.
//!
//! I1. `reserved <= limit` and `resident <= limit` at every instant.
//! I2. Mutators see `limit - kept`; what is kept for the collector is only charged by a charge marked so.
//! I3. A charge that fails changes nothing.
//! Callers: any mutator at a buffer refill, any GC worker; nobody holds a lock.

use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{dropped, order};

/// Who asks for memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Charge {
    /// A mutator: limited to what the collector does not keep for itself.
    Mutator,
    /// The collector, during a pause: limited by the hard limit alone.
    Collector,
}

/// The two counters and their limit, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    /// Bytes that only the collector may charge; written while mutators are stopped.
    kept: AtomicUsize,
    reserved: AtomicUsize,
    resident: AtomicUsize,
    peak_reserved: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes, nothing charged.
    pub fn new(limit: usize) -> Budget {
        Budget {
            limit,
            kept: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            resident: AtomicUsize::new(0),
            peak_reserved: AtomicUsize::new(0),
        }
    }

    /// The hard limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Relaxed)
    }

    /// Bytes that were touched and not given back.
    pub fn resident(&self) -> usize {
        self.resident.load(Relaxed)
    }

    /// Bytes that mutators may still reserve.
    pub fn free_for_mutators(&self) -> usize {
        (self.limit - self.kept.load(Relaxed)).saturating_sub(self.reserved())
    }

    /// The most that was ever reserved since the last [`Budget::take_peak`].
    pub fn peak_reserved(&self) -> usize {
        self.peak_reserved.load(Relaxed)
    }

    /// The peak, which starts anew from what is reserved now.
    pub fn take_peak(&self) -> usize {
        self.peak_reserved.swap(self.reserved(), Relaxed)
    }

    /// Keeps `bytes` for the collector (I2). Call while mutators are stopped.
    pub fn keep_for_collector(&self, bytes: usize) {
        self.kept.store(bytes.min(self.limit), Relaxed);
    }

    /// Reserves `bytes`, or changes nothing and returns false.
    #[must_use]
    pub fn reserve(&self, bytes: usize, by: Charge) -> bool {
        let ceiling = match by {
            Charge::Mutator => self.limit - self.kept.load(Relaxed),
            Charge::Collector => self.limit,
        };
        let granted = charge(&self.reserved, bytes, ceiling);
        if let Some(reserved) = granted
            && !dropped!("budget-peak")
        {
            // The value that this charge made, not what the counter is now: another thread may have returned
            // memory since.
            self.peak_reserved.fetch_max(reserved, Relaxed);
        }
        granted.is_some()
    }

    /// Returns a reservation.
    pub fn unreserve(&self, bytes: usize) {
        // Release pairs with Acquire in `charge`.
        let before = self.reserved.fetch_sub(bytes, order!(Release, "budget-unreserve"));
        debug_assert!(before >= bytes, "unreserved {bytes} of {before} bytes");
    }

    /// Counts fresh memory as resident, or changes nothing and returns false: then cached memory must go back
    /// first.
    #[must_use]
    pub fn make_resident(&self, bytes: usize) -> bool {
        charge(&self.resident, bytes, self.limit).is_some()
    }

    /// The memory went back to the system.
    pub fn not_resident(&self, bytes: usize) {
        // Release as above.
        let before = self.resident.fetch_sub(bytes, order!(Release, "budget-not-resident"));
        debug_assert!(before >= bytes, "{bytes} of {before} resident bytes given back");
    }
}

/// What the counter holds after the charge, or none if it would pass the ceiling.
fn charge(counter: &AtomicUsize, bytes: usize, ceiling: usize) -> Option<usize> {
    let mut seen = counter.load(Relaxed);
    loop {
        let after = seen.checked_add(bytes)?;
        if after > ceiling && !dropped!("budget-ceiling") {
            return None;
        }
        if dropped!("budget-exchange") {
            counter.store(after, Relaxed);
            return Some(after);
        }
        // Acquire pairs with Release in `unreserve`: who is granted room also sees that its last user is
        // done.
        match counter.compare_exchange_weak(seen, after, order!(Acquire, "budget-charge"), Relaxed) {
            Ok(_) => return Some(after),
            Err(now) => seen = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_charge_changes_nothing() {
        let budget = Budget::new(100);
        assert!(budget.reserve(60, Charge::Mutator));
        assert!(!budget.reserve(41, Charge::Mutator));
        assert!(!budget.reserve(usize::MAX, Charge::Collector));
        assert_eq!(budget.reserved(), 60);
        assert!(budget.reserve(40, Charge::Mutator));
        budget.unreserve(100);
        assert_eq!((budget.reserved(), budget.take_peak(), budget.peak_reserved()), (0, 100, 0));
    }

    #[test]
    fn only_the_collector_draws_on_what_is_kept() {
        let budget = Budget::new(100);
        budget.keep_for_collector(30);
        assert!(!budget.reserve(71, Charge::Mutator));
        assert!(budget.reserve(70, Charge::Mutator));
        assert!(!budget.reserve(1, Charge::Mutator));
        assert!(budget.reserve(30, Charge::Collector));
        assert!(!budget.reserve(1, Charge::Collector));
    }
}
