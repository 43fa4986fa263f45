//! Weak references, ephemerons and finalizers: what refers to an object without keeping it alive.
//!
//! A reference is native: an entry in a table of the heap ([`Reference`] is its number), not an object. A VM
//! whose weak references are objects keeps the number in the object and makes the object the entry's *owner*:
//! the entry goes when the owner dies. After the trace of a pause, in this order (`pause/weak.rs`):
//!
//! 1. Soft references that are to stay keep their targets; ephemerons whose keys (and owners) are live keep
//!    their values, in time linear in their number (`protocols::{index, conditions}`); the binding keeps what
//!    its own ephemerons hold ([`VMBinding::trace_weak`]).
//! 2. Weak references to what was not reached are cleared, and soft ones when memory is short.
//! 3. The binding clears its own weak references ([`VMBinding::process_weak`]).
//! 4. Objects with a finalizer that were not reached are queued for it when their turn has come
//!    (`pause/finalize.rs`, `pause/order.rs`), and live again with all they refer to; step 1 anew.
//! 5. Phantom references and ephemerons to what was not reached even now are cleared. Entries whose owners
//!    are dead are freed. Cleared references go to a queue for the VM, if it asked for that.
//!
//! Entries are in tables that grow and shrink with what is in use (`table`, `chunks`).
//!
//! Where the heap is marked beside mutators, the entries of which the marking has reached everything are
//! sorted out before the pause that ends it (`sift`).
//!
//! A minor collection looks only at entries that were made or written since the last collection. The workers
//! share all of this work.
//!
//! Sources: Hayes, "Ephemerons: a new finalization mechanism" (OOPSLA 1997); Boehm, "Destructors, finalizers,
//! and synchronization" (POPL 2003) for the order of finalizers; there each collection takes one step of it,
//! as with `ReferrersFirst`. The four strengths are those of java.lang.ref.
//!
//! [`VMBinding::trace_weak`]: crate::VMBinding::trace_weak
//! [`VMBinding::process_weak`]: crate::VMBinding::process_weak

mod address_table;
mod chunks;
mod kinds;
mod sift;
mod table;
mod tables;

pub(crate) use address_table::{Entries, key, mix};
pub use kinds::{Finalizer, FinalizerOrder, Reference, ReferenceKind, Terms};
pub(crate) use kinds::{REFERRERS_FIRST, TOPOLOGICAL};
pub use sift::SiftStep;
pub(crate) use sift::{SharedSift, Sift, Softness};
pub(crate) use table::{Entry, NOTIFY, Table};
pub(crate) use tables::{QueuedRoot, QueuedRoots, WeakTables};
