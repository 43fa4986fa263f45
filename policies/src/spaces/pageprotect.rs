//! A space for debugging: every object has pages of its own, which become inaccessible when it dies, so that
//! a later access faults.
//!
//! Small objects share memory although each has a page to itself: the page of a new object is mapped onto a
//! home in which a slot of its size is free, and the object lies at that slot's place in its page
//! (`AliasedPages`). Each such page is a mapping of its own, and the system limits the mappings of a process.
//! When half of the limit is used up, it is time to collect. If a quarter is still in use after that, later
//! objects get homes of their own, and neighbours share one mapping. A dead object between live ones then
//! costs two mappings: if there are none left, it stays accessible until the objects around it have died.
//!
//! 1. Pages are handed out in the order of their addresses. After the last page, the pages of dead objects
//!    are used again in the same order, and the notes about those objects are forgotten. Pages of live
//!    objects are passed over.
//! 2. A trace marks objects in a byte for each page.
//! 3. The sweep makes the pages of dead objects inaccessible, gives back homes in which nothing is left, and
//!    notes what the object was and in which collection it died. `explain` reports this note at a fault.
//!
//! I1. A page's byte says what it is: unused, the first of a live object (new, or the epoch in which it was
//!     marked), another page of one, or dead. Written under the lock, but for marks in a trace.
//! I2. A home is charged as long as it has a live object, or the system has not taken its memory back. For
//!     each object, its note and the bytes of its pages are charged until it is forgotten.
//! I3. Live pages are accessible, and those in `exposed`; all others are not.
//! Callers: `allocate` any mutator; the tracer any worker; `explain` a signal handler, which only tries the
//! lock; the rest the leader.
//! Source: Dhurjati and Adve (DSN 2006); the plan of this name in MMTk, which has the idea of a debugging
//! collector.

use super::epoch::Epoch;
use derive_where::derive_where;
use mmtk_core::alloc::Allocators;
use mmtk_core::memory::fault::{Explained, Explainer, explain_faults};
use mmtk_core::memory::{AliasedPages, Charge, Extent, Memory, SideBytes};
use mmtk_core::metadata::Ages;
use mmtk_core::os::PAGE_BYTES;
use mmtk_core::pause::Pause;
use mmtk_core::space::Space;
use mmtk_core::trace::{ObjectItem, SpaceTracer, Traced};
use mmtk_core::workers::Worker;
use mmtk_core::{Address, HeapError, ObjectReference, PlanContext, VMBinding};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

const LOG_PAGE_BYTES: u32 = PAGE_BYTES.trailing_zeros();
/// The smallest slot: a home has at most as many slots as a word has bits.
const SLOT_MIN_BYTES: usize = PAGE_BYTES / 64;
/// Larger objects have homes of their own.
const SLOT_MAX_BYTES: usize = PAGE_BYTES / 2;
const CLASSES: usize = (SLOT_MAX_BYTES / SLOT_MIN_BYTES).ilog2() as usize + 1;

/// What is kept of each object, live or dead, in bytes: an entry of a tree whose nodes may be little more
/// than half full (20 bytes of 11/6), and the byte of its page.
const NOTE_BYTES: usize = 48;

/// A page's byte; epochs are smaller.
const UNUSED: u8 = 0;
const NEW: u8 = 0x80;
const MORE: u8 = 0x81;
const DEAD: u8 = 0x82;

/// A live object, under the number of its first page.
struct Live {
    bytes: u32,
    home: u32,
    /// Where it begins in its page.
    offset: u32,
}

/// A dead one.
struct Dead {
    bytes: u32,
    /// Where it began in its page.
    offset: u32,
    /// In `State::types`.
    type_number: u32,
    /// The collection that found it dead, counted from 1.
    died: u32,
}

/// A home that small objects share.
struct Home {
    class: usize,
    /// A bit for each slot.
    used: u64,
}

#[derive(Default)]
struct State {
    live: BTreeMap<u32, Live>,
    dead: BTreeMap<u32, Dead>,
    /// Of those in `dead`.
    dead_pages: usize,
    homes: HashMap<u32, Home>,
    /// Homes with a free slot, by class.
    open: [BTreeSet<u32>; CLASSES],
    /// Homes without objects that the system did not take back, a page each.
    kept: BTreeSet<u32>,
    /// Pages of dead objects, forgotten or not, that are accessible.
    exposed: BTreeSet<u32>,
    /// So many mappings are in use after a collection that more objects than can share homes are expected.
    crowded: bool,
    /// The next page to be handed out, if it is free.
    cursor: u32,
    types: Vec<String>,
    type_numbers: HashMap<String, u32>,
}

