//! `mmtk rates`: how fast our plans mark, copy and bump, against which the limits of the machine (`mmtk limits`) are held.
//!
//! Marking is full collections of a heap that does not change: their processor time for one worker, the wall time of their trace
//! phase where two are compared with one. The best and the median of several are shown.
//! Bumping is thread CPU time over a heap so small that the same memory is used again and again, collections included.

use std::sync::{Arc, Mutex, PoisonError};

use mmtk_core::Options;
use mmtk_core::events::{Event, PauseReport};
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread};

use crate::cpu;
use crate::failure::Failure;
use crate::table::{Table, number};
use crate::workloads::rng::Rng;

const ROUNDS: usize = 7;
/// A header, two references and a word: 32 bytes.
const NODE: Class = Class { refs: 2, bytes: 8 };
/// Depth of the tree of 8 million nodes.
const DEPTH: u32 = 22;

struct Measured {
    heap: ReferenceHeap,
    pauses: Arc<Mutex<Vec<PauseReport>>>,
}

/// Measures and prints.
///
/// # Errors
/// A heap that cannot be made.
pub(super) fn rates(plans: &[String]) -> Result<(), Failure> {
    let all = ["Immix".to_owned(), "MarkSweep".to_owned(), "SemiSpace".to_owned()];
    let plans = if plans.is_empty() { &all[..] } else { plans };
    let mut table = Table::new(["what", "best", "median", "unit"]);
    for plan in plans {
        for random in [false, true] {
            let measured = heap(plan, 1, 1 << 30)?;
            let thread = Thread::attach(&measured.heap);
            tree(&thread, DEPTH, random);
            let order = if random { "random order" } else { "allocation order" };
            let objects = ((1u64 << (DEPTH + 1)) - 1) as f64;
            let (best, median) = collect_ms(&measured, &thread, |report| report.cpu_ns);
            // A copying trace puts the objects in its own order, so only the first of a random heap is random.
            let row = [
                format!("{plan}: trace 8 M objects of 32 bytes, {order}, 1 worker"),
                number(objects / best / 1e3),
                number(objects / median / 1e3),
                "Mobj/s".to_owned(),
            ];
            table.row(row);
        }
        for wide in [false, true] {
            // Two equal heaps, collected in turn: what the machine does meanwhile happens to both.
            let heaps = [heap(plan, 1, 3 << 30)?, heap(plan, 2, 3 << 30)?];
            let threads = heaps.each_ref().map(|measured| Thread::attach(&measured.heap));
            for thread in &threads {
                if wide { leaves(thread, 32 << 20) } else { tree(thread, 24, false) }
            }
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (workers, times) in times.iter_mut().enumerate() {
                    times.push(collect_once(&heaps[workers], &threads[workers], trace_ns));
                }
            }
            let median = times.map(|times| sorted(times).1);
            let shape = if wide { "one array of 32 M leaves" } else { "a tree of 32 M objects" };
            let ratio = median[1] / median[0];
            table.row([
                format!("{plan}: 1 GB, {shape}, wall time of 2 workers to 1"),
                String::new(),
                number(ratio),
                "ratio".to_owned(),
            ]);
        }
        let gbs = bump(plan)?;
        table.row([
            format!("{plan}: bump 32-byte objects over 4 MiB again and again"),
            number(gbs.0),
            number(gbs.1),
            "GB/s".to_owned(),
        ]);
    }
    print!("{}", table.markdown());
    Ok(())
}

fn heap(plan: &str, workers: usize, limit: usize) -> Result<Measured, Failure> {
    let options = Options { plan: plan.to_owned(), gc_workers: workers, heap_limit: limit, ..Options::default() };
    let failed = |error: mmtk_core::HeapError| Failure::Usage(error.to_string());
    let heap = policies::new_heap(ReferenceVM::default(), options).map_err(failed)?;
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let log = pauses.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Pause(report) = event {
            log.lock().unwrap_or_else(PoisonError::into_inner).push((**report).clone());
        }
    }));
    Ok(Measured { heap, pauses })
}

/// Best and median of what `ns` says of several full collections, in milliseconds.
fn collect_ms(measured: &Measured, thread: &Thread, ns: impl Fn(&PauseReport) -> u64) -> (f64, f64) {
    sorted((0..ROUNDS).map(|_| collect_once(measured, thread, &ns)).collect())
}

/// What `ns` says of one full collection, in milliseconds.
fn collect_once(measured: &Measured, thread: &Thread, ns: impl Fn(&PauseReport) -> u64) -> f64 {
    let lock = || measured.pauses.lock().unwrap_or_else(PoisonError::into_inner);
    lock().clear();
    thread.collect();
    let total: u64 = lock().iter().map(ns).sum();
    total as f64 / 1e6
}

fn trace_ns(report: &PauseReport) -> u64 {
    report.phases.iter().filter(|phase| phase.name == "trace").map(|phase| phase.duration_ns).sum()
}

fn sorted(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// A full tree whose root stays on the shadow stack. In allocation order children follow their parent depth first;
/// in random order the nodes are linked after they were allocated and shuffled.
fn tree(thread: &Thread, depth: u32, random: bool) {
    if !random {
        let root = subtree(thread, depth);
        thread.push(root);
        return;
    }
    let count = (1usize << (depth + 1)) - 1;
    let index = thread.push(thread.alloc(Class { refs: count, bytes: 0 }));
    for i in 0..count {
        let node = thread.alloc(NODE);
        thread.write_ref(thread.get(index), i, node);
    }
    let mut place: Vec<u32> = (0..count as u32).collect();
    let mut rng = Rng::new(5);
    for i in (1..count).rev() {
        place.swap(i, rng.below(i + 1));
    }
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

fn subtree(thread: &Thread, depth: u32) -> Ref {
    let node = thread.push(thread.alloc(NODE));
    if depth > 0 {
        for side in 0..2 {
            let child = subtree(thread, depth - 1);
            thread.write_ref(thread.get(node), side, child);
        }
    }
    let root = thread.get(node);
    thread.pop(1);
    root
}

fn leaves(thread: &Thread, count: usize) {
    let array = thread.push(thread.alloc(Class { refs: count, bytes: 0 }));
    for i in 0..count {
        let leaf = thread.alloc(Class { refs: 0, bytes: 16 });
        thread.write_ref(thread.get(array), i, leaf);
    }
}

/// Allocates without keeping anything; gigabytes per second of thread CPU time, best and median.
fn bump(plan: &str) -> Result<(f64, f64), Failure> {
    const BYTES: usize = 1 << 30;
    // SemiSpace reserves as much again for copies.
    let limit = if plan.eq_ignore_ascii_case("SemiSpace") { 8 << 20 } else { 4 << 20 };
    let measured = heap(plan, 1, limit + (256 << 10))?;
    let thread = Thread::attach(&measured.heap);
    let per_byte: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = cpu::thread_ns();
            let mut last = Ref::NULL;
            for i in 0..BYTES / 32 {
                let node = thread.alloc(NODE);
                thread.write_word(node, 2, i as u64);
                last = node;
            }
            std::hint::black_box(last);
            (cpu::thread_ns() - start) as f64 / BYTES as f64
        })
        .collect();
    let (best, median) = sorted(per_byte);
    Ok((1.0 / best, 1.0 / median))
}
