//! Regions: bumped through runs of pages, marked so that the trace passes through them once, and freed by the
//! VM as a whole.
//!
//! 1. `allocate` bumps through the region's last run; a run is 8 pages, or more for a larger object.
//! 2. Marks carry an epoch, in the objects' state. A collection frees nothing.
//! 3. `release` gives the runs back at once. They wait for the sweep of the next pause if the barrier may
//!    have noted objects of the region, if the verifier is to find references that are left, or if the caller
//!    is no mutator.
//!
//! The space notes where objects begin for bindings with `OBJECT_STARTS`, and for a plan that moves objects
//! after the trace: that plan must find the reached objects a second time. An object that a collection did
//! not reach keeps its memory, but `find_object` does not find it any more: the objects that it refers to are
//! gone, and a word of a stack that looks like its address would lead the trace to them.
//!
//! I1. A page's state says whether its memory belongs to a region. Set by the thread that acquires or
//!     releases the run.
//! I2. A start is set only for objects that are new, or that the last collection that could have freed them
//!     has reached. So no mark is older than the last full collection, and none can be mistaken for a mark of
//!     a later epoch with the same number.
//! I3. In a space that notes them, objects made since the last collection lie in runs that are listed: in
//!     `fresh`, or as the run in which a region allocates. A free run is in neither list.
//! I4. While the space is marked beside mutators, objects go to pages that were free when that began, and
//!     these are `New` until the next collection: what lies on another page that is not free is in the
//!     snapshot. Nothing becomes free meanwhile. Pages of a region that is released meanwhile count as old
//!     ones: nothing refers to its objects, as `Heap::region` demands.
//! Callers: `allocate` and `release` as `mmtk_core::region` says; the tracer any worker; the rest the leader.

use super::epoch::Epoch;
use bytemuck::{NoUninit, Zeroable};
use derive_where::derive_where;
use mmtk_core::alloc::{BumpRange, Pace};
use mmtk_core::events::CollectionKind;
use mmtk_core::memory::{Arena, Borrowed, CHUNK_BYTES, Charge, Extent, List, OrderedMap, PageRuns, SideStates};
use mmtk_core::metadata::{Ages, Moves, ObjectMark, ObjectStarts, ObjectStates};
use mmtk_core::os::{PAGE_BYTES, PageVec};
use mmtk_core::pause::Pause;
use mmtk_core::space::{RegionMemory, Space};
use mmtk_core::trace::{ObjectItem, SnapshotTracer, SpaceTracer, Traced};
use mmtk_core::workers::{Count, Worker};
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use protocols::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Pages taken at a time.
const RUN_PAGES: usize = 8;

const LOG_PAGE_BYTES: u32 = PAGE_BYTES.trailing_zeros();

/// What a page is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, NoUninit, Zeroable)]
#[repr(u8)]
enum PageState {
    /// It belongs to no region. A new table is all `Free`.
    Free = 0,
    /// It belongs to an open region.
    Used = 1,
    /// It belongs to a region that was released; the run waits.
    Released = 2,
    /// It belongs to an open region, and was taken while the space is marked beside mutators (I4).
    New = 3,
}

impl PageState {
    /// Whether it belongs to an open region.
    fn is_open(self) -> bool {
        matches!(self, PageState::Used | PageState::New)
    }
}

const _: () = assert!(size_of::<PageState>() == 1 && PageState::Free as u8 == 0);

/// Whose a run is.
#[derive(Debug)]
struct Run {
    pages: usize,
    region: u32,
}

#[derive(Default)]
struct Regions {
    /// How many were opened.
    opened: u32,
    /// Every run by its first page, until it is free.
    runs: OrderedMap<usize, Run>,
    /// If the space notes them: runs acquired since the last collection, by their first pages, until they are
    /// free.
    fresh: OrderedMap<usize, ()>,
    /// If the space notes them: the first page of the run in which each region goes on, by its number.
    going_on: OrderedMap<u32, usize>,
    /// Runs acquired while the space is marked beside mutators: start and pages.
    new: PageVec<(Address, usize)>,
    /// Regions that wait for the next sweep.
    released: PageVec<RegionMemory>,
}

