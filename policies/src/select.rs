//! The name at startup -> the plan, compiled for the binding.

use crate::plans::{
    Immix, MarkCompact, MarkSweep, NoGC, PageProtect, SemiSpace, gencopy, genimmix, immix, markcompact, marksweep,
    nogc, pageprotect, semispace, stickyimmix, stickymarksweep,
};
use mmtk_core::options::{Options, near_miss};
use mmtk_core::plan::{Plan, PlanContext};
use mmtk_core::{Heap, HeapError, Needs, VMBinding};

/// One line of the table of plans.
#[derive(Debug)]
pub struct PlanInfo {
    /// The name, as users write it; upper and lower case are the same.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// What it needs of a binding.
    pub needs: Needs,
}

impl PlanInfo {
    const fn suits<VM: VMBinding>(&self) -> bool {
        self.needs.are_met::<VM>()
    }
}

const IMMIX: PlanInfo = PlanInfo {
    name: "Immix",
    what: "mark-region: marks in place, allocates in holes, evacuates sparse blocks when memory is short",
    needs: immix::NEEDS,
};

const STICKY_IMMIX: PlanInfo = PlanInfo {
    name: "StickyImmix",
    what: "Immix with minor collections: what survived one is old, and is traced only in full collections",
    needs: stickyimmix::NEEDS,
};

const GEN_IMMIX: PlanInfo = PlanInfo {
    name: "GenImmix",
    what: "Immix with minor collections that evacuate what is new: it is packed once and then stays, mostly",
    needs: genimmix::NEEDS,
};

const SEMI_SPACE: PlanInfo = PlanInfo {
    name: "SemiSpace",
    what: "copies what is live; needs twice the room, leaves no holes",
    needs: semispace::NEEDS,
};

const GEN_COPY: PlanInfo = PlanInfo {
    name: "GenCopy",
    what: "SemiSpace with minor collections: what survived one is old, and is copied again only in full collections",
    needs: gencopy::NEEDS,
};

const MARK_COMPACT: PlanInfo = PlanInfo {
    name: "MarkCompact",
    what: "slides what is live to the bottom, in the order of allocation; needs no reserve, leaves no holes",
    needs: markcompact::NEEDS,
};

const MARK_SWEEP: PlanInfo = PlanInfo {
    name: "MarkSweep",
    what: "size classes, marked in place, swept lazily; nothing moves",
    needs: marksweep::NEEDS,
};

const STICKY_MARK_SWEEP: PlanInfo = PlanInfo {
    name: "StickyMarkSweep",
    what: "MarkSweep with minor collections: what survived one is old; nothing moves",
    needs: stickymarksweep::NEEDS,
};

const PAGE_PROTECT: PlanInfo = PlanInfo {
    name: "PageProtect",
    what: "for debugging: each object has pages of its own, which fault once it is dead, and the report says what it was",
    needs: pageprotect::NEEDS,
};

const NO_GC: PlanInfo =
    PlanInfo { name: "NoGC", what: "never collects: out of memory at the limit", needs: nogc::NEEDS };

/// Every plan of this crate.
pub const PLANS: &[PlanInfo] = &[
    IMMIX,
    STICKY_IMMIX,
    GEN_IMMIX,
    SEMI_SPACE,
    GEN_COPY,
    MARK_COMPACT,
    MARK_SWEEP,
    STICKY_MARK_SWEEP,
    PAGE_PROTECT,
    NO_GC,
];

/// A heap with the plan that `options.plan` names.
///
/// # Errors
/// An unknown name, a plan that the binding cannot serve, options out of range, no address space.
pub fn new_heap<VM: VMBinding>(vm: VM, options: Options) -> Result<Heap<VM>, HeapError> {
    let info = find(&options.plan)?;
    if let Some(need) = info.needs.unmet::<VM>() {
        return Err(HeapError::Unsuitable { plan: info.name, need, suits: names(PlanInfo::suits::<VM>) });
    }
    Heap::new(vm, options, |context| build(info.name, context))
}

fn build<VM: VMBinding>(name: &str, context: &PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError> {
    // What `new_heap` refuses this binding is not compiled for it.
    Ok(match name {
        "Immix" if const { IMMIX.suits::<VM>() } => Box::new(Immix::new(context)?),
        "StickyImmix" if const { STICKY_IMMIX.suits::<VM>() } => Box::new(stickyimmix::new(context)?),
        "GenImmix" if const { GEN_IMMIX.suits::<VM>() } => Box::new(genimmix::new(context)?),
        "SemiSpace" if const { SEMI_SPACE.suits::<VM>() } => Box::new(SemiSpace::new(context)?),
        "GenCopy" if const { GEN_COPY.suits::<VM>() } => Box::new(gencopy::new(context)?),
        "MarkCompact" if const { MARK_COMPACT.suits::<VM>() } => Box::new(MarkCompact::new(context)?),
        "MarkSweep" if const { MARK_SWEEP.suits::<VM>() } => Box::new(MarkSweep::new(context)?),
        "StickyMarkSweep" if const { STICKY_MARK_SWEEP.suits::<VM>() } => Box::new(stickymarksweep::new(context)?),
        "PageProtect" if const { PAGE_PROTECT.suits::<VM>() } => Box::new(PageProtect::new(context)?),
        "NoGC" if const { NO_GC.suits::<VM>() } => Box::new(NoGC::new(context)?),
        _ => unreachable!("{name} is in PLANS, and suits this binding, but has no constructor"),
    })
}

/// The plan with this name.
///
/// # Errors
/// No such plan; the text suggests what may have been meant.
pub fn find(name: &str) -> Result<&'static PlanInfo, HeapError> {
    PLANS.iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let known = names(|_| true);
        let meant = near_miss(name, &known.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let near = meant.and_then(|meant| known.iter().copied().find(|known| *known == meant));
        HeapError::UnknownPlan { name: name.to_owned(), near, known }
    })
}

fn names(choose: impl Fn(&PlanInfo) -> bool) -> Vec<&'static str> {
    PLANS.iter().filter(|p| choose(p)).map(|p| p.name).collect()
}
