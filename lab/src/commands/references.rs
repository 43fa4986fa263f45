//! `mmtk references`: what native references add to a pause, by the entry.
//!
//! Each row has one heap, with two workers. It is collected several times without references, then several
//! times with them; the difference of the median pauses is divided by the number of entries. The helper takes
//! part from the start in both. Targets are in the order of their entries, or shuffled: then each entry is a
//! cache miss or two. In the last rows only the ephemerons keep the objects alive; in the measurement without
//! ephemerons an array does.

use std::sync::Arc;

use heapwright::events::{Event, PauseReport};
use heapwright::options::WakeHelpers;
use heapwright::references::{ReferenceKind, References, Terms};
use heapwright::{ObjectReference, Options, OutOfMemory};
use parking_lot::Mutex;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::table::{Table, number};
use crate::{output, progress};
use workloads::rng::Rng;

const ROUNDS: usize = 7;
/// A header and two words: 24 bytes.
const NODE: Class = Class { refs: 1, bytes: 8 };

/// What a row measures.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Case {
    /// Weak references to live objects, then as many ephemerons whose keys and values live.
    WeakAndEphemerons { shuffled: bool },
    /// The values are live through ephemerons with live keys.
    Values,
    /// The value of each ephemeron is the key of another one.
    Chain,
}

impl Case {
    const ALL: [Case; 4] = [
        Case::WeakAndEphemerons { shuffled: false },
        Case::WeakAndEphemerons { shuffled: true },
        Case::Values,
        Case::Chain,
    ];

    fn name(self) -> &'static str {
        match self {
            Case::WeakAndEphemerons { shuffled: false } => "weak references and ephemerons, in order",
            Case::WeakAndEphemerons { shuffled: true } => "weak references and ephemerons, shuffled",
            Case::Values => "ephemerons that hold their values, shuffled",
            Case::Chain => "a shuffled chain of ephemerons",
        }
    }
}

#[derive(Serialize)]
struct Row {
    plan: String,
    what: &'static str,
    /// Of each kind.
    entries: usize,
    without_ms: f64,
    with_ms: f64,
    added_ns_per_entry: f64,
}

/// Measures and prints.
///
/// # Errors
/// A heap that cannot be made, or is too small.
pub(super) fn references(plans: &[String], entries: &[usize], as_json: bool) -> Result<(), Failure> {
    let all = ["Immix".to_owned(), "MarkSweep".to_owned(), "SemiSpace".to_owned()];
    let plans = if plans.is_empty() { &all[..] } else { plans };
    super::refusals::refuse_plans_without_pauses(plans)?;
    let bar = progress::spinner();
    let mut rows = Vec::new();
    for plan in plans {
        for case in Case::ALL {
            for &entries in entries {
                bar.set_message(format!("{plan}: {} {}", number(entries as f64), case.name()));
                rows.push(measure(plan, case, entries)?);
            }
        }
    }
    bar.finish_and_clear();
    if as_json {
        output::line(json!(rows))?;
    } else {
        output::text(&markdown(&rows))?;
    }
    Ok(())
}

fn markdown(rows: &[Row]) -> String {
    let mut table = Table::new(["plan", "what", "of each", "pause without ms", "with ms", "added ns per entry"]);
    for row in rows {
        table.row([
            row.plan.clone(),
            row.what.to_owned(),
            row.entries.to_string(),
            number(row.without_ms),
            number(row.with_ms),
            number(row.added_ns_per_entry),
        ]);
    }
    table.markdown()
}

/// A heap whose pauses are recorded.
struct Measured {
    heap: ReferenceHeap,
    pauses: Arc<Mutex<Vec<u64>>>,
}

