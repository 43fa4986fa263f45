//! The engine of a heap: what a [`Heap`](crate::Heap) and its mutators share.

use super::attendant::{Allocated, Idle, Quiet};
use super::pacing::Pacing;
use super::worker_count::WorkerCount;
use crate::address::{Address, ObjectReference};
use crate::alloc::{Allocators, Leftovers, MutatorRef};
use crate::binding::VMBinding;
use crate::callback::{self, Callback, Frame};
use crate::events::{Cause, Event, Listeners};
use crate::memory::{EXTENTS, Extent, Memory};
use crate::metadata::ObjectStates;
use crate::options::Options;
use crate::os::PageVec;
use crate::patience::Patience;
use crate::pause::{Moving, PhaseCell, VmSpace};
use crate::plan::Plan;
use crate::verify;
use crate::weak::WeakTables;
use crate::workers::Gang;
use pacer::nursery::Nursery;
use protocols::safepoint::Safepoint;
use protocols::sync::Mutex;
use std::fmt::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A heap's engine: the plan, memory and threads, and what drives collections.
pub(crate) struct Collector<VM: VMBinding> {
    pub(crate) vm: Arc<VM>,
    pub(crate) options: Options,
    pub(crate) plan: Box<dyn Plan<VM>>,
    pub(crate) memory: Arc<Memory>,
    /// Where objects may move.
    pub(crate) moving: Box<[Moving]>,
    /// Where mutators note the starts of objects.
    pub(crate) starts_in: Box<[Extent]>,
    pub(crate) states: ObjectStates<VM>,
    pub(crate) safepoint: Safepoint<MutatorRef<VM>>,
    pub(crate) gang: Gang,
    /// How many of them take part: in full collections, and in minor ones. Taken alone, by the leader.
    pub(crate) worker_counts: [Mutex<WorkerCount>; 2],
    pub(crate) solo: Gang,
    pub(crate) phase: PhaseCell,
    pub(crate) pacing: Pacing,
    pub(crate) idle: Idle,
    pub(crate) patience: Arc<Patience>,
    /// The system's number of the thread that leads a pause in which all have stopped; 0 if there is none.
    /// For reports.
    pub(crate) leader_id: AtomicU32,
    /// The number of the pause, counted from 1, that a thread waiting for its end has reported.
    pub(crate) reported_pause: AtomicU64,
    pub(crate) listeners: Listeners,
    pub(crate) created: Instant,
    /// Pauses so far; written by leaders.
    pub(crate) pauses: AtomicU64,
    /// Full collections so far; written by leaders.
    pub(crate) fulls: AtomicU64,
    /// Bytes handed to fast paths.
    pub(crate) allocated: Arc<Allocated>,
    /// In a generational plan: decides when minor collections are due. Taken by leaders alone.
    pub(crate) nursery: Option<Mutex<Nursery>>,
    /// What it last decided: bytes that may be allocated before the next; `usize::MAX` for none. Written in
    /// pauses.
    pub(crate) nursery_bytes: AtomicUsize,
    /// Objects outside the heap.
    pub(crate) vm_space: VmSpace,
    /// Native references, finalizers, tables keyed by objects.
    pub(crate) weak: WeakTables,
    /// What threads that detached had not used of their ranges.
    pub(crate) leftovers: Arc<Leftovers>,
    /// What threads that detached had noted in their barriers.
    pub(crate) remembered: Mutex<PageVec<ObjectReference>>,
    pub(crate) gc_cpu_ns: AtomicU64,
    /// Bytes found live in each space, by the number of its extent. Written by leaders.
    pub(crate) live_bytes: [AtomicUsize; EXTENTS],
    pub(crate) yield_seed: AtomicU64,
    /// For the verifier. Taken alone: by the leader of a pause, and by threads that detach.
    pub(crate) history: Mutex<verify::History>,
}

impl<VM: VMBinding> Collector<VM> {
    /// This thread calls a callback.
    pub(crate) fn call(&self, what: Callback) -> callback::Inside {
        callback::enter(Frame { heap: std::ptr::from_ref(self).addr(), what })
    }

    /// Panics if this thread is inside one of these callbacks of this heap.
    #[inline(always)]
    pub(crate) fn refuse_in(&self, call: &str, callbacks: &[Callback]) {
        callback::refuse(std::ptr::from_ref(self).addr(), call, callbacks);
    }

    /// Tells the listeners.
    pub(crate) fn tell(&self, event: &Event) {
        let _inside = self.call(Callback::Listener);
        self.listeners.emit(event);
    }

