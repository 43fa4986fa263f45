//! What can happen to a heap, as plain data.
//!
//! As JSON an event is one flat object whose `event` field names the variant in snake case.

use std::fmt;

use serde::Serialize;

use super::paced::Paced;

/// Something that happened to one heap.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
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
    /// The heap is gone. Always the last event; files are closed now.
    HeapDropped,
}

/// What a thread of the heap may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The leader of a pause: until all mutators have stopped.
    Mutators,
    /// A thread that wants to lead a pause, or a mutator that a pause holds up, or the heap's timer: until
    /// the pause of another leader is over. One thread reports a pause.
    Leader,
    /// The leader of a pause: until its helpers have ended their part of a step.
    Workers,
    /// A thread that forks: until the thread that looks after the idle heap has ended.
    Timer,
}

/// A mutator that has not stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PauseReport {
    /// Counts the pauses of this heap.
    pub sequence: u64,
    /// What asked for it.
    pub cause: Cause,
    /// Whether only new objects could be freed.
    pub kind: CollectionKind,
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
    /// Bytes held by the spaces at the end.
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
}

impl PauseReport {
    /// When the mutators were resumed, in ns since heap creation.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

/// A step of a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Name, such as `roots` or `trace`.
    pub name: &'static str,
    /// When it began, in ns since heap creation.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
}

/// One space at the end of a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpaceReport {
    /// Name of the space, unique within its plan.
    pub name: &'static str,
    /// Bytes the space holds.
    pub reserved_bytes: usize,
    /// Bytes found reachable in it.
    pub live_bytes: usize,
}

/// What a collection can free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectionKind {
    /// Objects allocated since the last collection; all others are taken for live.
    Minor,
    /// Every object.
    Full,
}

/// What asked for a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
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

    /// The name used in JSON.
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

#[cfg(test)]
pub(super) mod samples {
    use super::*;
    use pacer::{CycleSample, PacerConfig, PacerPolicy, Policy, PolicyName};

    /// The pause of 2 ms that begins at `sequence` * 10 ms.
    pub fn pause(sequence: u64) -> PauseReport {
        let start_ns = sequence * 10_000_000;
        PauseReport {
            sequence,
            cause: Cause::HeapFull,
            kind: CollectionKind::Full,
            start_ns,
            time_to_safepoint_ns: 100_000,
            duration_ns: 2_000_000,
            cpu_ns: 3_000_000,
            worker_cpu_ns: vec![2_000_000, 1_000_000],
            phases: vec![
                Phase { name: "roots", start_ns: start_ns + 100_000, duration_ns: 400_000 },
                Phase { name: "trace", start_ns: start_ns + 500_000, duration_ns: 1_500_000 },
            ],
            reserved_before_bytes: 64 << 20,
            reserved_after_bytes: 24 << 20,
            live_bytes: 20 << 20,
            goal_bytes: 64 << 20,
            resident_bytes: 64 << 20,
            limit_bytes: 64 << 20,
            allocated_bytes: 40 << 20,
            spaces: vec![SpaceReport { name: "immix", reserved_bytes: 24 << 20, live_bytes: 20 << 20 }],
            defrag: false,
            emergency: false,
        }
    }

    /// The decision after that pause.
    pub fn paced(sequence: u64) -> Paced {
        let config = PacerConfig { concurrent: false, hard_limit: 67108864.0, ..PacerConfig::default() }.sane();
        let sample = CycleSample {
            traced: 20.0 * 1048576.0,
            retained: 24.0 * 1048576.0,
            external: 0.0,
            peak: 64.0 * 1048576.0,
            marking_ns: 2e6,
            gc_cpu_ns: 3e6,
            assist_cpu_ns: 0.0,
            black: 0.0,
            mutator_cpu_ns: 8e6,
            allocated: 40.0 * 1048576.0,
            recycled: 4.0 * 1048576.0,
            handshake_ns: 1e5,
            final_pause_ns: 2e6,
            forced: false,
        };
        let mut policy = Policy::new(PolicyName::Adaptive, config, 0.0);
        policy.cycle_ended(&sample);
        let end_ns = sequence * 10_000_000 + 2_000_000;
        let decision = policy.decide();
        Paced { sequence, end_ns, policy: policy.name().to_owned(), config, sample, decision, gave_up: false }
    }

    /// The life of a heap with some pauses.
    pub fn life(pauses: u64) -> Vec<Event> {
        let mut events = vec![Event::HeapCreated { plan: "Immix", limit_bytes: 64 << 20, workers: 2 }];
        events.extend((1..=pauses).map(|n| Event::Pause(Box::new(pause(n)))));
        events.push(Event::OutOfMemory { requested_bytes: 1 << 20, reserved_bytes: 64 << 20, limit_bytes: 64 << 20 });
        events.push(Event::HeapDropped);
        events
    }

    /// A file in memory that a test can read after giving it away; writes fail beyond `capacity` bytes.
    #[derive(Clone)]
    pub struct Pipe {
        written: std::sync::Arc<protocols::sync::Mutex<Vec<u8>>>,
        capacity: usize,
    }

    impl Pipe {
        pub fn new(capacity: usize) -> Self {
            Self { written: Default::default(), capacity }
        }
        pub fn text(&self) -> String {
            String::from_utf8(self.written.lock().clone()).unwrap()
        }
    }

    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut written = self.written.lock();
            if written.len() + bytes.len() > self.capacity {
                return Err(std::io::Error::other("pipe is full"));
            }
            written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_flat_object_that_names_itself() {
        let json = serde_json::to_value(Event::Pause(Box::new(samples::pause(3)))).unwrap();
        assert_eq!(json["event"], "pause");
        assert_eq!(json["sequence"], 3);
        assert_eq!(json["phases"][1]["name"], "trace");
        assert_eq!(serde_json::to_value(Event::HeapDropped).unwrap()["event"], "heap_dropped");
    }

    #[test]
    fn each_cause_has_the_same_name_in_json_and_text() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.to_string());
        }
    }
}
