//! The Boehm-Demers-Weiser collector (Debian: libgc-dev), by a hand-written interface.
//!
//! `bdwgc`: `GC_malloc` per object, from libgc's own thread-local free lists. `bdwgc:inline`: free lists of
//! ours, filled by `GC_generic_malloc_many` and popped inline, for objects with references. The stack and the
//! registers of every thread are scanned, and the shadow stacks and free lists are pushed as further roots.
//!
//! The heap is expanded to its full size at the start and never further, with `GC_use_entire_heap`, so that
//! it collects when the heap is full. The setting `grow=1` leaves libgc's own sizing policy, bounded;
//! `free_space_divisor=N` is its parameter.
//!
//! CPU spent collecting: the collecting thread's CPU clock from the event START to the event END, both
//! delivered on that thread under libgc's lock, and the clocks of libgc's marker threads. Not in it:
//! sweeping, which libgc does lazily while it refills free lists, and the signal handlers of stopped threads.
//! Both count as mutator time.
//!
//! I1. A [`Handle`] points at the boxed state of a bound thread, which lives until `unbind`; only that thread
//!     uses it, and the collector reads it while the thread is stopped.
//! I2. An object is a header word and its payload. It stays where it is, and lives while a root leads to it.
//! I3. One heap a process: libgc is one.

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Instant;

use crate::cpu::{self, ThreadClock};
use crate::driver::drive;
use crate::failure::Failure;
use crate::oom;
use crate::request::Request;
use workloads::heap::{GcStats, Heap, Mutator, Pause, Ref};
use workloads::shadow_stack::ShadowStack;

#[repr(C)]
struct StackBase {
    mem_base: *mut c_void,
    reg_base: *mut c_void,
}

#[link(name = "gc")]
unsafe extern "C" {
    static mut GC_use_entire_heap: c_int;
    fn GC_init();
    fn GC_set_markers_count(n: c_uint);
    fn GC_set_all_interior_pointers(value: c_int);
    fn GC_set_no_dls(value: c_int);
    fn GC_set_max_heap_size(bytes: usize);
    fn GC_set_free_space_divisor(n: usize);
    fn GC_set_dont_precollect(value: c_int);
    fn GC_expand_hp(bytes: usize) -> c_int;
    fn GC_get_heap_size() -> usize;
    fn GC_allow_register_threads();
    fn GC_get_stack_base(base: *mut StackBase) -> c_int;
    fn GC_register_my_thread(base: *const StackBase) -> c_int;
    fn GC_unregister_my_thread() -> c_int;
    fn GC_malloc(bytes: usize) -> *mut c_void;
    fn GC_malloc_atomic(bytes: usize) -> *mut c_void;
    fn GC_malloc_ignore_off_page(bytes: usize) -> *mut c_void;
    fn GC_malloc_atomic_ignore_off_page(bytes: usize) -> *mut c_void;
    fn GC_generic_malloc_many(bytes: usize, kind: c_int, result: *mut *mut c_void);
    fn GC_gcollect();
    fn GC_get_gc_no() -> usize;
    fn GC_set_push_other_roots(push: extern "C" fn());
    fn GC_push_all(from: *mut c_void, to: *mut c_void);
    fn GC_set_on_collection_event(handler: extern "C" fn(c_int));
    fn GC_set_warn_proc(handler: extern "C" fn(*const c_char, c_ulong));
}

const EVENT_START: c_int = 0;
const EVENT_END: c_int = 5;
const EVENT_PRE_STOP_WORLD: c_int = 6;
const EVENT_POST_START_WORLD: c_int = 9;

/// libgc's kind for objects that may hold references.
const KIND_NORMAL: c_int = 1;
/// 16-byte granules with an inline free list: objects up to 496 bytes.
const GRANULES: usize = 32;
/// From here on only references to the beginning of an object keep it alive, as libgc advises for large ones.
const OFF_PAGE_BYTES: usize = 64 << 10;
const MUTATORS_MAX: usize = 64;
/// Pauses recorded in one iteration; the log must not allocate while the world is stopped.
const PAUSES_MAX: usize = 1 << 20;

/// State of a bound thread: roots, and free lists by size, whose objects are reachable only from here.
struct State {
    free: [*mut c_void; GRANULES],
    roots: ShadowStack,
}

