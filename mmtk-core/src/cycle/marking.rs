//! The marking beside mutators of one heap: whether one is in progress, its grey objects, and what it took.
//!
//! ```text
//!   idle --a pause takes the snapshot--> in progress --a pause ends it--> idle
//! ```
//! While it is in progress the background thread takes steps, and mutators that allocate help when it falls
//! behind. When no object is grey, they look through the tables of native references (`weak/sift`). What a
//! mutator has noted is grey too, and nobody else sees it: it hands that in when it allocates, and when the
//! background thread asks for it, in a handshake. When no object is grey after that, the background thread
//! leads the pause that ends the marking. When memory runs out before, the pause that would collect ends it,
//! with all that is left to be done.
//!
//! I1. It begins and ends in pauses. In every pause the packets and the sift are closed: no step is under
//!     way.
//! I2. A mutator that runs has the phase that it had when it was last stopped.
//! Callers: leaders begin and end; `step_beside` the background thread; `assist` mutators that run.

use super::effort::Efforts;
use crate::address::ObjectReference;
use crate::alloc::{Noted, ThreadPart};
use crate::binding::VMBinding;
use crate::events::Cause;
use crate::memory::{Arena, List};
use crate::metadata::{ArrayClaims, Tally};
use crate::options::Options;
use crate::os::{Pages, thread_cpu_ns};
use crate::pause::OfMarking;
use crate::plan::{Beside, Log, Plan, Step};
use crate::trace::{Change, GreyPackets, PACKET};
use crate::weak::{SharedSift, Sift, SiftStep, WeakTables};
use crate::workers::abort;
use protocols::credit::Credits;
use protocols::sync::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Objects of a step of the background thread, between two looks at what else it is asked and at its share:
/// about a tenth of a tick.
const STEP_OBJECTS: usize = 4 << 10;

/// Less than this, in bytes, is not worth a step of a mutator, and more of credit it does not keep.
const LEAST_DEBT: usize = 16 << 10;

/// How often mutators are asked for what they have noted, before the marking ends with what they have then.
const MOST_ROUNDS: u32 = 16;

/// What came of a step.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stepped {
    /// There may be more to do.
    More,
    /// No object is grey but what mutators have noted.
    Dry,
    /// Nothing could be taken: others have all of it, or a pause is in progress.
    Nothing,
    /// Nothing was owed.
    Paid,
}

/// The marking of one heap.
pub(crate) struct MarkingBeside<VM: VMBinding> {
    vm: Arc<VM>,
    plan: Arc<dyn Plan<VM>>,
    in_progress: AtomicBool,
    grey: GreyPackets,
    /// Which parts of large arrays are claimed.
    claims: ArrayClaims,
    weak: Arc<WeakTables>,
    /// The look through the tables that comes when no object is grey, if that pays.
    sift: SharedSift,
    /// The last one, when its marking has ended. It holds tables, so it goes when mutators run.
    sifted: Mutex<Option<Sift>>,
    soft_collections: u32,
    /// What the background thread has counted, and what threads that are gone had.
    counted: Mutex<Tally>,
    /// Objects of a step at most (a stress option).
    most: usize,
    /// How long a step of a mutator takes at most, but for what it has in hand.
    step: Duration,
    /// Bytes marked in this cycle by steps that have ended.
    marked: AtomicUsize,
    /// What the background thread has marked pays for what mutators owe.
    credits: Credits,
    /// Processor time in ns: of all cycles, and of this one; of mutators that helped in this one.
    cpu_ns: AtomicU64,
    recent_cpu_ns: AtomicU64,
    helped_cpu_ns: AtomicU64,
    /// Calls of barriers in this one, as far as threads have left their counts.
    barrier_calls: AtomicU64,
    /// How often mutators were asked for what they have noted.
    rounds: AtomicU32,
    /// How hard to work.
    efforts: Efforts,
    /// How long the background thread has rested in this cycle, in ns.
    rested_ns: AtomicU64,
    /// The one in progress, or the last. Written in pauses.
    begun: Mutex<Begun>,
}

/// A marking that has begun.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Begun {
    /// Why.
    pub cause: Cause,
    /// When, in ns since heap creation.
    pub at_ns: u64,
    /// Bytes allocated before that since the last full collection.
    pub allocated: usize,
}

