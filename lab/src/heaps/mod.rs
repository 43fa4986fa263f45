//! The heaps that a workload can run on in this process, and the dispatch from a request to one of them.

pub mod never_free;
pub mod ours;

use crate::collector::Kind;
use crate::failure::Failure;
use crate::peers;
use crate::request::Request;

/// Makes the heap that was asked for and runs the workload on it.
///
/// # Errors
/// What is wrong with the request, or went wrong with the run. Out of memory does not return: see
/// [`crate::oom`].
pub fn run(request: &Request) -> Result<(), Failure> {
    crate::oom::expect_in(request);
    if request.collector.kind != Kind::Ours
        && let Some((flag, _)) = [("report", &request.report), ("pacer-log", &request.pacer_log)]
            .into_iter()
            .find(|(_, path)| path.is_some())
    {
        return Err(Failure::Usage(format!(
            "--{flag}: {} has none: choose a plan of ours (`mmtk list plans`)",
            request.collector.base
        )));
    }
    match request.collector.kind {
        Kind::Ours => ours::run_with_ours(request),
        Kind::NeverFree(allocator) => never_free::run(request, allocator),
        Kind::External => peers::external::run(request),
        #[cfg(feature = "peers")]
        Kind::Upstream(plan) => peers::upstream::run(request, plan),
        #[cfg(feature = "peers")]
        Kind::Bdwgc { inline } => peers::bdwgc::run(request, inline),
        #[cfg(not(feature = "peers"))]
        Kind::Upstream(_) | Kind::Bdwgc { .. } => Err(Failure::Usage(format!(
            "{} needs the cargo feature `peers`: cargo run --release --features peers -- ...",
            request.collector.base
        ))),
    }
}
