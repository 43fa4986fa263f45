//! How much a heap can allocate without growing when its live objects stay in place: in the holes and free
//! cells between them.
//!
//! The memory reserved for live objects has bytes between them. New objects take some of these bytes, the
//! others are lost. Which part is taken depends on the space, on sizes, and on how the program's objects die.
//! So it is measured, as a part of the bytes between live objects; a part that was learned when there were
//! many such bytes is also right when there are few. New objects take these bytes before the heap grows, so
//! the room over what is reserved is smaller by them. Otherwise a fragmented heap would be collected only
//! after several times the allocation that was asked for.
//!
//! A cycle that found much less than expected counts at once: otherwise the cycles after it would begin too
//! early.
//!
//! A cycle that was not begun by the trigger tells nothing: objects first take what is free already, before
//! the heap grows.

use super::sample::CycleSample;

/// How far the part moves towards what a cycle found; if that is less than `MUCH_LESS` of the part, all the
/// way.
const GAIN: f64 = 0.5;
const MUCH_LESS: f64 = 0.5;

/// What is used again.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Reuse {
    /// Of the bytes between live objects, the part that new ones took.
    part: f64,
    /// Bytes between live objects when the last cycle had ended.
    between: f64,
}

impl Reuse {
    /// A cycle ended. The sample is a sane one.
    pub fn cycle_ended(&mut self, cycle: &CycleSample) {
        if !cycle.forced && self.between >= 1.0 {
            let found = (cycle.recycled / self.between).min(1.0);
            // Without growth they were not used up: there may be more.
            let found = if cycle.recycled < cycle.allocated { found } else { found.max(self.part) };
            let gain = if found < MUCH_LESS * self.part { 1.0 } else { GAIN };
            self.part += gain * (found - self.part);
        }
        self.between = (cycle.retained - cycle.black - cycle.traced).max(0.0);
    }

    /// Bytes that will be allocated before the heap grows.
    pub fn bytes(&self) -> f64 {
        self.part * self.between
    }
}

#[cfg(test)]
mod tests {
    use crate::{CycleSample, PacerConfig, PacerPolicy, Policy, PolicyName};

    const LIVE: f64 = 1e8;

    /// A heap of whose reserved bytes half are between live objects, and whose new objects take `part` of
    /// those before it grows. Returns what was allocated before each collection.
    fn allocated(policy: &mut Policy, parts: &[f64]) -> Vec<f64> {
        let retained = 2.0 * LIVE;
        let mut cycle = |part: &f64| {
            let decision = policy.decide();
            let goal = decision.goal;
            // It begins with the first byte beyond the goal.
            let allocated = ((goal - retained).max(0.0) + 1.0 + part * LIVE).min(decision.allocation);
            let recycled = allocated.min(part * LIVE);
            policy.cycle_ended(&CycleSample {
                traced: LIVE,
                retained,
                external: 0.0,
                peak: goal.max(retained),
                marking_ns: LIVE,
                gc_cpu_ns: LIVE,
                assist_cpu_ns: 0.0,
                black: 0.0,
                mutator_cpu_ns: allocated,
                allocated,
                recycled,
                handshake_ns: 0.0,
                final_pause_ns: LIVE,
                forced: false,
            });
            allocated
        };
        parts.iter().map(&mut cycle).collect()
    }

    fn policy(config: PacerConfig) -> Policy {
        let mut policy = Policy::new(PolicyName::Adaptive, PacerConfig { concurrent: false, ..config }, LIVE);
        // Its first cycle: it knows what is live, and what is reserved for it.
        allocated(&mut policy, &[0.0]);
        policy
    }

    #[test]
    fn what_is_used_again_between_live_objects_is_part_of_the_room() {
        let mut policy = policy(PacerConfig { headroom: 1.0, ..PacerConfig::default() });
        let all = allocated(&mut policy, &[0.6; 12]);
        assert_eq!(all[0], 1.6 * LIVE + 1.0, "nobody has seen holes yet");
        assert!((all[11] / LIVE - 1.0).abs() < 0.01, "{all:?}");
        // Holes that are gone cost one early collection, and are not counted on for long.
        let gone = allocated(&mut policy, &[0.0; 8]);
        assert!(gone[0] < 0.5 * LIVE && (gone[1] / LIVE - 1.0).abs() < 0.01, "{gone:?}");
    }

    #[test]
    fn a_heap_does_not_grow_while_its_holes_suffice_and_does_when_they_are_gone() {
        let mut policy = policy(PacerConfig { headroom: 0.5, ..PacerConfig::default() });
        allocated(&mut policy, &[1.0; 20]);
        assert_eq!((policy.decide().goal, policy.decide().allocation), (2.0 * LIVE, 0.5 * LIVE));
        let gone = allocated(&mut policy, &[0.0; 3]);
        assert_eq!(gone[0], 1.0);
        assert!(gone[1..].iter().all(|bytes| (bytes / LIVE - 0.5).abs() < 0.01), "{gone:?}");
    }
}
