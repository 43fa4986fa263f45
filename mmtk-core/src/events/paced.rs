//! What the pacer was told and what it decided, to be read again: from a log the decisions can be made once
//! more, by the same policy or another.

use serde::{Deserialize, Serialize};

use pacer::{Cause, CycleSample, Decision, HeapMode, MOST_BYTES, PacerConfig};

/// A decision of the pacer, at the end of a full collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paced {
    /// The pause that it followed.
    pub sequence: u64,
    /// When it was made, in ns since heap creation.
    pub end_ns: u64,
    /// Name of the policy.
    pub policy: String,
    /// The settings in force.
    #[serde(with = "ConfigFields")]
    pub config: PacerConfig,
    /// What it was told.
    #[serde(with = "SampleFields")]
    pub sample: CycleSample,
    /// What it decided.
    #[serde(with = "DecisionFields")]
    pub decision: Decision,
    /// Whether the VM was told that the limit is exceeded for all practical purposes.
    pub gave_up: bool,
}

// The pacer knows nothing of files: its types are mirrored here, and the compiler compares the fields.

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
    use super::super::event::samples;
    use super::*;
    use pacer::{PacerConfig, PolicyName};

    #[test]
    fn a_decision_is_read_back_as_it_was_written_to_the_last_bit() {
        let mut paced = samples::paced(3);
        paced.sample.traced = 1.0 / 3.0;
        paced.decision.trigger = 1e18 / 7.0;
        let text = serde_json::to_string(&paced).unwrap();
        let read: Paced = serde_json::from_str(&text).unwrap();
        assert_eq!(read, paced);
        assert_eq!(read.decision.trigger.to_bits(), paced.decision.trigger.to_bits());
    }

    #[test]
    fn modes_and_causes_are_called_as_in_options() {
        for &mode in HeapMode::ALL {
            let paced = Paced { config: PacerConfig { mode, ..PacerConfig::default().sane() }, ..samples::paced(1) };
            assert_eq!(serde_json::to_value(&paced).unwrap()["config"]["mode"], mode.name());
        }
        for &cause in Cause::ALL {
            let mut paced = samples::paced(1);
            paced.decision.cause = cause;
            assert_eq!(serde_json::to_value(&paced).unwrap()["decision"]["cause"], cause.name());
        }
        assert_eq!(PolicyName::Adaptive.name(), samples::paced(1).policy);
    }
}
