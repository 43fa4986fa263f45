//! What must have been reached before a value is followed: the key of its ephemeron, and the owner of the
//! entry.
//!
//! Two workers may reach the two at the same moment. Each raises its bit with one exchange; the worker that
//! raises the last bit follows the value.
//!
//! I1. A bit is raised when the object is reached, and never lowered. To raise it again changes nothing: two
//!     workers may both have marked the same object.
//! I2. Exactly one call of `meet` returns true: the one that completes the set.

use crate::sync::atomic::{AtomicU8, Ordering::Relaxed};
use crate::sync::dropped;

/// The key was reached.
pub const KEY: u8 = 1;
/// The owner was reached, or there is none.
pub const OWNER: u8 = 2;
const ALL: u8 = KEY | OWNER;

/// The conditions of one value.
pub struct Conditions(AtomicU8);

impl Conditions {
    /// With those that are met already.
    #[inline]
    pub fn new(met: u8) -> Conditions {
        Conditions(AtomicU8::new(met))
    }

    /// One more is met. True for the one call that completes the set: its caller follows the value. Any
    /// worker.
    #[inline]
    pub fn meet(&self, condition: u8) -> bool {
        // Relaxed: the bits protect nothing but themselves; the entry was written before the section began.
        let before = if dropped!("conditions-exchange") {
            let before = self.0.load(Relaxed);
            self.0.store(before | condition, Relaxed);
            before
        } else {
            self.0.fetch_or(condition, Relaxed)
        };
        before != ALL && before | condition == ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_condition_completes_the_set_once() {
        let conditions = Conditions::new(0);
        assert_eq!([OWNER, OWNER, KEY, KEY, OWNER].map(|c| conditions.meet(c)), [false, false, true, false, false]);
        assert!(Conditions::new(KEY).meet(OWNER));
    }
}
