//! A plan from outside: Patchwork, a mark-region collector with a twist.
//!
//! Immix bumps through the holes between live objects. Its weak spot is objects larger than a line: when one
//! does not fit the hole at hand, Immix takes a whole fresh block for such objects, or searches for a large
//! hole. Patchwork puts it into a cell of a mark-sweep space instead, where it needs no hole among small
//! objects. Small objects keep what Immix is good at: bumping, locality, evacuation when memory is wasted in
//! holes.
//!
//! Everything here is public API of `mmtk_core` and `policies`: spaces as fields, a slow path that chooses
//! among them, and a collection that reads from top to bottom. Safe Rust throughout.
#![forbid(unsafe_code)]

use mmtk_core::plan::*;
use mmtk_core::{Heap, Options};
use policies::spaces::{CommonSpaces, ImmixSpace, LINE_BYTES, MAX_CELL_BYTES, MarkSweepSpace};

/// A heap that Patchwork collects; `options.plan` is not looked at.
///
/// # Errors
/// Options out of range, or no address space.
pub fn new_heap<VM: VMBinding>(vm: VM, options: Options) -> Result<Heap<VM>, HeapError> {
    Heap::new(vm, options, |context| Ok(Box::new(Patchwork::new(context)?)))
}

/// What users read about it.
pub const INFO: PlanInfo = PlanInfo {
    name: "Patchwork",
    what: "Immix, with cells for objects that are larger than a line and fit no hole",
    needs: Needs::NONE,
};

/// The plan.
pub struct Patchwork<VM> {
    /// Objects of up to a line, and larger ones that fit the hole at hand.
    small: ImmixSpace<VM>,
    /// The other objects of up to a cell.
    medium: MarkSweepSpace<VM>,
    /// Large and non-moving objects, and those that are not collected.
    common: CommonSpaces<VM>,
}

impl<VM: VMBinding> Patchwork<VM> {
    /// The plan with empty spaces.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        Ok(Patchwork {
            small: ImmixSpace::new(context, INFO.ages())?,
            medium: MarkSweepSpace::new(context, "medium", INFO.ages())?,
            common: CommonSpaces::new(context, INFO.ages())?,
        })
    }

    /// One trace and sweep.
    fn round(&self, pause: &mut Pause<'_, VM>, evacuate: bool) {
        pause.prepare(|kind| {
            self.small.prepare(kind, false);
            self.medium.prepare(kind);
            self.common.prepare(kind);
        });
        let others = (self.medium.tracer(), self.common.tracer());
        let in_place = (self.small.marker(), others);
        match evacuate {
            true => pause.evacuate((self.small.evacuator(pause.kind()), others), in_place),
            false => pause.trace(in_place),
        }
        self.small.sweep(pause);
        self.medium.sweep(pause);
        self.common.sweep(pause);
    }
}

impl<VM: VMBinding> Plan<VM> for Patchwork<VM> {
    fn info(&self) -> &'static PlanInfo {
        &INFO
    }

    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.small, &self.medium])
    }

    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        match request {
            Request { bytes, semantics: Semantics::Default } if bytes <= LINE_BYTES => {
                self.small.allocate(allocators, bytes)
            }
            Request { bytes, semantics: Semantics::Default } if bytes <= MAX_CELL_BYTES => {
                // The twist: the hole at hand, or a cell.
                match allocators.bump_or_zero(bytes) {
                    Some(address) => Some(address),
                    None => self.medium.allocate(allocators, bytes),
                }
            }
            Request { bytes, semantics } => self.common.allocate_special(allocators, bytes, semantics),
        }
    }

    fn collect(&self, pause: &mut Pause<'_, VM>) {
        let evacuate = self.small.always_evacuates() && self.small.choose_sources(pause);
        self.round(pause, evacuate);
        // What the round counted is exact until a mutator runs: now is the moment to evacuate, if it pays.
        if self.small.choose_sources(pause) {
            pause.again();
            self.round(pause, true);
        }
    }
}
