//! The heap of a thread: made with its first object, taken down when the thread ends.
//!
//! The thread asks before each allocation whether enough objects have grown old since the last full
//! collection, and collects if so. A generational plan has minor collections beside, each time the nursery is
//! used up. Only objects are counted, not what their vectors and tables hold in the Rust heap; those grow in
//! proportion.
//!
//! I1. `CURRENT` points to the thread's heap, or is null before the first object and after the thread's end.
//! I2. `ThreadHeap` is used by its thread only. The collector runs on that thread (there is one GC worker,
//!     the leader), from inside `allocate` or `collect`, when no reference into the lists is held.
//! I3. An object is on one list: `new` if it was made since the last collection, else `old`, or `dying` if it
//!     is known to be dead and waits for its burial. One whose value was dropped is on none of them.

use crate::Trace;
use crate::collection::{AHEAD, Boa, prefetch_place};
use crate::ephemeron::AnyEphemeron;
use crate::gc_box::{GcBox, HasVTable, Object};
use crate::weak_map::AnyWeakMap;
use heapwright::options::{Finite, HeapMode, OptionError};
use heapwright::{Heap, HeapError, Mutator, Options};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Mutex;

thread_local! {
    /// Without a destructor, so that reading it is a plain load.
    static CURRENT: Cell<*const ThreadHeap> = const { Cell::new(std::ptr::null()) };
    /// Whether values are being dropped by the collector.
    static DROPPING: Cell<bool> = const { Cell::new(false) };
    static TAKES_DOWN: TakesDown = const { TakesDown };
}

static DEFAULTS: Mutex<Option<Options>> = Mutex::new(None);

/// What a thread owns.
pub(crate) struct ThreadHeap {
    mutator: ManuallyDrop<Mutator<Boa>>,
    heap: ManuallyDrop<Heap<Boa>>,
    pub lists: UnsafeCell<Lists>,
    /// Whether the plan has minor collections.
    pub generational: bool,
    /// Whether the collection in progress is one.
    pub minor: Cell<bool>,
    /// Bytes of all objects, dead ones not yet collected included.
    pub bytes: Cell<usize>,
    /// Bytes at which to collect: those of `full_at`; 0 while a panic waits.
    threshold: Cell<usize>,
    /// Bytes at which a full collection is due; not 0.
    full_at: Cell<usize>,
    /// Whether the next minor collection looks at all old objects, since a full one would be due: it may not
    /// be after that.
    pub searches_all: Cell<bool>,
    /// Whether it was, so that a full collection comes next.
    searched_in_vain: Cell<bool>,
    /// Whether the plan uses the memory of released objects before the next full collection.
    reuses_released: bool,
    /// If not, the bytes of those.
    unswept: Cell<usize>,
    /// Whether the collector is at work: objects cannot be made.
    pub collecting: Cell<bool>,
    /// A panic of a finalizer or a drop, to go on with when the collection is over.
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

/// All objects, and those that the collector treats in a special way.
#[derive(Default)]
pub(crate) struct Lists {
    /// Made since the last collection.
    pub new: Vec<Object>,
    /// All others, in the order in which they were made, with gaps where some died. The header of each tells
    /// its place.
    pub old: Vec<Option<Object>>,
    /// Ephemerons with a key, made or given their key since the last collection.
    pub new_ephemerons: Vec<NonNull<GcBox<dyn AnyEphemeron>>>,
    /// The others with a key.
    pub ephemerons: Vec<NonNull<GcBox<dyn AnyEphemeron>>>,
    pub weak_maps: Vec<NonNull<GcBox<dyn AnyWeakMap>>>,
    /// Maps with entries that are new.
    pub written_maps: Vec<NonNull<GcBox<dyn AnyWeakMap>>>,
    /// Old objects found without handles, for the next minor collections to bury.
    pub dying: Vec<Object>,
    /// Old objects whose values were dropped, for the plan.
    pub released: Vec<Object>,
    /// Empty between its uses: kept, since to allocate a large vector has glibc merge the small blocks that
    /// were freed.
    pub edges: Vec<Object>,
    /// As `edges`.
    pub dead: Vec<Object>,
    /// Where in `old` the search for objects without handles stands.
    pub searched: usize,
    /// How many places below that it has filled in this round: from there to `searched` are gaps.
    pub kept: usize,
}

impl Lists {
    /// Takes an old object without handles off its list, to be buried; its bytes.
    pub fn dies(&mut self, object: Object) -> usize {
        // SAFETY: listed objects have headers.
        let place = unsafe { object.header() }.place().expect("old objects are in their places");
        debug_assert!(self.old[place] == Some(object), "an old object is not in its place");
        self.old[place] = None;
        // SAFETY: as above.
        let header = unsafe { object.header() };
        header.set_gone();
        self.dying.push(object);
        header.vtable().bytes
    }

