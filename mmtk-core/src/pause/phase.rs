//! Where a pause stands: a state machine, from Idle to Idle. How far a marking has come is a machine of its
//! own (`trace/marking.rs`).
//!
//! ```text
//! Idle --stop--> Stopping --all stopped--> Preparing --> Tracing --> Weak -----------------> Sweeping --> Idle
//!                                             ^                        '--> Compacting --'       |
//!                                             '--------------------------------------------------'  collect harder: another round
//! ```
//! Compacting is for plans that move objects once all live ones are known; the other plans move objects in
//! Tracing, or not at all. The leader of a pause is the only writer. Others read it to say in a message what
//! the heap was doing.

use bytemuck::NoUninit;
use protocols::sync::Atomic;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// Where a pause stands.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, NoUninit)]
#[repr(u8)]
pub enum PausePhase {
    /// Mutators run.
    #[default]
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

impl PausePhase {
    fn may_follow(self, before: PausePhase) -> bool {
        use PausePhase::*;
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

impl fmt::Display for PausePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PausePhase::Idle => "mutators running",
            PausePhase::Stopping => "stopping mutators",
            PausePhase::Preparing => "preparing spaces",
            PausePhase::Tracing => "tracing",
            PausePhase::Weak => "processing weak references",
            PausePhase::Compacting => "compacting",
            PausePhase::Sweeping => "sweeping",
        })
    }
}

/// The phase of the pause in progress, of one heap.
#[derive(Debug, Default)]
pub(crate) struct PhaseCell(Atomic<PausePhase>);

impl PhaseCell {
    /// Where it stands.
    pub fn now(&self) -> PausePhase {
        self.0.load(Relaxed)
    }

    /// The leader goes on to `phase`.
    ///
    /// # Panics
    /// If the step is not in the picture above: a plan told its story in the wrong order.
    pub fn enter(&self, phase: PausePhase) {
        let before = self.now();
        assert!(phase.may_follow(before), "a collection cannot go from {before} to {phase}");
        self.0.store(phase, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_told_in_order_passes() {
        let phase_of_pause = PhaseCell::default();
        use PausePhase::*;
        for phase in [Idle, Stopping, Preparing, Tracing, Weak, Compacting, Sweeping] {
            phase_of_pause.enter(phase);
        }
        phase_of_pause.enter(PausePhase::Preparing);
        phase_of_pause.enter(PausePhase::Tracing);
        phase_of_pause.enter(PausePhase::Sweeping);
        phase_of_pause.enter(PausePhase::Idle);
    }

    #[test]
    #[should_panic(expected = "a collection cannot go from mutators running to sweeping")]
    fn sweeping_without_a_trace_is_refused() {
        PhaseCell::default().enter(PausePhase::Sweeping);
    }
}
