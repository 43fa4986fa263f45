//! Tracing: the loop that finds what is live, in parallel.
//!
//! Node-wise and depth-first. What the stack holds are edges not yet followed; an object's header is touched
//! once, when its edge leaves the prefetch window, and if it is new its slots are pushed right then, while it
//! is in the cache.
//!
//! ```text
//!   stack (private, last in first out) --pop--> prefetch --> window (first in first out) --> mark or copy --> push slots
//!      | too deep and a worker is hungry                          16 objects in flight
//!      v
//!   queue (shared) <--steal-- other workers
//! ```
//! Why edges and not marked nodes: an object that is marked when discovered and scanned when popped is
//! fetched twice when the stack is deep; this way it is fetched once. The price is that the stack may hold an
//! object once for each edge to it.

mod item;
mod packets;
mod tracer;

mod policy;

mod beside;
mod grey;
mod marker;
mod marking;
mod snapshot;
mod update;

pub(crate) use beside::{Change, GreyPackets, PACKET, Targets};
pub use beside::{Log, Step};
pub(crate) use grey::{Grey, Section};
pub use item::{ObjectItem, SlotItem, TraceItem};
pub(crate) use marker::Tracing;
pub(crate) use marking::{Marking, Progress};
pub(crate) use policy::{OfSpaces, Policy};
pub(crate) use snapshot::InPause;
pub use snapshot::SnapshotTracer;
pub use tracer::{SpaceTracer, Traced};
pub use update::{ArrayPart, UpdateSlots};
