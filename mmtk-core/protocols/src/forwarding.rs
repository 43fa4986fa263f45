//! The state of one object during a trace: marked, claimed by a copier, or forwarded.
//!
//! ```text
//!            mark                                 state byte:  7 FORWARDED  6 BUSY  5 PINNED  4 UNLOGGED  3..0 epoch
//! Unmarked --------> Marked(epoch)
//!    |  claim            ^ settle
//!    +--------> Busy ----+
//!                 | publish
//!                 +---------> Forwarded(new address)         no way back within a trace
//! ```
//! The byte is the top byte of a header word that the VM lends, or a byte of a side table (`StateCell`'s two
//! implementations). Marks carry an epoch, so nothing is cleared between cycles; a new object has epoch 0,
//! "never marked".
//!
//! I1. Between `claim` and `publish` or `settle` only the claimer writes the cell, and the object's bytes do
//!     not change.
//! I2. A loser that learns the new address also sees the copied bytes.
//! I3. In a space that moves objects, marking goes through `claim`/`settle`; plain `mark` is for objects that
//!     stay. Two workers may both win a plain `mark`: the object is then scanned twice, which is harmless,
//!     and no locked instruction is paid for it.
//! I4. The worker that wins the claim of a pinned object settles it.
//!
//! While mutators run, a collection beside them sets the epoch by `claim_beside`, and nothing else. Nothing
//! moves then, so BUSY and FORWARDED are clear.
//! I5. Who claims an object has read all its slots before, and a store into it comes after its claim. So the
//!     winner has read what the slots held when the mutators were stopped last. A loser may have read
//!     anything, and forgets it.
//! I6. Epoch, UNLOGGED and PINNED each change by an exchange that keeps the others and, in a header, the VM's
//!     part, which may change at any time.
//!
//! Callers, in a pause: GC workers. They alone call what stores plainly: `mark`, `settle`, `publish`,
//! `store_state`, `unlog`.
//! Callers, while mutators run: background markers and the barriers of mutators (`is_claimed`,
//! `claim_beside`), barriers (`is_unlogged`, `log`), who pins (`set_pinned`).

use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering, Ordering::Relaxed};
use crate::sync::{Spin, dropped, order};

/// The bits that hold the epoch.
pub const EPOCH_MASK: u8 = 0x0f;
/// The last epoch before the numbers wrap to 1; 0 means "never marked".
pub const EPOCH_MAX: u8 = 15;
/// The write barrier's bit (`barrier`): the object is old, and no store into it was noted since the last
/// collection.
pub const UNLOGGED: u8 = 0x10;
/// The object must stay where it is (`pin`).
pub const PINNED: u8 = 0x20;
const BUSY: u8 = 0x40;
const FORWARDED: u8 = 0x80;
const SHIFT: u32 = 56;
const LOW: u64 = (1 << SHIFT) - 1;

/// What a worker that wants to copy an object must do now.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use = "the winner copies and publishes, or settles"]
pub enum Claim {
    /// Copy the object, then [`StateCell::publish`]; or leave it, then [`StateCell::settle`]. Carries the
    /// cell as it was.
    Won(u64),
    /// Another worker moved it here.
    Moved(usize),
    /// It stays where it is and is marked in this epoch.
    Stays,
}

/// Whether the state that a claim found says that the object must stay.
#[inline(always)]
pub fn is_pinned(seen: u64) -> bool {
    (seen >> SHIFT) as u8 & PINNED != 0
}

