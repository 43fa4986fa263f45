//! The pacer on real heaps: modes, changes while the program runs, memory outside the heap, and memory that
//! goes back to the system.

use mmtk_core::Heap;
use mmtk_core::events::{Cause, Event, Paced};
use mmtk_core::options::{HeapMode, PolicyName};
use pacer::{Cause as PacerCause, PacerPolicy, Policy};
use plan_tests::{TestVM as _, Watchdog, collecting_plans, dense_plans, marks_beside, options};
use policies::new_heap;
use reference::{Ref, ReferenceVM, Thread, ThreadHandle};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use workloads::heap::Mutator as _;

const MIB: usize = 1 << 20;

fn heap(plan: &str, limit: usize, settings: &[(&str, &str)]) -> (Heap<ReferenceVM>, Arc<Mutex<Vec<Paced>>>) {
    let heap = new_heap(ReferenceVM::new(), options(plan, limit, settings)).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let heard = log.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Paced(paced) = event {
            heard.lock().unwrap().push((**paced).clone());
        }
    }));
    (heap, log)
}

/// A list of `bytes` in all, as the root `root`, which exists.
fn list(m: ThreadHandle<ReferenceVM>, root: usize, bytes: usize) {
    m.set(root, Ref::NULL);
    for _ in 0..bytes / 64 {
        // A header, a reference, 48 bytes.
        let node = m.alloc(1, 48);
        m.write_ref(node, 0, m.get(root));
        m.set(root, node);
    }
}

fn churn(m: ThreadHandle<ReferenceVM>, bytes: usize) {
    (0..bytes / 64).for_each(|_| _ = m.alloc(1, 48));
}

#[test]
fn every_mode_keeps_its_goal_on_every_plan() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        for mode in HeapMode::ALL {
            let settings = [("heap.mode", mode.name()), ("gc.workers", "1"), ("nursery.max_bytes", "4M")];
            let (heap, log) = heap(plan, 64 * MIB, &settings);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let root = m.push(Ref::NULL);
            list(m, root, 6 * MIB);
            // A pacer counts bytes, and fewer objects take less time.
            (0..150 * MIB / 256).for_each(|_| _ = m.alloc(1, 240));
            m.mutator().collect();
            let log = log.lock().unwrap();
            let sized = !matches!(mode, HeapMode::Fixed | HeapMode::Delegated);
            assert!(!sized || log.len() > 1, "{plan}, {mode}: collected {} times", log.len());
            for pair in log.windows(2).filter(|_| sized) {
                let (decision, next) = (pair[0].decision, &pair[1].sample);
                // A copying plan reserves as much again when it collects.
                assert!(next.peak <= decision.goal * 1.02 + MIB as f64, "{plan}, {mode}: {decision:?} {next:?}");
            }
            let last = log.last().unwrap();
            assert_eq!(last.config.mode, *mode);
            assert!(last.decision.goal <= (64 * MIB) as f64);
        }
    }
}

#[test]
fn a_heap_whose_objects_die_here_and_there_is_not_larger_after_each_collection() {
    let _watchdog = Watchdog::new();
    for (plan, beside) in [("MarkSweep", "auto"), ("MarkSweep", "always"), ("Immix", "auto"), ("Immix", "always")] {
        // Nothing is evacuated while there is memory.
        let settings = [
            ("heap.mode", "proportional"),
            ("gc.workers", "1"),
            ("heap.headroom_percent", "50"),
            ("gc.sweep_beside", beside),
        ];
        let (heap, log) = heap(plan, 256 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let records = 60_000;
        let table = m.alloc(records, 0);
        let table = m.push(table);
        let mut seed = 1usize;
        for _ in 0..40 * records {
            let record = m.alloc(1, 48);
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            m.write_ref(m.get(table), (seed >> 33) % records, record);
        }
        let log = log.lock().unwrap();
        assert!(log.len() > 30, "{plan}: collected {} times", log.len());
        let settled = &log[log.len() / 2..];
        for paced in settled {
            let sample = &paced.sample;
            let asked = 0.5 * sample.traced;
            assert!(sample.peak < 2.0 * sample.traced, "{plan}: {sample:?}");
            assert!(
                (0.5..1.5).contains(&(sample.allocated / asked)),
                "{plan}: {asked} bytes were asked for, {sample:?}"
            );
        }
    }
}

#[test]
fn a_large_object_does_not_carry_the_heap_past_its_goal() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        let settings = [("heap.mode", "proportional"), ("gc.workers", "1"), ("heap.min", "8M")];
        let (heap, log) = heap(plan, 128 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 12 * MIB);
        for _ in 0..40 {
            churn(m, MIB);
            m.alloc(0, 3 * MIB);
        }
        let log = log.lock().unwrap();
        for pair in log.windows(2).filter(|pair| !pair[1].sample.forced) {
            let (goal, peak) = (pair[0].decision.goal, pair[1].sample.peak);
            // Smaller than what was asked for is the room while the list is short.
            assert!(peak <= goal * 1.02 || pair[0].sample.traced < 4e6, "{plan}: peak {peak}, goal {goal}");
        }
    }
}

