//! The two tracing policies of Immix: mark everything in place, or evacuate the sources on the way.

use super::lines::{LINE_BYTES, LOG_LINE_BYTES, Lines};
use super::space::ImmixSpace;
use super::states::{BlockState, MEDIUM_BYTES};
use crate::spaces::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::CopyTarget;
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{BLOCK_BYTES, Borrowed, Charge, ObjectIn, SideStates};
use mmtk_core::metadata::{BlockTotals, Claim, ObjectMark, ObjectStates, set_regions_of};
use mmtk_core::trace::{ObjectItem, SlotItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
use mmtk_core::{ObjectReference, VMBinding};
use std::sync::atomic::Ordering::Relaxed;

impl<VM: VMBinding> ImmixSpace<VM> {
    /// The policy of a trace that moves nothing.
    pub fn marker(&self) -> ImmixMarker<'_, VM> {
        ImmixMarker::new(self)
    }

    /// The policy of a trace that evacuates the sources.
    pub fn evacuator(&self, kind: CollectionKind) -> ImmixEvacuator<'_, VM> {
        ImmixEvacuator::new(self, kind)
    }
}

/// Marks in place.
#[derive_where(Clone, Copy)]
pub struct ImmixMarker<'a, VM> {
    vm: &'a VM,
    states: ObjectStates<VM, Borrowed<'a>>,
    lines: Lines<Borrowed<'a>>,
    live_bytes: &'a BlockTotals,
    epoch: u8,
    /// What objects are marked with.
    mark: ObjectMark,
}

impl<'a, VM: VMBinding> ImmixMarker<'a, VM> {
    fn new(space: &'a ImmixSpace<VM>) -> Self {
        ImmixMarker {
            vm: &space.vm,
            states: space.states.view(),
            lines: space.lines.view(),
            live_bytes: space.defrag.live_bytes(),
            epoch: space.epoch.current(),
            mark: space.ages.mark_of(space.epoch.current()),
        }
    }

    /// A live object is here: its lines, its block and the worker take note.
    #[inline(always)]
    fn found(&self, object: ObjectIn<'_, LOG_LINE_BYTES, Borrowed<'a>>, worker: &mut Worker) {
        let bytes = set_regions_of(self.vm, object, self.epoch);
        worker.count_in_block(self.live_bytes, object.object().address(), bytes);
    }
}

impl<VM: VMBinding> SpaceTracer<VM> for ImmixMarker<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.lines.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        let lines = self.lines.object(object);
        if !self.states.mark(object, self.mark) {
            return Traced::Seen(object);
        }
        self.found(lines, worker);
        Traced::New(object)
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.states.is_marked(object, self.epoch).then_some(object)
    }
}

/// Claims objects beside mutators.
#[derive_where(Clone, Copy)]
pub struct ImmixSnapshot<'a, VM> {
    marker: ImmixMarker<'a, VM>,
    /// What lines of the snapshot carry, besides the epoch once an object in them is claimed (I7).
    before: [u8; 2],
}

impl<VM: VMBinding> ImmixSpace<VM> {
    /// The policy of a marking beside mutators, which has begun.
    pub fn snapshot(&self) -> ImmixSnapshot<'_, VM> {
        let before = self.snapshot.before().expect("the space has begun a snapshot");
        ImmixSnapshot { marker: ImmixMarker::new(self), before }
    }
}

impl<VM: VMBinding> SnapshotTracer<VM> for ImmixSnapshot<'_, VM> {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.marker.lines.holds(object)
    }

    #[inline(always)]
    fn is_white(&self, object: ObjectReference) -> bool {
        let ImmixMarker { states, lines, epoch, .. } = &self.marker;
        let number = lines.number_at(object.address());
        (self.before.contains(&number) || number == *epoch) && !states.is_claimed(object, *epoch)
    }

    #[inline(always)]
    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        let ImmixMarker { vm, states, lines, live_bytes, epoch, .. } = self.marker;
        if !states.claim_beside(object, epoch) {
            return false;
        }
        let bytes = set_regions_of(vm, lines.object(object), epoch);
        count.count_in_block(live_bytes, object.address(), bytes);
        true
    }
}

