//! `mmtk minheap WORKLOAD`: the smallest heap in which it completes on one collector.

use std::time::Duration;

use heapwright::options::format_bytes;
use serde_json::json;

use crate::child::{Outcome, Run};
use crate::cli::RunOptions;
use crate::failure::Failure;
use crate::{interrupt, minimum, output, progress};

/// Searches, and prints the answer.
///
/// # Errors
/// What is wrong with the options; when no heap is large enough.
pub(super) fn minheap(options: &RunOptions, workload: &str, timeout_s: u64) -> Result<(), Failure> {
    let request = options.request(workload)?;
    let (collector, spec) = (&request.collector, request.spec);
    if !collector.has_minimum_heap() {
        return Err(Failure::Usage(format!("{} has no minimum heap", collector.name)));
    }
    if !collector.is_built_in() {
        // The same words as a run would use.
        return crate::heaps::run(&request);
    }
    interrupt::install();
    let spinner = progress::spinner();
    let mut last_failure = "out of memory in the largest heap that is tried".to_owned();
    let fits = |heap_bytes: u64| {
        spinner.set_message(format!("{} on {}: {} MB", spec.name, collector.name, heap_bytes >> 20));
        let (iters, timeout) = (options.iters.unwrap_or(1), Duration::from_secs(timeout_s));
        let outcome = Run { collector, spec, heap_bytes, iters, options, timeout }.make()?;
        match &outcome {
            Outcome::Failed(text) => last_failure.clone_from(text),
            Outcome::TimedOut => last_failure = format!("not complete after {timeout_s} s (--timeout-s)"),
            Outcome::Ran(_) | Outcome::OutOfMemory | Outcome::NotInstalled => {}
        }
        Ok::<_, Failure>(matches!(outcome, Outcome::Ran(_)))
    };
    // A heap that was asked for is where the search begins.
    let guess = if options.heap.is_empty() { minimum::GUESS_BYTES } else { request.heap_bytes() as u64 };
    let found = minimum::search(guess, fits)?;
    spinner.finish_and_clear();
    let Some(bytes) = found else {
        let most = format_bytes(minimum::CEILING_BYTES as usize);
        let (spec, plan) = (spec.name, &collector.name);
        return Err(Failure::Failed(format!("{spec} on {plan} completes in no heap up to {most}: {last_failure}")));
    };
    let mb = bytes as f64 / (1 << 20) as f64;
    if options.json {
        let line = json!({"plan": collector.name, "workload": spec.name, "min_bytes": bytes, "min_mb": mb});
        output::line(line)?;
    } else {
        let bytes = format_bytes(bytes as usize);
        output::line(format!("{} on {}: {mb:.1} MB ({bytes})", spec.name, collector.name))?;
    }
    Ok(())
}
