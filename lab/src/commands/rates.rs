//! `mmtk rates`: how fast our plans mark, copy and bump, beside loops written by hand for the same work
//! (`mmtk limits`).
//!
//! Each figure is the best and the median of several rounds, and a round measures both sides one after the
//! other: the speed of a shared machine changes within minutes, the ratio of the two much less. Two workers
//! need two processors that are idle. Marking is measured by full collections of a heap that does not change:
//! by their processor time for one worker, by the wall time of their trace phase where two workers are
//! compared with one. The loop by hand marks and does nothing else, with the prefetch window that suits the
//! order. A plan that copies leaves random order with its first collection, so there the loop is no bound.
//! What a second worker costs a program and saves it is measured on all collections of that program: their
//! processor time, and how long the mutator was stopped. The pauses are short, the objects small, and the two
//! workers meet in the same parts of the heap. Bumping is measured in thread CPU time, in a heap so small
//! that the same memory is used again and again; collections are included.

use std::sync::Arc;

use heapwright::Options;
use heapwright::events::{Event, PauseReport};
use indicatif::ProgressBar;
use parking_lot::Mutex;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};
use serde::Serialize;
use serde_json::json;

use crate::collector::Collector;
use crate::driver::iterate;
use crate::failure::Failure;
use crate::heaps::ours::OurHeap;
use crate::limits::{Bump, MarkedTree, Order, Pages};
use crate::record::Record;
use crate::request::Request;
use crate::table::{Table, number};
use crate::{cpu, output, progress};
use workloads::{self, rng::Rng};

const ROUNDS: usize = 7;
/// Rows of one plan.
const ROWS: usize = 7;
/// Programs whose collections one worker does, and then two.
const PROGRAMS: [&str; 2] = ["gcbench", "binary-trees"];
/// The limit of their heaps.
const PROGRAM_LIMIT: usize = 134 << 20;
/// A header, two references and a word: 32 bytes.
const NODE: Class = Class { refs: 2, bytes: 8 };
/// What the depth falls by towards each child. Both by one is the perfect tree.
const PERFECT: [u32; 2] = [1, 1];
/// No two sibling subtrees are of a size. In the perfect tree they lie a power of two apart; the prefetch
/// window walks 16 of them in step, and on AMD lines whose addresses agree in bits 12 to 27 displace each
/// other in the first-level cache. One worker alone then loses half its speed (850 ms for 1 GB, with garbage
/// between the subtrees 520), two out of step do not.
const FIBONACCI: [u32; 2] = [1, 2];
/// Depth of the Fibonacci tree of 30 million nodes, 1 GB.
const FIBONACCI_DEPTH: u32 = 34;

/// Measures and prints.
///
/// # Errors
/// A heap that cannot be made.
pub(super) fn rates(plans: &[String], as_json: bool) -> Result<(), Failure> {
    let all = ["Immix".to_owned(), "MarkSweep".to_owned(), "SemiSpace".to_owned()];
    let plans = if plans.is_empty() { &all[..] } else { plans };
    super::refusals::refuse_plans_without_pauses(plans)?;
    for plan in plans {
        // A wrong name is better said now than after a minute.
        heap(plan, 1, 1 << 30)?;
    }
    let mut rows = Rows::default();
    let mut stages = Stages { bar: progress::spinner(), stage: 0, stages: plans.len() * ROWS, what: String::new() };
    let mut by_hand = ByHand::new(&stages);
    for plan in plans {
        for order in [Order::Allocation, Order::Random] {
            rows.rates.push(trace(plan, order, &mut by_hand, &mut stages)?);
        }
        for wide in [false, true] {
            rows.two_workers.push(two_workers(plan, wide, &mut stages)?);
        }
        for program in PROGRAMS {
            rows.second_worker.push(second_worker(plan, program, &mut stages)?);
        }
        rows.rates.push(bump(plan, &by_hand, &mut stages)?);
    }
    stages.bar.finish_and_clear();
    if as_json {
        output::line(json!(rows))?;
    } else {
        output::text(&rows.markdown())?;
    }
    Ok(())
}

