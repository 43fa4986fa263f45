//! Metadata about objects, lines and blocks: in side tables, or in a header word that the VM lends.

mod ages;
mod array_claims;
mod array_parts;
mod block_bytes;
mod cells;
mod claimed;
mod compaction;
pub mod epoch_bytes;
mod live_map;
mod object_extent;
mod object_starts;
mod object_state;
mod tally;

pub use ages::{Ages, ObjectMark};
pub use array_claims::ArrayClaims;
pub(crate) use array_claims::{InParts, PART_SLOTS};
pub use array_parts::ArrayParts;
pub(crate) use array_parts::Remembered;
pub use block_bytes::{BlockBytes, BlockTotals};
pub use cells::{
    BLOCK_FREE, BLOCK_NEW, BlockCells, CellClass, CellMarks, MAX_CELL_BYTES, SIZE_CLASSES, class_bytes, class_of,
};
pub use compaction::{Compaction, Moves, UpdateWindow};
pub use live_map::LiveMap;
pub use object_extent::set_regions_of;
pub use object_starts::ObjectStarts;
pub use object_state::{Claim, Claimed, ObjectStates};
pub use protocols::forwarding::{EPOCH_MASK, EPOCH_MAX, HeaderCell, PINNED, SideCell, StateCell, UNLOGGED};
pub use protocols::slot_word::SlotWord;
pub use tally::Count;
pub(crate) use tally::Tally;
