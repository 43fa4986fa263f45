//! Immix: mark in place, allocate in the holes; when memory is short and wasted in holes, evacuate the
//! sparsest blocks.

use crate::spaces::{CommonSpaces, IMMIX_MAX_BYTES, ImmixSpace};
use mmtk_core::plan::*;

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "Immix",
    what: "mark-region: marks in place, allocates in holes, evacuates sparse blocks when memory is short",
    needs: Needs::NONE,
};

/// Evacuating rounds when memory runs out, at most: each makes room for the next. If blocks are four fifths
/// live and only the headroom is free, a round frees a quarter more than the one before, and this many go
/// through the whole heap.
const URGENT_ROUNDS: usize = 16;

/// The plan.
pub struct Immix<VM> {
    info: &'static PlanInfo,
    pub(super) immix: ImmixSpace<VM>,
    pub(super) common: CommonSpaces<VM>,
}

impl<VM: VMBinding> Immix<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Self::of(&INFO, ImmixSpace::new(context, INFO.ages())?, context)
    }

    /// The plan under this name, with this space.
    pub(super) fn of(
        info: &'static PlanInfo,
        immix: ImmixSpace<VM>,
        context: &PlanContext<'_, VM>,
    ) -> Result<Self, HeapError> {
        Ok(Immix { info, immix, common: CommonSpaces::new(context, info.ages())? })
    }

    /// A trace and a sweep; evacuates the nursery or sources that were chosen, both, or nothing. A minor
    /// collection keeps the epoch: what is marked stays so, and counts as live.
    fn round(&self, pause: &mut Pause<'_, VM>, nursery: bool, sources: bool) {
        let kind = pause.kind();
        pause.prepare(|kind| {
            self.immix.prepare(kind, nursery);
            self.common.prepare(kind);
        });
        let (marker, common) = (self.immix.marker(), self.common.tracer());
        match nursery || sources {
            true => pause.evacuate((self.immix.evacuator(kind), common), (marker, common)),
            false => pause.trace((marker, common)),
        }
        self.immix.sweep(pause);
        self.common.sweep(pause);
    }
}

impl<VM: VMBinding> Plan<VM> for Immix<VM> {
    fn info(&self) -> &'static PlanInfo {
        self.info
    }

    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.immix])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request.semantics {
            Semantics::Default if request.bytes <= IMMIX_MAX_BYTES => self.immix.allocate(allocators, request.bytes),
            semantics => self.common.allocate_special(allocators, request.bytes, semantics),
        }
    }

    fn beside(&self) -> Option<&dyn Beside<VM>> {
        self.info.needs.snapshot.then_some(self)
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let nursery = self.immix.has_nursery() && pause.minor_collections_pay();
        if pause.kind() == CollectionKind::Minor {
            return self.round(pause, nursery, false);
        }
        let sources = self.immix.always_evacuates() && self.immix.choose_sources(pause);
        self.round(pause, nursery, sources);
        // What the round counted is exact until a mutator runs, so this is the moment to evacuate.
        let rounds = if self.immix.evacuation_is_urgent(pause) { URGENT_ROUNDS } else { 1 };
        for _ in 0..rounds {
            let room = self.immix.room();
            if !self.immix.choose_sources(pause) {
                break;
            }
            pause.again();
            self.round(pause, false, true);
            let gained = std::iter::zip(self.immix.room(), room).any(|(after, before)| after > before);
            if !gained {
                break;
            }
        }
    }
}
