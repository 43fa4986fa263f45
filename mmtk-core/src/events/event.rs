//! What can happen to a heap, as plain data. The crate `reports` writes it to files.

use std::fmt;

use super::held_up::{HeldUp, WorkedBeside};
use super::paced::{Paced, Ticked};

/// Something that happened to one heap.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The heap exists; its clock starts at 0. Always the first event.
    HeapCreated {
        /// Name of the plan.
        plan: &'static str,
        /// Most bytes the heap may hold.
        limit_bytes: usize,
        /// GC workers.
        workers: usize,
    },
    /// A pause is over and the mutators run again.
    Pause(Box<PauseReport>),
    /// A full collection is over, and the pacer has decided when the next is due. Follows the pause's event.
    Paced(Box<Paced>),
    /// While the heap was marked beside mutators, the pacer has decided how hard to work. Told when the
    /// marking has ended: the ticks in order, then [`Event::Paced`].
    Ticked(Box<Ticked>),
    /// A request could not be met even by an emergency collection. The VM decides what follows.
    OutOfMemory {
        /// Size of the request.
        requested_bytes: usize,
        /// Bytes held by the spaces at that time.
        reserved_bytes: usize,
        /// Most bytes the heap may hold.
        limit_bytes: usize,
    },
    /// A thread has waited for others for `safepoint.warn_ms`, and waits on. Comes again each time that has
    /// doubled.
    Waiting {
        /// What it waits for.
        wait: Wait,
        /// When, in ns since heap creation.
        at_ns: u64,
        /// How long it has waited.
        waited_ns: u64,
        /// The mutators that have not stopped, or the helpers that are at work, if it waits for those.
        threads: Vec<LateThread>,
    },
    /// A mutator was held up. Told before the next event, or when a thread detaches and no other tells
    /// anything then: a thread that has just waited does not wait for listeners too.
    HeldUp(HeldUp),
    /// The heap's background thread has worked beside mutators. Told late, as [`Event::HeldUp`].
    WorkedBeside(WorkedBeside),
    /// The heap is gone. Always the last event; files are closed now.
    HeapDropped,
}

impl Event {
    /// What happened, as reports call it: the variant in snake case.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HeapCreated { .. } => "heap_created",
            Self::Pause(_) => "pause",
            Self::Paced(_) => "paced",
            Self::Ticked(_) => "ticked",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Waiting { .. } => "waiting",
            Self::HeldUp(_) => "held_up",
            Self::WorkedBeside(_) => "worked_beside",
            Self::HeapDropped => "heap_dropped",
        }
    }
}

/// What a thread of the heap may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The leader of a pause: until all mutators have stopped.
    Mutators,
    /// A thread that wants to lead a pause, or a mutator that a pause holds up, or the heap's timer: until
    /// the pause of another leader is over. One thread reports a pause.
    Leader,
    /// The leader of a pause: until its helpers have ended their part of a step.
    Workers,
    /// A thread that forks: until the heap's own threads, the one that looks after the idle heap and the one
    /// that works beside mutators, have ended.
    Timer,
}

impl Wait {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutators => "mutators",
            Self::Leader => "leader",
            Self::Workers => "workers",
            Self::Timer => "timer",
        }
    }
}

/// A mutator that has not stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateThread {
    /// The name that the thread had when it attached, if any.
    pub name: Option<String>,
    /// The system's number of the thread, as debuggers and `ps -T` show it.
    pub id: u32,
    /// Whether the thread is gone: it ended without dropping its mutator.
    pub ended: bool,
}

impl fmt::Display for LateThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " ({name:?})")?;
        }
        f.write_str(if self.ended { ", which has ended without dropping its mutator" } else { "" })
    }
}

