//! A pause, as the plan that collects sees it: mutators are stopped, workers are ready, phases are timed.

mod ambiguous;
mod beside;
mod finalize;
mod forward;
mod found;
mod of_marking;
mod order;
mod phase;
mod pins;
mod process;
pub(crate) mod roots;
mod trace;
mod vm_space;
mod watching;
mod weak;

pub(crate) use ambiguous::ambiguous_roots;
pub(crate) use found::Found;
pub(crate) use of_marking::OfMarking;
pub use phase::PausePhase;
pub(crate) use phase::PhaseCell;
pub(crate) use pins::{Moving, PinnedForPause};
pub(crate) use vm_space::{CHARGED_BYTES, VmSpace};

use crate::address::ObjectReference;
use crate::alloc::MutatorRef;
use crate::binding::VMBinding;
use crate::events::{CollectionKind, Phase};
use crate::memory::{Arena, List};
use crate::metadata::{ObjectStates, Remembered};
use crate::options::{Options, WakeHelpers, When};
use crate::space::Spaces;
use crate::weak::WeakTables;
use crate::workers::{Gang, Worker};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// One pause. Lives on the leader's stack.
pub struct Pause<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) spaces: &'a Spaces<'a>,
    /// Objects outside the heap whose slots are roots.
    pub(crate) vm_objects: &'a [ObjectReference],
    pub(crate) gang: &'a Gang,
    /// The leader alone, for traces that are not shared.
    pub(crate) solo: &'a Gang,
    pub(crate) phase: &'a PhaseCell,
    pub(crate) options: &'a Options,
    pub(crate) mutators: &'a [MutatorRef<VM>],
    pub(crate) created: Instant,
    /// Memory for what lives as long as this pause.
    pub(crate) arena: &'a Arena,
    pub(crate) phases: List<'a, Phase>,
    pub(crate) emergency: bool,
    pub(crate) kind: CollectionKind,
    pub(crate) minor_collections_pay: bool,
    pub(crate) states: &'a ObjectStates<VM>,
    pub(crate) weak: &'a WeakTables,
    /// What conservatively scanned stacks may refer to.
    pub(crate) ambiguous: List<'a, ObjectReference>,
    /// What the barriers noted; nothing in a full collection.
    pub(crate) remembered: List<'a, Remembered>,
    /// Old objects that the binding knows to be dead.
    pub(crate) released: List<'a, ObjectReference>,
    pub(crate) allocated_bytes: usize,
    /// Whether memory that becomes free stays resident for now; else it goes back at the end of the pause.
    pub(crate) keeps_free: bool,
    /// A space needs to know what is free: all sweep now.
    pub(crate) sweeps_now: bool,
    pub(crate) found: Found,
    /// The marking beside mutators that this pause begins or ends.
    pub(crate) marking: Option<OfMarking<'a>>,
}

/// A range of items that a worker takes at a time.
const ITEMS_AT_ONCE: usize = 64;
/// A pause sweeps fewer blocks than this in the time that it takes to wake a thread.
const BLOCKS_TO_LEAVE: usize = 512;
/// Fewer items than this are not worth a wake-up.
const ITEMS_FOR_HELPERS: usize = 2048;

/// The next few of `items` things that workers share.
fn next_range(next: &AtomicUsize, items: usize) -> Option<Range<usize>> {
    let from = next.fetch_add(ITEMS_AT_ONCE, Relaxed);
    (from < items).then(|| from..(from + ITEMS_AT_ONCE).min(items))
}

impl<'a, VM: VMBinding> Pause<'a, VM> {
    /// Whether this is the last resort before out of memory: free as much as possible, whatever it costs.
    pub fn is_emergency(&self) -> bool {
        self.emergency
    }

    /// What this collection may free. Minor only in plans that are generational: then what is marked with the
    /// current epoch stays so, the trace begins at the roots and the remembered objects, and only new memory
    /// is swept.
    pub fn kind(&self) -> CollectionKind {
        self.kind
    }

    /// Whether minor collections go on, since the last ones paid or an option says so. Never in plans that
    /// are not generational. If not, what was allocated since the last collection is most of the heap, and no
    /// nursery.
    pub fn minor_collections_pay(&self) -> bool {
        self.minor_collections_pay
    }

    /// In a minor collection: old objects that count as live but are dead. Before the sweep, a space takes
    /// away the marks of its own.
    pub fn released(&self) -> &[ObjectReference] {
        &self.released
    }