    /// Looks for objects without handles at so many places of `old`, from where the last search ended to the
    /// end of the list at most; the bytes of those that are taken off. The others move down into the gaps and
    /// stay in their order, which is about that of addresses: so what dies is dropped in that order, and the
    /// memory of vectors and tables, which comes from glibc's lists in the order in which it was freed, lies
    /// in order too.
    pub fn search(&mut self, places: usize) -> usize {
        let to = self.old.len().min(self.searched.saturating_add(places));
        let mut dead = 0;
        for place in self.searched..to {
            prefetch_place(&self.old, place + AHEAD);
            let Some(object) = self.old[place] else { continue };
            // SAFETY: listed objects have headers.
            let header = unsafe { object.header() };
            if header.is_unreferenced() {
                dead += self.dies(object);
                continue;
            }
            if self.kept < place {
                self.old[place] = None;
                self.old[self.kept] = Some(object);
                header.set_place(self.kept);
            }
            self.kept += 1;
        }
        self.searched = to;
        if to == self.old.len() {
            self.old.truncate(self.kept);
            (self.searched, self.kept) = (0, 0);
            if self.old.len() < self.old.capacity() / 4 {
                self.old.shrink_to(self.old.len() * 2);
            }
        }
        dead
    }
}

/// The options of new heaps unless [`configure`] changes them: StickyMarkSweep, full collections when Boa
/// asks.
///
/// `nursery.bytes` is what is allocated between two minor collections, `heap.min` the size at which the first
/// full one starts, `heap.headroom_percent` how far the objects may outgrow what the last full one found
/// alive. A `BOA_GC_STRESS=1` collects at every allocation.
///
/// # Errors
/// An `MMTK_*` variable that is no option, or has no value that the option allows.
pub fn default_options() -> Result<Options, HeapError> {
    let mut options = Options {
        plan: "StickyMarkSweep".to_owned(),
        heap_mode: HeapMode::Delegated,
        heap_min: 1 << 20,
        nursery_bytes: NURSERY_BYTES,
        heap_headroom_percent: HEADROOM_PERCENT,
        gc_workers: 1,
        idle_gc_s: Finite::new(0.0),
        ..Options::default()
    };
    options.apply_process_env()?;
    if let Ok(bytes) = std::env::var("BOA_GC_STRESS") {
        options.set("stress.every_bytes", &bytes)?;
    }
    Ok(options)
}

/// With the vectors and tables of its objects, a nursery should fit the second-level cache: 64 to 256 KiB are
/// even, more is worse (measured).
const NURSERY_BYTES: usize = 128 << 10;

/// As stock Boa's. 60 takes another 5 to 20 % off the CPU time, and adds as much to the resident memory (the
/// examples, measured).
const HEADROOM_PERCENT: u32 = 43;

/// Sets the options of the heaps that threads make from now on.
///
/// # Errors
/// An option out of range; a plan that does not exist or that moves objects; more than one worker; idle
/// collections.
pub fn configure(options: Options) -> Result<(), HeapError> {
    // A heap that can be made is the proof.
    make_heap(options.clone())?;
    *DEFAULTS.lock().expect("not poisoned") = Some(options);
    Ok(())
}

fn refused(key: &'static str, value: impl ToString, rule: &str) -> HeapError {
    HeapError::Option(OptionError::Conflict { key, value: value.to_string(), rule: rule.to_owned() })
}

fn make_heap(options: Options) -> Result<Heap<Boa>, HeapError> {
    if options.gc_workers != 1 {
        return Err(refused("gc.workers", options.gc_workers, "1 for Boa, whose handles count without atomics"));
    }
    if options.idle_gc_s.get() != 0.0 {
        return Err(refused(
            "heap.idle_gc_s",
            options.idle_gc_s.get(),
            "0 for Boa, whose objects belong to one thread",
        ));
    }
    heapwright::new_heap(Boa::default(), options)
}

/// Calls `f` with this thread's heap: for statistics and listeners.
pub fn with_heap<R>(f: impl FnOnce(&Heap<Boa>) -> R) -> R {
    f(&current().heap)
}

/// Whether handles may be followed: not while the collector drops dead values.
#[inline]
#[must_use]
pub fn finalizer_safe() -> bool {
    !DROPPING.get()
}

/// Collects now. Does nothing in a finalizer.
pub fn force_collect() {
    let heap = current();
    if !heap.collecting.get() {
        heap.collect();
    }
}

/// Values are dropped by the collector as long as this exists.
pub(crate) struct DropPhase(());

impl DropPhase {
    pub fn begin() -> DropPhase {
        DROPPING.set(true);
        DropPhase(())
    }
}

impl Drop for DropPhase {
    fn drop(&mut self) {
        DROPPING.set(false);
    }
}

/// Moves a value into the thread's heap, with one handle. Collects first if it is time to.
#[inline]
pub(crate) fn allocate<T: Trace + 'static>(value: T) -> NonNull<GcBox<T>> {
    let heap = current();
    if heap.bytes.get() > heap.threshold.get() || heap.collecting.get() {
        heap.collect_to_allocate();
    }
    let bytes = T::VTABLE.bytes;
    // A collection that the heap itself starts here finds the value on the stack, with its handles counted as
    // roots.
    let at = heap.mutator.alloc(bytes).address().as_mut_ptr::<GcBox<T>>();
    // SAFETY: so many bytes of ours, aligned to a granule or to a page.
    let gc_box = unsafe {
        at.write(GcBox::new(value));
        NonNull::new_unchecked(at)
    };
    heap.bytes.set(heap.bytes.get() + bytes);
    // SAFETY: no collection runs, so nobody uses the lists (I2).
    unsafe { &mut *heap.lists.get() }.new.push(Object::of(gc_box));
    gc_box
}