#[test]
fn a_minor_collection_that_leaves_no_room_below_the_goal_is_followed_by_a_full_one() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        let settings = [("heap.mode", "proportional"), ("gc.workers", "1"), ("nursery.bytes", "1M")];
        let (heap, log) = heap(plan, 128 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 12 * MIB);
        m.mutator().collect();
        // Each is more than a nursery, and stays.
        for _ in 0..10 {
            let large = m.alloc(1, 2 * MIB);
            m.init_ref(large, 0, m.get(root));
            m.set(root, large);
        }
        let log = log.lock().unwrap();
        let mut cycles =
            log.windows(2).filter(|pair| !pair[1].sample.forced && pair[0].sample.traced > 10e6).peekable();
        assert!(cycles.peek().is_some(), "{plan}: no full collection");
        for pair in cycles {
            assert!(pair[1].sample.peak <= pair[0].decision.goal * 1.02, "{plan}: {pair:?}");
        }
    }
}

#[test]
fn a_request_beyond_the_goal_collects_once_and_not_at_all_if_nothing_could_be_freed() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        let settings = [("heap.mode", "proportional"), ("gc.workers", "1"), ("heap.min", "1M")];
        let (heap, _) = heap(plan, 64 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for before in 0..3 {
            m.alloc(0, 4 * MIB);
            assert_eq!(heap.statistics().full_collections, before, "{plan}");
        }
    }
}

