//! Choices: options that take one of a few words, as enums.

use std::fmt;

use super::domain::Domain;
use pacer::{HeapMode, PolicyName};

/// An enum whose variants have names in the table.
pub(super) trait Choice: Copy + PartialEq + fmt::Display + 'static {
    const ALL: &'static [Self];
}

macro_rules! choice {
    ($(#[$attribute:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

impl Choice for HeapMode {
    const ALL: &'static [Self] = HeapMode::ALL;
}

impl Choice for PolicyName {
    const ALL: &'static [Self] = PolicyName::ALL;
}

choice! {
    /// When a GC worker wakes the others.
    WakeHelpers {
        /// When there is enough work to pay for the wake-up.
        Auto = "auto",
        /// At once, whatever the work.
        Always = "always",
    }
}

choice! {
    /// How often the toolkit does something that it may also decide by itself.
    When {
        /// The toolkit decides.
        Auto = "auto",
        /// Whenever it can.
        Always = "always",
        /// Not at all.
        Never = "never",
    }
}

choice! {
    /// Who marks while mutators run, in plans that do.
    Driver {
        /// A thread of the heap's own if there is more than one processor, else mutators.
        Auto = "auto",
        /// A thread of the heap's own. Mutators that allocate faster than it marks help.
        Background = "background",
        /// Mutators alone, in bounded steps: the heap starts no thread for it.
        Quanta = "quanta",
    }
}

choice! {
    /// What happens to warnings in a process that has no logger.
    Warnings {
        /// They go to standard error.
        Stderr = "stderr",
        /// Nobody hears them.
        Never = "never",
    }
}

/// Any variant of a choice.
pub(super) struct OneOf;

impl<C: Choice> Domain<C> for OneOf {
    fn type_name(&self) -> &'static str {
        "choice"
    }
    fn parse(&self, text: &str) -> Result<C, String> {
        let found = C::ALL.iter().find(|choice| choice.to_string().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| "no such choice".to_owned())
    }
    fn contains(&self, _: &C) -> bool {
        true
    }
    fn print(&self, value: &C) -> String {
        value.to_string()
    }
    fn allowed(&self) -> String {
        let names: Vec<String> = C::ALL.iter().map(C::to_string).collect();
        format!("one of {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeapMode, Options};

    #[test]
    fn a_word_that_is_no_choice_is_answered_with_the_choices() {
        let mut options = Options::default();
        let error = options.set("heap.mode", "fixd").unwrap_err().to_string();
        assert_eq!(
            error,
            "heap.mode=fixd: no such choice; must be one of fixed, proportional, cpu-target, membalancer, delegated"
        );
        options.set("heap.mode", "Proportional").unwrap();
        assert_eq!(options.heap_mode, HeapMode::Proportional);
    }
}
