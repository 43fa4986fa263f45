//! When to collect, as pure arithmetic: no heap, no clock.
//!
//! The driver asks at every buffer refill whether the bytes reserved have reached the goal, and tells after every collection
//! what was live. The hard limit is not the pacer's business: `Budget` keeps it by construction.

use crate::options::HeapMode;

/// Decides the goal: the reserved bytes at which the next collection starts.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Pacer {
    mode: HeapMode,
    headroom: f64,
    min: usize,
    limit: usize,
}

impl Pacer {
    /// A pacer for a heap of at most `limit` bytes.
    pub fn new(mode: HeapMode, headroom_percent: u32, min: usize, limit: usize) -> Pacer {
        Pacer { mode, headroom: f64::from(headroom_percent) / 100.0, min: min.min(limit), limit }
    }

    /// The first goal.
    pub fn initial_goal(&self) -> usize {
        match self.mode {
            HeapMode::Proportional => self.min,
            HeapMode::Fixed | HeapMode::Delegated => self.limit,
        }
    }

    /// The goal after a collection that left `reserved` bytes reserved, `live` of them in live objects.
    ///
    /// The headroom is taken of what was traced, and added to what is reserved: bytes lost between objects make the heap
    /// larger, not the collections rarer.
    pub fn goal(&self, live: usize, reserved: usize) -> usize {
        match self.mode {
            HeapMode::Proportional => {
                let room = (live as f64 * self.headroom) as usize;
                reserved.saturating_add(room).max(self.min).min(self.limit)
            }
            HeapMode::Fixed | HeapMode::Delegated => self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_heap_is_collected_at_its_limit_only() {
        let pacer = Pacer::new(HeapMode::Fixed, 100, 4, 1000);
        assert_eq!((pacer.initial_goal(), pacer.goal(10, 20)), (1000, 1000));
    }

    #[test]
    fn a_proportional_heap_grows_with_what_is_live_and_never_over_the_limit() {
        let pacer = Pacer::new(HeapMode::Proportional, 50, 100, 1000);
        assert_eq!(pacer.initial_goal(), 100);
        assert_eq!(pacer.goal(10, 20), 100);
        assert_eq!(pacer.goal(400, 500), 700);
        assert_eq!(pacer.goal(900, 900), 1000);
        assert_eq!(pacer.goal(usize::MAX, usize::MAX), 1000);
    }
}
