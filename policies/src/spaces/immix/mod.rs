//! Immix: blocks of lines; mark in place, allocate in the holes, evacuate sparse blocks now and then.
//!
//! 1. Marking an object marks its lines with the epoch, all of them and no others (`lines`).
//! 2. After the trace, a block without a marked line is free; one with some is listed for reuse. Where
//!    nothing is to be evacuated, this is done when mutators run again, block by block; until then a block is
//!    on no list.
//! 3. A mutator bumps through the holes of a listed block. The lines that it takes are marked at once, so
//!    that any thread can search the block again, until it has no holes.
//! 4. An object of more than a line that does not fit the present hole goes to an overflow block, which saves
//!    the hole for smaller objects. When there are no free blocks, the mutator searches for a hole that is
//!    large enough (`hole_search`).
//! 5. If it pays, a second round in the same pause evacuates the sparsest blocks (`defrag`), into free blocks
//!    while there are any, then into the holes of denser ones; when memory runs out, the other way round.
//!
//! In a generational plan marks stick: a minor collection keeps the epoch, so what is marked is old and is
//! not traced again. Memory handed out then carries a number of its own, `fresh`, and only blocks with such
//! memory are swept. The survivors stay where they are. Where the nursery is evacuated (`with_nursery`),
//! mutators prefer whole blocks, and the next collection of either kind copies the survivors in those blocks
//! into holes of others.
//!
//! I1. `blocks[b]` is what the block is (`states`); `Source` only within a pause.
//! I2. A line that holds part of an object marked in this epoch carries this epoch; memory handed out since
//!     carries `handed_out()`.
//! I3. The epoch changes only while mutators are stopped and no worker traces.
//! I4. A block is on at most one list; the thread that popped it searches its holes.
//! I5. An object in a `Source` block is claimed before it is copied or marked; others are marked with plain
//!     stores.
//! I6. While a sweep is left, a block of which memory was handed out since carries the state of this turn
//!     (`states`), so the sweep passes it over.
//! I7. In a space that is marked beside mutators, an object is in the snapshot if the line that it begins in
//!     carries the epoch before the marking, the number that was handed out before it, or the epoch of the
//!     marking. While that is in progress, lines in use change to its epoch and to nothing else, and memory
//!     is handed out with a number that no line carried. Lines that are free carry none of these: a block
//!     that becomes free carries 0, and sweeps in two epochs of each round clear the free lines of the others
//!     (`NUMBERS_SWEPT`). So what a marker reads of a line,
//!     now or as it was, says whether the object is in the snapshot. When the marking ends, lines with either
//!     number are live.
//! Callers: `allocate` any mutator; the tracers any worker; `sweep_unit` any thread; the rest the leader.
//! Source: Blackburn and McKinley, PLDI 2008. Exact line marks, and marks for what is handed out, are ours.

mod defrag;
mod hole_search;
mod lines;
mod space;
mod states;
mod tracer;

pub use lines::LINE_BYTES;
pub use space::{IMMIX_MAX_BYTES, ImmixSpace};
pub use tracer::{ImmixEvacuator, ImmixMarker};