#[test]
fn decisions_on_real_heaps_replay_to_the_same_bits() {
    let _watchdog = Watchdog::new();
    for &name in PolicyName::ALL {
        let settings = [("heap.mode", "cpu-target"), ("pacer.policy", name.name()), ("gc.workers", "1")];
        let (heap, log) = heap("Immix", 64 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        for round in 1..6 {
            list(m, root, round * MIB);
            churn(m, 20 * MIB);
        }
        let log = log.lock().unwrap();
        assert!(log.len() > 2, "{name}");
        let mut policy = Policy::new(name, log[0].config, 0.0);
        for paced in log.iter() {
            policy.cycle_ended(&paced.sample);
            let again = policy.decide();
            let bits = |d: &pacer::Decision| [d.goal, d.trigger, d.share, d.trim].map(f64::to_bits);
            assert_eq!(bits(&again), bits(&paced.decision), "{name}");
        }
    }
}

#[test]
fn the_collectors_share_follows_its_target_where_it_can() {
    let _watchdog = Watchdog::new();
    // Goals alone: what the share of a cycle comes to depends on the machine.
    let goal_for = |target: &str| {
        let settings = [("heap.mode", "cpu-target"), ("heap.gc_cpu_target", target), ("gc.workers", "1")];
        let (heap, log) = heap("MarkSweep", 512 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 8 * MIB);
        churn(m, 600 * MIB);
        let log = log.lock().unwrap();
        let late = &log[log.len() / 2..];
        late.iter().map(|paced| paced.decision.goal).sum::<f64>() / late.len() as f64
    };
    let (dear, cheap) = (goal_for("0.5"), goal_for("0.02"));
    assert!(cheap > 2.0 * dear, "{cheap} {dear}");
}

#[test]
fn a_running_heap_changes_its_mode_policy_and_headroom() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans().filter(|plan| *plan != "PageProtect") {
        let (heap, log) =
            heap(plan, 64 * MIB, &[("heap.mode", "proportional"), ("heap.min", "1M"), ("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 4 * MIB);
        m.mutator().collect();
        let before = heap.statistics().goal_bytes;
        heap.retune(|options| options.set("heap.headroom_percent", "300")).unwrap();
        let after = heap.statistics().goal_bytes;
        assert!(after >= before + 7 * MIB, "{plan}: {before} {after}");
        heap.retune(|options| {
            options.heap_mode = HeapMode::Fixed;
            options.pacer_policy = PolicyName::Go;
            Ok(())
        })
        .unwrap();
        // Where mutators run meanwhile, a policy other than the toolkit's own sizes the heap by its own law.
        assert!(marks_beside(plan) || heap.statistics().goal_bytes == 64 * MIB, "{plan}");
        m.mutator().collect();
        assert_eq!(log.lock().unwrap().last().unwrap().policy, "go");
        assert_eq!(heap.tuned().heap_mode, HeapMode::Fixed);
        let error = heap.retune(|options| options.set("heap.limit", "128M")).unwrap_err().to_string();
        assert_eq!(error, "heap.limit: cannot change while the heap runs; it is 64M");
        heap.retune(|options| options.set("pacer.gc_share", "0.9")).unwrap_err();
        assert_eq!(heap.tuned().pacer_gc_share, heap.options().pacer_gc_share);
    }
}

#[test]
fn a_soft_limit_holds_while_what_is_live_fits_below() {
    let _watchdog = Watchdog::new();
    let settings = [("heap.soft_limit", "16M"), ("gc.workers", "1"), ("immix.headroom_percent", "0")];
    let (heap, _) = heap("Immix", 64 * MIB, &settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let root = m.push(Ref::NULL);
    list(m, root, 4 * MIB);
    churn(m, 100 * MIB);
    let peak = heap.statistics().peak_reserved_bytes;
    assert!(peak <= 17 * MIB, "{peak}");
    list(m, root, 30 * MIB);
    assert!(heap.statistics().reserved_bytes > 30 * MIB, "what is live is above it, and fits the limit");
}

#[test]
fn memory_outside_the_heap_counts_as_live() {
    let _watchdog = Watchdog::new();
    let (heap, log) = heap("Immix", 256 * MIB, &[("heap.mode", "proportional"), ("gc.workers", "1")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    churn(m, 8 * MIB);
    let before = log.lock().unwrap().len();
    // More than the goal: the next refill collects.
    heap.adjust_external(64 * MIB as isize);
    churn(m, MIB);
    assert!(log.lock().unwrap().len() > before);
    let statistics = heap.statistics();
    assert_eq!(statistics.external_bytes, 64 * MIB);
    assert!(statistics.goal_bytes >= 64 * MIB, "room in proportion to all of it: {statistics:?}");
    heap.adjust_external(-(64 * MIB as isize));
    assert_eq!(heap.statistics().external_bytes, 0);
    // More is never taken away than was reported.
    heap.adjust_external(isize::MIN);
    assert_eq!(heap.statistics().external_bytes, 0);
}

#[test]
fn external_memory_above_the_limit_does_not_stop_the_program() {
    let _watchdog = Watchdog::new();
    let (heap, log) = heap("Immix", 16 * MIB, &[("heap.mode", "proportional"), ("gc.workers", "1")]);
    let thread = Thread::attach(&heap);
    heap.adjust_external(isize::MAX);
    churn(thread.handle(), 8 * MIB);
    let collections = log.lock().unwrap().len();
    assert!((1..=8 * MIB / (64 << 10) + 2).contains(&collections), "{collections} collections");
}

#[test]
fn a_soft_limit_below_what_is_live_gives_way_and_holds_again_when_less_is_live() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        // What is live needs twice as much in plans that copy.
        let settings = [
            ("heap.mode", "proportional"),
            ("heap.soft_limit", "4M"),
            ("heap.min", "1M"),
            ("heap.pressure", "false"),
            ("gc.workers", "1"),
            ("immix.headroom_percent", "0"),
        ];
        let (heap, log) = heap(plan, 256 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 20 * MIB);
        m.mutator().collect();
        let before = heap.statistics();
        churn(m, 10 * MIB);
        let after = heap.statistics();
        let fulls = after.full_collections - before.full_collections;
        // With a fiftieth of what is live for room there were 24 and more. Allocating 10 MiB takes about as
        // long as marking 20.
        assert!(fulls <= 6, "{plan}: {fulls} collections");
        // With the least nursery there were 40.
        let minors = after.collections - before.collections - fulls;
        assert!(minors <= 20, "{plan}: {minors} minor collections");
        assert_eq!(log.lock().unwrap().last().unwrap().decision.cause, PacerCause::SoftLimitGivesWay, "{plan}");
        m.set(root, Ref::NULL);
        // Twice: in a generational plan the first may find that some grew old.
        m.mutator().collect();
        m.mutator().collect();
        let last = log.lock().unwrap().last().unwrap().decision;
        assert!(last.cause != PacerCause::SoftLimitGivesWay && last.goal <= 4e6 * 1.1, "{plan}: {last:?}");
    }
}

/// The VM's side of memory outside the heap: each object has `BUFFER` bytes there, the last `LIVE` are in
/// use, and after a collection the others are freed.
struct Buffers<'a> {
    heap: &'a Heap<ReferenceVM>,
    fulls: u64,
    held: usize,
}

const BUFFER: usize = 10 * MIB;
const LIVE: usize = 8;

impl<'a> Buffers<'a> {
    fn new(heap: &'a Heap<ReferenceVM>) -> Buffers<'a> {
        Buffers { heap, fulls: 0, held: 0 }
    }

    /// An object was allocated; it gets its buffer. Returns what is in use outside and inside.
    fn new_buffer(&mut self) -> usize {
        let statistics = self.heap.statistics();
        if statistics.full_collections != self.fulls {
            self.fulls = statistics.full_collections;
            while self.held > LIVE {
                self.held -= 1;
                self.heap.adjust_external(-(BUFFER as isize));
            }
        }
        self.held += 1;
        self.heap.adjust_external(BUFFER as isize);
        let statistics = self.heap.statistics();
        statistics.external_bytes + statistics.reserved_bytes
    }
}

#[test]
fn memory_outside_the_heap_is_no_more_than_the_goal_and_what_is_reported_between_two_polls() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        for mode in HeapMode::ALL {
            let mut settings = vec![("heap.mode", mode.name()), ("heap.pressure", "false"), ("gc.workers", "1")];
            if marks_beside(plan) {
                // A collection that ends in another thread sets a goal before the VM can hear of it.
                settings.push(("gc.driver", "quanta"));
            }
            let (heap, log) = heap(plan, 1 << 30, &settings);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let first_goal = heap.statistics().goal_bytes as f64;
            let mut buffers = Buffers::new(&heap);
            let mut peak = 0;
            for n in 0..1500 {
                m.alloc(1, 48);
                // Most VMs poll; the next allocation does as well.
                if n > 750 {
                    m.poll();
                }
                let used = buffers.new_buffer();
                let goal = log.lock().unwrap().last().map_or(first_goal, |paced| paced.decision.goal);
                assert!(used as f64 <= goal + (BUFFER + MIB) as f64, "{plan}, {mode}, {n}: {used} bytes, goal {goal}");
                peak = peak.max(used);
            }
            let bound = match mode {
                HeapMode::Fixed | HeapMode::Delegated => 1 << 30,
                // Eight buffers are live, and the room is as large, or bounded by what was seen of the
                // program.
                _ => 8 * LIVE * BUFFER,
            };
            assert!(peak <= bound + 4 * BUFFER, "{plan}, {mode}: {peak} bytes");
        }
    }
}

#[test]
fn a_thread_that_reports_memory_makes_others_collect_that_only_poll() {
    let _watchdog = Watchdog::new();
    let (heap, log) = heap("Immix", 64 * MIB, &[("gc.workers", "1")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    m.alloc(1, 48);
    m.poll();
    assert_eq!(log.lock().unwrap().len(), 0);
    let report = |bytes: isize| std::thread::scope(|scope| _ = scope.spawn(|| heap.adjust_external(bytes)).join());
    report(80 * MIB as isize);
    m.poll();
    assert_eq!(log.lock().unwrap().len(), 1);
    // Nothing has changed.
    m.poll();
    assert_eq!(log.lock().unwrap().len(), 1);
    // What is taken back before anybody looks is no reason to collect.
    report(400 * MIB as isize);
    report(-(480 * MIB as isize));
    m.poll();
    assert_eq!(log.lock().unwrap().len(), 1);
    // In a native region it waits until that is over.
    m.mutator().native(|| report(300 * MIB as isize));
    m.poll();
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[test]
fn many_threads_report_memory_outside_the_heap_and_none_of_it_is_overlooked() {
    let _watchdog = Watchdog::new();
    for plan in ["Immix", "GenCopy", "MarkSweep"] {
        let settings = [("heap.mode", "proportional"), ("heap.pressure", "false"), ("gc.workers", "2")];
        let (heap, _) = heap(plan, 256 * MIB, &settings);
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let thread = Thread::attach(&heap);
                    let (mut fulls, mut held) = (0, 0);
                    for _ in 0..2000 {
                        thread.handle().alloc(1, 48);
                        thread.handle().poll();
                        let now = heap.statistics().full_collections;
                        if now != fulls {
                            fulls = now;
                            heap.adjust_external(-(std::mem::take(&mut held) as isize));
                        }
                        held += MIB;
                        heap.adjust_external(MIB as isize);
                        most.fetch_max(heap.statistics().external_bytes, Relaxed);
                    }
                    heap.adjust_external(-(held as isize));
                });
            }
        });
        assert_eq!(heap.statistics().external_bytes, 0, "{plan}");
        // All of it dies at each collection. What a thread holds that has not run since counts as live.
        let most = most.into_inner();
        assert!(most <= 512 * MIB, "{plan}: {most} bytes of 8 GB");
    }
}