/// One object's state cell, wherever it is kept. The raw value has the state byte on top and, once forwarded,
/// the new address below.
pub trait StateCell: Copy {
    /// The raw value now.
    fn read(self, order: Ordering) -> u64;
    /// The state byte now.
    fn state(self, order: Ordering) -> u8;
    /// Replaces the state byte if the cell still holds `seen`, and keeps the rest; otherwise says what it
    /// holds now. Beside mutators.
    fn exchange_state(self, seen: u64, state: u8) -> Result<(), u64>;
    /// Raises BUSY if the cell still holds `seen`; otherwise says what it holds now.
    fn try_claim(self, seen: u64) -> Result<(), u64>;
    /// The claimer publishes the copy.
    fn publish(self, new_address: usize);
    /// Overwrites the state byte; `seen` is what the caller read, or what its claim found.
    fn store_state(self, seen: u64, state: u8);
    /// The write barrier's test: whether the next store into the object must be noted. Relaxed here and
    /// below: the bit protects nothing, and the safepoint orders mutators and pauses.
    fn is_unlogged(self) -> bool;
    /// Raises one bit; whether it was clear.
    fn raise(self, bit: u8) -> bool;
    /// Clears one bit; whether it was set.
    fn clear(self, bit: u8) -> bool;

    /// A mutator notes a store; true for the one of several that must remember the object.
    #[inline(always)]
    fn log(self) -> bool {
        if dropped!("barrier-exchange") {
            let seen = self.read(Relaxed);
            self.store_state(seen, (seen >> SHIFT) as u8 & !UNLOGGED);
            return (seen >> SHIFT) as u8 & UNLOGGED != 0;
        }
        self.clear(UNLOGGED)
    }

    /// A mutator pins the object, or no longer does. Only who holds the lock of the pins (`pin`).
    #[inline]
    fn set_pinned(self, pinned: bool) {
        if dropped!("pin-exchange") {
            let (seen, bit) = (self.read(Relaxed), if pinned { PINNED } else { 0 });
            self.store_state(seen, (seen >> SHIFT) as u8 & !PINNED | bit);
            return;
        }
        if pinned {
            self.raise(PINNED);
        } else {
            self.clear(PINNED);
        }
    }

    /// In a pause: the next store into this marked object must be noted again. Several workers may do so at
    /// once.
    #[inline(always)]
    fn unlog(self) {
        let seen = self.read(Relaxed);
        self.store_state(seen, (seen >> SHIFT) as u8 | UNLOGGED);
    }

    /// Marks the object with `mark`, an epoch and perhaps UNLOGGED; false if it was marked in that epoch
    /// already (I3).
    #[inline(always)]
    fn mark(self, mark: u8) -> bool {
        // Relaxed: the mark protects nothing but itself; what the object holds was published by the
        // safepoint.
        let seen = self.read(Relaxed);
        if (seen >> SHIFT) as u8 & EPOCH_MASK == mark & EPOCH_MASK {
            return false;
        }
        let others = if dropped!("mark-keeps-others") { 0 } else { (seen >> SHIFT) as u8 & !EPOCH_MASK };
        if !dropped!("mark-store") {
            self.store_state(seen, others | mark);
        }
        true
    }

    /// Whether the object is claimed in `epoch`: its slots have been read, and a store into it may follow.
    /// Any thread, while mutators run.
    #[inline(always)]
    fn is_claimed(self, epoch: u8) -> bool {
        // Acquire pairs with Release in `exchange_state`: the winner's reads come before a store of this
        // thread (I5).
        self.state(order!(Acquire, "claim-seen")) & EPOCH_MASK == epoch
    }

