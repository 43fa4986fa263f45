//! The name at startup -> the plan, compiled for the binding.

use crate::plans::{
    Immix, MarkCompact, MarkSweep, NoGC, PageProtect, SemiSpace, gencopy, genimmix, stickyimmix, stickymarksweep,
};
use mmtk_core::options::Options;
use mmtk_core::plan::{HeapError, Plan, PlanContext};
use mmtk_core::{Heap, VMBinding};

/// One line of the table of plans.
#[derive(Debug)]
pub struct PlanInfo {
    /// The name, as users write it; upper and lower case are the same.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// Whether it needs slots that can be updated.
    pub moves: bool,
    /// Whether it needs a write barrier.
    pub barrier: bool,
    /// Whether it leaves pinned objects where they are.
    pub pins: bool,
    /// Whether objects may have words of which nobody knows whether they are references.
    pub conservative: bool,
}

/// Every plan of this crate.
pub const PLANS: &[PlanInfo] = &[
    PlanInfo {
        name: "Immix",
        what: "mark-region: marks in place, allocates in holes, evacuates sparse blocks when memory is short",
        moves: false,
        barrier: false,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "StickyImmix",
        what: "Immix with minor collections: what survived one is old, and is traced only in full collections",
        moves: false,
        barrier: true,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "GenImmix",
        what: "Immix with minor collections that evacuate what is new: it is packed once and then stays, mostly",
        moves: true,
        barrier: true,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "SemiSpace",
        what: "copies what is live; needs twice the room, leaves no holes",
        moves: true,
        barrier: false,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "GenCopy",
        what: "SemiSpace with minor collections: what survived one is old, and is copied again only in full collections",
        moves: true,
        barrier: true,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "MarkCompact",
        what: "slides what is live to the bottom, in the order of allocation; needs no reserve, leaves no holes",
        moves: true,
        barrier: false,
        pins: false,
        conservative: false,
    },
    PlanInfo {
        name: "MarkSweep",
        what: "size classes, marked in place, swept lazily; nothing moves",
        moves: false,
        barrier: false,
        pins: true,
        conservative: true,
    },
    PlanInfo {
        name: "StickyMarkSweep",
        what: "MarkSweep with minor collections: what survived one is old; nothing moves",
        moves: false,
        barrier: true,
        pins: true,
        conservative: true,
    },
    PlanInfo {
        name: "PageProtect",
        what: "for debugging: each object has pages of its own, which fault once it is dead, and the report says what it was",
        moves: false,
        barrier: false,
        pins: true,
        conservative: false,
    },
    PlanInfo {
        name: "NoGC",
        what: "never collects: out of memory at the limit",
        moves: false,
        barrier: false,
        pins: true,
        conservative: true,
    },
];

/// A heap with the plan that `options.plan` names.
///
/// # Errors
/// An unknown name, a plan that the binding cannot serve, options out of range, no address space.
pub fn new_heap<VM: VMBinding>(vm: VM, options: Options) -> Result<Heap<VM>, HeapError> {
    let info = find(&options.plan)?;
    let suits = |p: &PlanInfo| {
        (VM::CAN_MOVE || !p.moves)
            && (VM::WRITE_BARRIER || !p.barrier)
            && (p.pins || !VM::PINS_ROOTS && !VM::CONSERVATIVE_STACKS)
            && (p.conservative || !VM::CONSERVATIVE_HEAP)
    };
    let refuse = |why| HeapError::Plan(format!("{} {why}: choose one of {}", info.name, names(suits)));
    if info.moves && !VM::CAN_MOVE {
        return Err(refuse("moves objects; this binding's slots cannot be updated"));
    }
    if info.barrier && !VM::WRITE_BARRIER {
        return Err(refuse("needs to know which objects are written to; this binding has no write barrier"));
    }
    if !info.pins && VM::PINS_ROOTS {
        return Err(refuse("moves every object; this binding has roots whose targets must stay"));
    }
    if !info.pins && VM::CONSERVATIVE_STACKS {
        return Err(refuse("moves every object; this binding scans stacks conservatively (CONSERVATIVE_STACKS)"));
    }
    if !info.conservative && VM::CONSERVATIVE_HEAP {
        return Err(refuse(
            "has no objects with ambiguous words; this binding scans its heap conservatively (CONSERVATIVE_HEAP)",
        ));
    }
    Heap::new(vm, options, |context| build(info.name, context))
}

fn build<VM: VMBinding>(name: &str, context: &PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError> {
    // What `new_heap` refuses this binding is not compiled for it.
    let (moves, barrier) = const { (VM::CAN_MOVE, VM::WRITE_BARRIER) };
    let ambiguous = const { VM::CONSERVATIVE_HEAP };
    let pins = const { VM::PINS_ROOTS || VM::CONSERVATIVE_STACKS };
    Ok(match name {
        "Immix" if !ambiguous => Box::new(Immix::new(context)?),
        "StickyImmix" if barrier && !ambiguous => Box::new(stickyimmix::new(context)?),
        "GenImmix" if moves && barrier && !ambiguous => Box::new(genimmix::new(context)?),
        "GenCopy" if moves && barrier && !ambiguous => Box::new(gencopy::new(context)?),
        "SemiSpace" if moves && !ambiguous => Box::new(SemiSpace::new(context)?),
        "MarkCompact" if moves && !pins && !ambiguous => Box::new(MarkCompact::new(context)?),
        "StickyMarkSweep" if barrier => Box::new(stickymarksweep::new(context)?),
        "MarkSweep" => Box::new(MarkSweep::new(context)?),
        "PageProtect" if !ambiguous => Box::new(PageProtect::new(context)?),
        "NoGC" => Box::new(NoGC::new(context)?),
        _ => unreachable!("{name} is in PLANS, and suits this binding, but has no constructor"),
    })
}

/// The plan with this name.
///
/// # Errors
/// No such plan; the text suggests what may have been meant.
pub fn find(name: &str) -> Result<&'static PlanInfo, HeapError> {
    PLANS.iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let known: Vec<String> = PLANS.iter().map(|p| p.name.to_string()).collect();
        let near = mmtk_core::options::near_miss(name, &known);
        let hint = near.map(|n| format!("did you mean {n}? ")).unwrap_or_default();
        HeapError::Plan(format!("plan={name}: no such plan; {hint}There are {}", names(|_| true)))
    })
}

fn names(choose: impl Fn(&PlanInfo) -> bool) -> String {
    PLANS.iter().filter(|p| choose(p)).map(|p| p.name).collect::<Vec<_>>().join(", ")
}
