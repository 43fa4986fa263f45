//! Scenarios on real threads, for a moment: no heap exceeds its limit, and what fits is not out of memory.
//! What depends on time is measured by `mmtk pacer drive --all`.

use heapwright::Options;
use heapwright::options::HeapMode;
use lab::drive::Drive;
use lab::simulate::{Outcome, Scenario, scenario};

/// A sixth of a second of processor time.
const MOMENT: f64 = 0.0025;

fn options(plan: &str) -> Options {
    let mut options =
        Options { plan: plan.to_owned(), heap_mode: HeapMode::Proportional, heap_min: 1 << 20, ..Options::default() };
    options.set("gc.workers", "2").unwrap();
    options
}

#[test]
fn heaps_that_are_driven_at_their_limit_do_not_exceed_it() {
    for plan in ["Immix", "StickyImmix", "MarkSweep", "MarkCompact"] {
        for name in ["bursts", "live-step", "live-shrink"] {
            let scenario = scenario(name).unwrap();
            let limited = Scenario { limit: Some(1.3 * scenario.live.at(0.0)), ..*scenario };
            let run =
                Drive { scenario: &limited, options: options(plan), mutators: 2, time: MOMENT }.run(None).unwrap();
            assert_eq!(run.violations, 0, "{plan}: {name}");
            let fits = name != "live-step";
            assert_eq!(run.outcome == Outcome::OutOfMemory, !fits, "{plan}: {name} {:?}", run.outcome);
            // A generational plan may do with minor collections.
            let full = !plan.starts_with("Sticky");
            assert!(!run.cycles.is_empty() || !fits || !full, "{plan}: {name} was not collected");
        }
    }
}

#[test]
fn without_a_limit_goals_are_kept() {
    let scenario = scenario("allocation-x10").unwrap();
    let run = Drive { scenario, options: options("Immix"), mutators: 1, time: MOMENT }.run(None).unwrap();
    assert_eq!(run.outcome, Outcome::Completed);
    assert!(run.cycles.iter().all(|cycle| cycle.ratio() < 1.02), "{:?}", run.cycles);
}