/// The states of the bound threads. Written by bind and unbind under `BINDING`, read by the collector.
static STATES: [AtomicPtr<State>; MUTATORS_MAX] = [const { AtomicPtr::new(null_mut()) }; MUTATORS_MAX];
static BINDING: Mutex<()> = Mutex::new(());

/// What the events said. Locked by the collecting thread, which holds libgc's lock, and by `take_stats` when
/// no mutator is bound: nobody is ever stopped while holding it.
static LOG: Mutex<Log> = Mutex::new(Log::new());

struct Log {
    stop_requested: Option<Instant>,
    pauses: Vec<Pause>,
    collecting_since_ns: Option<u64>,
    collecting_cpu_ns: u64,
    /// Readings at the last `take_stats`.
    marker_cpu_ns: u64,
    gcs: u64,
}

impl Log {
    const fn new() -> Self {
        Self {
            stop_requested: None,
            pauses: Vec::new(),
            collecting_since_ns: None,
            collecting_cpu_ns: 0,
            marker_cpu_ns: 0,
            gcs: 0,
        }
    }

    fn event(&mut self, event: c_int) {
        match event {
            EVENT_START => self.collecting_since_ns = Some(cpu::thread_ns()),
            EVENT_END => {
                if let Some(since) = self.collecting_since_ns.take() {
                    self.collecting_cpu_ns += cpu::thread_ns() - since;
                }
            }
            EVENT_PRE_STOP_WORLD => self.stop_requested = Some(Instant::now()),
            EVENT_POST_START_WORLD => {
                if let Some(start) = self.stop_requested.take()
                    && self.pauses.len() < self.pauses.capacity()
                {
                    let length_ns = start.elapsed().as_nanos() as u64;
                    self.pauses.push(Pause { start, length_ns });
                }
            }
            _ => {}
        }
    }
}

fn log() -> std::sync::MutexGuard<'static, Log> {
    LOG.lock().expect("no holder of the log panics")
}

extern "C" fn on_event(event: c_int) {
    log().event(event);
}

extern "C" fn no_warning(_message: *const c_char, _value: c_ulong) {}

extern "C" fn push_roots() {
    for state in &STATES {
        // Acquire pairs with Release in `bind`: the state behind the pointer is initialised.
        let state = state.load(Ordering::Acquire);
        if state.is_null() {
            continue;
        }
        // SAFETY: I1: a registered state is alive, and its thread is stopped while roots are pushed.
        unsafe {
            let (from, to) = (*state).roots.range();
            GC_push_all(from.cast(), to.cast());
            let free = (&raw mut (*state).free).cast::<*mut c_void>();
            GC_push_all(free.cast(), free.add(GRANULES).cast());
        }
    }
}

/// CPU time of libgc's helpers so far. They live as long as the process.
fn marker_cpu_ns() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let is_marker = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("GC-marker"))
    };
    let tids = tasks.flatten().filter(|task| is_marker(&task.path()));
    let tids = tids.filter_map(|task| task.file_name().to_str()?.parse().ok());
    tids.map(|tid| ThreadClock::of(tid).read_ns()).sum()
}

/// libgc; `INLINE` chooses free lists of ours for objects with references.
#[derive(Debug)]
pub struct BdwHeap<const INLINE: bool>(());

/// Runs a request on libgc.
///
/// # Errors
/// An unknown setting; as [`drive`].
pub fn run(request: &Request, inline: bool) -> Result<(), Failure> {
    let settings = Settings::parse(&request.peer_settings)?;
    if request.mutators >= MUTATORS_MAX {
        return Err(Failure::Usage(format!("bdwgc: fewer than {MUTATORS_MAX} mutators")));
    }
    initialise(request.heap_bytes(), request.gc_threads(), &settings)?;
    if inline { drive(&BdwHeap::<true>(()), request) } else { drive(&BdwHeap::<false>(()), request) }
}

#[derive(Default)]
struct Settings {
    grow: bool,
    free_space_divisor: Option<usize>,
}