/// Makes an ephemeron, and that it has this key, known to the collector.
pub(crate) fn register_ephemeron(ephemeron: NonNull<GcBox<dyn AnyEphemeron>>, key: Object) {
    // SAFETY: both have handles.
    unsafe {
        Object::of(ephemeron).header().keep();
        key.header().keep();
    }
    // SAFETY: no collection runs, so nobody uses the lists (I2).
    unsafe { &mut *current().lists.get() }.new_ephemerons.push(ephemeron);
}

/// Makes a weak map known to the collector.
pub(crate) fn register_weak_map(map: NonNull<GcBox<dyn AnyWeakMap>>) {
    // SAFETY: it has a handle.
    unsafe { Object::of(map).header() }.keep();
    // SAFETY: as above.
    unsafe { &mut *current().lists.get() }.weak_maps.push(map);
}

/// A weak map has its first new entry since the last collection.
pub(crate) fn map_is_written(map: NonNull<GcBox<dyn AnyWeakMap>>) {
    // SAFETY: as above.
    unsafe { &mut *current().lists.get() }.written_maps.push(map);
}

#[inline(always)]
fn current() -> &'static ThreadHeap {
    let heap = CURRENT.get();
    // SAFETY: if not null, the thread's heap; it goes with the thread, and no caller keeps the reference
    // (I1).
    match unsafe { heap.as_ref() } {
        Some(heap) => heap,
        None => ThreadHeap::make(),
    }
}