/// The space.
pub struct RegionSpace<VM> {
    vm: Arc<VM>,
    name: &'static str,
    pages: Arc<PageRuns>,
    states: ObjectStates<VM>,
    ages: Ages,
    /// Where objects begin, if anybody wants to know.
    starts: Option<ObjectStarts>,
    page_states: SideStates<PageState>,
    epoch: Epoch,
    regions: Mutex<Regions>,
    reserved: AtomicUsize,
    /// One past the highest address of a run, as an offset in the extent. Raised by who acquires one, lowered
    /// in pauses.
    top: AtomicUsize,
    /// Whether what is released waits for the next pause, also when no marking is in progress.
    waits: bool,
    /// How often a marking beside mutators has begun, and whether one is in progress.
    markings: Arc<AtomicU32>,
    marking: AtomicBool,
    /// Whether it notes where new objects may be (I3): minor collections look there.
    notes_young: bool,
}

impl<VM: VMBinding> RegionSpace<VM> {
    /// An empty space in the next extent. `revisited` says that the plan calls
    /// [`RegionSpace::update_references`].
    pub fn new(
        context: &PlanContext<'_, VM>,
        name: &'static str,
        ages: Ages,
        revisited: bool,
    ) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        let mut tables = ObjectStates::<VM>::table_bytes_per_chunk() + (CHUNK_BYTES >> LOG_PAGE_BYTES);
        let starts = match (VM::OBJECT_STARTS, revisited) {
            (true, _) => Some(context.states.starts().clone()),
            (false, true) => {
                tables += ObjectStarts::table_bytes(CHUNK_BYTES, VM::LOG_GRANULE);
                Some(context.object_starts(extent)?)
            }
            (false, false) => None,
        };
        let notes_young = starts.is_some() && ages.has_old();
        Ok(RegionSpace {
            vm: context.vm.clone(),
            name,
            pages: PageRuns::new(context.memory, extent, tables),
            states: context.states.clone(),
            ages,
            starts,
            page_states: context.memory.side_states(extent, LOG_PAGE_BYTES)?,
            epoch: Epoch::default(),
            regions: Mutex::default(),
            reserved: AtomicUsize::new(0),
            top: AtomicUsize::new(0),
            waits: context.options.verify || ages.has_old(),
            markings: Arc::default(),
            marking: AtomicBool::new(false),
            notes_young,
        })
    }

    /// The state of the page that an object begins on.
    fn page_state(&self, object: ObjectReference) -> PageState {
        self.page_states.at(object.address()).load(Relaxed)
    }

    fn set_pages(&self, start: Address, pages: usize, state: PageState) {
        (0..pages).for_each(|n| self.page_states.at(start.plus(n * PAGE_BYTES)).store(state, Relaxed));
    }

    fn page_of(&self, address: Address) -> usize {
        address.bytes_from(self.pages.extent().start()) / PAGE_BYTES
    }

    fn bump_or_refill(
        &self,
        region: &mut RegionMemory,
        bytes: usize,
        pace: Pace,
        allocated: &mut usize,
    ) -> Option<Address> {
        let marking = self.marking.load(Relaxed);
        if !region.is_up_to_date() {
            if marking {
                region.range = BumpRange::default();
            }
            region.marking = self.markings.load(Relaxed);
        }
        if let Some(address) = region.range.alloc_zeroing(bytes, pace, allocated) {
            return Some(address);
        }
        // What is left of the range before a marking is lost: no more than that is taken during one.
        let pages = bytes.div_ceil(PAGE_BYTES).next_multiple_of(if marking { 1 } else { RUN_PAGES });
        let run = self.pages.acquire(pages, Charge::Mutator)?;
        let start = run.start();
        let (run_bytes, first) = (pages * PAGE_BYTES, self.page_of(start));
        self.states.forget(start, run_bytes);
        let mut regions = self.regions.lock();
        regions.runs.insert(first, Run { pages, region: region.number });
        if self.notes_young {
            regions.fresh.insert(first, ());
        }
        if marking {
            regions.new.push((start, pages));
        }
        drop(regions);
        self.set_pages(start, pages, if marking { PageState::New } else { PageState::Used });
        self.reserved.fetch_add(run_bytes, Relaxed);
        self.top.fetch_max(start.plus(run_bytes).bytes_from(self.pages.extent().start()), Relaxed);
        region.runs.push((start, pages));
        let mut range = BumpRange::default();
        range.install(run.into_memory(), allocated);
        let address = range.alloc_zeroing(bytes, pace, allocated);
        // A large object may leave less than there was.
        if range.bytes_left() > region.range.bytes_left() {
            region.range = range;
            if self.notes_young {
                self.regions.lock().going_on.insert(region.number, first);
            }
        }
        address
    }

    fn free(&self, region: RegionMemory) {
        self.regions.lock().going_on.remove(region.number);
        for (start, pages) in region.runs {
            if let Some(starts) = &self.starts {
                starts.clear(start, pages * PAGE_BYTES);
            }
            let first = self.page_of(start);
            let mut regions = self.regions.lock();
            regions.runs.remove(first);
            regions.fresh.remove(first);
            drop(regions);
            self.set_pages(start, pages, PageState::Free);
            self.reserved.fetch_sub(pages * PAGE_BYTES, Relaxed);
            self.pages.release(start, pages);
        }
    }

    /// Updates the slots of the objects that were reached. In a space made to be revisited, in a full
    /// collection.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        let epoch = self.epoch.current();
        self.for_each_page(pause, "update regions", |page| {
            let mut slots = moves.slots();
            self.objects_in(page, |object| {
                if self.states.is_marked(object, epoch) {
                    self.vm.scan_object(object, &mut slots);
                }
            });
        });
    }

    /// Frees the regions that were released, and forgets where objects begin that this collection could have
    /// freed and did not reach: nobody may use them.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.marking.store(false, Relaxed);
        let released = std::mem::take(&mut self.regions.lock().released);
        released.into_iter().for_each(|region| self.free(region));
        self.lower_top();
        let young = self.take_young(pause.arena());
        let Some(starts) = &self.starts else { return };
        let epoch = self.epoch.current();
        let forget_unreached = |page| {
            self.objects_in(page, |object| {
                if !self.states.is_marked(object, epoch) && self.page_state(object) != PageState::New {
                    starts.clear(object.address(), 1 << VM::LOG_GRANULE);
                }
            });
        };
        match pause.kind() {
            CollectionKind::Full => self.for_each_page(pause, "sweep regions", forget_unreached),
            CollectionKind::Minor => {
                pause.parallel("sweep regions", young.len(), |_, pages| {
                    young[pages].iter().copied().for_each(forget_unreached)
                });
            }
        }
    }

    /// The pages of the runs in which objects may be new (I3). In a pause.
    fn take_young<'a>(&self, arena: &'a Arena) -> List<'a, Address> {
        let regions = &mut *self.regions.lock();
        for (_, first) in regions.going_on.iter() {
            regions.fresh.insert(*first, ());
        }
        let pages = |first| regions.runs.get(first).map_or(0, |run| run.pages);
        let run = |(first, ()): (usize, _)| first..first + pages(first);
        let start = self.pages.extent().start();
        let young = arena.collect(
            regions.fresh.iter().map(|(f, _)| (f, ())).flat_map(run).map(|page| start.plus(page * PAGE_BYTES)),
        );
        regions.fresh.clear();
        young
    }

    /// Above the last run there is nothing to look at. In a pause: no run is being acquired.
    fn lower_top(&self) {
        let last = self.regions.lock().runs.last().map(|(page, run)| page + run.pages);
        self.top.store(last.unwrap_or(0) * PAGE_BYTES, Relaxed);
    }

    fn for_each_page(&self, pause: &mut Pause<'_, VM>, what: &'static str, f: impl Fn(Address) + Sync) {
        let start = self.pages.extent().start();
        pause.parallel(what, self.top.load(Relaxed) / PAGE_BYTES, |_, pages| {
            pages.map(|n| start.plus(n * PAGE_BYTES)).for_each(&f);
        });
    }

    fn objects_in(&self, page: Address, visit: impl FnMut(ObjectReference)) {
        if let Some(starts) = &self.starts {
            starts.for_each(page, page.plus(PAGE_BYTES), visit);
        }
    }

    /// Begins an epoch. In a full collection.
    pub fn prepare(&self) {
        self.epoch.advance();
        let new = std::mem::take(&mut self.regions.lock().new);
        for (start, pages) in new {
            // Unless its region was released meanwhile.
            if self.page_states.at(start).load(Relaxed) == PageState::New {
                self.set_pages(start, pages, PageState::Used);
            }
        }
    }

    /// A marking beside mutators begins. In a pause.
    pub fn begin_snapshot(&self) {
        self.prepare();
        self.markings.fetch_add(1, Relaxed);
        self.marking.store(true, Relaxed);
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> RegionSnapshot<'_, VM> {
        RegionSnapshot(self.tracer())
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> RegionTracer<'_, VM> {
        let epoch = self.epoch.current();
        RegionTracer {
            vm: &self.vm,
            states: self.states.view(),
            page_states: self.page_states.view(),
            extent: self.pages.extent(),
            epoch,
            mark: self.ages.mark_of(epoch),
        }
    }
}

