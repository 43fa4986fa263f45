//! The marking beside mutators of one heap: whether one is in progress, its grey objects, and what it took.
//!
//! ```text
//!   idle --a pause takes the snapshot--> in progress --a pause ends it--> idle
//! ```
//! While it is in progress the background thread takes steps, and mutators that allocate faster than it marks
//! help. What a mutator has noted is grey too, and nobody else sees it: it hands that in when it allocates,
//! and when the background thread asks for it, in a handshake. When no object is grey after that, the
//! background thread leads the pause that ends the marking. When memory runs out before, the pause that would
//! collect ends it, with all that is left to be done.
//!
//! I1. It begins and ends in pauses. In every pause the packets are closed: no step is under way.
//! I2. A mutator that runs has the phase that it had when it was last stopped.
//! Callers: leaders begin and end; `step_beside` the background thread; `help` mutators that run.

use crate::address::ObjectReference;
use crate::alloc::{Noted, ThreadPart};
use crate::binding::VMBinding;
use crate::events::Cause;
use crate::memory::List;
use crate::metadata::Tally;
use crate::os::{Pages, thread_cpu_ns};
use crate::pause::OfMarking;
use crate::plan::{Beside, Log, Plan, Step};
use crate::trace::{GreyPackets, PACKET};
use crate::workers::abort;
use protocols::sync::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Objects of a step of the background thread, between two looks at what else it is asked.
const STEP_OBJECTS: usize = 16 << 10;

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
    /// What the background thread has counted, and what threads that are gone had.
    counted: Mutex<Tally>,
    /// Objects of a step at most (a stress option).
    most: usize,
    /// Bytes marked in this cycle, as far as steps have said.
    marked: AtomicUsize,
    /// Bytes that the background thread has marked ahead of what mutators owe.
    credit: AtomicI64,
    /// Processor time in ns: of all cycles, and of this one; of mutators that helped in this one.
    cpu_ns: AtomicU64,
    recent_cpu_ns: AtomicU64,
    helped_cpu_ns: AtomicU64,
    /// How often mutators were asked for what they have noted.
    rounds: AtomicU32,
    /// Why this one began.
    cause: Mutex<Cause>,
    /// When this one began: ns since heap creation.
    began_ns: AtomicU64,
    /// Bytes allocated since the last full collection, when this one began.
    allocated_before: AtomicUsize,
}

impl<VM: VMBinding> MarkingBeside<VM> {
    /// None is in progress. Steps follow at most `most` objects, if that is not 0.
    pub fn new(vm: Arc<VM>, plan: Arc<dyn Plan<VM>>, most: usize) -> Self {
        MarkingBeside {
            vm,
            plan,
            in_progress: AtomicBool::new(false),
            grey: GreyPackets::new_in(Pages),
            counted: Mutex::new(Tally::with_blocks()),
            most: if most > 0 { most } else { usize::MAX },
            marked: AtomicUsize::new(0),
            credit: AtomicI64::new(0),
            cpu_ns: AtomicU64::new(0),
            recent_cpu_ns: AtomicU64::new(0),
            helped_cpu_ns: AtomicU64::new(0),
            rounds: AtomicU32::new(0),
            cause: Mutex::new(Cause::Growth),
            began_ns: AtomicU64::new(0),
            allocated_before: AtomicUsize::new(0),
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

    /// One begins. The leader, when the plan has taken the snapshot.
    pub fn begin(&self, cause: Cause, began_ns: u64, allocated: usize) {
        *self.cause.lock() = cause;
        self.rounds.store(0, Relaxed);
        self.marked.store(0, Relaxed);
        self.credit.store(0, Relaxed);
        self.began_ns.store(began_ns, Relaxed);
        self.allocated_before.store(allocated, Relaxed);
        self.in_progress.store(true, Relaxed);
    }

    /// What the pause that ends it gets. The leader.
    pub fn take<'a>(&'a self, logged: List<'a, ObjectReference>) -> OfMarking<'a> {
        let mut counted = Tally::default();
        counted.absorb(&mut self.counted.lock());
        self.marked.store(counted.bytes, Relaxed);
        OfMarking { grey: &self.grey, counted, logged }
    }

    /// It has ended. The leader.
    pub fn end(&self) -> EndedMarking {
        self.in_progress.store(false, Relaxed);
        EndedMarking {
            began_ns: self.began_ns.load(Relaxed),
            allocated_before: self.allocated_before.load(Relaxed),
            cpu_ns: self.recent_cpu_ns.swap(0, Relaxed),
            helped_cpu_ns: self.helped_cpu_ns.swap(0, Relaxed),
            bytes_beside: self.marked(),
        }
    }

    /// Mutators were asked once more for what they have noted. Whether that is enough: each round marks
    /// objects of the snapshot, of which there are fewer and fewer, but the end shall come soon.
    pub fn is_last_round(&self) -> bool {
        self.rounds.fetch_add(1, Relaxed) + 1 >= MOST_ROUNDS
    }

    /// Why it began.
    pub fn cause(&self) -> Cause {
        *self.cause.lock()
    }

    /// Bytes marked in this cycle so far.
    pub fn marked(&self) -> usize {
        self.marked.load(Relaxed)
    }

    /// Processor time in ns that marking took outside pauses.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns.load(Relaxed)
    }

    /// A step of the background thread.
    pub fn step_beside(&self) -> Stepped {
        let mut tally = self.counted.lock();
        let before = tally.bytes;
        let stepped = self.step(&mut tally, STEP_OBJECTS);
        let marked = tally.bytes - before;
        drop(tally);
        self.credit.fetch_add(marked as i64, Relaxed);
        stepped
    }

    fn step(&self, tally: &mut Tally, objects: usize) -> Stepped {
        let Some(packet) = self.grey.take() else {
            return if self.grey.is_dry() { Stepped::Dry } else { Stepped::Nothing };
        };
        let (cpu_before, bytes_before) = (thread_cpu_ns(), tally.bytes);
        let objects = objects.min(self.most);
        let mut step = Step { vm: &*self.vm, grey: &self.grey, stack: packet, tally: &mut *tally, left: objects };
        let plan = self.plan.beside().expect("a marking is in progress");
        // Others would wait for ever for what this thread has taken.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| plan.mark(&mut step))) {
            abort("a thread that marks", &*panic);
        }
        let rest = step.stack;
        let cpu_ns = thread_cpu_ns() - cpu_before;
        self.cpu_ns.fetch_add(cpu_ns, Relaxed);
        self.recent_cpu_ns.fetch_add(cpu_ns, Relaxed);
        self.marked.fetch_add(tally.bytes - bytes_before, Relaxed);
        match self.grey.give_back((!rest.is_empty()).then_some(rest)) {
            true => Stepped::Dry,
            false => Stepped::More,
        }
    }

