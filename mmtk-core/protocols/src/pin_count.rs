//! How often an object is pinned, and the bit that says whether it is.
//!
//! I1. Count and bit change together, under the lock of the table that has the count. Otherwise another
//!     thread could take back the last pin between the two changes, and clear the bit of an object that is
//!     pinned again.
//! Callers: mutators (`pin`), who hold that lock.

/// The count after one more pin, with what becomes of the bit.
pub fn one_more(count: Option<u64>, set_bit: impl FnOnce(bool)) -> u64 {
    if count.is_none() {
        set_bit(true);
    }
    count.unwrap_or(0) + 1
}

/// The count after one pin less, none if that was the last, with what becomes of the bit.
pub fn one_less(count: u64, set_bit: impl FnOnce(bool)) -> Option<u64> {
    if count == 1 {
        set_bit(false);
    }
    (count > 1).then(|| count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_set_by_the_first_pin_and_cleared_with_the_last() {
        let (mut count, mut bit) = (None, Vec::new());
        for pins in 1..=3 {
            count = Some(one_more(count, |set| bit.push(set)));
            assert_eq!(count, Some(pins));
        }
        assert_eq!(bit, [true]);
        for pins in (0..3).rev() {
            assert_eq!(bit, [true]);
            count = one_less(count.unwrap(), |set| bit.push(set));
            assert_eq!(count, (pins > 0).then_some(pins));
        }
        assert_eq!(bit, [true, false]);
    }
}
