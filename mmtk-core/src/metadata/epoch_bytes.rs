//! Tables of epoch bytes, read eight at a time.
//!
//! A byte equal to the current epoch means live, anything else free. Holes between lines are found this way.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The first index at or after `from`, and below `length`, whose liveness is `live`. `eight(i)` are the bytes
/// `i..i + 8` for `i` a multiple of 8, lowest index in the lowest byte. Several epochs count as live: for who
/// looks for room while marks of an old one are being replaced.
#[inline(always)]
pub fn find<const N: usize>(
    eight: impl Fn(u32) -> u64,
    length: u32,
    from: u32,
    epochs: [u8; N],
    live: bool,
) -> Option<u32> {
    let epochs = epochs.map(|epoch| u64::from(epoch) * ONES);
    let mut at = from & !7;
    let mut keep = u64::MAX << ((from & 7) * 8);
    while at < length {
        let word = eight(at);
        let zeroes = epochs.iter().fold(0, |zeroes, epoch| zeroes | zero_bytes(word ^ epoch));
        let hits = if live { zeroes } else { zeroes ^ TOPS } & keep;
        if hits != 0 {
            let index = at + hits.trailing_zeros() / 8;
            return (index < length).then_some(index);
        }
        at += 8;
        keep = u64::MAX;
    }
    None
}

/// How many of eight bytes equal one of the epochs.
#[inline(always)]
pub fn count_live<const N: usize>(eight: u64, epochs: [u8; N]) -> u32 {
    epochs.iter().fold(0, |zeroes, epoch| zeroes | zero_bytes(eight ^ (u64::from(*epoch) * ONES))).count_ones()
}

/// The top bit of each byte that is zero; exact, unlike the shorter `(w - ONES) & !w & TOPS`.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    !(((word & !TOPS) + !TOPS) | word) & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_looking_at_each_byte() {
        let bytes: Vec<u8> = (0..64u32).map(|i| [5, 0, 4, 5, 6, 132, 5, 133][(i * i % 11 % 8) as usize]).collect();
        let eight = |i: u32| u64::from_le_bytes(bytes[i as usize..i as usize + 8].try_into().unwrap());
        for length in 56..=64 {
            for from in 0..length {
                for live in [false, true] {
                    let expect = (from..length).find(|&i| (bytes[i as usize] == 5) == live);
                    assert_eq!(find(eight, length, from, [5], live), expect);
                    for two in [[5, 6], [6, 0], [0, 132], [5, 5]] {
                        let expect = (from..length).find(|&i| two.contains(&bytes[i as usize]) == live);
                        assert_eq!(find(eight, length, from, two, live), expect, "{two:?}");
                    }
                }
            }
        }
        let count: u32 = (0..64).step_by(8).map(|i| count_live(eight(i), [5])).sum();
        assert_eq!(count as usize, bytes.iter().filter(|&&b| b == 5).count());
    }
}