/// What was measured.
#[derive(Default, Serialize)]
struct Rows {
    rates: Vec<Rate>,
    two_workers: Vec<TwoWorkers>,
    second_worker: Vec<SecondWorker>,
}

/// Work per second: ours, and the median of the loop by hand.
#[derive(Serialize)]
struct Rate {
    what: String,
    best: f64,
    median: f64,
    limit: f64,
    ratio: f64,
    unit: &'static str,
}

/// Median wall times of the trace phase.
#[derive(Serialize)]
struct TwoWorkers {
    what: String,
    one_ms: f64,
    two_ms: f64,
    ratio: f64,
}

/// Median processor time and stopped time of an iteration's collections, by one worker and by two.
#[derive(Serialize)]
struct SecondWorker {
    what: String,
    cpu_ms: [f64; 2],
    stopped_ms: [f64; 2],
    cpu_ratio: f64,
    stopped_ratio: f64,
}

impl SecondWorker {
    fn of(what: String, [one, two]: [Vec<Record>; 2]) -> Self {
        let median = |values: Vec<f64>| best_and_median(values).1;
        let cpu = |records: &[Record]| median(records.iter().map(|record| record.gc_cpu_ms.unwrap_or(0.0)).collect());
        let stopped = |records: &[Record]| median(records.iter().map(|record| record.stw_ms).collect());
        let (cpu_ms, stopped_ms) = ([cpu(&one), cpu(&two)], [stopped(&one), stopped(&two)]);
        let (cpu_ratio, stopped_ratio) = (cpu_ms[1] / cpu_ms[0], stopped_ms[1] / stopped_ms[0]);
        Self { what, cpu_ms, stopped_ms, cpu_ratio, stopped_ratio }
    }
}

impl Rate {
    /// From an amount of work, and the seconds that ours and the loop by hand took for it in each round.
    fn of(what: String, unit: &'static str, amount: f64, [ours, by_hand]: [Vec<f64>; 2]) -> Self {
        let ((best, median), (_, limit)) = (best_and_median(ours), best_and_median(by_hand));
        Self { what, best: amount / best, median: amount / median, limit: amount / limit, ratio: limit / median, unit }
    }
}

impl Rows {
    fn markdown(&self) -> String {
        let mut rates = Table::new(["what", "best", "median", "limit", "ratio", "unit"]);
        for Rate { what, best, median, limit, ratio, unit } in &self.rates {
            let [best, median, limit] = [best, median, limit].map(|rate| number(*rate));
            rates.row([what, &best, &median, &limit, &format!("{ratio:.2}"), *unit]);
        }
        let mut workers = Table::new(["what", "1 worker ms", "2 workers ms", "ratio"]);
        for TwoWorkers { what, one_ms, two_ms, ratio } in &self.two_workers {
            workers.row([what, &number(*one_ms), &number(*two_ms), &format!("{ratio:.2}")]);
        }
        let mut second =
            Table::new(["what", "1 worker: CPU ms", "stopped", "2 workers: CPU ms", "stopped", "CPU", "stopped"]);
        for SecondWorker { what, cpu_ms, stopped_ms, cpu_ratio, stopped_ratio } in &self.second_worker {
            let [one, two] = [0, 1].map(|n| [number(cpu_ms[n]), number(stopped_ms[n])]);
            let ratios = [cpu_ratio, stopped_ratio].map(|ratio| format!("{ratio:.2}"));
            second.row([what, &one[0], &one[1], &two[0], &two[1], &ratios[0], &ratios[1]]);
        }
        format!("{}\n{}\n{}", rates.markdown(), workers.markdown(), second.markdown())
    }
}

/// Shows which row is measured.
struct Stages {
    bar: ProgressBar,
    stage: usize,
    stages: usize,
    what: String,
}