/// Copies objects out of source blocks, marks the others in place.
#[derive_where(Clone, Copy)]
pub struct ImmixEvacuator<'a, VM> {
    space: &'a ImmixSpace<VM>,
    marker: ImmixMarker<'a, VM>,
    blocks: SideStates<BlockState, Borrowed<'a>>,
    /// The numbers of lines that are no holes for copies.
    taken: [u8; 3],
    /// Whether workers share the block that copies go to.
    shared: bool,
    /// Whether copies of more than a line fill holes before they take blocks.
    fills_holes: bool,
}

impl<'a, VM: VMBinding> ImmixEvacuator<'a, VM> {
    fn new(space: &'a ImmixSpace<VM>, kind: CollectionKind) -> Self {
        let epoch = space.epoch.current();
        let taken = match kind {
            CollectionKind::Minor => [epoch; 3],
            // A block that was listed after a marking beside mutators may hold what was handed out meanwhile.
            CollectionKind::Full if space.ages.at_snapshot() => {
                [epoch, Epoch::before(epoch), space.fresh.load(Relaxed)]
            }
            CollectionKind::Full => [epoch, Epoch::before(epoch), epoch],
        };
        ImmixEvacuator {
            space,
            marker: ImmixMarker::new(space),
            blocks: space.blocks.view(),
            taken,
            shared: space.defrag.shares_blocks(),
            fills_holes: space.defrag.fills_holes(),
        }
    }

    fn evacuate(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        let (states, mark) = (&self.marker.states, self.marker.mark);
        match states.claim(self.marker.vm, object, self.marker.epoch, &worker.alone) {
            Claim::Moved(to) => Traced::Seen(to),
            Claim::Stays => Traced::Seen(object),
            Claim::Won(claimed) => {
                let bytes = claimed.bytes();
                let room = if claimed.is_pinned() { None } else { self.allocate_copy(worker, bytes) };
                match room {
                    Some(target) => {
                        let to = target.copy(states, claimed, mark);
                        self.marker.found(self.marker.lines.object(to), worker);
                        Traced::New(to)
                    }
                    None => {
                        states.settle(claimed, mark);
                        self.marker.found(self.marker.lines.object(object), worker);
                        Traced::New(object)
                    }
                }
            }
        }
    }

    fn allocate_copy(&self, worker: &mut Worker, bytes: usize) -> Option<CopyTarget> {
        // As for new objects: what is larger than a line must not waste the rest of the block.
        let medium = bytes >= MEDIUM_BYTES;
        let hole_first = self.fills_holes && medium;
        if self.shared
            && !hole_first
            && let Some(target) = self.space.allocate_shared_copy(bytes)
        {
            return Some(target);
        }
        let allocators = &mut worker.allocators;
        if let Some(target) = allocators.bump.alloc_for_copy(bytes) {
            return Some(target);
        }
        let (range, cursor) = if medium {
            (&mut allocators.overflow, &mut allocators.overflow_hole)
        } else {
            (&mut allocators.bump, &mut allocators.hole)
        };
        if medium && let Some(target) = range.alloc_for_copy(bytes) {
            return Some(target);
        }
        let before = cursor.block;
        let mut hole = || {
            let lines = bytes.div_ceil(LINE_BYTES) as u32;
            self.space.next_hole_for_copies(cursor, lines, self.taken, self.fills_holes)
        };
        // Never the last: without it no round could go on.
        let block = || self.space.take_block(Charge::Collector, BLOCK_BYTES);
        let room = match hole_first || self.space.has_nursery {
            // Then the block that workers share.
            true if hole_first && self.shared => hole(),
            true => hole().or_else(block),
            false => block().or_else(hole),
        };
        let Some(room) = room else {
            if cursor.block != before && self.fills_holes {
                // The block was left to other workers, and the rest of the range with it.
                range.clear();
            }
            return if hole_first && self.shared { self.space.allocate_shared_copy(bytes) } else { None };
        };
        range.install_for_copies(room);
        range.alloc_for_copy(bytes)
    }
}

impl<VM: VMBinding> SpaceTracer<VM> for ImmixEvacuator<'_, VM> {
    type Item = SlotItem<VM::Slot>;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.blocks.holds(object)
    }

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.blocks.at(object.address()).load(Relaxed) == BlockState::Source {
            true => self.evacuate(object, worker),
            false => self.marker.trace(object, worker),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.marker.resolve(object).or_else(|| self.marker.states.forwarded(object))
    }
}
