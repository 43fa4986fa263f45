//! Needs: what a plan asks of a binding, and which of these a binding does not meet.
//!
//! A plan says what it needs in its [`PlanInfo`](crate::PlanInfo), a binding what it has in its constants.
//! Every heap compares the two when it is made, whichever crate the plan comes from. A table of plans may
//! hold the same value, to choose by it.

use std::fmt;

/// What a plan needs of a binding, and what it offers that some bindings need.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Needs {
    /// It moves ordinary objects whatever the binding says, and needs slots that can be updated. A plan that
    /// moves objects only where it may (Immix) does not need that.
    pub moves: bool,
    /// It has minor collections, and needs to know what old objects were made to refer to.
    pub old_to_new: bool,
    /// It marks while mutators run, and needs to be told before a store what it overwrites: a binding with a
    /// barrier ([`OldToNew::Barrier`]) whose objects may be scanned meanwhile
    /// ([`VMBinding::SCAN_BESIDE`](crate::VMBinding::SCAN_BESIDE)).
    pub snapshot: bool,
    /// It leaves pinned objects where they are.
    pub pins: bool,
    /// Its tracer finds objects by their addresses while it traces, and moves none of them: objects may have
    /// words of which it is not known whether they are references.
    pub conservative: bool,
}

impl Needs {
    /// Nothing is needed, and pinned objects stay.
    pub const NONE: Needs = Needs { moves: false, old_to_new: false, snapshot: false, pins: true, conservative: false };
}

/// How a minor collection learns what old objects were made to refer to since the last collection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OldToNew {
    /// It does not: there can be no minor collections.
    Unknown,
    /// Mutators call [`Mutator::write_barrier`](crate::Mutator::write_barrier) before they store a
    /// reference into an object.
    Barrier,
    /// There is no barrier. The binding finds the new objects that old ones refer to by other means, and
    /// visits them in [`VMBinding::scan_vm_minor`](crate::VMBinding::scan_vm_minor).
    Found,
}

/// Why a plan cannot serve a binding.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Need {
    /// The plan moves objects, and the binding's slots cannot be updated.
    Move,
    /// The plan has minor collections, and the binding does not tell what old objects refer to.
    OldToNew,
    /// The plan marks while mutators run, and the binding does not tell of stores before they are made.
    Barrier,
    /// The plan marks while mutators run, and the binding's objects cannot be scanned then.
    ScanBeside,
    /// The plan moves every object, and the binding has roots whose targets must stay.
    PinnedRoots,
    /// The plan moves every object, and the binding scans stacks conservatively.
    ConservativeStacks,
    /// The plan cannot find objects by their addresses, and the binding has objects with ambiguous words.
    ConservativeHeap,
}

impl fmt::Display for Need {
    /// Completes a sentence that begins with the plan.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Move => "moves objects; this binding's slots cannot be updated (CAN_MOVE)",
            Need::OldToNew => {
                "needs to know what old objects were made to refer to; this binding has no write barrier (OLD_TO_NEW)"
            }
            Need::Barrier => {
                "marks while mutators run, and needs to be told of each store before it is made; this binding has no write barrier \
                 (OLD_TO_NEW is not Barrier)"
            }
            Need::ScanBeside => {
                "marks while mutators run; this binding's objects cannot be scanned then (SCAN_BESIDE)"
            }
            Need::PinnedRoots => "moves every object; this binding has roots whose targets must stay (PINS_ROOTS)",
            Need::ConservativeStacks => {
                "moves every object; this binding scans stacks conservatively (CONSERVATIVE_STACKS), and what they may \
                 refer to must stay"
            }
            Need::ConservativeHeap => {
                "cannot find objects by their addresses while it traces; this binding scans its heap conservatively \
                 (CONSERVATIVE_HEAP)"
            }
        })
    }
}
