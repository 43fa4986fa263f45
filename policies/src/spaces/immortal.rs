//! Objects that are never collected and never move: bumped through page runs, marked so that the trace passes through them once.
//!
//! Allocation here is rare (classes, symbols), so one lock serves all threads.
//!
//! A plan that moves objects after the trace must find the marked objects here a second time. It keeps a list of all: of their sizes
//! nothing is known once they are unreachable, so memory cannot be walked from one to the next. A word an object, charged by the
//! page; the first page's worth of entries is the space's own.

use super::epoch::Epoch;
use mmtk_core::alloc::BumpRange;
use mmtk_core::events::CollectionKind;
use mmtk_core::heap::os::PAGE_BYTES;
use mmtk_core::heap::{Charge, Extent, PageRuns};
use mmtk_core::metadata::{Moves, ObjectStates};
use mmtk_core::pause::Pause;
use mmtk_core::space::Space;
use mmtk_core::trace::Traced;
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pages taken at a time.
const RUN_PAGES: usize = 8;

/// Entries of the list that are charged at once: a page.
const LISTED_AT_ONCE: usize = PAGE_BYTES / size_of::<ObjectReference>();

#[derive(Default)]
struct Bump {
    range: BumpRange,
    /// All objects in parts of `LISTED_AT_ONCE`, if the plan wants to find them again.
    objects: Option<Vec<Vec<ObjectReference>>>,
}

/// The space.
pub struct ImmortalSpace<VM> {
    pages: Arc<PageRuns>,
    states: ObjectStates<VM>,
    epoch: Epoch,
    bump: Mutex<Bump>,
    reserved: AtomicUsize,
    /// One past the highest address handed out, as an offset in the extent.
    top: AtomicUsize,
}

impl<VM: VMBinding> ImmortalSpace<VM> {
    /// An empty space in the next extent.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let extent = context.memory.extent();
        Ok(ImmortalSpace {
            pages: PageRuns::new(context.memory, extent, ObjectStates::<VM>::table_bytes_per_chunk()),
            states: context.states,
            epoch: Epoch::default(),
            bump: Mutex::default(),
            reserved: AtomicUsize::new(0),
            top: AtomicUsize::new(0),
        })
    }

    /// The same, with a list of its objects.
    pub fn listing_objects(self) -> Self {
        self.bump().objects = Some(vec![Vec::with_capacity(LISTED_AT_ONCE)]);
        self
    }

    fn bump(&self) -> MutexGuard<'_, Bump> {
        self.bump.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Zeroed memory for one object, of any size.
    pub fn allocate(&self, bytes: usize, allocated: &mut usize) -> Option<Address> {
        let mut bump = self.bump();
        let Bump { range, objects } = &mut *bump;
        if let Some(parts) = objects
            && parts.last().is_none_or(|part| part.len() == LISTED_AT_ONCE)
        {
            if !self.pages.memory().charge_tables(PAGE_BYTES, Charge::Mutator) {
                return None;
            }
            parts.push(Vec::with_capacity(LISTED_AT_ONCE));
        }
        let address = self.bump_or_refill(range, bytes)?;
        *allocated += bytes;
        if let Some(part) = objects.as_mut().and_then(|parts| parts.last_mut()) {
            part.extend(ObjectReference::from_address(address));
        }
        Some(address)
    }

    fn bump_or_refill(&self, bump: &mut BumpRange, bytes: usize) -> Option<Address> {
        if let Some(address) = bump.alloc(bytes) {
            return Some(address);
        }
        let pages = bytes.div_ceil(PAGE_BYTES).next_multiple_of(RUN_PAGES);
        let start = self.pages.acquire_zeroed(pages, Charge::Mutator)?;
        self.states.forget(start, pages * PAGE_BYTES);
        self.reserved.fetch_add(pages * PAGE_BYTES, Relaxed);
        let end = start.plus(pages * PAGE_BYTES);
        self.top.fetch_max(end.bytes_from(self.pages.extent().start()), Relaxed);
        bump.install(start, end, true, &mut 0);
        bump.alloc(bytes)
    }

    /// Updates the slots of the objects that were marked. In a space that lists its objects.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        let bump = self.bump();
        let parts = bump.objects.as_ref().expect("made with `listing_objects`");
        let epoch = self.epoch.current();
        pause.parallel("update immortal", parts.iter().map(Vec::len).sum(), |_, range| {
            let mut slots = moves.slots();
            for n in range {
                let object = parts[n / LISTED_AT_ONCE][n % LISTED_AT_ONCE];
                if self.states.is_marked(object, epoch) {
                    VM::scan_object(object, &mut slots);
                } else {
                    // Never marked: else it would pass for reached when the epoch's number comes round, and what it refers to is gone.
                    self.states.mark(object, 0);
                }
            }
        });
    }

    /// Objects that were not reached are found by address no more. Memory is not freed here. In a full collection, where starts are kept.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        if !VM::OBJECT_STARTS || pause.kind() == CollectionKind::Minor {
            return;
        }
        let (start, epoch, starts) = (self.pages.extent().start(), self.epoch.current(), self.states.starts());
        pause.parallel("sweep immortal", self.top.load(Relaxed) / PAGE_BYTES, |_, pages| {
            for page in pages.map(|n| start.plus(n * PAGE_BYTES)) {
                super::common::objects_in::<VM>(&self.states, page, page.plus(PAGE_BYTES), |object| {
                    if !self.states.is_marked(object, epoch) {
                        starts.clear(object.address(), 1 << VM::LOG_GRANULE);
                    }
                });
            }
        });
    }

    /// Begins an epoch.
    pub fn prepare(&self) {
        self.epoch.advance();
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> ImmortalTracer<VM> {
        let epoch = self.epoch.current();
        ImmortalTracer { states: self.states, extent: self.pages.extent(), epoch, mark: self.states.mark_of(epoch) }
    }
}

