//! What a workload is told, and what it answers.

/// How one mutator runs a workload.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Main size: tree depth, number of entries and the like.
    pub size: usize,
    /// Amount of work.
    pub ops: usize,
    /// Number of this mutator; part of the seed.
    pub tid: usize,
    /// How many mutators run.
    pub nthreads: usize,
}

impl Params {
    pub(super) fn with_share_of_size(mut self) -> Self {
        self.size = (self.size / self.nthreads).max(1);
        self
    }

    pub(super) fn with_share_of_size_and_ops(mut self) -> Self {
        self.ops = (self.ops / self.nthreads).max(1);
        self.with_share_of_size()
    }

    /// Tree depth less the levels that the mutators have between them.
    pub(super) fn share_of_depth(self) -> usize {
        let levels = usize::BITS - (self.nthreads.max(1) - 1).leading_zeros();
        self.size.saturating_sub(levels as usize)
    }
}

/// What a run computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sum over all that was kept alive; over several mutators added up.
    pub checksum: u64,
    /// Service time of each request in [`ticks`](super::ticks), for workloads that serve requests.
    pub latency_ticks: Vec<u32>,
}

impl From<u64> for Outcome {
    fn from(checksum: u64) -> Self {
        Self { checksum, latency_ticks: Vec::new() }
    }
}
