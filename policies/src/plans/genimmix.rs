//! GenImmix: Immix with a nursery of whole blocks. Every collection copies the survivors out of the blocks
//! that mutators filled since the last one, into holes of older blocks while there are any. A minor
//! collection does no more than that.
//!
//! When no free block is left, mutators go on in holes, and objects that survive there stay where they are,
//! as in StickyImmix. So does an object whose copy finds no room.
//!
//! Source: Blackburn and McKinley (PLDI 2008), section 5. Here the nursery has no space of its own, and so no
//! reserve for copies.

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
    Immix::of(&INFO, ImmixSpace::with_nursery(context)?, context)
}
