//! Metadata about objects, lines and blocks: in side tables, or in a header word that the VM lends.

#[cfg(not(loom))]
mod block_bytes;
#[cfg(not(loom))]
mod cells;
#[cfg(not(loom))]
mod compaction;
#[cfg(not(loom))]
pub mod epoch_bytes;
pub mod evacuation;
pub mod forwarding;
#[cfg(not(loom))]
mod live_map;
pub mod mark_bits;
#[cfg(not(loom))]
mod object_starts;
#[cfg(not(loom))]
mod object_state;
pub mod pin_count;
#[cfg(not(loom))]
mod side_table;
pub mod slot_word;

#[cfg(not(loom))]
pub use block_bytes::{BlockBytes, BlockTotals};
#[cfg(not(loom))]
pub use cells::{
    BLOCK_FREE, BLOCK_NEW, BlockCells, CellClass, CellMarks, MAX_CELL_BYTES, SIZE_CLASSES, class_bytes, class_of,
};
#[cfg(not(loom))]
pub use compaction::{Compaction, Moves, UpdateWindow};
pub use forwarding::{Claim, EPOCH_MASK, EPOCH_MAX, HeaderCell, PINNED, SideCell, StateCell, UNLOGGED, is_pinned};
#[cfg(not(loom))]
pub use live_map::LiveMap;
#[cfg(not(loom))]
pub use object_starts::ObjectStarts;
#[cfg(not(loom))]
pub use object_state::ObjectStates;
#[cfg(not(loom))]
pub use side_table::{SideBytes, SideWords};
pub use slot_word::SlotWord;
