//! The heap's memory: reserved address space, extents, blocks, pages, and the budget that admits them.

mod aliased;
mod blocks;
mod chunks;
mod extent;
pub mod fault;
mod first_touch;
mod free_runs;
mod frontier;
mod joining;
mod mappings;
mod memory;
pub mod os;
#[cfg(miri)]
mod os_in_miri;
mod page_runs;
mod refusals;
mod sparse;

pub use protocols::block_list::{BlockList, Links};
pub use protocols::budget::{Budget, Charge};

pub use {
    aliased::AliasedPages,
    blocks::{Acquired, BlockPool, Payment},
    extent::{BLOCK_BYTES, Block, CHUNK_BLOCKS, CHUNK_BYTES, Extent, LOG_BLOCK_BYTES},
    frontier::Frontier,
    memory::{Cache, EXTENTS, Memory, Why},
    page_runs::{AcquiredPages, PageRuns},
    refusals::{Asked, Refusals},
};