impl<VM: VMBinding> MarkingBeside<VM> {
    /// None is in progress.
    pub fn new(
        vm: Arc<VM>,
        plan: Arc<dyn Plan<VM>>,
        claims: ArrayClaims,
        weak: Arc<WeakTables>,
        options: &Options,
    ) -> Self {
        let most = options.stress_step_objects;
        MarkingBeside {
            vm,
            plan,
            in_progress: AtomicBool::new(false),
            grey: GreyPackets::new_in(Pages),
            claims,
            weak,
            sift: SharedSift::new_in(Pages),
            sifted: Mutex::new(None),
            soft_collections: options.soft_collections,
            counted: Mutex::new(Tally::with_blocks()),
            most: if most > 0 { most } else { usize::MAX },
            step: Duration::from_micros(options.gc_step_us),
            marked: AtomicUsize::new(0),
            credits: Credits::new(LEAST_DEBT as u64),
            cpu_ns: AtomicU64::new(0),
            recent_cpu_ns: AtomicU64::new(0),
            helped_cpu_ns: AtomicU64::new(0),
            barrier_calls: AtomicU64::new(0),
            rounds: AtomicU32::new(0),
            efforts: Efforts::new(),
            rested_ns: AtomicU64::new(0),
            begun: Mutex::new(Begun { cause: Cause::Growth, at_ns: 0, allocated: 0 }),
        }
    }

    /// Whether one is in progress. A mutator that runs, or a leader (I2); for others it may change at once.
    #[inline(always)]
    pub fn is_in_progress(&self) -> bool {
        self.in_progress.load(Relaxed)
    }

    /// Its grey objects.
    pub fn grey(&self) -> &GreyPackets {
        &self.grey
    }

    /// No step is under way from now on until [`MarkingBeside::open`]. The leader.
    pub fn close(&self) {
        self.grey.close();
        self.sift.close();
    }

    /// Others may take steps again. The leader.
    pub fn open(&self) {
        self.sift.open();
        self.grey.open();
    }

    /// One begins. The leader, when the plan has taken the snapshot.
    pub fn begin(&self, begun: Begun, arena: &Arena) {
        let mut sift = Sift::new(&self.weak, self.soft_collections, arena);
        if !sift.pays() && self.most == usize::MAX {
            sift.end();
        }
        self.sift.add(sift);
        *self.begun.lock() = begun;
        self.claims.begin();
        self.rounds.store(0, Relaxed);
        self.marked.store(0, Relaxed);
        self.credits.begin_cycle();
        self.in_progress.store(true, Relaxed);
    }

    /// What the pause that ends it gets. The leader.
    pub fn take<'a>(&'a self, logged: List<'a, ObjectReference>) -> OfMarking<'a> {
        let mut counted = Tally::default();
        counted.absorb(&mut self.counted.lock());
        // With what barriers have claimed.
        self.marked.store(counted.bytes, Relaxed);
        let mut sift = None;
        self.sift.drain(|taken| sift = Some(taken));
        sift.iter_mut().for_each(Sift::end);
        OfMarking { grey: &self.grey, claims: &self.claims, counted, logged, sift, entries: 0 }
    }

    /// It has ended. The leader.
    pub fn end(&self, of_pause: OfMarking<'_>) -> EndedMarking {
        self.in_progress.store(false, Relaxed);
        let entries_beside = of_pause.sift.as_ref().map_or(0, Sift::looked_at);
        *self.sifted.lock() = of_pause.sift;
        EndedMarking {
            entries_beside,
            entries_in_pause: of_pause.entries,
            begun: *self.begun.lock(),
            cpu_ns: self.recent_cpu_ns.swap(0, Relaxed),
            helped_cpu_ns: self.helped_cpu_ns.swap(0, Relaxed),
            bytes_beside: self.marked(),
            barrier_calls: self.barrier_calls.swap(0, Relaxed),
            ticks: self.efforts.ticks(),
            rested_ns: self.rested_ns.swap(0, Relaxed),
        }
    }

    /// What the last one has left to be dropped goes. When mutators run again: it may call `free`.
    pub fn forget(&self) {
        let sifted = self.sifted.lock().take();
        drop(sifted);
    }

    /// Mutators were asked once more for what they have noted. Whether that is enough: each round marks
    /// objects of the snapshot, of which there are fewer and fewer, but the end shall come soon.
    pub fn is_last_round(&self) -> bool {
        self.rounds.fetch_add(1, Relaxed) + 1 >= MOST_ROUNDS
    }

