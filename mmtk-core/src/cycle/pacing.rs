//! Pacing: when a collection is due and of which kind, by the goal, by the nursery, and by options that
//! stress the collector.
//!
//! Callers: mutators ask at refills; leaders tell what came of each collection.

use super::allocated::{Allocated, AllocatedBytes};
use super::ended::CollectionEnded;
use super::goal::Goal;
use super::nursery::NurserySize;
use crate::events::{Cause, CollectionKind, Paced};
use crate::metadata::Ages;
use crate::options::Options;
use std::sync::Arc;

/// Of the collections that `stress.every_bytes` asks for, every Nth is a full one, unless `stress.full_every`
/// says otherwise.
const STRESS_FULL_EVERY: u64 = 4;

/// The pacing of one heap.
pub(crate) struct Pacing {
    goal: Goal,
    nursery: NurserySize,
    allocated: Arc<Allocated>,
    /// The options: a collection whenever this was allocated, and every Nth of these is a full one; 0 for
    /// none and for the usual N.
    stress_bytes: usize,
    stress_full_every: u64,
}

impl Pacing {
    /// Of a heap with this limit.
    pub fn new(options: &Options, limit: usize, ages: Ages) -> Pacing {
        let goal = Goal::new(options, limit, ages.at_snapshot());
        Pacing {
            nursery: NurserySize::new(options, ages, goal.bytes()),
            goal,
            allocated: Arc::default(),
            stress_bytes: options.stress_bytes,
            stress_full_every: options.stress_full_every,
        }
    }

    /// At which size the heap is full.
    pub fn goal(&self) -> &Goal {
        &self.goal
    }

    /// When minor collections are due.
    pub fn nursery(&self) -> &NurserySize {
        &self.nursery
    }

    /// What mutators have allocated.
    pub fn allocated(&self) -> &Arc<Allocated> {
        &self.allocated
    }

    /// Whether a stress option wants a collection now.
    pub fn stress_is_due(&self) -> bool {
        self.stress_bytes != 0 && self.allocated.since_pause() >= self.stress_bytes
    }

    /// Why to collect before `request` more bytes are reserved; none if there is no reason.
    pub fn due(&self, reserved: usize, request: usize) -> Option<Cause> {
        let since_pause = self.allocated.since_pause();
        if self.stress_is_due() {
            return Some(Cause::Stress);
        }
        if since_pause >= self.nursery.bytes() {
            return Some(Cause::Nursery);
        }
        self.goal.reached(reserved, self.allocated.since_full(), request).then_some(Cause::Growth)
    }

    /// Whether the heap has reached its goal.
    pub fn is_full(&self, reserved: usize) -> bool {
        self.goal.reached(reserved, self.allocated.since_full(), 0)
    }

    /// What collection number `number`, from 1, may free, if it comes for this cause. A heap that is full
    /// calls for a full collection if little was allocated: what was promoted has then left so little room
    /// that minor ones no longer pay.
    pub fn kind_for(&self, cause: Cause, number: u64) -> CollectionKind {
        let full_is_due = |every| {
            let every = if self.stress_full_every > 0 { self.stress_full_every } else { every };
            every > 0 && number.is_multiple_of(every)
        };
        let minor = self.nursery.pays()
            && match cause {
                Cause::Nursery => !full_is_due(0),
                Cause::HeapFull => self.allocated.since_pause() > self.nursery.bytes() / 2,
                Cause::Stress => !full_is_due(STRESS_FULL_EVERY),
                Cause::Requested | Cause::Emergency | Cause::Growth | Cause::Idle => false,
            };
        if minor { CollectionKind::Minor } else { CollectionKind::Full }
    }

    /// A collection begins: what was allocated until now.
    pub fn begin(&self, kind: CollectionKind) -> AllocatedBytes {
        self.allocated.take(kind)
    }

    /// Tells the pacer of a collection that ended. Returns what it decided, if it was a full one.
    pub fn ended(&self, ended: &CollectionEnded) -> Option<Paced> {
        match ended.kind {
            CollectionKind::Full => Some(self.goal.full_ended(ended)),
            CollectionKind::Minor => {
                self.goal.minor_ended(ended.work.gc_cpu);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacing(options: Options, ages: Ages) -> Pacing {
        Pacing::new(&Options { heap_limit: 64 << 20, ..options }, 64 << 20, ages)
    }

    #[test]
    fn a_nursery_that_is_used_up_calls_for_a_minor_collection_and_all_else_for_a_full_one() {
        let nursery_bytes = 1 << 20;
        let pacing = pacing(Options { nursery_bytes, ..Options::default() }, Ages::NewAndOld);
        assert_eq!(pacing.due(0, 0), None);
        pacing.allocated().add(nursery_bytes);
        assert_eq!(pacing.due(0, 0), Some(Cause::Nursery));
        let minor = |cause| pacing.kind_for(cause, 1) == CollectionKind::Minor;
        let causes: Vec<_> = Cause::ALL.into_iter().filter(|cause| minor(*cause)).collect();
        assert_eq!(causes, [Cause::HeapFull, Cause::Stress, Cause::Nursery]);
        // Little was allocated, and yet the heap is full.
        pacing.begin(CollectionKind::Minor);
        pacing.allocated().add(nursery_bytes / 2);
        assert!(!minor(Cause::HeapFull));
    }

    #[test]
    fn a_plan_without_old_objects_has_full_collections_alone() {
        let pacing = pacing(Options { nursery_bytes: 1 << 20, ..Options::default() }, Ages::One);
        pacing.allocated().add(2 << 20);
        assert_eq!(pacing.due(0, 0), None);
        assert!(Cause::ALL.into_iter().all(|cause| pacing.kind_for(cause, 1) == CollectionKind::Full));
    }

    #[test]
    fn of_collections_that_stress_asks_for_every_fourth_is_full_or_as_many_as_the_option_says() {
        let fulls = |stress_full_every| {
            let options = Options { stress_bytes: 4096, stress_full_every, ..Options::default() };
            let pacing = pacing(options, Ages::NewAndOld);
            pacing.allocated().add(4096);
            assert_eq!(pacing.due(0, 0), Some(Cause::Stress));
            let full = |number: &u64| pacing.kind_for(Cause::Stress, *number) == CollectionKind::Full;
            (1..=12).filter(full).collect::<Vec<_>>()
        };
        assert_eq!((fulls(0), fulls(3)), (vec![4, 8, 12], vec![3, 6, 9, 12]));
    }
}
