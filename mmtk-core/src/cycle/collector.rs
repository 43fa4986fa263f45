//! The engine of a heap: what a [`Heap`](crate::Heap) and its mutators share.

use super::attendant::{Idle, Quiet};
use super::background::Background;
use super::helpers::Helpers;
use super::marking::MarkingBeside;
use super::pacing::Pacing;
use super::pauses::Pauses;
use super::store::Store;
use super::sweeping::Sweeping;
use super::watch::Watch;
use crate::address::ObjectReference;
use crate::alloc::{Allocators, MutatorRef};
use crate::binding::VMBinding;
use crate::callback::{self, Callback, Frame};
use crate::events::{Cause, Event};
use crate::memory::Memory;
use crate::metadata::Remembered;
use crate::options::{Driver, Options};
use crate::os::PageVec;
use crate::plan::Plan;
use protocols::safepoint::Safepoint;
use protocols::sync::Mutex;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A heap's engine: the VM, the plan, and the parts that drive collections. Each part has a file and keeps
/// its fields to itself. Code outside of `cycle` reaches it through the methods here.
pub(crate) struct Collector<VM: VMBinding> {
    pub(super) vm: Arc<VM>,
    pub(super) options: Options,
    pub(super) plan: Arc<dyn Plan<VM>>,
    /// Memory, and what is kept of objects.
    pub(super) store: Store<VM>,
    /// Mutators, and how they are stopped.
    pub(super) safepoint: Safepoint<MutatorRef<VM>>,
    /// What threads that detached had noted in their barriers.
    pub(super) remembered: Mutex<PageVec<Remembered>>,
    /// GC workers.
    pub(super) helpers: Helpers,
    /// The pause in progress, and the sum of those before.
    pub(super) pauses: Pauses,
    /// When to collect, and how much.
    pub(super) pacing: Pacing,
    /// Listeners and the verifier.
    pub(super) watch: Watch,
    /// The thread that looks after the heap while its program is quiet.
    pub(super) idle: Idle,
    /// What the last full collection has left to be swept, and the thread that sweeps it beside mutators.
    pub(super) sweeping: Arc<Sweeping<VM>>,
    pub(super) background: Background<VM>,
    /// The marking beside mutators, in plans that have it.
    pub(super) marking: Arc<MarkingBeside<VM>>,
    /// Whether the plan has it: read at each refill.
    pub(super) marks_beside: bool,
    /// Who marks; never `Auto`.
    pub(super) driver: Driver,
    /// The processors that the process may use.
    pub(super) processors: usize,
    pub(super) yield_seed: AtomicU64,
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
        self.watch.listeners().emit(event);
    }

    /// The entry of the calling thread, if it is attached.
    pub(crate) fn mutator_of_this_thread(&self) -> Option<MutatorRef<VM>> {
        let this_thread = std::thread::current().id();
        // SAFETY: an entry of the registry points to an attached mutator's state; the lock keeps it there.
        self.safepoint.find(|mutator| unsafe { &*mutator.0 }.owner().id() == this_thread)
    }

    /// The VM.
    #[inline(always)]
    pub(crate) fn vm(&self) -> &VM {
        &self.vm
    }

    /// The options that it was made with.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The plan.
    #[inline(always)]
    pub(crate) fn plan(&self) -> &dyn Plan<VM> {
        &*self.plan
    }

    /// Memory, and what is kept of objects.
    #[inline(always)]
    pub(crate) fn store(&self) -> &Store<VM> {
        &self.store
    }

    /// The same, of which most callers want the memory.
    #[inline(always)]
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        self.store.memory()
    }

    /// The pauses, for statistics.
    pub(crate) fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// Processor time in ns of all collections, and of sweeping beside mutators.
    pub(crate) fn gc_cpu_ns(&self) -> u64 {
        self.pauses.gc_cpu_ns() + self.sweeping.cpu_ns() + self.marking.cpu_ns()
    }

    /// When collections are due.
    pub(crate) fn pacing(&self) -> &Pacing {
        &self.pacing
    }

    /// Listeners.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// How many GC workers it has.
    pub(crate) fn workers(&self) -> usize {
        self.helpers.gang().size()
    }

    /// Whether the object lies in a space of this heap.
    pub(crate) fn holds(&self, object: ObjectReference) -> bool {
        self.plan.spaces().of(object).is_some()
    }

    pub(crate) fn plan_name(&self) -> &'static str {
        self.plan.info().name
    }

    /// What the thread has allocated is counted; returns it.
    pub(crate) fn flush_allocated(&self, allocators: &mut Allocators) -> usize {
        let bytes = std::mem::take(&mut allocators.allocated);
        if bytes > 0 {
            self.pacing.allocated().add(bytes);
        }
        bytes
    }

    /// Whether collections are verified, and mutators note what they ask for.
    pub(crate) fn is_verified(&self) -> bool {
        self.watch.verifies() && self.plan.can_collect()
    }

    /// A thread detaches: others go on in its ranges.
    pub(crate) fn leave(&self, allocators: &mut Allocators) {
        // It may be inside a native region.
        allocators.open();
        allocators.leave(self.store.leftovers(), 1 << VM::LOG_GRANULE);
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
        let (_, delays) = self.pacing.goal().idling();
        if self.plan.can_collect() {
            self.idle.attend(delays);
        }
    }

    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        // A text takes whatever is written to it.
        let _ = self.write_report(&mut text);
        text
    }

    /// What the heap says of its memory, for errors and for a VM that is all but out of memory.
    pub(crate) fn write_report(&self, text: &mut dyn Write) -> fmt::Result {
        let budget = self.memory().budget();
        let name = self.plan.info().name;
        let (reserved, limit, resident) = (budget.reserved(), budget.limit(), budget.resident());
        write!(text, "plan {name}: {reserved} of {limit} bytes reserved, {resident} resident, ")?;
        match self.pauses.ended() {
            0 => writeln!(text, "never collected")?,
            collections => {
                writeln!(text, "{} live at the last of {collections} collections", self.pauses.live_bytes())?;
            }
        }
        for space in self.plan.spaces().iter() {
            writeln!(text, "  {:<12} {:>14} bytes reserved", space.name(), space.reserved_bytes())?;
        }
        self.memory().refusals().report(text)
    }
}

impl<VM: VMBinding> Quiet for Collector<VM> {
    fn collect_while_idle(self: Arc<Self>) {
        // No mutator helps an idle heap: where no thread of its own marks, a pause does.
        if !self.marks_beside || !self.mark_beside() {
            self.collect(None, Cause::Idle);
        } else if !self.marking.is_in_progress() {
            self.begin_marking(None, Cause::Idle, self.pauses.ended());
        }
    }

    fn look_around(&self) {
        self.pacing.goal().look_around();
        self.tell_if_due();
    }

    fn pause_in_progress(&self) -> Option<u64> {
        self.pauses.in_progress().map(|pause| pause.number)
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