    /// Claims the object in `epoch`, after its slots were read; keeps the other bits (I6). True for the one
    /// of several threads that did it; the others forget what they read (I5). In both cases a store may
    /// follow. Any thread, while mutators run.
    #[inline]
    #[must_use = "the loser forgets what it read"]
    fn claim_beside(self, epoch: u8) -> bool {
        debug_assert!(epoch != 0 && epoch & !EPOCH_MASK == 0, "{epoch} is no epoch");
        // Acquire as in `is_claimed`, here and where the exchange fails.
        let mut seen = self.read(order!(Acquire, "claim-read"));
        loop {
            let state = (seen >> SHIFT) as u8;
            debug_assert!(state & (BUSY | FORWARDED) == 0, "state {state:#x}: nothing moves beside mutators");
            if state & EPOCH_MASK == epoch {
                return false;
            }
            let claimed = state & !EPOCH_MASK | epoch;
            if dropped!("claim-exchange") {
                self.store_state(seen, claimed);
                return true;
            }
            match self.exchange_state(seen, claimed) {
                Ok(()) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// The claimer leaves the object where it is, marked with `mark`. `seen` is what the claim found.
    #[inline(always)]
    fn settle(self, seen: u64, mark: u8) {
        self.store_state(seen, (seen >> SHIFT) as u8 & !EPOCH_MASK | mark);
    }

    /// Whether the object is marked in `epoch`, and not forwarded.
    #[inline(always)]
    fn is_marked(self, epoch: u8) -> bool {
        (self.read(Relaxed) >> SHIFT) as u8 & (EPOCH_MASK | FORWARDED) == epoch
    }

    /// The new address, if the object was moved in this pause.
    #[inline(always)]
    fn forwarded(self) -> Option<usize> {
        // Acquire pairs with Release in `publish` (I2).
        let seen = self.read(order!(Acquire, "forwarding-read"));
        ((seen >> SHIFT) as u8 & FORWARDED != 0).then_some((seen & LOW) as usize)
    }

    /// Wins the right to move or settle the object, or learns what became of it. If another has claimed it,
    /// `wait` waits until the cell is [`StateCell::unclaimed`], and returns what it holds then.
    #[inline(always)]
    fn claim(self, epoch: u8, wait: impl Fn(Self) -> u64) -> Claim {
        // Acquire here, below, and where `try_claim` fails: a loser sees the copied bytes (I2).
        let mut seen = self.read(order!(Acquire, "forwarding-claim"));
        loop {
            let state = (seen >> SHIFT) as u8;
            if state & FORWARDED != 0 {
                return Claim::Moved((seen & LOW) as usize);
            }
            if state & BUSY != 0 {
                seen = wait(self);
                continue;
            }
            if state & EPOCH_MASK == epoch {
                return Claim::Stays;
            }
            match if dropped!("forwarding-busy") { Ok(()) } else { self.try_claim(seen) } {
                Ok(()) => return Claim::Won(seen),
                Err(now) => seen = now,
            }
        }
    }

    /// What the cell holds, if nobody has it claimed.
    fn unclaimed(self) -> Option<u64> {
        let seen = self.read(order!(Acquire, "forwarding-wait"));
        ((seen >> SHIFT) as u8 & BUSY == 0).then_some(seen)
    }

    /// Waits for the claimer, which may have been preempted, as long as it takes.
    fn wait_for_claimer(self) -> u64 {
        let mut spin = Spin::default();
        loop {
            spin.wait();
            if let Some(seen) = self.unclaimed() {
                return seen;
            }
        }
    }
}

/// The state in the top byte of a header word that the VM lends.
#[derive(Copy, Clone)]
pub struct HeaderCell<'a>(pub &'a AtomicU64);

impl StateCell for HeaderCell<'_> {
    #[inline(always)]
    fn read(self, order: Ordering) -> u64 {
        self.0.load(order)
    }
    #[inline(always)]
    fn state(self, order: Ordering) -> u8 {
        (self.0.load(order) >> SHIFT) as u8
    }
    #[inline(always)]
    fn exchange_state(self, seen: u64, state: u8) -> Result<(), u64> {
        // Release publishes that this thread has read the slots (I5). Success needs no Acquire: no claim came
        // before.
        let new = seen & LOW | u64::from(state) << SHIFT;
        self.0.compare_exchange(seen, new, order!(Release, "claim-won"), order!(Acquire, "claim-lost")).map(|_| ())
    }
    #[inline(always)]
    fn try_claim(self, seen: u64) -> Result<(), u64> {
        // Acquire on failure pairs with Release in `publish`: a loser that sees Forwarded also sees the
        // copied bytes.
        self.0
            .compare_exchange(seen, seen | u64::from(BUSY) << SHIFT, Relaxed, order!(Acquire, "forwarding-lost"))
            .map(|_| ())
    }
    #[inline(always)]
    fn publish(self, new_address: usize) {
        debug_assert!(new_address as u64 & !LOW == 0);
        // Release publishes the copied bytes to a worker that reads the new address (I2).
        self.0.store(new_address as u64 | u64::from(FORWARDED) << SHIFT, order!(Release, "forwarding-publish"));
    }
    #[inline(always)]
    fn store_state(self, seen: u64, state: u8) {
        self.0.store(seen & LOW | u64::from(state) << SHIFT, Relaxed);
    }
    #[inline(always)]
    fn is_unlogged(self) -> bool {
        self.0.load(Relaxed) & u64::from(UNLOGGED) << SHIFT != 0
    }
    #[inline(always)]
    fn raise(self, bit: u8) -> bool {
        self.0.fetch_or(u64::from(bit) << SHIFT, Relaxed) & u64::from(bit) << SHIFT == 0
    }
    #[inline(always)]
    fn clear(self, bit: u8) -> bool {
        self.0.fetch_and(!(u64::from(bit) << SHIFT), Relaxed) & u64::from(bit) << SHIFT != 0
    }
}

/// The state in a side table; the new address overwrites a word of the old copy.
#[derive(Copy, Clone)]
pub struct SideCell<'a> {
    /// The state byte.
    pub state: &'a AtomicU8,
    /// The word of the old copy that takes the new address.
    pub pointer: &'a AtomicU64,
}

