//! Events and files that the tests here share.

use mmtk_core::events::{
    BackgroundWork, Cause, CollectionKind, Event, HeldUp, MarkingReport, Paced, PauseReport, PauseStep, Phase,
    SpaceReport, Ticked, WorkedBeside,
};
use pacer::{CycleSample, PacerConfig, PacerPolicy, Policy, PolicyName, Tick};
use parking_lot::Mutex;
use std::sync::Arc;

/// The pause of 2 ms that begins at `sequence` * 10 ms.
pub fn pause(sequence: u64) -> PauseReport {
    let start_ns = sequence * 10_000_000;
    PauseReport {
        sequence,
        cause: Cause::HeapFull,
        kind: CollectionKind::Full,
        step: PauseStep::Whole,
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
        marking: None,
    }
}

/// A thread that marks for its allocation.
pub fn held_up(thread: u32, start_ns: u64, duration_ns: u64) -> HeldUp {
    HeldUp { thread, start_ns, duration_ns, assist_ns: duration_ns, ..HeldUp::default() }
}

/// Four steps of a background thread.
pub fn worked(work: BackgroundWork, start_ns: u64, duration_ns: u64) -> WorkedBeside {
    WorkedBeside { work, start_ns, duration_ns, steps: 4 }
}

/// The two pauses of a collection that marks from 10 ms to 22 ms.
pub fn beside() -> [PauseReport; 2] {
    let begin = PauseReport { step: PauseStep::Begin, ..pause(1) };
    let marking = MarkingReport {
        duration_ns: 12_000_000,
        cpu_ns: 9_000_000,
        helped_cpu_ns: 1_000_000,
        bytes_beside: 18 << 20,
        allocated_bytes: 4 << 20,
        entries_beside: 0,
        entries_in_pause: 0,
        barrier_calls: 3,
        ticks: 31,
        rested_ns: 0,
    };
    let end = PauseReport { sequence: 1, step: PauseStep::End, marking: Some(marking), ..pause(2) };
    [begin, end]
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
    Paced { sequence, end_ns, policy: policy.name().into(), config, sample, decision, gave_up: false }
}

/// A tick of the marking that ends in that pause.
pub fn ticked(sequence: u64) -> Ticked {
    let config = PacerConfig { concurrent: true, ..PacerConfig::default() }.sane();
    let mut policy = Policy::new(PolicyName::Adaptive, config, 1e8);
    policy.marking_begins(1.5e8);
    let tick = Tick { reserved: 1.6e8, marked: 1e7, allocation_rate: 1.0 / 3.0, scan_rate: 2.0 };
    let (at_ns, policy_name) = (sequence * 10_000_000 - 1, policy.name().into());
    let effort = policy.tick(&tick);
    Ticked { sequence, at_ns, policy: policy_name, config, begins: Some(1.5e8), released: 0.0, tick, effort }
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
    written: Arc<Mutex<Vec<u8>>>,
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