struct Shared {
    pages: AliasedPages,
    /// A byte a page (I1).
    marks: SideBytes,
    memory: Arc<Memory>,
    state: Mutex<State>,
    /// Collections that have swept this space.
    collections: AtomicU32,
}

/// The space.
pub struct PageProtectSpace<VM> {
    vm: Arc<VM>,
    shared: Arc<Shared>,
    epoch: Epoch,
    /// The entry in the table of explainers: once it is dropped, the handler of faults asks no more.
    _explained: Explained,
}

fn pages_of(bytes: usize) -> u32 {
    bytes.div_ceil(PAGE_BYTES) as u32
}

/// The class of a small object: slots of `SLOT_MIN_BYTES << class`.
fn class_of(bytes: usize) -> usize {
    (bytes.next_power_of_two().max(SLOT_MIN_BYTES) / SLOT_MIN_BYTES).ilog2() as usize
}

fn slot_bytes(class: usize) -> usize {
    SLOT_MIN_BYTES << class
}

/// All slots of a home of this class.
fn all_slots(class: usize) -> u64 {
    u64::MAX >> (64 - PAGE_BYTES / slot_bytes(class))
}

impl<VM: VMBinding> PageProtectSpace<VM> {
    /// An empty space with addresses of its own, beside the extents of the heap.
    pub fn new(context: &PlanContext<'_, VM>) -> Result<Self, HeapError> {
        let pages = AliasedPages::reserve(context.memory, context.options.page_protect_addresses)?;
        let shared = Arc::new(Shared {
            marks: context.memory.side_bytes(pages.extent(), LOG_PAGE_BYTES)?,
            pages,
            memory: context.memory.clone(),
            state: Mutex::default(),
            collections: AtomicU32::new(0),
        });
        let _explained = explain_faults(shared.clone())?;
        Ok(PageProtectSpace { vm: context.vm.clone(), shared, epoch: Epoch::default(), _explained })
    }

    /// Zeroed memory for one object; none if the budget, the addresses or the mappings are used up.
    pub fn allocate(&self, bytes: usize, allocators: &mut Allocators) -> Option<Address> {
        let (shared, pages) = (&self.shared, pages_of(bytes));
        let mut state = shared.state();
        let note_bytes = NOTE_BYTES * pages as usize;
        if !shared.memory.charge_tables(note_bytes, Charge::Mutator) {
            return None;
        }
        let made = shared.make(&mut state, bytes, pages);
        let Some((start, dirty)) = made else {
            shared.memory.uncharge_tables(note_bytes);
            return None;
        };
        if dirty {
            allocators.zero_later([shared.pages.memory_at(start..start.plus(bytes))]);
        }
        allocators.allocated += bytes.max(SLOT_MIN_BYTES);
        Some(start)
    }

    /// Begins an epoch.
    pub fn prepare(&self) {
        self.epoch.advance();
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> PageProtectTracer<'_, VM> {
        PageProtectTracer { space: self, extent: self.shared.pages.extent(), epoch: self.epoch.current() }
    }

    /// Makes what was not marked inaccessible. The leader alone: it is one system call after another.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        let forget_all = pause.is_emergency();
        pause.sweep(1, |_, _| self.sweep_all(forget_all));
    }

    fn sweep_all(&self, forget_all: bool) {
        let (shared, epoch) = (&self.shared, self.epoch.current());
        let died = shared.collections.fetch_add(1, Relaxed) + 1;
        let mut guard = shared.state();
        let state = &mut *guard;
        let is_dead = |page: u32| shared.mark(page).load(Relaxed) != epoch;
        let dead: Vec<u32> = state.live.keys().copied().filter(|page| is_dead(*page)).collect();
        // What they were can be read as long as they are accessible.
        let types: Vec<u32> = dead.iter().map(|page| shared.type_of(&*self.vm, state, *page)).collect();
        shared.protect(state, &dead);
        shared.release_kept(state);
        let bury = |(page, type_number): (u32, u32)| shared.bury(state, page, type_number, died);
        let emptied: Vec<(u32, u32)> = dead.into_iter().zip(types).filter_map(bury).collect();
        shared.release(state, emptied);
        state.crowded = shared.pages.is_crowded();
        let live: usize = state.live.values().map(|live| pages_of(live.bytes as usize) as usize).sum();
        if forget_all && live > shared.pages.pages() as usize / 8 * 7 {
            // In all likelihood this is why the heap will be out of memory.
            shared.pages.used_up();
        }
        shared.forget_oldest(state, forget_all);
    }
}

