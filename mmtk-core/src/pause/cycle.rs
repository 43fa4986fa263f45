//! The collection cycle: one state machine, from Idle to Idle.
//!
//! ```text
//! Idle --stop--> Stopping --all stopped--> Preparing --> Tracing --> Weak -----------------> Sweeping --> Idle
//!                                             ^                        '--> Compacting --'       |
//!                                             '--------------------------------------------------'  collect harder: another round
//! ```
//! Compacting is for plans that move objects once all that are live are known; others move them in Tracing,
//! or not at all. The leader of a pause is the only writer. Others read it to say in a message what the heap
//! was doing.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Where the cycle stands.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum CyclePhase {
    /// Mutators run.
    Idle,
    /// The leader waits for mutators to stop.
    Stopping,
    /// Spaces get ready.
    Preparing,
    /// Live objects are found.
    Tracing,
    /// References that do not keep their target alive are processed.
    Weak,
    /// Live objects get new places, and all references to them are updated.
    Compacting,
    /// What is dead becomes free.
    Sweeping,
}

impl CyclePhase {
    const ALL: [CyclePhase; 7] = [
        CyclePhase::Idle,
        CyclePhase::Stopping,
        CyclePhase::Preparing,
        CyclePhase::Tracing,
        CyclePhase::Weak,
        CyclePhase::Compacting,
        CyclePhase::Sweeping,
    ];

    fn may_follow(self, before: CyclePhase) -> bool {
        use CyclePhase::*;
        match self {
            Idle => true,
            Stopping => before == Idle,
            Preparing => matches!(before, Stopping | Sweeping),
            Tracing => before == Preparing,
            Weak => before == Tracing,
            Compacting => before == Weak,
            Sweeping => matches!(before, Compacting | Weak | Tracing),
        }
    }
}

impl fmt::Display for CyclePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CyclePhase::Idle => "mutators running",
            CyclePhase::Stopping => "stopping mutators",
            CyclePhase::Preparing => "preparing spaces",
            CyclePhase::Tracing => "tracing",
            CyclePhase::Weak => "processing weak references",
            CyclePhase::Compacting => "compacting",
            CyclePhase::Sweeping => "sweeping",
        })
    }
}

/// The cycle of one heap.
#[derive(Debug, Default)]
pub struct Cycle(AtomicU8);

impl Cycle {
    /// Where it stands.
    pub fn phase(&self) -> CyclePhase {
        CyclePhase::ALL[self.0.load(Relaxed) as usize]
    }

    /// The leader goes on to `phase`.
    ///
    /// # Panics
    /// If the step is not in the picture above: a plan told its story in the wrong order.
    pub fn enter(&self, phase: CyclePhase) {
        let before = self.phase();
        assert!(phase.may_follow(before), "a collection cannot go from {before} to {phase}");
        self.0.store(phase as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_told_in_order_passes() {
        let cycle = Cycle::default();
        for phase in CyclePhase::ALL {
            cycle.enter(phase);
        }
        cycle.enter(CyclePhase::Preparing);
        cycle.enter(CyclePhase::Tracing);
        cycle.enter(CyclePhase::Sweeping);
        cycle.enter(CyclePhase::Idle);
    }

    #[test]
    #[should_panic(expected = "a collection cannot go from mutators running to sweeping")]
    fn sweeping_without_a_trace_is_refused() {
        Cycle::default().enter(CyclePhase::Sweeping);
    }
}