impl Stages {
    /// The next row, named as in the table.
    fn next(&mut self, what: String) {
        self.stage += 1;
        self.what = what;
        self.bar.set_message(format!("{}/{} {}: building", self.stage, self.stages, self.what));
    }

    /// Measures two things in turn: what the machine does meanwhile happens to both.
    fn in_turn(&self, mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> [Vec<f64>; 2] {
        let mut values = [Vec::new(), Vec::new()];
        for round in 1..=ROUNDS {
            self.bar.set_message(format!("{}/{} {}: round {round}/{ROUNDS}", self.stage, self.stages, self.what));
            values[0].push(first());
            values[1].push(second());
        }
        values
    }
}

/// The loops of `mmtk limits`.
struct ByHand {
    /// In allocation order and at random, each with its best window.
    trees: [(MarkedTree, usize); 2],
    bump: Bump,
}

impl ByHand {
    fn new(stages: &Stages) -> Self {
        stages.bar.set_message("the loops by hand: building");
        let trees = [Order::Allocation, Order::Random].map(|order| {
            let mut tree = MarkedTree::new(order);
            let window = tree.best_window();
            (tree, window)
        });
        Self { trees, bump: Bump::new(4 << 20, Pages::Huge) }
    }
}

fn trace(plan: &str, order: Order, by_hand: &mut ByHand, stages: &mut Stages) -> Result<Rate, Failure> {
    let name = match order {
        Order::Allocation => "allocation order",
        // A copying trace puts the objects in its own order.
        Order::Random if copies(plan) => "random order at first",
        Order::Random => "random order",
    };
    stages.next(format!("{plan}: trace 8 M objects of 32 bytes, {name}, 1 worker"));
    let measured = heap(plan, 1, 1 << 30)?;
    let thread = Thread::attach(&measured.heap);
    match order {
        Order::Allocation => tree(&thread, MarkedTree::DEPTH, PERFECT),
        Order::Random => shuffled_tree(&thread, MarkedTree::OBJECTS),
    }
    let (by_hand, window) = &mut by_hand.trees[order as usize];
    let ours = || collect(&measured, &thread, |report| report.cpu_ns);
    let seconds = stages.in_turn(ours, || by_hand.mark(*window));
    Ok(Rate::of(stages.what.clone(), "Mobj/s", MarkedTree::OBJECTS as f64 / 1e6, seconds))
}

fn two_workers(plan: &str, wide: bool, stages: &mut Stages) -> Result<TwoWorkers, Failure> {
    let shape = if wide { "one array of 32 M leaves" } else { "a Fibonacci tree of 30 M objects" };
    stages.next(format!("{plan}: trace 1 GB, {shape}, wall time"));
    let heaps = [heap(plan, 1, 3 << 30)?, heap(plan, 2, 3 << 30)?];
    let threads = heaps.each_ref().map(|measured| Thread::attach(&measured.heap));
    for thread in &threads {
        if wide { leaves(thread, 32 << 20) } else { tree(thread, FIBONACCI_DEPTH, FIBONACCI) }
    }
    let with = |workers: usize| collect(&heaps[workers - 1], &threads[workers - 1], trace_ns);
    let [one_ms, two_ms] = stages.in_turn(|| with(1), || with(2)).map(|seconds| best_and_median(seconds).1 * 1e3);
    Ok(TwoWorkers { what: stages.what.clone(), one_ms, two_ms, ratio: two_ms / one_ms })
}

/// Iterations of a program on two heaps in turn. The first of each warms up and does not count.
fn second_worker(plan: &str, program: &str, stages: &mut Stages) -> Result<SecondWorker, Failure> {
    stages.next(format!("{plan}: collections of {program} in 134 MB"));
    let requests = [program_request(plan, program, 1)?, program_request(plan, program, 2)?];
    let heaps = [OurHeap::new(&requests[0])?, OurHeap::new(&requests[1])?];
    let mut records = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        stages.bar.set_message(format!("{}/{} {}: round {round}/{ROUNDS}", stages.stage, stages.stages, stages.what));
        for ((heap, request), records) in heaps.iter().zip(&requests).zip(&mut records) {
            let (record, _) = iterate(heap, request, round)?;
            if round > 0 {
                records.push(record);
            }
        }
    }
    Ok(SecondWorker::of(stages.what.clone(), records))
}