impl State {
    fn type_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.type_numbers.get(name) {
            return *number;
        }
        let number = self.types.len() as u32;
        self.types.push(name.to_owned());
        self.type_numbers.insert(name.to_owned(), number);
        number
    }

    /// The dead object whose pages have this one among them.
    fn dead_at(&self, page: u32) -> Option<(u32, &Dead)> {
        let (first, dead) = self.dead.range(..=page).next_back()?;
        (page < first + pages_of(dead.bytes as usize)).then_some((*first, dead))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, page: u32) -> &std::sync::atomic::AtomicU8 {
        self.marks.at(self.pages.start_of(page))
    }

    fn page_of(&self, address: Address) -> u32 {
        (address.bytes_from(self.pages.extent().start()) / PAGE_BYTES) as u32
    }

    /// A new object: where it begins, and whether its memory is still to be zeroed.
    fn make(&self, state: &mut State, bytes: usize, pages: u32) -> Option<(Address, bool)> {
        let room = self.pages.may_share();
        if !room && !state.crowded {
            return None;
        }
        let class = (bytes <= SLOT_MAX_BYTES && room).then(|| class_of(bytes));
        let open = class.and_then(|class| state.open[class].first().copied());
        let page = self.next_pages(state, pages, open.is_none())?;
        let (home, slot, dirty) = match (class, open) {
            (Some(class), Some(home)) => {
                self.pages.map(page, home, 1).ok()?;
                (home, state.take_slot(home, class), true)
            }
            (class, _) => {
                self.make_home(page, pages)?;
                if let Some(class) = class {
                    state.homes.insert(page, Home { class, used: 0 });
                    state.open[class].insert(page);
                    state.take_slot(page, class);
                }
                (page, 0, false)
            }
        };
        self.mark(page).store(NEW, Relaxed);
        (page + 1..page + pages).for_each(|more| self.mark(more).store(MORE, Relaxed));
        (page..page + pages).for_each(|page| _ = state.exposed.remove(&page));
        state.cursor = page + pages;
        let offset = slot * class.map_or(0, slot_bytes);
        state.live.insert(page, Live { bytes: bytes as u32, home, offset: offset as u32 });
        Some((self.pages.start_of(page).plus(offset), dirty))
    }

    fn make_home(&self, page: u32, pages: u32) -> Option<()> {
        let bytes = pages as usize * PAGE_BYTES;
        if !self.memory.charge_tables(bytes, Charge::Mutator) {
            return None;
        }
        self.pages.map(page, page, pages).map_err(|_| self.memory.uncharge_tables(bytes)).ok()
    }

    /// The next pages that hold nothing live; what is known of the dead that were there is forgotten.
    /// `homes`: their memory must be free, too.
    fn next_pages(&self, state: &mut State, pages: u32, homes: bool) -> Option<u32> {
        let all = self.pages.pages();
        let (mut at, mut passed) = (state.cursor, 0);
        while passed < all {
            if pages > all - at {
                passed += (all - at).max(1);
                at = 0;
                continue;
            }
            let in_use = |page: &u32| {
                let mark = self.mark(*page).load(Relaxed);
                (mark != UNUSED && mark != DEAD)
                    || homes && (state.homes.contains_key(page) || state.kept.contains(page))
            };
            match (at..at + pages).rev().find(in_use) {
                None => {
                    (at..at + pages).for_each(|page| self.forget(state, page));
                    return Some(at);
                }
                Some(page) => {
                    passed += page + 1 - at;
                    at = page + 1;
                }
            }
        }
        None
    }

    /// Whatever died on this page is forgotten.
    fn forget(&self, state: &mut State, page: u32) {
        let Some((first, pages)) = state.dead_at(page).map(|(first, dead)| (first, pages_of(dead.bytes as usize)))
        else {
            return;
        };
        state.dead.remove(&first);
        state.dead_pages -= pages as usize;
        (first..first + pages).for_each(|page| self.mark(page).store(UNUSED, Relaxed));
        self.memory.uncharge_tables(NOTE_BYTES * pages as usize);
    }

    /// The notes of dead objects may take a quarter of what the others leave free, or in an emergency
    /// nothing.
    fn forget_oldest(&self, state: &mut State, all: bool) {
        let notes = |state: &State| NOTE_BYTES * state.dead_pages;
        let budget = self.memory.budget();
        let allowed = if all { 0 } else { (budget.limit() + notes(state)).saturating_sub(budget.reserved()) / 4 };
        while notes(state) > allowed {
            // Next to be handed out is what was handed out first.
            let next = state.dead.range(state.cursor..).next().or_else(|| state.dead.iter().next());
            let Some((first, _)) = next else { break };
            self.forget(state, *first);
        }
    }

    /// The number of a live object's type.
    fn type_of<VM: VMBinding>(&self, vm: &VM, state: &mut State, page: u32) -> u32 {
        let start = self.pages.start_of(page).plus(state.live[&page].offset as usize);
        let object = self.pages.object_at(start);
        state.type_number(&vm.type_name(object))
    }

    /// Makes the pages of dead objects inaccessible, and those of earlier ones that are not: neighbours in
    /// one call. First what leaves no more mappings than there are.
    fn protect(&self, state: &mut State, dead: &[u32]) {
        for page in dead {
            let pages = pages_of(state.live[page].bytes as usize);
            state.exposed.extend(*page..page + pages);
        }
        let pages: Vec<u32> = state.exposed.iter().copied().collect();
        let runs: Vec<(u32, u32)> =
            pages.chunk_by(|page, next| page + 1 == *next).map(|run| (run[0], run.len() as u32)).collect();
        let (cheap, dear): (Vec<_>, Vec<_>) =
            runs.into_iter().partition(|(first, pages)| self.pages.is_cheap_to_protect(*first, *pages));
        for (first, pages) in cheap.into_iter().chain(dear) {
            if self.pages.protect(first, pages).is_err() {
                // The rest stay as they would in any other space: accessible, and without an owner.
                break;
            }
            (first..first + pages).for_each(|page| _ = state.exposed.remove(&page));
        }
    }

    /// Tries again to give back the homes that the system did not take.
    fn release_kept(&self, state: &mut State) {
        while let Some(home) = state.kept.first().copied()
            && self.pages.release(home, 1)
        {
            state.kept.remove(&home);
            self.memory.uncharge_tables(PAGE_BYTES);
        }
    }

    /// An object died, and its pages are inaccessible. Returns the pages of its home, by the first and their
    /// number, if nothing else is in it.
    fn bury(&self, state: &mut State, page: u32, type_number: u32, died: u32) -> Option<(u32, u32)> {
        let Live { bytes, home, offset } = state.live.remove(&page)?;
        let pages = pages_of(bytes as usize);
        (page..page + pages).for_each(|page| self.mark(page).store(DEAD, Relaxed));
        let left = match state.homes.get_mut(&home) {
            Some(shared) => {
                shared.used &= !(1 << (offset as usize / slot_bytes(shared.class)));
                state.open[shared.class].insert(home);
                shared.used
            }
            None => 0,
        };
        state.dead.insert(page, Dead { bytes, offset, type_number, died });
        state.dead_pages += pages as usize;
        (left == 0).then_some((home, pages))
    }

    /// Gives homes in which nothing is left back to the system: neighbours in one call.
    fn release(&self, state: &mut State, mut emptied: Vec<(u32, u32)>) {
        emptied.sort_unstable();
        for run in emptied.chunk_by(|(home, pages), (next, _)| home + pages == *next) {
            let (first, pages) = (run[0].0, run.iter().map(|(_, pages)| pages).sum());
            if self.pages.release(first, pages) {
                for home in first..first + pages {
                    if let Some(Home { class, .. }) = state.homes.remove(&home) {
                        state.open[class].remove(&home);
                    }
                }
                self.memory.uncharge_tables(pages as usize * PAGE_BYTES);
            } else {
                // Those that were shared serve again; others are kept until the system takes them.
                state.kept.extend((first..first + pages).filter(|home| !state.homes.contains_key(home)));
            }
        }
    }
}