    /// Why it began.
    pub fn cause(&self) -> Cause {
        self.begun.lock().cause
    }

    /// Bytes marked in this cycle so far.
    pub fn marked(&self) -> usize {
        self.marked.load(Relaxed)
    }

    /// Processor time in ns that marking took outside pauses.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Relaxed)
    }

    /// Processor time of the marking in progress, in ns.
    pub fn recent_cpu_ns(&self) -> u64 {
        self.recent_cpu_ns.load(Relaxed)
    }

    /// How hard to work.
    pub fn efforts(&self) -> &Efforts {
        &self.efforts
    }

    /// The background thread has rested.
    pub fn rested(&self, ns: u64) {
        self.rested_ns.fetch_add(ns, Relaxed);
    }

    /// A step of the background thread. Returns its processor time in ns.
    pub fn step_beside(&self) -> (Stepped, u64) {
        let cycle = self.credits.cycle();
        let mut tally = self.counted.lock();
        let before = tally.bytes;
        let stepped = self.step(&mut tally, STEP_OBJECTS, None);
        let marked = tally.bytes - before;
        drop(tally);
        self.credits.earn(cycle, marked as u64);
        stepped
    }

    /// A step of at most `objects` objects, which ends at a time. Returns its processor time in ns.
    fn step(&self, tally: &mut Tally, objects: usize, until: Option<Instant>) -> (Stepped, u64) {
        let Some(packet) = self.grey.take() else {
            return if self.grey.is_dry() { self.sift_some(objects) } else { (Stepped::Nothing, 0) };
        };
        let (cpu_before, bytes_before) = (thread_cpu_ns(), tally.bytes);
        let objects = objects.min(self.most);
        let mut step = Step {
            vm: &*self.vm,
            grey: &self.grey,
            claims: &self.claims,
            stack: packet,
            tally: &mut *tally,
            left: objects,
            until,
        };
        let plan = self.plan.beside().expect("a marking is in progress");
        // Others would wait for ever for what this thread has taken.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| plan.mark(&mut step))) {
            abort("a thread that marks", &*panic);
        }
        let rest = step.stack;
        let cpu_ns = self.charge_since(cpu_before);
        self.marked.fetch_add(tally.bytes - bytes_before, Relaxed);
        match self.grey.give_back((!rest.is_empty()).then_some(rest)) && self.is_sifted() {
            true => (Stepped::Dry, cpu_ns),
            false => (Stepped::More, cpu_ns),
        }
    }

    /// Whether the sift is over, and no thread has it now.
    fn is_sifted(&self) -> bool {
        let Some(sift) = self.sift.take() else { return false };
        let is_over = sift.is_over();
        self.sift.give_back(Some(sift));
        is_over
    }

    /// No object is grey: a step of the sift that looks at `entries` entries at most. `Dry` if it is over.
    /// Returns its processor time in ns.
    fn sift_some(&self, entries: usize) -> (Stepped, u64) {
        let Some(sift) = self.sift.take() else { return (Stepped::Nothing, 0) };
        if sift.is_over() {
            self.sift.give_back(Some(sift));
            return (Stepped::Dry, 0);
        }
        let cpu_before = thread_cpu_ns();
        let mut step = SiftStep::new(sift, &self.weak, &self.grey, &self.sift, entries.min(self.most));
        let plan = self.plan.beside().expect("a marking is in progress");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| plan.sift(&mut step))) {
            abort("a thread that looks at weak references", &*panic);
        }
        let cpu_ns = self.charge_since(cpu_before);
        self.sift.give_back(Some(step.into_sift()));
        (Stepped::More, cpu_ns)
    }

    /// What a step took. Returns it in ns.
    fn charge_since(&self, cpu_before: u64) -> u64 {
        let cpu_ns = thread_cpu_ns() - cpu_before;
        self.cpu_ns.fetch_add(cpu_ns, Relaxed);
        self.recent_cpu_ns.fetch_add(cpu_ns, Relaxed);
        cpu_ns
    }

    /// A mutator that has allocated `bytes` more owes `ratio` bytes of marking for each, and marks what its
    /// credit and that of the background thread do not pay. Returns the processor time in ns.
    pub fn assist(&self, noted: &mut Noted, bytes: usize, ratio: f64, quantum: usize) -> (Stepped, u64) {
        noted.owes = noted.owes.saturating_add((bytes as f64 * ratio) as u64);
        if noted.owes < LEAST_DEBT as u64 {
            return (Stepped::Paid, 0);
        }
        noted.owes = self.credits.pay(&mut noted.credit, noted.owes);
        if noted.owes < LEAST_DEBT as u64 {
            return (Stepped::Paid, 0);
        }
        let (cycle, before) = (self.credits.cycle(), noted.tally.bytes);
        let (stepped, cpu_ns) = self.step_by(noted, quantum, None);
        let marked = (noted.tally.bytes - before) as u64;
        if marked > noted.owes {
            self.credits.surplus(&mut noted.credit, cycle, marked - noted.owes);
        }
        // Where nothing is left to be marked nothing is owed.
        noted.owes = if stepped == Stepped::More { noted.owes.saturating_sub(marked) } else { 0 };
        (stepped, cpu_ns)
    }

    /// A step of at most `quantum` objects by a mutator, which has time until then. Returns its processor
    /// time in ns.
    pub fn step_by(&self, noted: &mut Noted, quantum: usize, deadline: Option<Instant>) -> (Stepped, u64) {
        let until = Instant::now() + self.step;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let (stepped, cpu_ns) = self.step(&mut noted.tally, quantum, Some(until));
        self.helped_cpu_ns.fetch_add(cpu_ns, Relaxed);
        (stepped, cpu_ns)
    }

    /// What a mutator has noted goes to the threads that mark.
    pub fn hand_in(&self, noted: &mut Noted) {
        if !noted.grey.is_empty() {
            self.grey.add(std::mem::take(&mut noted.grey));
        }
    }

    /// The same of a thread that is gone, with what it has counted.
    pub fn keep(&self, noted: &mut Noted) {
        self.hand_in(noted);
        self.counted.lock().absorb(&mut noted.tally);
        self.credits.give_back(&mut noted.credit);
        self.barrier_calls.fetch_add(std::mem::take(&mut noted.barrier_calls), Relaxed);
        noted.owes = 0;
    }

    /// A mutator is about to change an object that is not known to be claimed in this epoch. Returns how many
    /// slots it had to read for that.
    pub fn visit(&self, me: &ThreadPart<VM>, object: ObjectReference, change: Change, epoch: u8) -> usize {
        let (leaves_parts, slots_read) = self.log(me, change, |plan, log| {
            plan.visit(object, log);
            (log.leaves_parts, log.slots_read)
        });
        // SAFETY: as in `log`.
        unsafe { ThreadPart::noted_of_stopped(me) }.barrier_calls += 1;
        if !leaves_parts {
            // A new object, which nobody claims: its stores come here once.
            me.states().claim_beside(object, epoch);
        }
        slots_read
    }

    /// A mutator has a reference to an object that came from nowhere.
    pub fn keep_object(&self, me: &ThreadPart<VM>, object: ObjectReference) {
        self.log(me, Change::No, |plan, log| plan.keep(object, log));
    }

    fn log<R>(&self, me: &ThreadPart<VM>, change: Change, f: impl FnOnce(&dyn Beside<VM>, &mut Log<'_, VM>) -> R) -> R {
        // SAFETY: the owner, which runs; the borrow ends with this function, and nothing in it is a
        // safepoint.
        let noted = unsafe { ThreadPart::noted_of_stopped(me) };
        let mut log = Log {
            vm: &*self.vm,
            grey: &self.grey,
            claims: &self.claims,
            change,
            stack: &mut noted.grey,
            tally: &mut noted.tally,
            leaves_parts: false,
            slots_read: 0,
        };
        let result = f(self.plan.beside().expect("a marking is in progress"), &mut log);
        debug_assert!(noted.grey.len() < PACKET);
        result
    }
}

/// What a marking took.
#[derive(Copy, Clone, Debug)]
pub(crate) struct EndedMarking {
    /// Its beginning.
    pub begun: Begun,
    /// Processor time in ns outside pauses.
    pub cpu_ns: u64,
    /// Of it, of mutators that helped.
    pub helped_cpu_ns: u64,
    /// Bytes that were marked outside pauses.
    pub bytes_beside: usize,
    /// Calls of the barrier's slow path.
    pub barrier_calls: u64,
    /// Ticks, and how long the background thread has rested, in ns.
    pub ticks: u64,
    pub rested_ns: u64,
    /// Entries of the tables of native references that were looked at outside pauses.
    pub entries_beside: usize,
    /// The same in the pause that ended it.
    pub entries_in_pause: usize,
}
