//! From the plan's name at startup to the plan, compiled for the binding.

use crate::plans::{
    Immix, MarkCompact, MarkSweep, NoGC, PageProtect, SemiSpace, concurrentimmix, gencopy, genimmix, immix,
    markcompact, marksweep, nogc, pageprotect, semispace, stickyimmix, stickymarksweep,
};
use mmtk_core::options::{Options, near_miss};
use mmtk_core::plan::{Plan, PlanContext, PlanInfo};
use mmtk_core::{Heap, HeapError, VMBinding};

/// Every plan of this crate.
pub const PLANS: &[PlanInfo] = &[
    immix::INFO,
    stickyimmix::INFO,
    genimmix::INFO,
    concurrentimmix::INFO,
    semispace::INFO,
    gencopy::INFO,
    markcompact::INFO,
    marksweep::INFO,
    stickymarksweep::INFO,
    pageprotect::INFO,
    nogc::INFO,
];

/// A heap with the plan that `options.plan` names.
///
/// # Errors
/// An unknown name, a plan that the binding cannot serve, options out of range, no address space.
pub fn new_heap<VM: VMBinding>(vm: VM, options: Options) -> Result<Heap<VM>, HeapError> {
    let info = find(&options.plan)?;
    if let Some(need) = info.needs.unmet::<VM>() {
        return Err(HeapError::Unsuitable { plan: info.name, need, suits: names(|plan| plan.needs.are_met::<VM>()) });
    }
    Heap::new(vm, options, |context| build(info.name, context))
}

fn build<VM: VMBinding>(name: &str, context: &PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError> {
    // What `new_heap` refuses this binding is not compiled for it.
    Ok(match name {
        "Immix" if const { immix::INFO.needs.are_met::<VM>() } => Box::new(Immix::new(context)?),
        "StickyImmix" if const { stickyimmix::INFO.needs.are_met::<VM>() } => Box::new(stickyimmix::new(context)?),
        "GenImmix" if const { genimmix::INFO.needs.are_met::<VM>() } => Box::new(genimmix::new(context)?),
        "ConcurrentImmix" if const { concurrentimmix::INFO.needs.are_met::<VM>() } => {
            Box::new(concurrentimmix::new(context)?)
        }
        "SemiSpace" if const { semispace::INFO.needs.are_met::<VM>() } => Box::new(SemiSpace::new(context)?),
        "GenCopy" if const { gencopy::INFO.needs.are_met::<VM>() } => Box::new(gencopy::new(context)?),
        "MarkCompact" if const { markcompact::INFO.needs.are_met::<VM>() } => Box::new(MarkCompact::new(context)?),
        "MarkSweep" if const { marksweep::INFO.needs.are_met::<VM>() } => Box::new(MarkSweep::new(context)?),
        "StickyMarkSweep" if const { stickymarksweep::INFO.needs.are_met::<VM>() } => {
            Box::new(stickymarksweep::new(context)?)
        }
        "PageProtect" if const { pageprotect::INFO.needs.are_met::<VM>() } => Box::new(PageProtect::new(context)?),
        "NoGC" if const { nogc::INFO.needs.are_met::<VM>() } => Box::new(NoGC::new(context)?),
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