impl<VM: VMBinding> mmtk_core::space::Regions for RegionSpace<VM> {
    fn open(&self) -> RegionMemory {
        let mut regions = self.regions.lock();
        regions.opened = regions.opened.wrapping_add(1);
        RegionMemory {
            number: regions.opened,
            starts: self.starts.clone(),
            marking: self.markings.load(Relaxed),
            last_marking: self.ages.at_snapshot().then(|| self.markings.clone()),
            ..RegionMemory::default()
        }
    }

    fn allocate(&self, region: &mut RegionMemory, bytes: usize, pace: Pace, allocated: &mut usize) -> Option<Address> {
        self.bump_or_refill(region, bytes, pace, allocated).inspect(|address| region.note_start(*address))
    }

    fn release(&self, region: RegionMemory, now: bool) {
        if now && !self.waits && !self.marking.load(Relaxed) {
            return self.free(region);
        }
        region.runs.iter().for_each(|(start, pages)| self.set_pages(*start, *pages, PageState::Released));
        self.regions.lock().released.push(region);
    }
}

/// Passes through objects of regions.
#[derive_where(Clone, Copy)]
pub struct RegionTracer<'a, VM> {
    vm: &'a VM,
    states: ObjectStates<VM, Borrowed<'a>>,
    page_states: SideStates<PageState, Borrowed<'a>>,
    extent: Extent,
    epoch: u8,
    /// What objects are marked with.
    mark: ObjectMark,
}

