//! Spaces: regions of the heap with one policy each.

mod bump;
mod common;
mod copy;
mod epoch;
mod immix;
mod large;
mod lookup;
mod markcompact;
mod marksweep;
mod pageprotect;
mod pool;
mod region;
mod uncollected;

pub use bump::BumpSpace;
pub use common::{CommonSpaces, CommonTracer};
pub use copy::{COPY_MAX_BYTES, CopyInPlace, CopySpace, CopyTracer};
pub use epoch::Epoch;
pub use immix::{IMMIX_MAX_BYTES, ImmixEvacuator, ImmixMarker, ImmixSpace, LINE_BYTES};
pub use large::{LargeObjectSpace, LargeTracer};
pub use markcompact::{MarkCompactSpace, MarkCompactTracer};
pub use marksweep::{MarkSweepSpace, MarkSweepTracer};
pub use mmtk_core::metadata::MAX_CELL_BYTES;
pub use pageprotect::{PageProtectSpace, PageProtectTracer};
pub use pool::{PoolSpace, PoolTracer};
pub use region::{RegionSpace, RegionTracer};
pub use uncollected::{UncollectedSpaces, UncollectedTracer};