impl StateCell for SideCell<'_> {
    #[inline(always)]
    fn read(self, order: Ordering) -> u64 {
        let state = self.state.load(order);
        let low = if state & FORWARDED != 0 { self.pointer.load(Relaxed) } else { 0 };
        u64::from(state) << SHIFT | low
    }
    #[inline(always)]
    fn state(self, order: Ordering) -> u8 {
        self.state.load(order)
    }
    #[inline(always)]
    fn exchange_state(self, seen: u64, state: u8) -> Result<(), u64> {
        // As for the header word.
        self.state
            .compare_exchange((seen >> SHIFT) as u8, state, order!(Release, "claim-won"), order!(Acquire, "claim-lost"))
            .map(|_| ())
            .map_err(|now| u64::from(now) << SHIFT)
    }
    #[inline(always)]
    fn try_claim(self, seen: u64) -> Result<(), u64> {
        let state = (seen >> SHIFT) as u8;
        match self.state.compare_exchange(state, state | BUSY, Relaxed, Relaxed) {
            Ok(_) => Ok(()),
            // Acquire as for the header word, but here: the pointer, if there is one, must be read after the
            // state.
            Err(_) => Err(self.read(order!(Acquire, "forwarding-lost"))),
        }
    }
    #[inline(always)]
    fn publish(self, new_address: usize) {
        self.pointer.store(new_address as u64, Relaxed);
        // Release publishes the pointer and the copied bytes (I2).
        self.state.store(FORWARDED, order!(Release, "forwarding-publish"));
    }
    #[inline(always)]
    fn store_state(self, _seen: u64, state: u8) {
        self.state.store(state, Relaxed);
    }
    #[inline(always)]
    fn is_unlogged(self) -> bool {
        self.state.load(Relaxed) & UNLOGGED != 0
    }
    #[inline(always)]
    fn raise(self, bit: u8) -> bool {
        self.state.fetch_or(bit, Relaxed) & bit == 0
    }
    #[inline(always)]
    fn clear(self, bit: u8) -> bool {
        self.state.fetch_and(!bit, Relaxed) & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_life(cell: impl StateCell) {
        assert!(cell.mark(3));
        assert!(!cell.mark(3), "a second mark in the same epoch loses");
        assert!(cell.is_marked(3) && !cell.is_marked(4));
        assert!(matches!(cell.claim(3, StateCell::wait_for_claimer), Claim::Stays));
        let Claim::Won(seen) = cell.claim(4, StateCell::wait_for_claimer) else {
            panic!("an old mark does not stop a claim")
        };
        cell.settle(seen, 4);
        assert!(cell.is_marked(4));
        assert!(matches!(cell.claim(4, StateCell::wait_for_claimer), Claim::Stays));
        let Claim::Won(_) = cell.claim(5, StateCell::wait_for_claimer) else { panic!() };
        cell.publish(0x7fff_1234_5678);
        assert_eq!(cell.claim(5, StateCell::wait_for_claimer), Claim::Moved(0x7fff_1234_5678));
        assert_eq!(cell.forwarded(), Some(0x7fff_1234_5678));
    }

    #[test]
    fn the_header_keeps_its_low_bits_until_it_is_forwarded() {
        let word = AtomicU64::new(0x00ab_cdef_0123_4567);
        let cell = HeaderCell(&word);
        assert!(cell.mark(7));
        assert_eq!(word.load(Relaxed) & LOW, 0x00ab_cdef_0123_4567);
        header_life(cell);
    }

    #[test]
    fn a_side_byte_goes_through_the_same_states() {
        let (state, pointer) = (AtomicU8::new(0), AtomicU64::new(42));
        header_life(SideCell { state: &state, pointer: &pointer });
    }

    /// Runs a test on a header word with low bits, and on a side byte.
    fn on_both(mut test: impl FnMut(&dyn Fn() -> u8, Cell)) {
        let word = AtomicU64::new(0x00ab_cdef_0123_4567);
        test(&|| (word.load(Relaxed) >> SHIFT) as u8, Cell::Header(HeaderCell(&word)));
        assert_eq!(word.load(Relaxed) & LOW, 0x00ab_cdef_0123_4567, "the VM's part of the header");
        const WORD: u64 = 0xfeed_cdef_0123_4567;
        let (state, pointer) = (AtomicU8::new(0), AtomicU64::new(WORD));
        test(&|| state.load(Relaxed), Cell::Side(SideCell { state: &state, pointer: &pointer }));
        assert_eq!(pointer.load(Relaxed), WORD, "the object's word");
    }

    #[derive(Copy, Clone)]
    enum Cell<'a> {
        Header(HeaderCell<'a>),
        Side(SideCell<'a>),
    }

    /// Calls a method of either cell.
    macro_rules! call {
        ($cell:expr, $method:ident($($argument:expr),*)) => {
            match $cell {
                Cell::Header(cell) => cell.$method($($argument),*),
                Cell::Side(cell) => cell.$method($($argument),*),
            }
        };
    }

    #[test]
    fn a_store_is_noted_once_until_the_object_is_unlogged_again() {
        on_both(|state, cell| {
            assert!(!call!(cell, is_unlogged()) && !call!(cell, log()), "a new object is not noted");
            assert!(call!(cell, mark(3 | UNLOGGED)));
            call!(cell, set_pinned(true));
            for _ in 0..2 {
                assert!(call!(cell, is_unlogged()));
                assert!(call!(cell, log()), "the first store");
                assert!(!call!(cell, is_unlogged()) && !call!(cell, log()), "the second store");
                assert_eq!(state(), 3 | PINNED);
                // Several workers may do so.
                call!(cell, unlog());
                call!(cell, unlog());
                assert_eq!(state(), 3 | PINNED | UNLOGGED);
            }
            assert!(call!(cell, mark(4)) && call!(cell, is_marked(4)));
            assert_eq!(state(), 4 | PINNED | UNLOGGED, "a mark replaces the epoch alone");
            assert!(call!(cell, mark(5 | UNLOGGED)) && call!(cell, is_marked(5)));
            assert_eq!(state(), 5 | PINNED | UNLOGGED, "what is unlogged stays so");
        });
    }

    #[test]
    fn an_object_is_claimed_once_in_each_epoch_and_keeps_its_other_bits() {
        on_both(|state, cell| {
            for (epoch, others) in [(1, 0), (2, PINNED), (EPOCH_MAX, PINNED | UNLOGGED), (1, UNLOGGED)] {
                call!(cell, set_pinned(others & PINNED != 0));
                if others & UNLOGGED != 0 {
                    call!(cell, unlog());
                }
                assert!(!call!(cell, is_claimed(epoch)));
                assert!(call!(cell, claim_beside(epoch)), "the first claim");
                assert!(call!(cell, is_claimed(epoch)) && !call!(cell, claim_beside(epoch)), "the second claim");
                assert_eq!(state(), epoch | others);
                assert_eq!(call!(cell, state(Relaxed)), epoch | others);
                assert!(call!(cell, is_marked(epoch)), "a pause takes a claim for a mark");
            }
        });
    }

    #[test]
    fn bits_are_raised_and_cleared_alone_and_say_what_they_were() {
        on_both(|state, cell| {
            assert!(call!(cell, mark(EPOCH_MAX | UNLOGGED)));
            assert!(!is_pinned(call!(cell, read(Relaxed))));
            for _ in 0..2 {
                assert!(call!(cell, raise(PINNED)), "it was clear");
                assert!(!call!(cell, raise(PINNED)), "it was set");
                assert!(is_pinned(call!(cell, read(Relaxed))));
                assert_eq!(state(), EPOCH_MAX | UNLOGGED | PINNED);
                assert!(call!(cell, clear(PINNED)), "it was set");
                assert!(!call!(cell, clear(PINNED)), "it was clear");
                assert_eq!(state(), EPOCH_MAX | UNLOGGED);
            }
            for pinned in [true, true, false, false] {
                call!(cell, set_pinned(pinned));
                assert_eq!(is_pinned(call!(cell, read(Relaxed))), pinned);
                assert_eq!(state(), EPOCH_MAX | UNLOGGED | if pinned { PINNED } else { 0 });
            }
        });
    }

    #[test]
    fn a_claim_shows_and_fails_where_the_state_has_changed() {
        on_both(|state, cell| {
            assert!(call!(cell, mark(1 | UNLOGGED)));
            let before = call!(cell, read(Relaxed));
            assert_eq!(call!(cell, try_claim(before)), Ok(()));
            assert_eq!(state(), 1 | UNLOGGED | BUSY);
            assert_eq!(call!(cell, try_claim(before)), Err(before | u64::from(BUSY) << SHIFT), "one wins");
            call!(cell, settle(before, 2 | UNLOGGED));
            assert_eq!(state(), 2 | UNLOGGED);
            assert_eq!(call!(cell, claim(2, StateCell::wait_for_claimer)), Claim::Stays);
            // A pin between the look and the claim.
            let before = call!(cell, read(Relaxed));
            call!(cell, set_pinned(true));
            let now = call!(cell, try_claim(before)).unwrap_err();
            assert!(is_pinned(now) && !is_pinned(before));
            assert_eq!(
                call!(cell, claim(3, StateCell::wait_for_claimer)),
                Claim::Won(now),
                "who wins learns of the pin"
            );
            call!(cell, settle(now, 3));
            assert_eq!(state(), 3 | PINNED | UNLOGGED);
        });
    }

    /// The worker that claimed an object leaves it; the other waits for that.
    #[test]
    fn a_loser_waits_until_the_object_is_settled_or_moved() {
        const TO: usize = 0x7fff_0000_1238;
        for moves in [false, true] {
            let (word, state, pointer) = (AtomicU64::new(0), AtomicU8::new(0), AtomicU64::new(42));
            for cell in [Cell::Header(HeaderCell(&word)), Cell::Side(SideCell { state: &state, pointer: &pointer })] {
                let Claim::Won(seen) = call!(cell, claim(1, StateCell::wait_for_claimer)) else {
                    panic!("nobody else claims it")
                };
                assert!(!call!(cell, is_marked(1)));
                std::thread::scope(|scope| {
                    let loser = scope.spawn(move || call!(cell, claim(1, StateCell::wait_for_claimer)));
                    (0..100).for_each(|_| std::thread::yield_now());
                    match moves {
                        true => call!(cell, publish(TO)),
                        false => call!(cell, settle(seen, 1)),
                    }
                    assert_eq!(loser.join().unwrap(), if moves { Claim::Moved(TO) } else { Claim::Stays });
                });
                assert_eq!(call!(cell, forwarded()), moves.then_some(TO));
                assert_eq!(call!(cell, is_marked(1)), !moves);
            }
        }
    }
}
