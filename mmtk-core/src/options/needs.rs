//! Needs: what an option needs of the heap to have an effect.
//!
//! The table names the needs of each option, and `mmtk list` and the book print them. `effect` tells whether
//! a heap meets them.

use pacer::HeapMode;

/// One thing that an option needs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A plan that collects.
    Collections,
    /// A plan with minor collections.
    Generational,
    /// A plan whose collector works while mutators run.
    Concurrent,
    /// A plan with a space of this name.
    Space(&'static str),
    /// A binding whose objects may move.
    Moving,
    /// A heap whose size follows what is live.
    Sized,
    /// This heap mode.
    Mode(HeapMode),
    /// A nursery whose size the heap chooses.
    NurseryOfItsChoice,
    /// Memory that goes back after a delay.
    DelayedReturn,
    /// Evacuation of sparse blocks.
    Defrag,
    /// GC workers besides the leader.
    Helpers,
    /// The stress option that draws random numbers.
    RandomYield,
    /// The verifier.
    Verifier,
}

impl Need {
    /// Completes the sentence "it needs ...".
    pub fn text(self) -> String {
        match self {
            Need::Collections => "a plan that collects".to_owned(),
            Need::Generational => "a generational plan".to_owned(),
            Need::Concurrent => "a plan that marks while mutators run".to_owned(),
            Need::Space(name) => format!("a plan with the space {name}"),
            Need::Moving => "a binding whose objects may move".to_owned(),
            Need::Sized => "a heap.mode other than fixed".to_owned(),
            Need::Mode(mode) => format!("heap.mode={mode}"),
            Need::NurseryOfItsChoice => "nursery.bytes=0".to_owned(),
            Need::DelayedReturn => "heap.return_memory=auto".to_owned(),
            Need::Defrag => "immix.defrag=true".to_owned(),
            Need::Helpers => "gc.workers=2 or more".to_owned(),
            Need::RandomYield => "stress.random_yield=true".to_owned(),
            Need::Verifier => "verify.trace=true".to_owned(),
        }
    }
}
