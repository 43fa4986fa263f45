//! StickyMarkSweep: MarkSweep whose marks stick. What survived a collection is old; a minor collection traces
//! what is new, and sweeps the blocks that mutators took cells from. Nothing ever moves.
//!
//! Source: sticky mark bits, Demers et al., "Combining generational and conservative garbage collection"
//! (POPL 1990).

use super::{Generational, MarkSweep, marksweep};
use mmtk_core::plan::PlanContext;
use mmtk_core::{HeapError, Needs, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { old_to_new: true, ..marksweep::NEEDS };

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Generational<MarkSweep<VM>>, HeapError> {
    Generational::new("StickyMarkSweep", NEEDS, context, MarkSweep::new)
}