impl ThreadHeap {
    #[cold]
    #[inline(never)]
    fn make() -> &'static ThreadHeap {
        let options = DEFAULTS.lock().expect("not poisoned").clone();
        let options = options.map_or_else(default_options, Ok);
        let heap = options.and_then(make_heap).unwrap_or_else(|error| panic!("no heap for Boa: {error}"));
        let mutator = heap.attach(());
        let thread = Box::leak(Box::new(ThreadHeap {
            lists: UnsafeCell::default(),
            generational: mutator.barrier_test().is_some(),
            minor: Cell::new(false),
            searches_all: Cell::new(false),
            searched_in_vain: Cell::new(false),
            reuses_released: heap.plan_name() == "StickyMarkSweep",
            unswept: Cell::new(0),
            bytes: Cell::new(0),
            threshold: Cell::new(heap.options().heap_min.max(1)),
            full_at: Cell::new(heap.options().heap_min.max(1)),
            collecting: Cell::new(false),
            panic: Cell::new(None),
            mutator: ManuallyDrop::new(mutator),
            heap: ManuallyDrop::new(heap),
        }));
        thread.heap.vm().belongs_to(thread);
        CURRENT.set(thread);
        // An object made in another destructor, after ours: its heap stays until the process ends.
        let _ = TAKES_DOWN.try_with(|_| ());
        thread
    }

    #[cold]
    #[inline(never)]
    fn collect_to_allocate(&self) {
        assert!(!self.collecting.get(), "a finalizer or a drop makes an object of the heap that is being collected");
        let panics = self.threshold.get() == 0;
        if self.generational && !panics && !self.searched_in_vain.get() && !self.searches_all.replace(true) {
            // If the heap starts no minor collection, a full one comes some nurseries later.
            let patience = 4 * self.heap.options().nursery_bytes.max(NURSERY_BYTES);
            return self.threshold.set(self.bytes.get().saturating_add(patience));
        }
        self.collect();
    }

    fn collect(&self) {
        self.mutator.collect();
        if let Some(panic) = self.panic.take() {
            self.threshold.set(self.full_at.get());
            std::panic::resume_unwind(panic);
        }
    }

    /// A panic goes on after the collection, or if the heap itself started that, at the next allocation.
    pub fn keep_panic(&self, panic: Box<dyn Any + Send>) {
        self.panic.set(Some(panic));
        self.threshold.set(0);
    }

    /// So many bytes of objects are dead, and their memory is free when the collection is over.
    pub fn freed(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
    }

    /// So many bytes of old objects are known to be dead, and will be released.
    pub fn died(&self, bytes: usize) {
        if self.reuses_released {
            self.freed(bytes);
        } else {
            self.unswept.set(self.unswept.get() + bytes);
        }
    }

    /// A minor collection has looked at all old objects.
    pub fn searched(&self) {
        self.searches_all.set(false);
        self.searched_in_vain.set(self.bytes.get() > self.full_at.get());
        if self.threshold.get() != 0 {
            self.threshold.set(self.full_at.get());
        }
    }

    /// A full collection is over, which began with so many bytes.
    pub fn collected(&self, before: usize) {
        self.freed(self.unswept.take());
        let live = self.bytes.get();
        let options = self.heap.options();
        let mut room = live as u64 * u64::from(options.heap_headroom_percent) / 100;
        // What is not in a cycle needs no full collection: if that was nearly everything, the next one can
        // wait.
        if self.generational && before - live < before / 8 {
            room *= 2;
        }
        self.searches_all.set(false);
        self.searched_in_vain.set(false);
        self.full_at.set(options.heap_min.max(live.saturating_add(room as usize)).max(1));
        if self.threshold.get() != 0 {
            self.threshold.set(self.full_at.get());
        }
    }

    /// Drops all values and unmaps the heap. A handle that another thread-local variable still holds can be
    /// dropped but not followed.
    ///
    /// # Safety
    /// The thread's heap, and the thread ends.
    unsafe fn take_down(this: *const ThreadHeap) {
        // SAFETY: leaked in `make`, and no longer reached through `CURRENT`.
        let mut thread = unsafe { Box::from_raw(this.cast_mut()) };
        thread.collecting.set(true);
        let lists = thread.lists.get_mut();
        let mut objects: Vec<Object> = std::mem::take(&mut lists.old).into_iter().flatten().collect();
        objects.append(&mut lists.new);
        objects.append(&mut lists.dying);
        let dropping = DropPhase::begin();
        for object in &objects {
            // SAFETY: every listed object has its value, and no memory goes before all are dropped.
            unsafe {
                if let Some(drop) = object.header().vtable().drop {
                    drop(*object);
                }
            }
        }
        drop(dropping);
        // SAFETY: as above.
        let held = objects.iter().any(|object| unsafe { object.header() }.handles() != 0);
        if !held {
            // SAFETY: last uses; the mutator goes before its heap.
            unsafe {
                ManuallyDrop::drop(&mut thread.mutator);
                ManuallyDrop::drop(&mut thread.heap);
            }
        }
    }
}

struct TakesDown;

impl Drop for TakesDown {
    fn drop(&mut self) {
        let heap = CURRENT.replace(std::ptr::null());
        if !heap.is_null() {
            // SAFETY: the thread's heap; this is a destructor of the thread.
            unsafe { ThreadHeap::take_down(heap) }
        }
    }
}