#[test]
fn memory_outside_that_stays_above_the_limit_is_not_collected_for_over_and_over() {
    let _watchdog = Watchdog::new();
    for mode in HeapMode::ALL {
        let (heap, log) =
            heap("Immix", 32 * MIB, &[("heap.mode", mode.name()), ("heap.pressure", "false"), ("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 4 * MIB);
        heap.adjust_external(40 * MIB as isize);
        // It grows by a tenth part of a percent at a time, and stays.
        for _ in 0..1000 {
            heap.adjust_external(40 << 10);
            churn(m, 4 << 10);
            m.poll();
        }
        let collections = log.lock().unwrap().len();
        // 44 MB of growth, in steps of a fiftieth of 40 to 80 MB at least.
        assert!(collections <= 50, "{mode}: {collections} collections");
    }
}

#[test]
fn reports_of_any_size_and_sign_leave_the_heap_usable() {
    let _watchdog = Watchdog::new();
    for plan in collecting_plans() {
        let (heap, _) = heap(plan, 32 * MIB, &[("heap.mode", "proportional"), ("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        for bytes in [isize::MAX, isize::MAX, isize::MAX, isize::MIN, 0, -1, isize::MIN, 1, isize::MAX, isize::MIN] {
            heap.adjust_external(bytes);
            churn(m, 64 << 10);
            m.poll();
        }
        m.mutator().collect();
        assert!(heap.statistics().external_bytes <= 1, "{plan}: {:?}", heap.statistics());
        assert!(heap.statistics().goal_bytes <= 32 * MIB, "{plan}: {:?}", heap.statistics());
    }
}

/// Waits for the timer; the watchdog ends a test in which it does not come.
fn wait_until(m: ThreadHandle<ReferenceVM>, what: impl Fn() -> bool) {
    m.mutator().native(|| {
        while !what() {
            std::thread::yield_now();
        }
    });
}

#[test]
fn after_a_spike_a_quiet_program_keeps_little_more_than_is_live() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        for mode in ["fixed", "proportional"] {
            let settings = [("heap.mode", mode), ("heap.uncommit_delay_ms", "40"), ("gc.workers", "1")];
            let (heap, _) = heap(plan, 128 * MIB, &settings);
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            let (spike, kept) = (m.push(Ref::NULL), m.push(Ref::NULL));
            list(m, kept, 8 * MIB);
            list(m, spike, 40 * MIB);
            m.set(spike, Ref::NULL);
            // Twice: in a generational plan the first may find that some grew old.
            m.mutator().collect();
            m.mutator().collect();
            let resident = || heap.statistics().resident_bytes;
            let live = heap.statistics().live_bytes;
            wait_until(m, || resident() as f64 <= 1.3 * live as f64);
            // And it goes on.
            churn(m, 4 * MIB);
        }
    }
}

/// The causes of the collections so far.
fn causes(heap: &Heap<ReferenceVM>) -> Arc<Mutex<Vec<Cause>>> {
    let causes = Arc::new(Mutex::new(Vec::new()));
    let heard = causes.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(pause) = event {
            heard.lock().unwrap().push(pause.cause);
        }
    }));
    causes
}

