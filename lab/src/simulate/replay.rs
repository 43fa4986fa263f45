//! A log of decisions, made once more: by the policy that made them, which must decide the same to the bit,
//! or by another.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use heapwright::events::{Event, Listener, Paced};
use pacer::{CycleSample, Decision, Effort, PacerConfig, PacerPolicy, Policy, PolicyName};
use reports::{Decided, JsonLines, read_decision};

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
        if matches!(event, Event::Paced(_) | Event::Ticked(_)) {
            lines.on_event(event);
        }
    };
    Ok((Box::new(listener), receipt))
}

/// A decision with its sample is about a thousandth of it: what is longer is no line of a log.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// A million decisions.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// What such a log says of cycles.
///
/// # Errors
/// As [`read_log`].
pub fn read_cycles(path: &Path) -> Result<Vec<Paced>, Failure> {
    let cycle = |decided| match decided {
        Decided::Cycle(paced) => Some(*paced),
        Decided::Tick(_) => None,
    };
    Ok(read_log(path)?.into_iter().filter_map(cycle).collect())
}

/// Reads such a log; lines of other events are skipped.
///
/// # Errors
/// The file cannot be read, or a line is no event; names the line.
pub fn read_log(path: &Path) -> Result<Vec<Decided>, Failure> {
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
    if !log.iter().any(|decided| matches!(decided, Decided::Cycle(_))) {
        return Err(failed("no decision of a pacer in it".to_owned()));
    }
    Ok(log)
}

/// A decision that was made once more.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Replayed {
    /// When the next collection is due.
    Cycle(Decision),
    /// How hard to work while marking.
    Tick(Effort),
}

/// The decisions of `by`, or of the policies that made them, on what they were told.
///
/// # Errors
/// A policy in the log that is not known.
pub fn replay(log: &[Decided], by: Option<PolicyName>) -> Result<Vec<Replayed>, Failure> {
    let (mut replay, mut last) = (Replay { by, policy: None }, None);
    let mut replayed = Vec::with_capacity(log.len());
    for decided in log {
        replayed.push(match decided {
            Decided::Cycle(paced) => {
                let policy = replay.policy(&paced.policy, paced.config, last)?;
                policy.cycle_passed(&paced.sample);
                last = Some(&paced.sample);
                Replayed::Cycle(policy.decide())
            }
            Decided::Tick(ticked) => {
                let policy = replay.policy(&ticked.policy, ticked.config, last)?;
                policy.released(ticked.released);
                if let Some(reserved) = ticked.begins {
                    policy.marking_begins(reserved);
                }
                Replayed::Tick(policy.tick(&ticked.tick))
            }
        });
    }
    Ok(replayed)
}

struct Replay {
    by: Option<PolicyName>,
    policy: Option<(PolicyName, Policy)>,
}

impl Replay {
    /// The policy, with the settings that were in force.
    fn policy(&mut self, name: &str, config: PacerConfig, last: Option<&CycleSample>) -> Result<&mut Policy, Failure> {
        let found = PolicyName::ALL.iter().copied().find(|policy| policy.name() == name);
        let now = self.by.or(found).ok_or_else(|| Failure::Failed(format!("unknown policy {name} in the log")))?;
        let policy = match self.policy.take() {
            Some((before, policy)) if before == now && *policy.config() == config => policy,
            Some((before, mut policy)) => {
                match before == now {
                    true => policy.configure(config),
                    false => policy = policy.succeeded_by(now, config, last),
                }
                policy.decide();
                policy
            }
            None => {
                let mut policy = Policy::new(now, config, 0.0);
                policy.decide();
                policy
            }
        };
        Ok(&mut self.policy.insert((now, policy)).1)
    }
}

/// Whether the log has the same decision, to the last bit.
pub fn same(logged: &Decided, replayed: &Replayed) -> bool {
    match (logged, replayed) {
        (Decided::Cycle(paced), Replayed::Cycle(decision)) => {
            let bits = |d: &Decision| [d.goal, d.trigger, d.allocation, d.share, d.trim].map(f64::to_bits);
            bits(&paced.decision) == bits(decision) && paced.decision.cause == decision.cause
        }
        (Decided::Tick(ticked), Replayed::Tick(effort)) => {
            let bits = |e: &Effort| [e.workers, e.assist].map(f64::to_bits);
            bits(&ticked.effort) == bits(effort)
        }
        _ => false,
    }
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
