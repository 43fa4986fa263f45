//! StickyMarkSweep: MarkSweep whose marks stick. What survived a collection is old; a minor collection traces
//! what is new, and sweeps the blocks that mutators took cells from. Nothing ever moves.
//!
//! Source: sticky mark bits, Demers et al., "Combining generational and conservative garbage collection"
//! (POPL 1990).

use super::{MarkSweep, marksweep};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "StickyMarkSweep",
    what: "MarkSweep with minor collections: what survived one is old; nothing moves",
    needs: Needs { old_to_new: true, ..marksweep::INFO.needs },
};

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<MarkSweep<VM>, HeapError> {
    MarkSweep::of(&INFO, context)
}
