//! Credit for marking: what keeps mutators from marking what workers have marked already.
//!
//! While a concurrent cycle is behind, a mutator owes marking for what it allocates. Workers that are ahead
//! of the plan earn credit, which goes into a pool. A mutator draws on the pool before it has to help; one
//! that marked more than it owed keeps the surplus.
//!
//! The pool is one word: the cycle in the upper bits, bytes of marking in the lower.
//!
//! I1. Of one cycle: earned = spent + in the pool + held by threads. Nothing is spent twice, and none is lost
//!     when a thread exits.
//! I2. A thread never holds more than the cap, a buffer's worth: otherwise it could allocate that much past
//!     the goal without a check.
//! I3. Credit of a cycle that has ended is void, wherever it is.
//! Callers: mutators at a refill, workers between packets of work, the leader of a pause (`begin_cycle`).
//! O(1), no lock.
//! Source: assist credit in Go's runtime/mgcpacer.go; I2 and the end of I1 are what golang/go 40460 and 44167
//! were about.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::dropped;

/// Bits of the word for bytes: 256 TiB.
const BYTES_BITS: u32 = 48;
const BYTES_MAX: u64 = (1 << BYTES_BITS) - 1;

/// The pool of one heap.
#[derive(Debug)]
pub struct Credits {
    /// `cycle << BYTES_BITS | bytes`. One word, so that no draw is made from a cycle that has ended (I3).
    word: AtomicU64,
    cap: u64,
}

/// What a thread holds. Give it back before the thread exits.
#[derive(Debug, Default)]
pub struct Credit {
    cycle: u64,
    bytes: u64,
}

impl Credit {
    /// Bytes held, maybe of a cycle that has ended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Credits {
    /// An empty pool, of which a thread holds at most `cap` bytes.
    pub fn new(cap: u64) -> Credits {
        Credits { word: AtomicU64::new(0), cap }
    }

    /// The cycle that is running.
    pub fn cycle(&self) -> u64 {
        self.word.load(Relaxed) >> BYTES_BITS
    }

    /// Bytes in the pool.
    pub fn available(&self) -> u64 {
        self.word.load(Relaxed) & BYTES_MAX
    }

    /// A cycle begins: what was earned for others is void. Only one thread at a time.
    pub fn begin_cycle(&self) {
        let next = (self.cycle() + 1) & (u64::MAX >> BYTES_BITS);
        // Relaxed: the word guards nothing but itself; a thread that draws sees the old cycle or the new
        // one, and its bytes.
        self.word.swap(next << BYTES_BITS, Relaxed);
    }

    /// A worker has marked `bytes` more than was planned, in the cycle `cycle`.
    pub fn earn(&self, cycle: u64, bytes: u64) {
        self.change(cycle, |pool| (pool.saturating_add(bytes).min(BYTES_MAX), ()));
    }

    /// A thread owes `owed` bytes of marking: its own credit pays, then the pool. Returns what it has to mark
    /// itself.
    #[must_use]
    pub fn pay(&self, credit: &mut Credit, owed: u64) -> u64 {
        let cycle = self.cycle();
        if credit.cycle != cycle && !dropped!("credit-cycle") {
            *credit = Credit { cycle, bytes: 0 };
        }
        let own = credit.bytes.min(owed);
        credit.bytes -= own;
        let owed = owed - own;
        if owed == 0 {
            return 0;
        }
        let drawn = self.change(cycle, |pool| {
            let drawn = pool.min(owed);
            (pool - drawn, drawn)
        });
        owed - drawn.unwrap_or(0)
    }

    /// A thread has marked `bytes` more than it owed, in the cycle `cycle`. It keeps what the cap allows; the
    /// others get the rest.
    pub fn surplus(&self, credit: &mut Credit, cycle: u64, bytes: u64) {
        if credit.cycle != cycle {
            *credit = Credit { cycle, bytes: 0 };
        }
        let cap = if dropped!("credit-cap") { u64::MAX } else { self.cap };
        let kept = bytes.min(cap - credit.bytes);
        credit.bytes += kept;
        if bytes > kept {
            self.earn(cycle, bytes - kept);
        }
    }

    /// The thread exits, or will not allocate for a while: others may use what it holds.
    pub fn give_back(&self, credit: &mut Credit) {
        let bytes = std::mem::take(&mut credit.bytes);
        if bytes > 0 && !dropped!("credit-return") {
            self.earn(credit.cycle, bytes);
        }
    }

    /// Changes the pool, unless the cycle has ended: then nothing, and none.
    fn change<R>(&self, cycle: u64, how: impl Fn(u64) -> (u64, R)) -> Option<R> {
        let mut seen = self.word.load(Relaxed);
        loop {
            if seen >> BYTES_BITS != cycle {
                return None;
            }
            let (bytes, result) = how(seen & BYTES_MAX);
            let word = cycle << BYTES_BITS | bytes;
            if dropped!("credit-exchange") {
                self.word.store(word, Relaxed);
                return Some(result);
            }
            match self.word.compare_exchange_weak(seen, word, Relaxed, Relaxed) {
                Ok(_) => return Some(result),
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_holds_credit_cannot_allocate_far_past_the_goal() {
        let credits = Credits::new(100);
        let mut credit = Credit::default();
        credits.surplus(&mut credit, 0, 1_000_000);
        assert_eq!((credit.bytes(), credits.available()), (100, 999_900));
        // The pool is spent by others; what the thread holds lasts for a buffer.
        assert_eq!(credits.pay(&mut Credit::default(), 999_900), 0);
        assert_eq!(credits.pay(&mut credit, 5000), 4900);
    }

    #[test]
    fn credit_is_not_lost_when_its_thread_exits() {
        let credits = Credits::new(100);
        let mut credit = Credit::default();
        credits.surplus(&mut credit, 0, 60);
        credits.give_back(&mut credit);
        assert_eq!((credit.bytes(), credits.available()), (0, 60));
        assert_eq!(credits.pay(&mut Credit::default(), 70), 10);
    }

    #[test]
    fn credit_of_a_cycle_that_has_ended_is_void() {
        let credits = Credits::new(100);
        let mut credit = Credit::default();
        credits.surplus(&mut credit, 0, 150);
        credits.begin_cycle();
        assert_eq!((credits.cycle(), credits.available()), (1, 0));
        assert_eq!(credits.pay(&mut credit, 30), 30);
        let mut late = Credit::default();
        credits.surplus(&mut late, 0, 150);
        credits.give_back(&mut late);
        assert_eq!(credits.available(), 0, "work of the last cycle earns nothing in this one");
    }

    #[test]
    fn the_number_of_the_cycle_comes_round() {
        let credits = Credits::new(1);
        for cycle in 1..=70_000u64 {
            credits.begin_cycle();
            credits.earn(credits.cycle(), BYTES_MAX);
            assert_eq!((credits.cycle(), credits.available()), (cycle % 65536, BYTES_MAX));
        }
    }
}