fn heap(plan: &str, limit: usize) -> Result<Measured, Failure> {
    let options = Options {
        plan: plan.to_owned(),
        gc_workers: 2,
        gc_helpers: WakeHelpers::Always,
        heap_limit: limit,
        ..Options::default()
    };
    let heap =
        reference::new_heap(ReferenceVM::default(), options).map_err(|error| Failure::Usage(error.to_string()))?;
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let log = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            let PauseReport { duration_ns, .. } = **report;
            log.lock().push(duration_ns);
        }
    }));
    Ok(Measured { heap, pauses })
}

impl Measured {
    /// The median pause of several collections, in milliseconds.
    fn pause_ms(&self, thread: &Thread) -> f64 {
        let pauses = || self.pauses.lock();
        pauses().clear();
        (0..ROUNDS).for_each(|_| thread.collect());
        let mut all = std::mem::take(&mut *pauses());
        all.sort_unstable();
        all[all.len() / 2] as f64 / 1e6
    }
}

fn measure(plan: &str, case: Case, entries: usize) -> Result<Row, Failure> {
    // Twice the objects with their arrays for a plan that copies, twice that to spare, and the tables.
    let limit = (entries * 2 * (24 + 8) * 4 + entries * 2 * 64 + (64 << 20)).next_multiple_of(1 << 20);
    let measured = heap(plan, limit)?;
    let thread = Thread::attach(&measured.heap);
    let keys = objects(&thread, entries + 1);
    let values = objects(&thread, entries);
    let without_ms = measured.pause_ms(&thread);
    let out_of_memory = |error: OutOfMemory| Failure::Usage(error.to_string());
    let made = thread.with_mutator(|mutator| make(&thread, &mutator.references(), case, entries, [keys, values]));
    made.map_err(out_of_memory)?;
    let kinds = match case {
        Case::WeakAndEphemerons { .. } => 2,
        Case::Values => {
            thread.set(values, Ref::NULL);
            1
        }
        Case::Chain => {
            thread.set(values, Ref::NULL);
            let first = thread.read_ref(thread.get(keys), 0);
            thread.set(keys, first);
            1
        }
    };
    let with_ms = measured.pause_ms(&thread);
    let added_ns_per_entry = (with_ms - without_ms) * 1e6 / (kinds * entries) as f64;
    Ok(Row { plan: plan.to_owned(), what: case.name(), entries, without_ms, with_ms, added_ns_per_entry })
}

/// An array of new objects, on the stack.
fn objects(thread: &Thread, count: usize) -> usize {
    let array = thread.push(thread.alloc(count, 0));
    for i in 0..count {
        let one = thread.alloc_class(NODE);
        thread.write_ref(thread.get(array), i, one);
    }
    array
}

/// Makes the entries. No safepoint.
fn make(
    thread: &Thread,
    references: &References<'_, ReferenceVM>,
    case: Case,
    entries: usize,
    [keys, values]: [usize; 2],
) -> Result<(), OutOfMemory> {
    let at = |array: usize, i: usize| -> ObjectReference {
        thread.read_ref(thread.get(array), i).object().expect("every element was written")
    };
    let order: Vec<u32> = match case {
        Case::WeakAndEphemerons { shuffled: false } => (0..entries as u32).collect(),
        _ => Rng::new(3).permutation(entries),
    };
    for i in order.into_iter().map(|i| i as usize) {
        match case {
            Case::WeakAndEphemerons { .. } => {
                references.create(ReferenceKind::Weak, at(keys, i), Terms::default())?;
                references.create_ephemeron(at(keys, i), Some(at(values, i)), Terms::default())?;
            }
            Case::Values => {
                references.create_ephemeron(at(keys, i), Some(at(values, i)), Terms::default())?;
            }
            Case::Chain => {
                references.create_ephemeron(at(keys, i), Some(at(keys, i + 1)), Terms::default())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_keeps_the_objects_that_it_is_about() {
        for case in Case::ALL {
            let row = measure("SemiSpace", case, 1000).unwrap();
            assert!(row.with_ms > 0.0 && row.without_ms > 0.0, "{}", row.what);
        }
    }
}