/// Passes through immortal objects.
pub struct ImmortalTracer<VM> {
    states: ObjectStates<VM>,
    extent: Extent,
    epoch: u8,
    /// What objects are marked with.
    mark: u8,
}

impl<VM> Clone for ImmortalTracer<VM> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<VM> Copy for ImmortalTracer<VM> {}

impl<VM: VMBinding> ImmortalTracer<VM> {
    /// Whether the object is in this space.
    #[inline(always)]
    pub fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    /// Marks an object of this space.
    pub fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if !self.states.mark(object, self.mark) {
            return Traced::Seen(object);
        }
        worker.count(VM::object_size(object));
        Traced::New(object)
    }

    /// Whether an object of this space was reached. One that was not keeps its memory, but what it refers to is dead.
    pub fn is_live(&self, object: ObjectReference) -> bool {
        self.states.is_marked(object, self.epoch)
    }
}

impl<VM: VMBinding> Space for ImmortalSpace<VM> {
    fn name(&self) -> &'static str {
        "immortal"
    }
    fn extent(&self) -> Extent {
        self.pages.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn reserved_bytes(&self) -> usize {
        self.reserved.load(Relaxed)
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let end = object.address().plus(bytes).bytes_from(self.pages.extent().start());
        match end <= self.top.load(Relaxed) {
            true => Ok(()),
            false => Err("nothing was allocated there".to_string()),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        let start = self.pages.extent().start();
        if address.bytes_from(start) >= self.top.load(Relaxed) {
            return None;
        }
        super::common::last_object::<VM>(&self.states, address, start)
    }
    fn keeps_starts(&self) -> bool {
        true
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        let start = self.pages.extent().start();
        super::common::objects_in::<VM>(&self.states, start, start.plus(self.top.load(Relaxed)), visit);
    }
    fn survived(&self, object: ObjectReference) -> bool {
        self.states.is_marked(object, self.epoch.current())
    }
    fn check_live(&self, object: ObjectReference, _bytes: usize) -> Result<(), String> {
        match self.states.is_marked(object, self.epoch.current()) {
            true => Ok(()),
            false => Err(format!("the trace did not reach it (state {})", self.states.describe(object))),
        }
    }
}