    /// The entry of the calling thread, if it is attached.
    pub(crate) fn mutator_of_this_thread(&self) -> Option<MutatorRef<VM>> {
        let this_thread = std::thread::current().id();
        // SAFETY: an entry of the registry points to an attached mutator's state; the lock keeps it there.
        self.safepoint.find(|mutator| unsafe { &*mutator.0 }.owner().id() == this_thread)
    }

    /// An object was allocated at `address`, in whatever space.
    pub(crate) fn note_start(&self, address: Address) {
        if VM::OBJECT_STARTS && self.starts_in.iter().any(|extent| extent.contains(address)) {
            self.states.starts().set_shared(address);
        }
    }

    /// Whether the object lies in a space of this heap.
    pub(crate) fn holds(&self, object: ObjectReference) -> bool {
        self.plan.spaces().of(object).is_some()
    }

    /// The space of an object that may move.
    pub(crate) fn moving(&self, object: ObjectReference) -> Option<&Moving> {
        self.moving.iter().find(|space| space.extent.holds(object))
    }

    pub(crate) fn plan_name(&self) -> &'static str {
        self.plan.info().name
    }

    pub(crate) fn flush_allocated(&self, allocators: &mut Allocators) {
        let bytes = std::mem::take(&mut allocators.allocated);
        if bytes > 0 {
            self.allocated.since_pause.fetch_add(bytes, Relaxed);
        }
    }

    /// Whether collections are verified, and mutators note what they ask for.
    pub(crate) fn is_verified(&self) -> bool {
        self.options.verify && self.plan.can_collect()
    }

    /// A mutator stops or leaves: what it asked for since the last collection.
    pub(crate) fn keep_requested(&self, requested: Vec<Range<Address>>) {
        if !requested.is_empty() {
            self.history.lock().add(requested);
        }
    }

    pub(crate) fn minor_collections_pay(&self) -> bool {
        self.nursery_bytes.load(Relaxed) != usize::MAX
    }

    /// A thread detaches: others go on in its ranges.
    pub(crate) fn leave(&self, allocators: &mut Allocators) {
        // It may be inside a native region.
        allocators.open();
        allocators.leave(&self.leftovers, 1 << VM::LOG_GRANULE);
        self.retire(allocators);
    }

    /// A thread's ranges are given up: in a pause, or what is not kept of one that detaches.
    pub(crate) fn retire(&self, allocators: &mut Allocators) {
        self.flush_allocated(allocators);
        self.plan.spaces().iter().for_each(|space| space.retire(allocators));
        allocators.clear();
    }

    /// Makes sure that the timer looks after the heap while its program is quiet, if there is something to be
    /// done then.
    pub(crate) fn attend_when_idle(&self) {
        let (_, delays) = self.pacing.idling();
        if self.plan.can_collect() {
            self.idle.attend(delays);
        }
    }

    /// Bytes found live by the last collection, in all spaces.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.iter().map(|bytes| bytes.load(Relaxed)).sum()
    }

    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        // A text takes whatever is written to it.
        let _ = self.write_report(&mut text);
        text
    }

    /// What the heap says of its memory, for errors and for a VM that is all but out of memory.
    pub(crate) fn write_report(&self, text: &mut dyn Write) -> fmt::Result {
        let budget = self.memory.budget();
        let name = self.plan.info().name;
        let (reserved, limit, resident) = (budget.reserved(), budget.limit(), budget.resident());
        write!(text, "plan {name}: {reserved} of {limit} bytes reserved, {resident} resident, ")?;
        match self.pauses.load(Relaxed) {
            0 => writeln!(text, "never collected")?,
            collections => writeln!(text, "{} live at the last of {collections} collections", self.live_bytes())?,
        }
        for space in self.plan.spaces().iter() {
            writeln!(text, "  {:<12} {:>14} bytes reserved", space.name(), space.reserved_bytes())?;
        }
        self.memory.refusals().report(text)
    }
}

impl<VM: VMBinding> Quiet for Collector<VM> {
    fn collect_while_idle(self: Arc<Self>) {
        self.collect(None, Cause::Idle);
    }

    fn look_around(&self) {
        self.pacing.look_around();
        self.tell_if_due();
    }

    fn pause_in_progress(&self) -> Option<u64> {
        self.pause_of_stopped()
    }

    fn report_pause(&self, waited: Duration, again: bool) -> bool {
        self.report_late_leader(waited, "the timer, which looks after the heap,", again)
    }
}

impl<VM: VMBinding> Drop for Collector<VM> {
    fn drop(&mut self) {
        let tell = || self.tell(&Event::HeapDropped);
        if std::thread::panicking() {
            // A listener that panics once more would end the process.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(tell));
        } else {
            tell();
        }
    }
}
