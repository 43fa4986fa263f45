//! What the pacer was told and what it decided. From a log of these the decisions can be replayed, by the
//! same policy or by another one.

use pacer::{CycleSample, Decision, PacerConfig};
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
