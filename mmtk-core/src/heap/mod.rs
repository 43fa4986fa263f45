//! The heap's memory: reserved address space, extents, blocks, pages, and the budget that admits them.

#[cfg(not(loom))]
mod aliased;
pub mod block_list;
#[cfg(not(loom))]
mod blocks;
pub mod budget;
#[cfg(not(loom))]
mod chunks;
pub mod credit;
#[cfg(not(loom))]
mod extent;
#[cfg(not(loom))]
pub mod fault;
#[cfg(not(loom))]
mod first_touch;
#[cfg(not(loom))]
mod free_runs;
#[cfg(not(loom))]
mod frontier;
#[cfg(not(loom))]
mod joining;
#[cfg(not(loom))]
mod mappings;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
pub mod os;
#[cfg(miri)]
mod os_in_miri;
#[cfg(not(loom))]
mod page_runs;
#[cfg(not(loom))]
mod refusals;
#[cfg(not(loom))]
mod sparse;

pub use block_list::{BlockList, Links};
pub use budget::{Budget, Charge};
pub use credit::{Credit, Credits};

#[cfg(not(loom))]
pub use {
    aliased::AliasedPages,
    blocks::{Acquired, BlockPool, Payment},
    extent::{BLOCK_BYTES, Block, CHUNK_BLOCKS, CHUNK_BYTES, Extent, LOG_BLOCK_BYTES},
    frontier::Frontier,
    memory::{Cache, EXTENTS, Memory, Why},
    page_runs::{AcquiredPages, PageRuns},
    refusals::{Asked, Refusals},
};
