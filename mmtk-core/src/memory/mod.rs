//! The heap's memory: reserved address space, extents, blocks, pages, side tables, and the budget that admits
//! them.

mod aliased;
mod arena;
mod blocks;
mod chunks;
mod extent;
pub mod fault;
mod first_touch;
mod free_memory;
mod free_runs;
mod frontier;
mod joining;
mod mappings;
mod ordered_map;
mod page_runs;
mod refusals;
mod reservation;
mod side_table;

pub use protocols::block_list::{BlockList, Links};
pub use protocols::budget::{Budget, Charge};

pub use {
    aliased::AliasedPages,
    arena::{Arena, List, Text},
    blocks::{Acquired, BlockPool, Payment},
    extent::{BLOCK_BYTES, Block, CHUNK_BLOCKS, CHUNK_BYTES, EXTENTS, Extent, LOG_BLOCK_BYTES},
    free_memory::FreeMemory,
    frontier::Frontier,
    ordered_map::OrderedMap,
    page_runs::{AcquiredPages, PageRuns},
    refusals::{Asked, Refusals},
    reservation::{Cache, Memory, Why},
    side_table::{Borrowed, BytePer, ObjectIn, Owned, SideBytes, SideStates, SideWords},
};