    /// The VM.
    pub fn vm(&self) -> &'a VM {
        self.vm
    }

    /// Memory for lists that live as long as this pause: a pause does not call `malloc`.
    pub fn arena(&self) -> &'a Arena {
        self.arena
    }

    /// The options of the heap.
    pub fn options(&self) -> &Options {
        self.options
    }

    /// Bytes that mutators got since the previous collection that was no less: what that one yielded.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }

    /// Bytes of the objects that the traces of this pause found live.
    pub fn live_bytes(&self) -> usize {
        self.found.live_bytes()
    }

    /// The plan says that it evacuates sparse blocks, for the report.
    pub fn defragments(&mut self) {
        self.found.note_defrag();
    }

    pub(crate) fn timed<R>(&mut self, name: &'static str, f: impl FnOnce(&mut Self) -> R) -> R {
        let start = Instant::now();
        let result = f(self);
        let start_ns = (start - self.created).as_nanos() as u64;
        let duration_ns = start.elapsed().as_nanos() as u64;
        match self.phases.last_mut().filter(|last| last.name == name) {
            // Several sections of one step, a table each say, are one phase.
            Some(last) => last.duration_ns = start_ns + duration_ns - last.start_ns,
            None => self.phases.push(Phase { name, start_ns, duration_ns }),
        }
        result
    }

    /// A step that the leader does alone, before the trace.
    pub fn prepare(&mut self, f: impl FnOnce(CollectionKind)) {
        self.phase.enter(PausePhase::Preparing);
        self.timed("prepare", |pause| f(pause.kind));
    }

    /// A step in which workers share `items` numbered things; helpers are woken if there are many.
    pub fn parallel(&mut self, name: &'static str, items: usize, f: impl Fn(&mut Worker, Range<usize>) + Sync) {
        if items == 0 {
            return;
        }
        self.timed(name, |pause| {
            let next = AtomicUsize::new(0);
            pause.gang.run(pause.pays_to_wake(items), &|worker| {
                while let Some(range) = next_range(&next, items) {
                    f(worker, range);
                }
            });
        });
    }

    /// The step that sweeps: as [`Pause::parallel`], after the trace.
    pub fn sweep(&mut self, items: usize, f: impl Fn(&mut Worker, Range<usize>) + Sync) {
        if self.phase.now() != PausePhase::Sweeping {
            self.phase.enter(PausePhase::Sweeping);
        }
        self.parallel("sweep", items, f);
    }

    /// Whether the sweep of so many blocks or large objects is left for when mutators run again
    /// ([`LeftToSweep`](crate::space::LeftToSweep)). Only in the first round of a full collection, and not if
    /// the pause needs to know what is free: before out of memory, when all that is free goes back to the
    /// system at once, or if this space says that `it_needs` it, or one that was swept before: what is free
    /// in one space is room in the others.
    pub fn leaves_sweep(&mut self, blocks: usize, it_needs: impl FnOnce(&Self) -> bool) -> bool {
        let first = self.kind == CollectionKind::Full && self.found.rounds() == 0;
        if !first || self.emergency || !self.keeps_free || self.options.gc_sweep_beside == When::Never {
            return false;
        }
        self.sweeps_now |= it_needs(self);
        let wants = match self.options.gc_sweep_beside {
            When::Never => false,
            When::Always => blocks > 0,
            When::Auto => blocks >= BLOCKS_TO_LEAVE,
        };
        wants && !self.sweeps_now
    }

    /// Begins the compaction, in plans that move objects when all that are live are known: the roots and what
    /// the binding kept alive. Then the plan decides where objects go, updates references
    /// ([`Pause::update_roots`]), moves objects, and ends with [`Pause::forward_weak`].
    pub fn begin_compaction(&mut self) {
        self.phase.enter(PausePhase::Compacting);
    }

    /// A step that the workers do together, helpers woken if `wake` or an option says so: each calls `f`
    /// once, which takes what there is to do until there is nothing left.
    pub fn together(&mut self, name: &'static str, wake: bool, f: impl Fn(&mut Worker) + Sync) {
        self.timed(name, |pause| {
            let wake = wake || pause.options.gc_helpers == WakeHelpers::Always;
            pause.gang.run(wake, &f);
        });
    }

    /// Whether helpers are woken at once for `count` things to do.
    fn pays_to_wake(&self, count: usize) -> bool {
        count >= ITEMS_FOR_HELPERS || self.options.gc_helpers == WakeHelpers::Always
    }

    pub(crate) fn count_live(&mut self) {
        self.gang.for_each_worker(|worker| {
            self.found.take(worker);
        });
    }

    /// Visits what each worker kept, after a section: the rest of its copy buffers, say.
    pub fn for_each_worker(&mut self, f: impl FnMut(&mut Worker)) {
        self.gang.for_each_worker(f);
    }

    /// Begins another round in the same pause, to collect harder. What spaces have left to be swept is swept
    /// before: they are prepared once more.
    pub fn again(&mut self) {
        for space in self.spaces.iter().filter_map(|space| space.unswept()) {
            // They do not begin, so that no thread that sweeps beside pauses takes one: this pause goes on.
            (0..space.left().promised()).for_each(|unit| space.sweep_unit(unit));
            space.left().leave(0, 0);
        }
        self.found.begin_round();
    }
}