fn program_request(plan: &str, program: &str, workers: usize) -> Result<Request, Failure> {
    let spec = workloads::find(program).expect("a workload of ours");
    let options =
        Options { plan: plan.to_owned(), gc_workers: workers, heap_limit: PROGRAM_LIMIT, ..Options::default() };
    Ok(Request {
        collector: Collector::parse(plan)?,
        spec,
        options,
        peer_settings: Vec::new(),
        mutators: 1,
        iters: ROUNDS + 1,
        size: 0,
        ops: 0,
        json: false,
        trace: None,
        pacer_log: None,
        report: None,
    })
}

/// Allocates without keeping anything.
fn bump(plan: &str, by_hand: &ByHand, stages: &mut Stages) -> Result<Rate, Failure> {
    stages.next(format!("{plan}: bump 32-byte objects over 4 MiB again and again"));
    // A copying plan reserves as much again for copies.
    let limit = if copies(plan) { 8 << 20 } else { 4 << 20 };
    let measured = heap(plan, 1, limit + (256 << 10))?;
    let thread = Thread::attach(&measured.heap);
    let ours = || {
        let start = cpu::thread_ns();
        let mut last = Ref::NULL;
        for i in 0..Bump::TOTAL_BYTES / 32 {
            let node = thread.alloc_class(NODE);
            thread.write_word(node, 2, i as u64);
            last = node;
        }
        std::hint::black_box(last);
        (cpu::thread_ns() - start) as f64 / 1e9
    };
    let seconds = stages.in_turn(ours, || by_hand.bump.allocate(true));
    Ok(Rate::of(stages.what.clone(), "GB/s", Bump::TOTAL_BYTES as f64 / 1e9, seconds))
}

/// Whether the plan moves all that is live in each collection.
fn copies(plan: &str) -> bool {
    heapwright::PLANS.iter().any(|info| info.needs.moves && info.name.eq_ignore_ascii_case(plan))
}

struct Measured {
    heap: ReferenceHeap,
    pauses: Arc<Mutex<Vec<PauseReport>>>,
}

fn heap(plan: &str, workers: usize, limit: usize) -> Result<Measured, Failure> {
    let options = Options { plan: plan.to_owned(), gc_workers: workers, heap_limit: limit, ..Options::default() };
    let failed = |error: heapwright::HeapError| Failure::Usage(error.to_string());
    let heap = reference::new_heap(ReferenceVM::default(), options).map_err(failed)?;
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let log = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            log.lock().push((**report).clone());
        }
    }));
    Ok(Measured { heap, pauses })
}

/// What `ns` says of one full collection, in seconds.
fn collect(measured: &Measured, thread: &Thread, ns: impl Fn(&PauseReport) -> u64) -> f64 {
    let lock = || measured.pauses.lock();
    lock().clear();
    thread.collect();
    let total: u64 = lock().iter().map(ns).sum();
    total as f64 / 1e9
}

fn trace_ns(report: &PauseReport) -> u64 {
    report.phases.iter().filter(|phase| phase.name == "trace").map(|phase| phase.duration_ns).sum()
}

fn best_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// A tree whose root stays on the shadow stack. Children follow their parent depth first.
fn tree(thread: &Thread, depth: u32, falls: [u32; 2]) {
    let root = subtree(thread, depth, falls);
    thread.push(root);
}

fn subtree(thread: &Thread, depth: u32, falls: [u32; 2]) -> Ref {
    let node = thread.push(thread.alloc_class(NODE));
    if depth > 0 {
        for (side, fall) in falls.into_iter().enumerate() {
            let child = subtree(thread, depth.saturating_sub(fall), falls);
            thread.write_ref(thread.get(node), side, child);
        }
    }
    let root = thread.get(node);
    thread.pop(1);
    root
}

