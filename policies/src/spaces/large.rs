//! Large objects: each has whole pages, and never moves.
//!
//! An object's mark is the byte of its first page. The sweep walks the list of objects in parallel; a dead
//! object's pages go back to the run list at once and stay resident for the next large object, until fresh
//! memory is short or the pacer returns them.
//!
//! I1. An object begins at a page, and no other object is on its pages.
//! I2. `objects` lists every object in use; mutators append under the lock, the sweep replaces it while they
//!     are stopped. While a sweep is left for when they run again, what it has not swept is in `unswept`: it
//!     puts live objects back under the lock of `objects`. `unswept` does not change meanwhile.
//! I3. In a space that is marked beside mutators, a new object carries the epoch of its time in its mark: so
//!     it is in the snapshot if a marking begins later, and is not if one is in progress. Pages that are free
//!     carry 0. So an object is in the snapshot, and not yet marked, if its mark is neither 0 nor the epoch;
//!     who claims it does so in its state, which every full collection marks too: no old number comes round.
//! Lock order: `objects` before `unswept`.

use super::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::Allocators;
use mmtk_core::memory::{CHUNK_BYTES, Charge, Extent, PageRuns, SideBytes};
use mmtk_core::metadata::{Ages, ArrayClaims, ArrayParts, Moves, ObjectStates};
use mmtk_core::os::{PAGE_BYTES, PageVec};
use mmtk_core::pause::Pause;
use mmtk_core::space::{LeftToSweep, Space, Unswept};
use mmtk_core::trace::{ArrayPart, ObjectItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use protocols::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const LOG_PAGE_BYTES: u32 = PAGE_BYTES.trailing_zeros();

/// Fewer objects than this are not worth a wake-up, if none is a large array.
const OBJECTS_FOR_HELPERS: usize = 64;

/// Objects of a unit of the sweep that is left.
const UNIT_OBJECTS: usize = 64;

#[derive(Copy, Clone, Debug)]
struct LargeObject {
    start: Address,
    pages: usize,
}

/// The space.
pub struct LargeObjectSpace<VM> {
    vm: Arc<VM>,
    pages: Arc<PageRuns>,
    states: ObjectStates<VM>,
    ages: Ages,
    /// Which arrays the barrier remembers in parts.
    parts: ArrayParts,
    epoch: Epoch,
    /// A byte a page: the epoch in which the object that begins there was marked.
    marks: SideBytes,
    objects: Mutex<PageVec<LargeObject>>,
    /// Whether `objects` are in the order of their addresses. Changes under their lock; a sweep keeps the
    /// order.
    sorted: AtomicBool,
    reserved: AtomicUsize,
    /// Bytes of the objects that the last full collection marked, whole pages each.
    live: AtomicUsize,
    /// Whether a marking beside mutators is in progress.
    marking: AtomicBool,
    /// What it has left to be swept.
    unswept: Mutex<PageVec<LargeObject>>,
    left: LeftToSweep,
}

impl<VM: VMBinding> LargeObjectSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        // Marks are the space's own; an object's state is used for the barrier.
        let barrier = match ages {
            Ages::NewAndOld => ObjectStates::<VM>::table_bytes_per_chunk() + ArrayParts::table_bytes_per_chunk(),
            Ages::Snapshot => ObjectStates::<VM>::table_bytes_per_chunk() + ArrayClaims::table_bytes_per_chunk(),
            Ages::One => 0,
        };
        Ok(LargeObjectSpace {
            vm: context.vm.clone(),
            pages: PageRuns::new(context.memory, extent, (CHUNK_BYTES >> LOG_PAGE_BYTES) + barrier),
            states: context.states.clone(),
            ages,
            parts: context.parts.clone(),
            epoch: Epoch::default(),
            marks: context.memory.side_bytes(extent, LOG_PAGE_BYTES)?,
            objects: Mutex::default(),
            sorted: AtomicBool::new(true),
            reserved: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            marking: AtomicBool::new(false),
            unswept: Mutex::default(),
            left: LeftToSweep::default(),
        })
    }

    /// Memory for one object, which `allocators` zero before the mutator has it.
    pub fn allocate(&self, bytes: usize, allocators: &mut Allocators) -> Option<Address> {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let run = self.pages.acquire(pages, Charge::Mutator)?;
        let start = run.start();
        allocators.zero_later(run.into_dirty());
        let mut born = 0;
        if self.ages.at_snapshot() {
            born = self.epoch.current();
            self.states.forget(start, 1 << VM::LOG_GRANULE);
            if self.marking.load(Relaxed) {
                self.live.fetch_add(pages * PAGE_BYTES, Relaxed);
            }
        }
        self.marks.at(start).store(born, Relaxed);
        self.reserved.fetch_add(pages * PAGE_BYTES, Relaxed);
        allocators.allocated += pages * PAGE_BYTES;
        let mut objects = self.objects.lock();
        objects.push(LargeObject { start, pages });
        self.sorted.store(false, Relaxed);
        Some(start)
    }

    /// Begins an epoch.
    pub fn prepare(&self) {
        self.epoch.advance();
        self.live.store(0, Relaxed);
        *self.unswept.lock() = PageVec::default();
    }

    /// A marking beside mutators begins. In a pause.
    pub fn begin_snapshot(&self) {
        self.prepare();
        self.marking.store(true, Relaxed);
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> LargeSnapshot<'_, VM> {
        LargeSnapshot { space: self, extent: self.pages.extent(), epoch: self.epoch.current() }
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> LargeTracer<'_, VM> {
        LargeTracer { space: self, extent: self.pages.extent(), epoch: self.epoch.current() }
    }

    /// Updates the slots of the objects that were marked.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        let (objects, tracer) = (self.objects.lock(), self.tracer());
        let live = |large: &LargeObject| {
            Some(self.pages.object_at(large.start)).filter(|object| tracer.resolve(*object).is_some())
        };
        let parts = objects.iter().filter_map(live).flat_map(|object| ArrayPart::all_of(&*self.vm, object));
        let parts = pause.arena().collect(parts);
        let (objects, next) = (&objects[..], AtomicUsize::new(0));
        pause.together("update large", parts.len() > 1 || objects.len() >= OBJECTS_FOR_HELPERS, |_| {
            let mut slots = moves.slots();
            loop {
                let n = next.fetch_add(1, Relaxed);
                match (parts.get(n), objects.get(n.wrapping_sub(parts.len()))) {
                    (Some(part), _) => part.scan(&*self.vm, &mut slots),
                    (None, Some(large)) => {
                        if let Some(object) =
                            live(large).filter(|object| ArrayPart::all_of(&*self.vm, *object).next().is_none())
                        {
                            self.vm.scan_object(object, &mut slots);
                        }
                    }
                    (None, None) => break,
                }
            }
        });
    }

    /// Frees what was not marked: now, or when mutators run again.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.marking.store(false, Relaxed);
        let epoch = self.epoch.current();
        for released in pause.released().iter().filter(|object| self.pages.extent().holds(**object)) {
            self.marks.at(released.address()).store(0, Relaxed);
        }
        let mut objects = std::mem::take(&mut *self.objects.lock());
        let live = |object: &LargeObject| self.is_marked(object, epoch);
        if pause.leaves_sweep(objects.len(), |_| false) {
            let dead = self.reserved.load(Relaxed).saturating_sub(self.live.load(Relaxed));
            self.left.leave(objects.len().div_ceil(UNIT_OBJECTS) as u32, dead);
            *self.unswept.lock() = objects;
            return;
        }
        pause.sweep(objects.len(), |_, range| {
            objects[range].iter().filter(|object| !live(object)).for_each(|object| self.free(object));
        });
        objects.retain(live);
        *self.objects.lock() = objects;
    }

    /// The live object that `is_it` of those that are not swept yet. While `objects` is locked, so that none
    /// goes there unseen.
    fn find_unswept(&self, is_it: impl Fn(&LargeObject) -> bool) -> Option<LargeObject> {
        let epoch = self.epoch.current();
        let is_live = |object: &&LargeObject| is_it(object) && self.is_marked(object, epoch);
        if self.left.is_over() { None } else { self.unswept.lock().iter().find(is_live).copied() }
    }

    fn is_marked(&self, object: &LargeObject, epoch: u8) -> bool {
        self.marks.at(object.start).load(Relaxed) == epoch
    }

    fn free(&self, object: &LargeObject) {
        if self.ages.at_snapshot() {
            self.marks.at(object.start).store(0, Relaxed);
        }
        self.pages.release(object.start, object.pages);
        self.reserved.fetch_sub(object.pages * PAGE_BYTES, Relaxed);
    }
}

