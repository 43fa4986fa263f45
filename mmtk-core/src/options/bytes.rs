//! Byte counts: `128M`, `128MiB`, `1.5G`, `1g`, plain digits. Units are powers of 1024.
//!
//! Read with integers, never through a float: 2^53 is within reach of a large heap, and `0.1` must not depend
//! on rounding. `128MB` is refused: half of its readers would expect 128,000,000.

use std::ops::RangeInclusive;

use super::domain::Domain;

pub(super) const MIB: usize = 1 << 20;
pub(super) const TIB: usize = 1 << 40;

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// A byte count in a range.
pub(super) struct Bytes(pub RangeInclusive<usize>);

impl Domain<usize> for Bytes {
    fn type_name(&self) -> &'static str {
        "bytes"
    }
    fn parse(&self, text: &str) -> Result<usize, String> {
        parse_bytes(text)
    }
    fn contains(&self, value: &usize) -> bool {
        self.0.contains(value)
    }
    fn print(&self, value: &usize) -> String {
        format_bytes(*value)
    }
    fn allowed(&self) -> String {
        format!("{}..={}", format_bytes(*self.0.start()), format_bytes(*self.0.end()))
    }
}

/// Prints a byte count with the largest unit that divides it, so that [`parse_bytes`] reads the same number
/// back.
pub fn format_bytes(bytes: usize) -> String {
    let exact = UNITS.iter().find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    exact.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Reads a byte count: digits, at most one decimal point, then nothing, `K`, `M`, `G`, `T`, or one of these
/// with `iB`.
///
/// A fraction needs a unit and is rounded down to a byte.
///
/// # Errors
/// A few words on what is wrong: negative, not a number, unknown unit, too large.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("negative".to_owned());
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err("not a number of bytes such as 128M or 1.5G".to_owned());
    }
    let shift = parse_unit(unit.trim_start())?;
    if shift == 0 && !fraction.is_empty() {
        return Err("a fraction needs a unit: K, M, G or T".to_owned());
    }
    let too_large = || "too large".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let bytes = (u128::from(whole) << shift) + parse_fraction(fraction, shift);
    usize::try_from(bytes).map_err(|_| too_large())
}

/// The unit as a shift. Case does not matter.
fn parse_unit(unit: &str) -> Result<u32, String> {
    let lower = unit.to_ascii_lowercase();
    let letter = lower.strip_suffix("ib").unwrap_or(&lower);
    if unit.is_empty() {
        return Ok(0);
    }
    let known = UNITS.iter().find(|(name, _)| letter == name.to_ascii_lowercase().to_string());
    known.map(|(_, shift)| *shift).ok_or_else(|| format!("unknown unit {unit}: K, M, G and T are powers of 1024"))
}

/// `.5` of a unit in bytes, rounded down. Eighteen digits decide; more cannot change a byte of a terabyte.
fn parse_fraction(digits: &str, shift: u32) -> u128 {
    let (numerator, denominator) =
        digits.bytes().take(18).fold((0u128, 1u128), |(n, d), digit| (n * 10 + u128::from(digit - b'0'), d * 10));
    (numerator << shift) / denominator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_and_case_does_not_matter() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1024),
            ("128M", 128 << 20),
            ("128MiB", 128 << 20),
            ("128 mib", 128 << 20),
            ("1g", 1 << 30),
            ("1.5G", 3 << 29),
            ("0.1K", 102),
            ("0.25T", 1 << 38),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_byte_count_is_refused_with_a_reason() {
        let cases = [
            ("-1M", "negative"),
            ("-inf", "negative"),
            ("NaN", "not a number"),
            ("", "not a number"),
            (".", "not a number"),
            ("1.", "not a number"),
            ("1.2.3G", "not a number"),
            ("M", "not a number"),
            ("1.5", "fraction"),
            ("128MB", "unknown unit MB"),
            ("128ib", "unknown unit ib"),
            ("1e9", "unknown unit e9"),
            ("16777216T", "too large"),
            ("99999999999999999999", "too large"),
            ("18446744073709551615T", "too large"),
        ];
        for (text, reason) in cases {
            let error = parse_bytes(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn printed_bytes_are_read_back_exactly() {
        for bytes in [0, 1, 1023, 1024, 1025, 5 * MIB, 3 << 29, TIB, TIB + 1, usize::MAX] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
        assert_eq!(format_bytes(3 << 29), "1536M");
    }
}
