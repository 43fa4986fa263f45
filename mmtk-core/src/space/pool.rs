//! What a space for pools does, and what it keeps for each pool.
//!
//! I1. A pool's cells are changed under its lock, which is taken by a running mutator, or by the leader of a
//!     pause. A thread that holds it does not come to a safepoint. It may be taken under the space's own
//!     lock, never the other way round.
//! I2. A block belongs to one pool, from the time it is acquired until it is free.

use super::Space;
use crate::address::{Address, ObjectReference};
use crate::alloc::Pace;
use crate::memory::{Block, OrderedMap};
use protocols::sync::Mutex;
use std::sync::Arc;

/// What belongs to one pool: kept by it for its space.
#[derive(Debug, Default)]
pub struct PoolCells {
    /// Its number, for messages.
    pub number: u32,
    /// The size class of its cells.
    pub class: usize,
    /// Its blocks, and how many cells of each are taken.
    pub blocks: OrderedMap<Block, u32>,
    /// Those that have a free cell.
    pub partial: OrderedMap<Block, ()>,
    /// Of the partial ones, those that wait for the end of a marking beside mutators.
    pub set_aside: OrderedMap<Block, ()>,
    /// Objects that were freed since the last pause, and whose cells are free only after the next.
    pub waiting: OrderedMap<ObjectReference, ()>,
    /// Blocks in which cells were taken since the last collection, if its space wants to know.
    pub young: OrderedMap<Block, ()>,
}

/// A pool's cells, which its space looks at in pauses.
pub type SharedCells = Arc<Mutex<PoolCells>>;

/// A space that has pools.
pub trait Pools: Space {
    /// A pool without memory, of cells of this size class.
    fn open(&self, class: usize) -> SharedCells;
    /// Zeroed memory for an object; none if the budget is exhausted.
    fn allocate(&self, pool: &mut PoolCells, pace: Pace, allocated: &mut usize) -> Option<Address>;
    /// Frees an object; says why it cannot.
    fn free(&self, pool: &mut PoolCells, object: ObjectReference) -> Result<(), String>;
    /// The pool ends with all its objects. Its memory is free at once, if `now` and nothing speaks against
    /// it, or in the next pause.
    fn release(&self, pool: &SharedCells, now: bool);
}
