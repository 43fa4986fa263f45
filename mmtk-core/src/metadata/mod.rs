//! Metadata about objects, lines and blocks: in side tables, or in a header word that the VM lends.

#[cfg(not(loom))]
mod cells;
#[cfg(not(loom))]
pub mod epoch_bytes;
pub mod forwarding;
pub mod mark_bits;
#[cfg(not(loom))]
mod object_state;
#[cfg(not(loom))]
mod side_table;

#[cfg(not(loom))]
pub use cells::{
    BLOCK_FREE, BLOCK_NEW, BlockCells, CellClass, CellMarks, MAX_CELL_BYTES, SIZE_CLASSES, class_bytes, class_of,
};
pub use forwarding::{Claim, EPOCH_MASK, EPOCH_MAX, HeaderCell, PINNED, SideCell, StateCell, UNLOGGED, is_pinned};
#[cfg(not(loom))]
pub use object_state::ObjectStates;
#[cfg(not(loom))]
pub use side_table::{SideBytes, SideWords};