impl<VM: VMBinding> RegionTracer<'_, VM> {
    fn is_there(&self, object: ObjectReference) -> bool {
        self.page_states.at(object.address()).load(Relaxed).is_open()
    }
}

impl<VM: VMBinding> SpaceTracer<VM> for RegionTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    /// # Panics
    /// When its region was released.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        assert!(
            self.is_there(object),
            "{object} was in a region that is released, and something still refers to it; verify.trace=true tells what"
        );
        if !self.states.mark(object, self.mark) {
            return Traced::Seen(object);
        }
        worker.count(self.extent, self.vm.object_size(object));
        Traced::New(object)
    }

    /// One that was not keeps its memory, but what it refers to
    /// is dead.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let reached = self.is_there(object) && self.states.is_marked(object, self.epoch);
        reached.then_some(object)
    }
}

/// Claims objects of regions beside mutators.
#[derive_where(Clone, Copy)]
pub struct RegionSnapshot<'a, VM>(RegionTracer<'a, VM>);

impl<VM: VMBinding> SnapshotTracer<VM> for RegionSnapshot<'_, VM> {
    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.0.extent.holds(object)
    }

    fn is_white(&self, object: ObjectReference) -> bool {
        let page = self.0.page_states.at(object.address()).load(Relaxed);
        matches!(page, PageState::Used | PageState::Released) && !self.0.states.is_claimed(object, self.0.epoch)
    }

    fn claim(&self, object: ObjectReference, count: &mut impl Count) -> bool {
        let claimed = self.0.states.claim_beside(object, self.0.epoch);
        if claimed {
            count.count(self.0.extent, self.0.vm.object_size(object));
        }
        claimed
    }
}

impl<VM: VMBinding> Space for RegionSpace<VM> {
    fn name(&self) -> &'static str {
        self.name
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
    fn reserved_bytes(&self) -> usize {
        self.reserved.load(Relaxed)
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let last = object.address().plus(bytes - 1);
        let first_page = self.page_of(object.address());
        let regions = self.regions.lock();
        match regions.runs.at_or_below(first_page) {
            Some((page, run)) if page + run.pages > first_page => match self.page_state(object) {
                PageState::Released => Err(format!("region {} was released: the reference dangles", run.region)),
                _ if self.pages.extent().contains(last) && self.page_of(last) < page + run.pages => Ok(()),
                _ => Err("it reaches over the end of its run of pages".to_string()),
            },
            _ => Err("no region has memory there: nothing was allocated, or it was released".to_string()),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        if !self.page_states.at(address).load(Relaxed).is_open() {
            return None;
        }
        let floor = self.regions.lock().runs.at_or_below(self.page_of(address))?.0;
        super::lookup::last_object(
            &*self.vm,
            &self.states,
            address,
            self.pages.extent().start().plus(floor * PAGE_BYTES),
        )
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        let start = self.pages.extent().start();
        for page in (0..self.top.load(Relaxed) / PAGE_BYTES).map(|n| start.plus(n * PAGE_BYTES)) {
            if self.page_states.at(page).load(Relaxed).is_open() {
                self.objects_in(page, &mut *visit);
            }
        }
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.states.is_marked(object, self.epoch.current())
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        let new = self.page_state(object) == PageState::New;
        match new || self.states.is_marked(object, self.epoch.current()) {
            true => Ok(()),
            false => Err(format!("the trace did not reach it (state {})", self.states.describe(object))),
        }
    }
}