#[test]
fn a_program_that_allocates_and_goes_quiet_is_collected_and_keeps_little_more_than_is_live() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        let settings = [("heap.idle_gc_s", "0.04"), ("heap.uncommit_delay_ms", "40"), ("nursery.bytes", "1T")];
        let (heap, _) = heap(plan, 128 * MIB, &settings);
        let causes = causes(&heap);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let root = m.push(Ref::NULL);
        list(m, root, 8 * MIB);
        churn(m, 24 * MIB);
        wait_until(m, || {
            let now = heap.statistics();
            now.collections > 0 && now.resident_bytes as f64 <= 1.3 * now.live_bytes as f64
        });
        assert!(causes.lock().unwrap().contains(&Cause::Idle), "{plan}: {causes:?}");
        let next = |&node: &Ref| Some(m.read_ref(node, 0)).filter(|node| !node.is_null());
        assert_eq!(std::iter::successors(Some(m.get(root)), next).count(), 8 * MIB / 64, "{plan}");
    }
}

#[test]
fn a_heap_without_mutators_is_collected_too() {
    let _watchdog = Watchdog::new();
    let (heap, _) = heap("Immix", 64 * MIB, &[("heap.idle_gc_s", "0.01")]);
    churn(Thread::attach(&heap).handle(), 8 * MIB);
    while heap.statistics().collections == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn idle_collections_are_turned_on_while_the_program_runs() {
    let _watchdog = Watchdog::new();
    let (heap, _) = heap("Immix", 64 * MIB, &[("heap.idle_gc_s", "0")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    churn(m, 8 * MIB);
    heap.retune(|options| options.set("heap.idle_gc_s", "0.01")).unwrap();
    wait_until(m, || heap.statistics().collections > 0);
}

#[test]
fn a_heap_goes_while_its_timer_collects_it() {
    let _watchdog = Watchdog::new();
    for _ in 0..300 {
        let (heap, _) = heap("Immix", 8 * MIB, &[("heap.idle_gc_s", "0.000001")]);
        let thread = Thread::attach(&heap);
        churn(thread.handle(), MIB);
        drop(heap);
    }
}

#[test]
fn a_program_in_a_steady_state_keeps_its_memory() {
    let _watchdog = Watchdog::new();
    let settings = [("heap.mode", "proportional"), ("heap.uncommit_delay_ms", "300"), ("gc.workers", "1")];
    let (heap, log) = heap("Immix", 256 * MIB, &settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let root = m.push(Ref::NULL);
    list(m, root, 16 * MIB);
    m.mutator().collect();
    churn(m, 64 * MIB);
    // The delay is over several times; a thread that does not run for all of one would look quiet.
    let began = log.lock().unwrap().len();
    let goal = heap.statistics().goal_bytes;
    while log.lock().unwrap().len() < began + 40 {
        churn(m, MIB);
        let resident = heap.statistics().resident_bytes;
        assert!(resident as f64 > 0.9 * goal as f64, "{resident} resident, {goal} is the goal");
    }
}

#[test]
fn memory_that_is_never_to_be_returned_is_not() {
    let _watchdog = Watchdog::new();
    let settings = [("heap.return_memory", "never"), ("heap.uncommit_delay_ms", "0"), ("gc.workers", "1")];
    let (heap, _) = heap("SemiSpace", 64 * MIB, &settings);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let root = m.push(Ref::NULL);
    list(m, root, 20 * MIB);
    let before = heap.statistics().resident_bytes;
    m.set(root, Ref::NULL);
    (0..3).for_each(|_| m.mutator().collect());
    assert!(heap.statistics().resident_bytes >= before);
}

#[test]
fn a_program_that_crawls_at_its_limit_is_given_up_within_seconds() {
    let _watchdog = Watchdog::new();
    let (heap, log) = heap("MarkSweep", 24 * MIB, &[("gc.workers", "1")]);
    let thread = Thread::attach(&heap);
    let m = thread.handle();
    let root = m.push(Ref::NULL);
    let node = |m: ThreadHandle<ReferenceVM>| m.mutator().try_alloc(64).is_ok();
    // Until hardly anything is left.
    list(m, root, 22 * MIB);
    while heap.statistics().reserved_bytes < 24 * MIB - (600 << 10) {
        let node = m.alloc(1, 48);
        m.write_ref(node, 0, m.get(root));
        m.set(root, node);
    }
    let gave_up = || log.lock().unwrap().iter().any(|paced| paced.gave_up);
    while !gave_up() {
        assert!(node(m));
    }
    let log = log.lock().unwrap();
    let last = log.last().unwrap();
    assert!(last.sample.gc_cpu_ns > last.sample.mutator_cpu_ns, "{last:?}");
}
