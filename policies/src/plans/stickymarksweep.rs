//! StickyMarkSweep: MarkSweep whose marks stick. What survived a collection is old; a minor collection traces
//! what is new, and sweeps the blocks that mutators took cells from. Nothing ever moves.
//!
//! Source: sticky mark bits, Demers et al., "Combining generational and conservative garbage collection"
//! (POPL 1990).

use super::{Generational, MarkSweep};
use mmtk_core::HeapError;
use mmtk_core::VMBinding;
use mmtk_core::plan::PlanContext;

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Generational<MarkSweep<VM>>, HeapError> {
    Generational::new("StickyMarkSweep", context, MarkSweep::new)
}