impl<VM: VMBinding> Unswept for LargeObjectSpace<VM> {
    fn left(&self) -> &LeftToSweep {
        &self.left
    }

    fn sweep_unit(&self, unit: u32) {
        let epoch = self.epoch.current();
        let mut of_unit = [const { None }; UNIT_OBJECTS];
        let from = unit as usize * UNIT_OBJECTS;
        for (place, object) in of_unit.iter_mut().zip(&self.unswept.lock()[from..]) {
            *place = Some(*object);
        }
        // Asked once: the pages of a dead object may be those of a new one as soon as they are free.
        for place in &mut of_unit {
            if let Some(dead) = place.take_if(|object| !self.is_marked(object, epoch)) {
                self.free(&dead);
                self.left.freed(dead.pages * PAGE_BYTES);
            }
        }
        let mut objects = self.objects.lock();
        objects.extend(of_unit.into_iter().flatten());
        self.sorted.store(false, Relaxed);
    }
}

/// Marks large objects.
#[derive_where(Clone, Copy)]
pub struct LargeTracer<'a, VM> {
    space: &'a LargeObjectSpace<VM>,
    extent: Extent,
    epoch: u8,
}

impl<VM: VMBinding> SpaceTracer<VM> for LargeTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    /// A locked exchange, unlike for small objects: scanning a huge array twice would cost.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if self.space.marks.at(object.address()).swap(self.epoch, Relaxed) == self.epoch {
            return Traced::Seen(object);
        }
        let bytes = self.space.vm.object_size(object);
        worker.count(self.extent, bytes);
        self.space.live.fetch_add(bytes.next_multiple_of(PAGE_BYTES), Relaxed);
        match self.space.ages {
            Ages::One => (),
            // The state, too: an old number in it would come round.
            Ages::Snapshot => _ = self.space.states.mark(object, Ages::Snapshot.mark_of(self.epoch)),
            Ages::NewAndOld => {
                self.space.parts.begin(&*self.space.vm, object);
                self.space.states.unlog(object);
            }
        }
        Traced::NewLarge(object)
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let reached = self.space.marks.at(object.address()).load(Relaxed) == self.epoch;
        reached.then_some(object)
    }
}