impl State {
    /// Takes a free slot of an open home.
    fn take_slot(&mut self, home: u32, class: usize) -> usize {
        let shared = self.homes.get_mut(&home).expect("an open home is shared");
        let slot = (!shared.used).trailing_zeros() as usize;
        shared.used |= 1 << slot;
        if shared.used == all_slots(class) {
            self.open[class].remove(&home);
        }
        slot
    }
}

impl Explainer for Shared {
    fn explain(&self, address: Address, out: &mut dyn Write) -> Result<bool, fmt::Error> {
        if !self.pages.extent().contains(address) {
            return Ok(false);
        }
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => {
                writeln!(out, "  an address of the page-protect space; its notes are in use, so no more can be said")?;
                return Ok(true);
            }
        };
        let page = self.page_of(address);
        let Some((first, dead)) = state.dead_at(page) else {
            if state.live.range(..=page).next_back().is_some_and(|(first, l)| page < first + pages_of(l.bytes as usize))
            {
                return Ok(false);
            }
            writeln!(out, "  no object: nothing was allocated there, or it died so long ago that it was forgotten")?;
            return Ok(true);
        };
        let Dead { bytes, offset, type_number, died } = dead;
        let start = self.pages.start_of(first).plus(*offset as usize);
        let now = self.collections.load(Relaxed);
        let name = state.types.get(*type_number as usize).map_or("object", String::as_str);
        writeln!(
            out,
            "  {name}, {bytes} bytes at {start}: it died in collection {died}, {} collections ago",
            now - died
        )?;
        match address.as_usize().checked_sub(start.as_usize()) {
            Some(offset) if offset < *bytes as usize => writeln!(out, "  the access is {offset} bytes into it")?,
            Some(offset) => writeln!(out, "  the access is {} bytes behind its end", offset - *bytes as usize)?,
            None => writeln!(out, "  the access is {} bytes before it", start.bytes_from(address))?,
        }
        Ok(true)
    }
}

