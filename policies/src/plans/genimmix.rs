//! GenImmix: Immix with a nursery of whole blocks. Every collection copies what survived out of the blocks
//! that mutators filled since the last one, into holes of older blocks while there are any; a minor
//! collection does no more than that.
//!
//! When no free block is left, mutators go on in holes, and what survives there stays where it is, as in
//! StickyImmix. So does a copy that finds no room.
//!
//! Source: Blackburn and McKinley (PLDI 2008), section 5. Without a nursery of its own, and so without a copy
//! reserve for it.

use super::{Generational, Immix, immix};
use mmtk_core::plan::PlanContext;
use mmtk_core::{HeapError, Needs, VMBinding};

/// What it needs of a binding.
pub const NEEDS: Needs = Needs { moves: true, old_to_new: true, ..immix::NEEDS };

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Generational<Immix<VM>>, HeapError> {
    Generational::new("GenImmix", NEEDS, context, Immix::with_nursery)
}