impl Settings {
    fn parse(given: &[(String, String)]) -> Result<Self, Failure> {
        let mut settings = Self::default();
        for (key, value) in given {
            let wrong = || Failure::Usage(format!("{key}={value}: must be a whole number"));
            match key.as_str() {
                "grow" => settings.grow = value == "1" || value == "true",
                "free_space_divisor" => {
                    settings.free_space_divisor = Some(value.parse().map_err(|_| wrong())?);
                }
                _ => {
                    let known = ["grow", "free_space_divisor"];
                    return Err(crate::suggest::unknown("setting of bdwgc", key, known));
                }
            }
        }
        Ok(settings)
    }
}

fn initialise(heap_bytes: usize, markers: usize, settings: &Settings) -> Result<(), Failure> {
    log().pauses.reserve(PAUSES_MAX);
    // SAFETY: called once, before any other use of libgc, by the only thread; the order is that of its
    // manual.
    unsafe {
        GC_set_markers_count(markers as c_uint);
        GC_set_all_interior_pointers(0);
        GC_set_no_dls(1);
        GC_set_dont_precollect(1);
        GC_set_push_other_roots(push_roots);
        GC_set_warn_proc(no_warning);
        if let Some(divisor) = settings.free_space_divisor {
            GC_set_free_space_divisor(divisor);
        }
        GC_init();
        GC_set_on_collection_event(on_event);
        if settings.grow {
            GC_set_max_heap_size(heap_bytes);
        } else {
            GC_use_entire_heap = 1;
            let have = GC_get_heap_size();
            if heap_bytes > have && GC_expand_hp(heap_bytes - have) == 0 {
                return Err(Failure::Failed(format!("libgc cannot expand to {heap_bytes} bytes")));
            }
            GC_set_max_heap_size(GC_get_heap_size());
        }
        GC_allow_register_threads();
    }
    Ok(())
}

impl<const INLINE: bool> Heap for BdwHeap<INLINE> {
    type M = Handle<INLINE>;

    fn bind(&self) -> Self::M {
        // SAFETY: registers the calling thread with the bounds that libgc itself found.
        unsafe {
            let mut base = StackBase { mem_base: null_mut(), reg_base: null_mut() };
            assert_eq!(GC_get_stack_base(&mut base), 0, "libgc finds the stack");
            let result = GC_register_my_thread(&base);
            assert!(result == 0 || result == 1, "GC_register_my_thread: {result}");
        }
        let roots = ShadowStack::new();
        let state = Box::into_raw(Box::new(State { free: [null_mut(); GRANULES], roots }));
        let _guard = BINDING.lock().expect("no holder panics");
        let free = STATES.iter().find(|entry| entry.load(Ordering::Relaxed).is_null());
        // Release pairs with Acquire in `push_roots`.
        free.expect("mutators were counted at the start").store(state, Ordering::Release);
        Handle(state)
    }

    fn unbind(&self, mutator: Self::M) {
        {
            let _guard = BINDING.lock().expect("no holder panics");
            let entry = STATES.iter().find(|entry| entry.load(Ordering::Relaxed) == mutator.0);
            entry.expect("a bound thread has an entry").store(null_mut(), Ordering::Release);
        }
        // SAFETY: the thread was registered by `bind`. Collections run under libgc's lock, which this call
        // takes too, so none of them still reads the state that is freed after it (I1).
        unsafe {
            GC_unregister_my_thread();
            drop(Box::from_raw(mutator.0));
        }
    }

    fn collect(&self, _mutator: Self::M) {
        // SAFETY: the calling thread is registered.
        unsafe { GC_gcollect() }
    }

    fn take_stats(&self) -> GcStats {
        // SAFETY: reads two counters.
        let (gcs, heap_bytes) = unsafe { (GC_get_gc_no() as u64, GC_get_heap_size() as u64) };
        let markers = marker_cpu_ns();
        let mut log = log();
        let stats = GcStats {
            pauses: log.pauses.clone(),
            gcs: gcs - log.gcs,
            gc_cpu_ns: std::mem::take(&mut log.collecting_cpu_ns) + markers - log.marker_cpu_ns,
            peak_reserved_bytes: heap_bytes,
            ..GcStats::default()
        };
        log.pauses.clear();
        log.gcs = gcs;
        log.marker_cpu_ns = markers;
        stats
    }
}