    /// A mutator that has allocated `bytes` more helps to mark, `ratio` bytes for each, as far as the
    /// background thread has not done it. Returns the processor time in ns.
    pub fn help(&self, noted: &mut Noted, bytes: usize, ratio: f64, quantum: usize) -> (Stepped, u64) {
        noted.owes = noted.owes.saturating_add((bytes as f64 * ratio) as usize);
        if noted.owes < LEAST_DEBT {
            return (Stepped::Paid, 0);
        }
        let take = |credit: i64| (credit > 0).then(|| credit - credit.min(noted.owes as i64));
        if let Ok(before) = self.credit.fetch_update(Relaxed, Relaxed, take) {
            noted.owes -= before.min(noted.owes as i64) as usize;
            if noted.owes < LEAST_DEBT {
                return (Stepped::Paid, 0);
            }
        }
        let before = noted.tally.bytes;
        let (stepped, cpu_ns) = self.step_by(noted, quantum);
        noted.owes = noted.owes.saturating_sub(noted.tally.bytes - before);
        if stepped != Stepped::More {
            noted.owes = 0;
        }
        (stepped, cpu_ns)
    }

    /// A step of at most `quantum` objects by a mutator. Returns its processor time in ns.
    pub fn step_by(&self, noted: &mut Noted, quantum: usize) -> (Stepped, u64) {
        let cpu_before = thread_cpu_ns();
        let stepped = self.step(&mut noted.tally, quantum);
        let cpu_ns = thread_cpu_ns() - cpu_before;
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
        noted.owes = 0;
    }

    /// A mutator is about to store into an object that is not known to be claimed in this epoch.
    pub fn visit(&self, me: &ThreadPart<VM>, object: ObjectReference, epoch: u8) {
        self.log(me, |plan, log| plan.visit(object, log));
        // A new object, which nobody claims: its stores come here once.
        me.states().claim_beside(object, epoch);
    }

    /// A mutator has a reference to an object that came from nowhere.
    pub fn keep_object(&self, me: &ThreadPart<VM>, object: ObjectReference) {
        self.log(me, |plan, log| plan.keep(object, log));
    }

    fn log(&self, me: &ThreadPart<VM>, f: impl FnOnce(&dyn Beside<VM>, &mut Log<'_, VM>)) {
        // SAFETY: the owner, which runs; the borrow ends with this function, and nothing in it is a
        // safepoint.
        let noted = unsafe { ThreadPart::noted_of_stopped(me) };
        let mut log = Log { vm: &*self.vm, grey: &self.grey, stack: &mut noted.grey, tally: &mut noted.tally };
        f(self.plan.beside().expect("a marking is in progress"), &mut log);
        debug_assert!(noted.grey.len() < PACKET);
    }
}

/// Less than this, in bytes, is not worth a step of a mutator.
const LEAST_DEBT: usize = 16 << 10;

/// What a marking took.
#[derive(Copy, Clone, Debug)]
pub(crate) struct EndedMarking {
    /// When it began, in ns since heap creation.
    pub began_ns: u64,
    /// Bytes allocated before that since the last full collection.
    pub allocated_before: usize,
    /// Processor time in ns outside pauses.
    pub cpu_ns: u64,
    /// Of it, of mutators that helped.
    pub helped_cpu_ns: u64,
    /// Bytes that were marked outside pauses.
    pub bytes_beside: usize,
}