/// Marks objects.
#[derive_where(Clone, Copy)]
pub struct PageProtectTracer<'a, VM> {
    space: &'a PageProtectSpace<VM>,
    extent: Extent,
    epoch: u8,
}

impl<VM: VMBinding> SpaceTracer<VM> for PageProtectTracer<'_, VM> {
    type Item = ObjectItem;

    #[inline(always)]
    fn holds(&self, object: ObjectReference) -> bool {
        self.extent.holds(object)
    }

    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        if self.space.shared.marks.at(object.address()).swap(self.epoch, Relaxed) == self.epoch {
            return Traced::Seen(object);
        }
        worker.count(self.extent, self.space.vm.object_size(object));
        Traced::NewLarge(object)
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        let reached = self.space.shared.marks.at(object.address()).load(Relaxed) == self.epoch;
        reached.then_some(object)
    }
}

impl<VM: VMBinding> Space for PageProtectSpace<VM> {
    fn name(&self) -> &'static str {
        "page-protect"
    }
    fn extent(&self) -> Extent {
        self.shared.pages.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        Ages::One
    }
    fn reserved_bytes(&self) -> usize {
        let state = self.shared.state();
        let of = |pages: u32| pages as usize * NOTE_BYTES;
        let notes: usize = state.dead.values().map(|dead| of(pages_of(dead.bytes as usize))).sum();
        let live = state.live.iter().map(|(page, live)| {
            let pages = pages_of(live.bytes as usize);
            let own = !state.homes.contains_key(page) && live.home == *page;
            of(pages) + if own { pages as usize * PAGE_BYTES } else { 0 }
        });
        notes + live.sum::<usize>() + (state.homes.len() + state.kept.len()) * PAGE_BYTES
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        let (shared, page) = (&self.shared, self.shared.page_of(object.address()));
        let state = shared.state();
        let Some(live) = state.live.get(&page) else {
            return Err("no object begins there, or it was collected".to_string());
        };
        if shared.pages.start_of(page).plus(live.offset as usize) != object.address() {
            return Err("the object of this page begins elsewhere".to_string());
        }
        match bytes <= live.bytes as usize {
            true => Ok(()),
            false => Err(format!("it was given {} bytes", live.bytes)),
        }
    }
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        let (shared, page) = (&self.shared, self.shared.page_of(address));
        let state = shared.state();
        let (first, live) = state.live.range(..=page).next_back()?;
        let start = shared.pages.start_of(*first).plus(live.offset as usize);
        let inside = address >= start && address < start.plus(live.bytes as usize);
        inside.then(|| shared.pages.object_at(start))
    }
    fn for_each_object(&self, visit: &mut dyn FnMut(ObjectReference)) {
        let start = |(first, live): (&u32, &Live)| self.shared.pages.start_of(*first).plus(live.offset as usize);
        // `visit` may ask about objects.
        let starts: Vec<Address> = self.shared.state().live.iter().map(start).collect();
        starts.into_iter().map(|start| self.shared.pages.object_at(start)).for_each(visit);
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
