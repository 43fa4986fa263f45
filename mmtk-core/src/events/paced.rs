//! What the pacer was told and what it decided. From a log of these the decisions can be replayed, by the
//! same policy or by another one.

use pacer::{CycleSample, Decision, Effort, PacerConfig, Tick};
use std::borrow::Cow;

/// A decision of the pacer, at the end of a full collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Paced {
    /// The pause that it followed.
    pub sequence: u64,
    /// When it was made, in ns since heap creation.
    pub end_ns: u64,
    /// Name of the policy.
    pub policy: Cow<'static, str>,
    /// The settings in force.
    pub config: PacerConfig,
    /// What it was told.
    pub sample: CycleSample,
    /// What it decided.
    pub decision: Decision,
    /// Whether the VM was told that the limit is exceeded for all practical purposes.
    pub gave_up: bool,
}

/// A tick of a marking beside mutators. Those of a marking are told when it has ended, before its [`Paced`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ticked {
    /// The pause that ended the marking.
    pub sequence: u64,
    /// When it was, in ns since heap creation.
    pub at_ns: u64,
    /// Name of the policy.
    pub policy: Cow<'static, str>,
    /// The settings in force.
    pub config: PacerConfig,
    /// Bytes that were reserved when the marking began, if the policy was told of that just before.
    pub begins: Option<f64>,
    /// Bytes outside the heap that turned out to be garbage since the policy was told of anything.
    pub released: f64,
    /// What it was told.
    pub tick: Tick,
    /// What it decided.
    pub effort: Effort,
}
