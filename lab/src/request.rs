//! One run as it was asked for: collector, workload, sizes and options, all checked.

use std::path::PathBuf;

use heapwright::options::Options;

use crate::collector::{Collector, Kind};
use crate::failure::Failure;
use workloads::Spec;

/// A run of one workload on one collector.
#[derive(Clone, Debug)]
pub struct Request {
    /// The collector.
    pub collector: Collector,
    /// The workload.
    pub spec: &'static Spec,
    /// Options of the toolkit, validated. `heap.limit` and `gc.workers` hold for peers too.
    pub options: Options,
    /// Settings for a peer, `key` and `value`; empty for our plans, whose settings are in `options`.
    pub peer_settings: Vec<(String, String)>,
    /// Mutator threads.
    pub mutators: usize,
    /// Iterations in the same heap.
    pub iters: usize,
    /// Size of the workload, 0 for its default.
    pub size: usize,
    /// Work of the workload, 0 for its default.
    pub ops: usize,
    /// Whether each iteration is one JSON line on standard output, and nothing else is.
    pub json: bool,
    /// Where a Chrome trace goes.
    pub trace: Option<PathBuf>,
    /// Where the pacer's decisions go.
    pub pacer_log: Option<PathBuf>,
    /// Where the page about the heap goes.
    pub report: Option<PathBuf>,
}

impl Request {
    /// The heap limit.
    pub fn heap_bytes(&self) -> usize {
        self.options.heap_limit
    }

    /// Threads that work in a pause.
    pub fn gc_threads(&self) -> usize {
        self.options.gc_workers
    }

    /// Takes `key=value` settings, those in the collector's name last: into the options for our plans, else
    /// to the peer.
    ///
    /// # Errors
    /// Names the setting.
    pub fn apply_settings(&mut self, given: &[String]) -> Result<(), Failure> {
        let in_name = self.collector.settings.clone();
        let name = self.collector.name.clone();
        let given = given.iter().map(|setting| ("--set", setting));
        for (origin, setting) in given.chain(in_name.iter().map(|setting| (name.as_str(), setting))) {
            if self.collector.kind == Kind::Ours {
                let wrong = |error| Failure::Usage(format!("{origin}: {error}"));
                self.options.apply_assignment(setting).map_err(wrong)?;
            } else {
                let (key, value) = setting
                    .split_once('=')
                    .ok_or_else(|| Failure::Usage(format!("{origin}: {setting}: must be key=value")))?;
                self.peer_settings.push((key.to_owned(), value.to_owned()));
            }
        }
        Ok(())
    }
}
