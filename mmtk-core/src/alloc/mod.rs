//! Allocation: bump ranges, cell ranges, the thread that owns them, and what it leaves of them.

mod allocators;
mod bump;
mod leftovers;
mod new_object;
mod thread;

pub use allocators::{Allocators, ThreadCells};
pub use bump::{BumpRange, CellRange, CopyTarget, HoleCursor, Pace};
pub use leftovers::CellsOf;
pub(crate) use leftovers::Leftovers;
pub use new_object::NewObject;
pub(crate) use thread::{MutatorRef, Noted, ThreadPart};

/// Where an object shall live.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Semantics {
    /// Wherever the plan puts ordinary objects; large ones go to the large-object space by themselves.
    #[default]
    Default,
    /// Never moved, collected when dead.
    NonMoving,
    /// Never moved, never collected.
    Immortal,
}

/// What the slow path asks of a plan.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Bytes, a multiple of the granule.
    pub bytes: usize,
    /// Where the object shall live.
    pub semantics: Semantics,
}
