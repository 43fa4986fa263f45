//! The events of a heap that a page needs.

use heapwright::events::{HeldUp, PauseReport, WorkedBeside};

/// What the page is about.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Name of the plan, the limit in bytes, and the number of GC workers.
    pub(super) heap: Option<(&'static str, usize, usize)>,
    pub(super) pauses: Vec<PauseReport>,
    /// Where the next collection begins, in bytes, by the time that this was decided.
    pub(super) triggers: Vec<(u64, f64)>,
    pub(super) held_up: Vec<HeldUp>,
    pub(super) worked_beside: Vec<WorkedBeside>,
    /// Bytes requested and bytes reserved when memory ran out for the last time.
    pub(super) out_of_memory: Option<(usize, usize)>,
}