/// Claims large objects beside mutators.
#[derive_where(Clone, Copy)]
pub struct LargeSnapshot<'a, VM> {
    space: &'a LargeObjectSpace<VM>,
    extent: Extent,
    epoch: u8,
}

impl<VM: VMBinding> SnapshotTracer<VM> for LargeSnapshot<'_, VM> {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    fn is_white(&self, object: ObjectReference) -> bool {
        let mark = self.space.marks.at(object.address()).load(Relaxed);
        mark != 0 && mark != self.epoch && !self.space.states.is_claimed(object, self.epoch)
    }

    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        if !self.space.states.claim_beside(object, self.epoch) {
            return false;
        }
        self.space.marks.at(object.address()).store(self.epoch, Relaxed);
        let bytes = self.space.vm.object_size(object);
        count.count(self.extent, bytes);
        self.space.live.fetch_add(bytes.next_multiple_of(PAGE_BYTES), Relaxed);
        true
    }

    fn is_large(&self, _object: ObjectReference) -> bool {
        true
    }
}

impl<VM: VMBinding> Space for LargeObjectSpace<VM> {
    fn name(&self) -> &'static str {
        "large"
    }
    fn extent(&self) -> Extent {
        self.pages.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        self.ages
    }
    fn unswept(&self) -> Option<&dyn Unswept> {
        Some(self)
    }
    fn reserved_bytes(&self) -> usize {
        self.reserved.load(Relaxed)
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let objects = self.objects.lock();
        let is_it = |large: &LargeObject| large.start == object.address();
        match objects.iter().find(|large| is_it(large)).copied().or_else(|| self.find_unswept(is_it)) {
            None => Err("no large object begins there, or it was collected".to_string()),
            Some(o) if bytes > o.pages * PAGE_BYTES => Err(format!("it was given {} pages", o.pages)),
            Some(_) => Ok(()),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        let mut objects = self.objects.lock();
        if !self.sorted.swap(true, Relaxed) {
            objects.sort_unstable_by_key(|o| o.start);
        }
        let next = objects.partition_point(|o| o.start <= address);
        let holds = |o: &LargeObject| (o.start..o.start.plus(o.pages * PAGE_BYTES)).contains(&address);
        let found = objects[..next].last().filter(|o| holds(o)).copied().or_else(|| self.find_unswept(holds))?;
        let object = self.pages.object_at(found.start);
        let offset = address.bytes_from(object.address());
        (offset < 1 << VM::LOG_GRANULE || offset < self.vm.object_size(object)).then_some(object)
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        // `visit` may ask about objects.
        let objects = self.objects.lock().clone();
        objects.iter().map(|o| self.pages.object_at(o.start)).for_each(visit);
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.tracer().resolve(object).is_some()
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        match self.tracer().resolve(object).is_some() {
            true => Ok(()),
            false => Err("it is not marked".to_string()),
        }
    }
}