/// A perfect tree whose nodes are linked after they were allocated and shuffled. Its root stays on the shadow
/// stack.
fn shuffled_tree(thread: &Thread, count: usize) {
    let index = thread.push(thread.alloc(count, 0));
    for i in 0..count {
        let node = thread.alloc_class(NODE);
        thread.write_ref(thread.get(index), i, node);
    }
    let place = Rng::new(5).permutation(count);
    let array = thread.get(index);
    let node = |i: usize| thread.read_ref(array, place[i] as usize);
    for i in 0..count / 2 {
        thread.write_ref(node(i), 0, node(2 * i + 1));
        thread.write_ref(node(i), 1, node(2 * i + 2));
    }
    let root = node(0);
    // The index dies.
    thread.set(index, root);
}

fn leaves(thread: &Thread, count: usize) {
    let array = thread.push(thread.alloc(count, 0));
    for i in 0..count {
        let leaf = thread.alloc(0, 16);
        thread.write_ref(thread.get(array), i, leaf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_of_the_fibonacci_tree_differ_in_size() {
        let measured = heap("MarkSweep", 1, 16 << 20).unwrap();
        let thread = Thread::attach(&measured.heap);
        fn size(thread: &Thread, node: Ref) -> usize {
            if node.is_null() { 0 } else { 1 + (0..2).map(|i| size(thread, thread.read_ref(node, i))).sum::<usize>() }
        }
        tree(&thread, 10, FIBONACCI);
        let root = thread.peek(0);
        let sizes = [0, 1].map(|side| size(&thread, thread.read_ref(root, side)));
        // Twice a Fibonacci number, less one.
        assert_eq!((sizes, size(&thread, root)), ([177, 109], 287));
    }

    #[test]
    fn the_ratio_is_that_of_the_medians_and_faster_than_the_limit_is_more_than_one() {
        let rate = Rate::of("what".to_owned(), "Mobj/s", 8.0, [vec![0.4, 0.1, 0.2], vec![0.5, 0.3, 0.4]]);
        assert_eq!((rate.best, rate.median, rate.limit, rate.ratio), (80.0, 40.0, 20.0, 2.0));
        let two = TwoWorkers { what: "tree".to_owned(), one_ms: 520.0, two_ms: 260.0, ratio: 0.5 };
        let request = program_request("SemiSpace", "gcbench", 2).unwrap();
        let heap = OurHeap::new(&Request { size: 6, ..request.clone() }).unwrap();
        let record = iterate(&heap, &Request { size: 6, ..request }, 0).unwrap().0;
        let with = |cpu: [f64; 3], stopped: [f64; 3]| {
            let record = |n| Record { gc_cpu_ms: Some(cpu[n]), stw_ms: stopped[n], ..record.clone() };
            [0, 1, 2].map(record).to_vec()
        };
        let records =
            [with([90.0, 100.0, 110.0], [95.0, 80.0, 200.0]), with([130.0, 120.0, 110.0], [50.0, 57.0, 70.0])];
        let second = SecondWorker::of("program".to_owned(), records);
        let rows = Rows { rates: vec![rate], two_workers: vec![two], second_worker: vec![second] };
        let text = rows.markdown();
        assert!(text.contains("| what | 80.0 |   40.0 |  20.0 |  2.00 | Mobj/s |"), "{text}");
        assert!(text.contains("| tree |         520 |          260 |  0.50 |"), "{text}");
        let second = text.lines().last().unwrap();
        let cells: Vec<&str> = second.split('|').map(str::trim).collect();
        assert_eq!(cells[1..8], ["program", "100", "95.0", "120", "57.0", "1.20", "0.60"], "{text}");
        assert_eq!(json!(rows)["two_workers"][0]["one_ms"], 520.0);
    }
}
