//! Physical limits of this machine that bound a collector: what no plan can beat.
//!
//! Every figure is the best and the median of several repetitions. Figures of one thread use its CPU time,
//! since the machine may be shared; figures of two threads and of wake-ups use wall time. `mmtk rates` runs
//! two of the loops beside ours.

mod bandwidth;
mod bump;
mod chase;
mod faults;
mod measure;
mod region;
mod sync;
mod trace;

use crate::failure::Failure;
use crate::suggest;
use measure::Report;

pub(crate) use bump::Bump;
pub(crate) use region::Pages;
pub(crate) use trace::{MarkedTree, Order};

/// A group of figures: its name, and what measures it.
type Group = (&'static str, fn(&mut Report) -> Result<(), Failure>);

const GROUPS: [Group; 6] = [
    ("bandwidth", bandwidth::measure),
    ("chase", chase::measure),
    ("faults", faults::measure),
    ("bump", bump::measure),
    ("trace", trace::measure),
    ("sync", sync::measure),
];

/// The names of the groups.
pub fn groups() -> impl Iterator<Item = &'static str> + Clone {
    GROUPS.iter().map(|(name, _)| *name)
}

/// Measures the groups given, or all of them, and prints each figure as soon as it is known: a row of a
/// Markdown table, or a line of JSON.
///
/// # Errors
/// An unknown group; a thread that the system refuses.
pub fn run(wanted: &[String], as_json: bool) -> Result<(), Failure> {
    if let Some(unknown) = wanted.iter().find(|name| !groups().any(|group| group == *name)) {
        return Err(suggest::unknown("group", unknown, groups()));
    }
    let mut report = Report::new(as_json)?;
    for (name, measure) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|group| group == name) {
            measure(&mut report)?;
        }
    }
    Ok(())
}
