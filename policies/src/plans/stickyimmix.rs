//! StickyImmix: Immix whose marks stick. What survived a collection is old; a minor collection traces and
//! frees only what is new.
//!
//! An object does not move to become old: it is old because its mark is from this epoch. Minor collections do
//! not change the epoch, so old objects count as reached; the write barrier has noted those into which
//! mutators stored since. Full collections, and all evacuation, are those of Immix.
//!
//! Source: sticky mark bits, Demers et al., "Combining generational and conservative garbage collection"
//! (POPL 1990); on Immix, Blackburn and McKinley (PLDI 2008).

use super::{Immix, immix};
use crate::spaces::ImmixSpace;
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "StickyImmix",
    what: "Immix with minor collections: what survived one is old, and is traced only in full collections",
    needs: Needs { old_to_new: true, ..immix::INFO.needs },
};

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<Immix<VM>, HeapError> {
    Immix::of(&INFO, ImmixSpace::new(context, INFO.ages())?, context)
}
