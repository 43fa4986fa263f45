//! Domains: what values an option may take, and how they are read and printed.
//!
//! A domain is a small value beside the default in the table, so range, syntax and printed text cannot
//! contradict each other.

use std::fmt::Display;
use std::num::{IntErrorKind, ParseIntError};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::OptionError;

/// The allowed values of one option.
pub(super) trait Domain<T> {
    fn type_name(&self) -> &'static str;
    /// Reads text. An error says in a few words why this is not a `T` at all.
    fn parse(&self, text: &str) -> Result<T, String>;
    /// Whether the value is in range.
    fn contains(&self, value: &T) -> bool;
    /// Prints what `parse` reads back as the same value.
    fn print(&self, value: &T) -> String;
    /// Completes the sentence "must be ...".
    fn allowed(&self) -> String;
    fn default_text(&self, default: &T) -> String {
        self.print(default)
    }
}

/// Text to value: the one way in for every source of text.
pub(super) fn read<T>(domain: &impl Domain<T>, key: &'static str, text: &str) -> Result<T, OptionError> {
    let text = text.trim();
    let refuse = |reason| OptionError::Value { key, value: text.to_owned(), reason, allowed: domain.allowed() };
    let value = domain.parse(text).map_err(|reason| refuse(Some(reason)))?;
    if domain.contains(&value) { Ok(value) } else { Err(refuse(None)) }
}

/// The range check of `read` for a value that came through a typed field.
pub(super) fn check<T>(domain: &impl Domain<T>, key: &'static str, value: &T) -> Result<(), OptionError> {
    if domain.contains(value) {
        return Ok(());
    }
    Err(OptionError::Value { key, value: domain.print(value), reason: None, allowed: domain.allowed() })
}

/// A name that is looked up elsewhere.
pub(super) struct Name;

impl Domain<String> for Name {
    fn type_name(&self) -> &'static str {
        "name"
    }
    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
    fn contains(&self, value: &String) -> bool {
        // `read` trims, so a name with blanks around it would not survive printing.
        !value.is_empty() && value.trim() == value
    }
    fn print(&self, value: &String) -> String {
        value.clone()
    }
    fn allowed(&self) -> String {
        "a name, not empty".to_owned()
    }
}

/// A whole number in a range.
pub(super) struct Number<T>(pub RangeInclusive<T>);

impl<T: FromStr<Err = ParseIntError> + PartialOrd + Display + Copy> Domain<T> for Number<T> {
    fn type_name(&self) -> &'static str {
        "whole number"
    }
    fn parse(&self, text: &str) -> Result<T, String> {
        text.parse().map_err(|error: ParseIntError| {
            let reason = match error.kind() {
                IntErrorKind::PosOverflow => "too large",
                _ if text.starts_with('-') => "negative",
                _ => "not a whole number",
            };
            reason.to_owned()
        })
    }
    fn contains(&self, value: &T) -> bool {
        self.0.contains(value)
    }
    fn print(&self, value: &T) -> String {
        value.to_string()
    }
    fn allowed(&self) -> String {
        format!("{}..={}", self.0.start(), self.0.end())
    }
}

/// A number that is finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Finite(f64);

/// There is no NaN among them.
impl Eq for Finite {}

impl Finite {
    /// The number; 0 for one that is not finite.
    pub const fn new(value: f64) -> Finite {
        Finite(if value.is_finite() { value } else { 0.0 })
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A number in a range, not necessarily whole.
pub(super) struct Decimal(pub RangeInclusive<f64>);

impl Domain<Finite> for Decimal {
    fn type_name(&self) -> &'static str {
        "number"
    }
    fn parse(&self, text: &str) -> Result<Finite, String> {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Finite(value)),
            _ => Err("not a number".to_owned()),
        }
    }
    fn contains(&self, value: &Finite) -> bool {
        self.0.contains(&value.0)
    }
    fn print(&self, value: &Finite) -> String {
        value.0.to_string()
    }
    fn allowed(&self) -> String {
        format!("{}..={}", self.0.start(), self.0.end())
    }
}

/// A switch. Besides `true` and `false` it takes what people type in a shell.
pub(super) struct Flag;

impl Domain<bool> for Flag {
    fn type_name(&self) -> &'static str {
        "bool"
    }
    fn parse(&self, text: &str) -> Result<bool, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err("not a switch".to_owned()),
        }
    }
    fn contains(&self, _: &bool) -> bool {
        true
    }
    fn print(&self, value: &bool) -> String {
        value.to_string()
    }
    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// Another domain, plus the word `auto` for a value that the machine decides when it is read.
pub(super) struct Auto<T, D> {
    pub of: D,
    pub resolve: fn() -> T,
}

impl<T, D: Domain<T>> Domain<T> for Auto<T, D> {
    fn type_name(&self) -> &'static str {
        self.of.type_name()
    }
    fn parse(&self, text: &str) -> Result<T, String> {
        if text.eq_ignore_ascii_case("auto") { Ok((self.resolve)()) } else { self.of.parse(text) }
    }
    fn contains(&self, value: &T) -> bool {
        self.of.contains(value)
    }
    fn print(&self, value: &T) -> String {
        self.of.print(value)
    }
    fn allowed(&self) -> String {
        format!("{} or auto", self.of.allowed())
    }
    fn default_text(&self, _: &T) -> String {
        "auto".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;

    fn error(key: &str, value: &str) -> String {
        Options::default().set(key, value).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_key_the_value_and_what_is_allowed() {
        assert_eq!(error("gc.workers", "0"), "gc.workers=0: must be 1..=256 or auto");
        assert_eq!(error("heap.headroom_percent", "0"), "heap.headroom_percent=0: must be 1..=10000");
        assert_eq!(error("gc.workers", "-1"), "gc.workers=-1: negative; must be 1..=256 or auto");
        assert_eq!(
            error("immix.headroom_percent", "3%"),
            "immix.headroom_percent=3%: not a whole number; must be 0..=50"
        );
        assert_eq!(error("immix.defrag", "maybe"), "immix.defrag=maybe: not a switch; must be true or false");
        assert_eq!(error("pacer.gc_share", "NaN"), "pacer.gc_share=NaN: not a number; must be 0.01..=1");
        assert_eq!(error("pacer.gc_share", "25"), "pacer.gc_share=25: must be 0.01..=1");
        assert_eq!(error("plan", "  "), "plan=: must be a name, not empty");
        assert_eq!(
            error("stress.seed", "18446744073709551616"),
            "stress.seed=18446744073709551616: too large; must be 0..=18446744073709551615"
        );
    }

    #[test]
    fn a_switch_takes_what_people_type() {
        let mut options = Options::default();
        for (text, value) in [("1", true), ("off", false), ("YES", true), ("false", false), (" on ", true)] {
            options.set("verify.trace", text).unwrap();
            assert_eq!(options.verify, value);
        }
    }

    #[test]
    fn auto_asks_the_machine_again() {
        let mut options = Options { heap_limit: 1 << 20, gc_workers: 3, ..Options::default() };
        options.set("heap.limit", "auto").unwrap();
        options.set("gc.workers", "Auto").unwrap();
        assert_eq!(options, Options::default());
    }
}
