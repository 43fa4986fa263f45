//! A log of decisions, made once more: by the policy that made them, which must decide the same to the bit,
//! or by another.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use heapwright::events::{Event, Listener, Paced};
use pacer::{CycleSample, Decision, PacerPolicy, Policy, PolicyName};
use reports::{JsonLines, read_decision};

use crate::failure::Failure;
use crate::written::{self, Receipt};

/// A listener that writes the pacer's decisions to a new file, a line of JSON each; and whether all of them
/// arrived.
///
/// # Errors
/// The file cannot be created.
pub fn pacer_log(path: &Path) -> Result<(Box<dyn Listener>, Receipt), Failure> {
    let (output, receipt) = written::create(path, "the pacer's log")?;
    let mut lines = JsonLines::new(output);
    let listener = move |event: &Event| {
        if matches!(event, Event::Paced(_)) {
            lines.on_event(event);
        }
    };
    Ok((Box::new(listener), receipt))
}

/// A decision with its sample is about a thousandth of it: what is longer is no line of a log.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A million decisions.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// Reads such a log; lines of other events are skipped.
///
/// # Errors
/// The file cannot be read, or a line is no event; names the line.
pub fn read_log(path: &Path) -> Result<Vec<Paced>, Failure> {
    let failed = |what: String| Failure::Failed(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut file = BufReader::new(file.take(LOG_BYTES_MAX));
    let mut log = Vec::new();
    let mut bytes = 0;
    for number in 1.. {
        // A device may have neither an end nor lines.
        let mut line = Vec::new();
        let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let read = read.map_err(|error| failed(error.to_string()))? as u64;
        bytes += read;
        if read == LINE_BYTES_MAX {
            return Err(failed(format!("line {number} is longer than 1 MiB: not a log of the pacer")));
        }
        if bytes == LOG_BYTES_MAX {
            return Err(failed("larger than 1 GiB".to_owned()));
        }
        if read == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        log.extend(read_decision(&line).map_err(|error| failed(format!("line {number}: {error}")))?);
    }
    if log.is_empty() {
        return Err(failed("no decision of a pacer in it".to_owned()));
    }
    Ok(log)
}

/// The decisions of `by`, or of the policies that made them, on what they were told.
///
/// # Errors
/// A policy in the log that is not known.
pub fn replay(log: &[Paced], by: Option<PolicyName>) -> Result<Vec<Decision>, Failure> {
    let name_of = |paced: &Paced| {
        let found = PolicyName::ALL.iter().copied().find(|policy| policy.name() == paced.policy);
        by.or(found).ok_or_else(|| Failure::Failed(format!("unknown policy {} in the log", paced.policy)))
    };
    let Some(first) = log.first() else { return Ok(Vec::new()) };
    let mut name = name_of(first)?;
    let mut policy = Policy::new(name, first.config, 0.0);
    policy.decide();
    let mut last = None;
    let mut decisions = Vec::with_capacity(log.len());
    for paced in log {
        let now = name_of(paced)?;
        if now != name {
            policy = policy.succeeded_by(now, paced.config, last);
            name = now;
            policy.decide();
        } else if *policy.config() != paced.config {
            policy.configure(paced.config);
            policy.decide();
        }
        policy.cycle_passed(&paced.sample);
        decisions.push(policy.decide());
        last = Some(&paced.sample);
    }
    Ok(decisions)
}

/// What became of the goals in a log.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Kept {
    /// Collections that came when they were due, but the first eight: the pacer learns.
    pub collections: usize,
    /// The collector's part of the processor time in them.
    pub share: f64,
    /// The greatest peak as a part of its goal.
    pub peak_to_goal: f64,
}

/// Cycles that a policy is given to learn.
const TO_LEARN: usize = 8;

/// What became of the goals in a log; none if it is too short.
pub fn kept(log: &[Paced]) -> Option<Kept> {
    let pairs = log.windows(2).filter(|pair| !pair[1].sample.forced);
    let due: Vec<_> = pairs.map(|pair| (pair[0].decision.goal, pair[1].sample)).skip(TO_LEARN - 1).collect();
    let sum = |of: fn(&CycleSample) -> f64| due.iter().map(|(_, sample)| of(sample)).sum::<f64>();
    let (gc, mutators) = (sum(|sample| sample.gc_cpu_ns), sum(|sample| sample.mutator_cpu_ns));
    let peak_to_goal = due.iter().map(|(goal, sample)| sample.peak / goal).reduce(f64::max)?;
    Some(Kept { collections: due.len(), share: gc / (gc + mutators).max(1.0), peak_to_goal })
}

/// Whether two decisions are the same to the last bit.
pub fn same(one: &Decision, other: &Decision) -> bool {
    let bits = |d: &Decision| [d.goal, d.trigger, d.allocation, d.share, d.trim].map(f64::to_bits);
    bits(one) == bits(other) && one.cause == other.cause
}