/// One pause: when, why, how long, and what the heap looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseReport {
    /// Counts the collections of this heap. The two pauses of one that marks beside mutators have the same
    /// number.
    pub sequence: u64,
    /// What asked for it.
    pub cause: Cause,
    /// Whether only new objects could be freed.
    pub kind: CollectionKind,
    /// Which part of the collection was made in this pause.
    pub step: PauseStep,
    /// When it was requested, in ns since heap creation.
    pub start_ns: u64,
    /// From the request until the last mutator stopped.
    pub time_to_safepoint_ns: u64,
    /// From the request until the mutators were resumed.
    pub duration_ns: u64,
    /// CPU time of all GC work, over all threads.
    pub cpu_ns: u64,
    /// CPU time of each worker.
    pub worker_cpu_ns: Vec<u64>,
    /// The steps of the pause, in order, each within the pause.
    pub phases: Vec<Phase>,
    /// Bytes held by the spaces when the mutators had stopped.
    pub reserved_before_bytes: usize,
    /// Bytes held by the spaces at the end, or when all is swept, if the sweep is left for when mutators run.
    pub reserved_after_bytes: usize,
    /// Bytes found reachable.
    pub live_bytes: usize,
    /// Bytes held by the spaces at which the next full collection is due.
    pub goal_bytes: usize,
    /// Bytes of memory that were touched and not given back, at the end.
    pub resident_bytes: usize,
    /// Most bytes the heap may hold.
    pub limit_bytes: usize,
    /// Bytes allocated since the previous pause.
    pub allocated_bytes: usize,
    /// The same per space.
    pub spaces: Vec<SpaceReport>,
    /// Whether sparse blocks were evacuated.
    pub defrag: bool,
    /// Whether this was the last attempt before out of memory.
    pub emergency: bool,
    /// Of a pause that ended a marking beside mutators: what that took.
    pub marking: Option<MarkingReport>,
}

/// A marking beside mutators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkingReport {
    /// From the request of the pause that began it to the end of the one that ended it.
    pub duration_ns: u64,
    /// Processor time outside pauses, over all threads.
    pub cpu_ns: u64,
    /// Of it, of mutators that helped because they allocated.
    pub helped_cpu_ns: u64,
    /// Bytes that were marked outside pauses.
    pub bytes_beside: usize,
    /// Entries of the tables of native references, finalizers included, that were looked at outside pauses:
    /// those of which the marking had reached everything are of no concern to the pause.
    pub entries_beside: usize,
    /// The same in the pause that ended it. Each counts as often as it was looked at.
    pub entries_in_pause: usize,
    /// Bytes allocated meanwhile: they live until the next collection.
    pub allocated_bytes: usize,
    /// Stores before which a mutator had to read the object: calls of the barrier's slow path.
    pub barrier_calls: u64,
    /// How often the pacer was asked how hard to work.
    pub ticks: u64,
    /// How long the background thread rested, so as not to take more than its share, in ns.
    pub rested_ns: u64,
}

impl PauseReport {
    /// When the mutators were resumed, in ns since heap creation.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

/// A step of a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Name, such as `roots` or `trace`.
    pub name: &'static str,
    /// When it began, in ns since heap creation.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
}

/// One space at the end of a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceReport {
    /// Name of the space, unique within its plan.
    pub name: &'static str,
    /// Bytes the space holds, or will hold when all is swept.
    pub reserved_bytes: usize,
    /// Bytes found reachable in it.
    pub live_bytes: usize,
}

/// What a collection can free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionKind {
    /// Objects allocated since the last collection; all others are taken for live.
    Minor,
    /// Every object.
    Full,
}

impl CollectionKind {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Full => "full",
        }
    }
}

/// Which part of a collection a pause makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseStep {
    /// All of it.
    Whole,
    /// It begins: roots are copied, and objects are marked when mutators run again. Nothing is freed.
    Begin,
    /// The marking ends.
    End,
}

impl PauseStep {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Begin => "begin",
            Self::End => "end",
        }
    }
}

/// What asked for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The limit was reached.
    HeapFull,
    /// The VM or its program asked.
    Requested,
    /// A stress option asked.
    Stress,
    /// The previous pause freed too little: the last attempt before out of memory.
    Emergency,
    /// The heap outgrew what was live by the headroom.
    Growth,
    /// The nursery was used up.
    Nursery,
    /// The program allocated, and then went quiet.
    Idle,
}

impl Cause {
    /// Each cause once, in the order of declaration.
    pub const ALL: [Self; 7] =
        [Self::HeapFull, Self::Requested, Self::Stress, Self::Emergency, Self::Growth, Self::Nursery, Self::Idle];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeapFull => "heap_full",
            Self::Requested => "requested",
            Self::Stress => "stress",
            Self::Emergency => "emergency",
            Self::Growth => "growth",
            Self::Nursery => "nursery",
            Self::Idle => "idle",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
