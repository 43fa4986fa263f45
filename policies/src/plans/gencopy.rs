//! GenCopy: SemiSpace in which blocks have an age. A minor collection copies the survivors out of the blocks
//! that mutators filled since the last collection. An object that was copied once is old, and moves again
//! only in full collections.
//!
//! The nursery is no fixed region: it is the blocks that mutators took. An object whose copy finds no room
//! stays where it is, and its block counts as old.
//!
//! Source: Lieberman and Hewitt (CACM 1983), Ungar's generation scavenging (SDE 1984), with en-masse
//! promotion as in Appel (SP&E 1989).

use super::{SemiSpace, semispace};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "GenCopy",
    what: "SemiSpace with minor collections: what survived one is old, and is copied again only in full collections",
    needs: Needs { old_to_new: true, ..semispace::INFO.needs },
};

/// The plan with empty spaces.
pub fn new<VM: VMBinding>(context: &PlanContext<'_, VM>) -> Result<SemiSpace<VM>, HeapError> {
    SemiSpace::of(&INFO, context)
}
