//! GenImmix: Immix with a nursery of whole blocks. Every collection copies what survived out of the blocks
//! that mutators filled since the last one, into holes of older blocks while there are any; a minor
//! collection does no more than that.
//!
//! When no free block is left, mutators go on in holes, and what survives there stays where it is, as in
//! StickyImmix. So does a copy that finds no room.
//!
//! Source: Blackburn and McKinley (PLDI 2008), section 5. Without a nursery of its own, and so without a copy
//! reserve for it.

use super::{Immix, immix};
use crate::spaces::ImmixSpace;
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "GenImmix",
    what: "Immix with minor collections that evacuate what is new: it is packed once and then stays, mostly",
    needs: Needs { moves: true, old_to_new: true, ..immix::INFO.needs },
};

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Immix<VM>, HeapError> {
    let context = context.generational(INFO.name)?;
    let mut plan = Immix::of(ImmixSpace::with_nursery(&context)?, &context)?;
    plan.info = &INFO;
    Ok(plan)
}