/// Handle of a bound thread.
#[derive(Clone, Copy, Debug)]
pub struct Handle<const INLINE: bool>(*mut State);

#[cold]
#[inline(never)]
fn out_of_memory() -> ! {
    oom::exit("libgc returned null")
}

impl<const INLINE: bool> Handle<INLINE> {
    #[expect(clippy::mut_from_ref, reason = "the handle is a pointer, not an owner")]
    #[inline(always)]
    fn state(&self) -> &mut State {
        // SAFETY: I1; no method keeps the borrow beyond itself.
        unsafe { &mut *self.0 }
    }

    #[cold]
    #[inline(never)]
    fn refill(self, granules: usize) -> *mut c_void {
        let mut list = null_mut();
        // SAFETY: a registered thread asks for a list of objects of one size.
        unsafe { GC_generic_malloc_many(granules * 16, KIND_NORMAL, &mut list) };
        if list.is_null() {
            out_of_memory();
        }
        list
    }

    /// Memory for an object without references, which libgc does not clear.
    #[inline(always)]
    fn alloc_atomic(self, bytes: usize) -> *mut c_void {
        // SAFETY: a registered thread allocates; the memory returned has `bytes` bytes.
        unsafe {
            let object =
                if bytes > OFF_PAGE_BYTES { GC_malloc_atomic_ignore_off_page(bytes) } else { GC_malloc_atomic(bytes) };
            if object.is_null() {
                out_of_memory();
            }
            std::ptr::write_bytes(object.cast::<u8>(), 0, bytes);
            object
        }
    }

    #[inline(always)]
    fn alloc_from_list(self, bytes: usize) -> *mut c_void {
        let granules = bytes.div_ceil(16);
        let mut object = self.state().free[granules];
        if object.is_null() {
            object = self.refill(granules);
        }
        // SAFETY: the first word of an object on a free list is the next one; the rest of it is clear.
        self.state().free[granules] = unsafe { *object.cast::<*mut c_void>() };
        object
    }

    #[inline(always)]
    fn alloc_by_call(self, bytes: usize) -> *mut c_void {
        // SAFETY: a registered thread allocates.
        let object =
            unsafe { if bytes > OFF_PAGE_BYTES { GC_malloc_ignore_off_page(bytes) } else { GC_malloc(bytes) } };
        if object.is_null() {
            out_of_memory();
        }
        object
    }
}

impl<const INLINE: bool> Mutator for Handle<INLINE> {
    #[inline(always)]
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref {
        let words = (1 + nrefs + nbytes.div_ceil(8)).max(2);
        let bytes = words * 8;
        let object = if nrefs == 0 {
            self.alloc_atomic(bytes)
        } else if INLINE && bytes < GRANULES * 16 {
            self.alloc_from_list(bytes)
        } else {
            self.alloc_by_call(bytes)
        };
        // SAFETY: the first word of the object; it also overwrites a free list's link.
        unsafe { *object.cast::<u64>() = nrefs as u64 | (words as u64) << 32 };
        Ref(object as usize)
    }

    #[inline(always)]
    fn read_ref(self, object: Ref, i: usize) -> Ref {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *const Ref) }
    }

    #[inline(always)]
    fn write_ref(self, object: Ref, i: usize, value: Ref) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + i * 8) as *mut Ref) = value }
    }

    #[inline(always)]
    fn read_word(self, object: Ref, w: usize) -> u64 {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *const u64) }
    }

    #[inline(always)]
    fn write_word(self, object: Ref, w: usize, value: u64) {
        // SAFETY: I2.
        unsafe { *((object.0 + 8 + w * 8) as *mut u64) = value }
    }

    #[inline(always)]
    fn poll(self) {}

    #[inline(always)]
    fn push(self, value: Ref) -> usize {
        self.state().roots.push_volatile(value)
    }

    #[inline(always)]
    fn get(self, index: usize) -> Ref {
        self.state().roots.get(index)
    }

    #[inline(always)]
    fn set(self, index: usize, value: Ref) {
        self.state().roots.set(index, value);
    }

    #[inline(always)]
    fn peek(self, depth: usize) -> Ref {
        self.state().roots.peek(depth)
    }

    #[inline(always)]
    fn pop(self, n: usize) {
        self.state().roots.pop(n);
    }
}
