//! The pacer's decisions as JSON, written and read again.
//!
//! The pacer and the core know nothing of files. Their types are mirrored here, field by field. Values are
//! made here as well as read, so a field without a mirror does not compile.

use mmtk_core::events::{Paced, Ticked};
use pacer::{Cause, CycleSample, Decision, Effort, HeapMode, MOST_BYTES, PacerConfig, Tick};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What a pacer decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// When the next collection is due.
    Cycle(Box<Paced>),
    /// How hard to work while marking.
    Tick(Box<Ticked>),
}

/// The decision in a line that [`JsonLines`](crate::JsonLines) wrote; `None` if the line is another event.
///
/// Floating-point numbers come back as they were, to the last bit.
///
/// # Errors
/// The line is no JSON, or is a decision without one of its fields.
pub fn read_decision(line: &[u8]) -> serde_json::Result<Option<Decided>> {
    let event: serde_json::Value = serde_json::from_slice(line)?;
    if event["event"] == "paced" {
        return PacedFields::deserialize(event).map(|paced| Some(Decided::Cycle(Box::new(paced))));
    }
    if event["event"] == "ticked" {
        return TickedFields::deserialize(event).map(|ticked| Some(Decided::Tick(Box::new(ticked))));
    }
    Ok(None)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Paced")]
pub(crate) struct PacedFields {
    sequence: u64,
    end_ns: u64,
    policy: Cow<'static, str>,
    #[serde(with = "ConfigFields")]
    config: PacerConfig,
    #[serde(with = "SampleFields")]
    sample: CycleSample,
    #[serde(with = "DecisionFields")]
    decision: Decision,
    gave_up: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ticked")]
pub(crate) struct TickedFields {
    sequence: u64,
    at_ns: u64,
    policy: Cow<'static, str>,
    #[serde(with = "ConfigFields")]
    config: PacerConfig,
    begins: Option<f64>,
    released: f64,
    #[serde(with = "TickFields")]
    tick: Tick,
    #[serde(with = "EffortFields")]
    effort: Effort,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Tick")]
struct TickFields {
    reserved: f64,
    marked: f64,
    allocation_rate: f64,
    scan_rate: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Effort")]
struct EffortFields {
    workers: f64,
    assist: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "CycleSample")]
struct SampleFields {
    traced: f64,
    retained: f64,
    /// As `recycled`.
    #[serde(default)]
    external: f64,
    peak: f64,
    marking_ns: f64,
    gc_cpu_ns: f64,
    assist_cpu_ns: f64,
    black: f64,
    mutator_cpu_ns: f64,
    allocated: f64,
    /// Logs of heaps that did not tell it yet have none.
    #[serde(default)]
    recycled: f64,
    handshake_ns: f64,
    final_pause_ns: f64,
    forced: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Decision")]
struct DecisionFields {
    goal: f64,
    trigger: f64,
    /// Logs of pacers that knew no such bound have none.
    #[serde(default = "no_bound")]
    allocation: f64,
    share: f64,
    trim: f64,
    #[serde(with = "CauseName")]
    cause: Cause,
}

fn no_bound() -> f64 {
    MOST_BYTES
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Cause", rename_all = "kebab-case")]
enum CauseName {
    FirstCycle,
    Estimate,
    Earliest,
    Latest,
    Limit,
    SoftLimitGivesWay,
    StopTheWorld,
    Delegated,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HeapMode")]
enum ModeName {
    #[serde(rename = "fixed")]
    Fixed,
    #[serde(rename = "proportional")]
    Proportional,
    #[serde(rename = "cpu-target")]
    CpuTarget,
    #[serde(rename = "membalancer")]
    MemBalancer,
    #[serde(rename = "delegated")]
    Delegated,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PacerConfig")]
struct ConfigFields {
    #[serde(with = "ModeName")]
    mode: HeapMode,
    headroom: f64,
    gc_cpu_target: f64,
    balance: f64,
    min_bytes: f64,
    soft_limit: f64,
    hard_limit: f64,
    pressure: f64,
    concurrent: bool,
    cores: f64,
    gc_share: f64,
    gc_share_max: f64,
    gc_share_min: f64,
    assist_cap: f64,
    float_budget: f64,
    margin: f64,
    safety_sigma: f64,
    trim_gain: f64,
    trim_max: f64,
    gc_cpu_cap: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use pacer::PolicyName;

    fn written(paced: &Paced) -> serde_json::Value {
        PacedFields::serialize(paced, serde_json::value::Serializer).unwrap()
    }

    fn line(paced: Paced) -> String {
        crate::line::line(&mmtk_core::events::Event::Paced(Box::new(paced)))
    }

    #[test]
    fn a_decision_is_read_back_as_it_was_written_to_the_last_bit() {
        let mut paced = samples::paced(3);
        paced.sample.traced = 1.0 / 3.0;
        paced.decision.trigger = 1e18 / 7.0;
        let read = read_decision(line(paced.clone()).as_bytes()).unwrap();
        let Some(Decided::Cycle(read)) = read else { panic!("{read:?}") };
        assert_eq!(*read, paced);
        assert_eq!(read.decision.trigger.to_bits(), paced.decision.trigger.to_bits());
    }

    #[test]
    fn a_tick_is_read_back_as_it_was_written_to_the_last_bit() {
        for begins in [None, Some(1e8 / 3.0)] {
            let ticked = Ticked { begins, ..samples::ticked(3) };
            let line = crate::line::line(&mmtk_core::events::Event::Ticked(Box::new(ticked.clone())));
            let read = read_decision(line.as_bytes()).unwrap();
            let Some(Decided::Tick(read)) = read else { panic!("{read:?}") };
            assert_eq!(*read, ticked);
            assert_eq!(read.effort.workers.to_bits(), ticked.effort.workers.to_bits());
        }
    }

    #[test]
    fn a_line_that_is_another_event_is_no_decision_and_no_error() {
        let pause = crate::line::line(&samples::life(1)[1]);
        assert_eq!(read_decision(pause.as_bytes()).unwrap(), None);
        assert!(read_decision(b"{").is_err());
        let cut = line(samples::paced(1)).replace("\"traced\"", "\"traded\"");
        assert!(read_decision(cut.as_bytes()).unwrap_err().to_string().contains("traced"));
    }

    #[test]
    fn logs_of_earlier_versions_lack_fields_that_came_later() {
        let mut paced = samples::paced(1);
        paced.sample.recycled = 5.0;
        let old = line(paced).replace("\"recycled\":5.0,", "").replace("\"external\":0.0,", "");
        let read = read_decision(old.as_bytes()).unwrap();
        assert!(matches!(read, Some(Decided::Cycle(paced)) if paced.sample.recycled == 0.0));
    }

    #[test]
    fn modes_and_causes_are_called_as_in_options() {
        for &mode in HeapMode::ALL {
            let paced = Paced { config: PacerConfig { mode, ..PacerConfig::default().sane() }, ..samples::paced(1) };
            assert_eq!(written(&paced)["config"]["mode"], mode.name());
        }
        for &cause in Cause::ALL {
            let mut paced = samples::paced(1);
            paced.decision.cause = cause;
            assert_eq!(written(&paced)["decision"]["cause"], cause.name());
        }
        assert_eq!(PolicyName::Adaptive.name(), samples::paced(1).policy);
    }
}
