//! How much of the matrix is run: a part that takes minutes, or all of it.
//!
//! `cargo test --workspace` runs the part, with `MATRIX=full` all. `.ci/run` sets that, so each commit of
//! main passes all. The part leaves out combinations, never a plan, a workload, a stress setting or a kind of
//! check.

/// The variable that chooses.
const VARIABLE: &str = "MATRIX";

/// Part or all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A part in which everything occurs.
    Short,
    /// All combinations.
    Full,
}

impl Extent {
    /// What the variable `MATRIX` chooses: the short form if it is not set.
    ///
    /// # Panics
    /// When it is anything but `short` or `full`.
    pub fn chosen() -> Extent {
        Extent::named(std::env::var(VARIABLE).ok().as_deref())
    }

    /// The first in the short form, the second in the full one.
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Extent::Short => short,
            Extent::Full => full,
        }
    }

    fn named(value: Option<&str>) -> Extent {
        match value {
            None | Some("short") => Extent::Short,
            Some("full") => Extent::Full,
            Some(other) => panic!("{VARIABLE}={other}: must be short or full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_chosen_unless_the_variable_asks_for_all() {
        assert_eq!(Extent::named(None), Extent::Short);
        assert_eq!(Extent::named(Some("short")), Extent::Short);
        assert_eq!(Extent::named(Some("full")), Extent::Full);
        for wrong in ["", "1", "Full"] {
            let text = crate::panic_of(|| Extent::named(Some(wrong)));
            assert_eq!(text, format!("MATRIX={wrong}: must be short or full"));
        }
    }
}
