//! What is wrong with an option: the key, the value and what is allowed, in one line.

use std::error::Error;
use std::fmt;

/// A wrong option. Its text is made for users: print it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError {
    /// No option of this name.
    Unknown {
        /// The name as written.
        name: String,
        /// The known name that was probably meant.
        suggestion: Option<String>,
        /// All the names that would have been understood.
        known: Vec<String>,
    },
    /// A value that cannot be read or is out of range.
    Value {
        /// The option.
        key: &'static str,
        /// The value as written, or as printed when it came through a typed field.
        value: String,
        /// Why it is no value of this type; `None` when it is just out of range.
        reason: Option<String>,
        /// Completes the sentence "must be ...".
        allowed: String,
    },
    /// An option that a running heap was asked to change, and cannot.
    Fixed {
        /// The option.
        key: &'static str,
        /// The value that the heap has.
        value: String,
    },
    /// Two options that are fine alone and wrong together.
    Conflict {
        /// The option to blame.
        key: &'static str,
        /// Its value.
        value: String,
        /// Completes the sentence "must be ...", and names the other option with its value.
        rule: String,
    },
    /// A source that cannot be read: a missing or broken file, `--set` without `=`, text that is not UTF-8.
    Unreadable {
        /// What happened.
        message: String,
    },
    /// Any of the above, with the file or variable that it came from.
    In {
        /// Path of the file or name of the variable.
        origin: String,
        /// The error that the same value gets by every other route.
        error: Box<OptionError>,
    },
}

impl OptionError {
    /// An unknown name, with the closest of the known ones if it is close.
    pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<String> = known.map(str::to_owned).collect();
        Self::Unknown { name: name.to_owned(), suggestion: near_miss(name, &known), known }
    }

    /// A variable whose name is close to that of an option.
    pub(super) fn near_miss_of_variable(name: &str, meant: &str, known: Vec<String>) -> Self {
        Self::Unknown { name: name.to_owned(), suggestion: Some(meant.to_owned()), known }
    }

    /// The same error, with the place it came from: the path of a file, the name of a variable.
    pub fn within(self, origin: impl Into<String>) -> Self {
        Self::In { origin: origin.into(), error: Box::new(self) }
    }
}

/// The last word alone (`workers`) means the option that ends with it; otherwise a third of the letters may
/// be wrong.
pub fn near_miss(name: &str, known: &[String]) -> Option<String> {
    let lower = |text: &str| text.to_lowercase();
    let mut by_last_word = known.iter().filter(|k| k.rsplit('.').next() == Some(&lower(name)));
    if let (Some(only), None) = (by_last_word.next(), by_last_word.next()) {
        return Some(only.clone());
    }
    let distance = |k: &String| strsim::damerau_levenshtein(&lower(name), &lower(k));
    let closest = known.iter().min_by_key(|k| distance(k))?;
    (distance(closest) <= (closest.len() / 3).max(1)).then(|| closest.clone())
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, suggestion: Some(meant), .. } => {
                write!(f, "{name}: unknown option; did you mean {meant}?")
            }
            Self::Unknown { name, suggestion: None, known } => {
                write!(f, "{name}: unknown option; must be one of {}", known.join(", "))
            }
            Self::Value { key, value, reason: Some(reason), allowed } => {
                write!(f, "{key}={value}: {reason}; must be {allowed}")
            }
            Self::Value { key, value, reason: None, allowed } => write!(f, "{key}={value}: must be {allowed}"),
            Self::Fixed { key, value } => write!(f, "{key}: cannot change while the heap runs; it is {value}"),
            Self::Conflict { key, value, rule } => write!(f, "{key}={value}: must be {rule}"),
            Self::Unreadable { message } => f.write_str(message),
            Self::In { origin, error } => write!(f, "{origin}: {error}"),
        }
    }
}

// No `source`: the text of `In` already holds the inner error, and a chain printer would say it twice.
impl Error for OptionError {}

#[cfg(test)]
mod tests {
    use super::super::Options;

    fn error(key: &str) -> String {
        Options::default().set(key, "1").unwrap_err().to_string()
    }

    #[test]
    fn a_near_miss_is_answered_with_the_name_that_was_meant() {
        assert_eq!(error("heap.limt"), "heap.limt: unknown option; did you mean heap.limit?");
        assert_eq!(error("heap_limit"), "heap_limit: unknown option; did you mean heap.limit?");
        assert_eq!(error("Gc.Workers"), "Gc.Workers: unknown option; did you mean gc.workers?");
        assert_eq!(error("workers"), "workers: unknown option; did you mean gc.workers?");
        assert_eq!(error("paln"), "paln: unknown option; did you mean plan?");
    }

    #[test]
    fn a_last_word_that_two_options_share_is_left_to_the_distance() {
        assert!(error("headroom_percent").ends_with("did you mean heap.headroom_percent?"));
    }

    #[test]
    fn a_wild_name_is_answered_with_all_names() {
        let text = error("colour");
        assert!(text.starts_with("colour: unknown option; must be one of plan, heap.limit, "), "{text}");
    }
}
