//! Every workload x mutators x workers on one plan and one stress setting, with the verifier on.
//!
//! A run is right if it computes what an allocator that never frees computes, stays within its limit, and
//! leaves nothing behind: with all threads gone, a collection finds nothing live.
//!
//! With `MATRIX=full` ([`Extent`]) each workload runs with each of nine pairs of mutators and workers on each
//! plan under each setting. Otherwise a third of the workloads runs on a plan under a setting, each with one
//! pair. Of plan, workload, setting and pair any two are still run together.

use crate::{Extent, MakeHeap, TestVM, assert_within_limit, options};
use mmtk_core::{Heap, OutOfMemory};
use reference::Thread;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use workloads::never_free::NeverFreeHeap;
use workloads::{Params, SPECS, Spec, Workload};

/// Numbers of mutators and of GC workers to try.
pub const THREADS: [usize; 3] = [1, 2, 4];
/// The variable that picks one of them, for tools that make programs many times slower.
const VARIABLE: &str = "MATRIX_THREADS";

const ROOMY: usize = 64 << 20;
const STACK_BYTES: usize = 16 << 20;
const LEAST_LIMIT: usize = 1 << 20;
/// How precise a search for the smallest limit is.
const LIMIT_STEP: usize = 256 << 10;

/// A stress setting: its name, and the options that it changes.
#[derive(Copy, Clone, Debug)]
pub struct Stress {
    /// What a message calls it.
    pub name: &'static str,
    /// Option keys and values.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Collect often, mark object by object, and leave the sweep to mutators and to the next pause.
pub const EVERY_BYTES: Stress = Stress {
    name: "every-bytes",
    settings: &[
        ("stress.every_bytes", "32K"),
        ("stress.step_objects", "1"),
        ("gc.sweep_beside", "always"),
        ("stress.no_background", "true"),
    ],
};
/// Move whatever may move.
pub const ALWAYS_DEFRAG: Stress =
    Stress { name: "always-defrag", settings: &[("stress.every_bytes", "48K"), ("stress.always_defrag", "true")] };
/// Yield here and there, and sweep beside mutators.
pub const RANDOM_YIELD: Stress = Stress {
    name: "random-yield",
    settings: &[("stress.every_bytes", "40K"), ("stress.random_yield", "true"), ("gc.sweep_beside", "always")],
};
/// All workers take part in every section, and in every step of a marking.
pub const WAKE_HELPERS: Stress = Stress {
    name: "wake-helpers",
    settings: &[("stress.every_bytes", "64K"), ("gc.wake_helpers", "always"), ("stress.step_objects", "7")],
};
/// Freed memory is overwritten, and everything else at once.
pub const POISON: Stress = Stress {
    name: "poison",
    settings: &[
        ("stress.every_bytes", "48K"),
        ("verify.poison", "true"),
        ("stress.always_defrag", "true"),
        ("gc.wake_helpers", "always"),
        ("gc.sweep_beside", "always"),
        ("heap.return_memory", "always"),
    ],
};
/// The heap decides by itself when to collect.
pub const PROPORTIONAL: Stress = Stress {
    name: "proportional",
    // And memory goes back to the system beside everything else that happens, and markings are left and taken
    // up.
    settings: &[
        ("heap.mode", "proportional"),
        ("heap.min", "64K"),
        ("heap.headroom_percent", "25"),
        ("heap.uncommit_delay_ms", "1"),
        ("gc.sweep_beside", "always"),
        ("stress.step_objects", "1000"),
    ],
};

/// A nursery of one block: a minor collection for each block that is allocated. For generational plans.
pub const NURSERY: Stress = Stress { name: "nursery of a block", settings: &[("nursery.bytes", "32K")] };

/// The same, and each minor collection is followed by a full one.
pub const NURSERY_AND_FULL: Stress = Stress {
    name: "full collection after every minor one",
    settings: &[("nursery.bytes", "32K"), ("stress.full_every", "2")],
};

/// Mutators mark, a few objects a step. For plans that mark beside them.
pub const QUANTA: Stress = Stress {
    name: "marked in quanta",
    settings: &[
        ("gc.driver", "quanta"),
        ("stress.step_objects", "7"),
        ("stress.every_bytes", "96K"),
        ("verify.poison", "true"),
        ("stress.no_background", "true"),
    ],
};

/// The heap's thread marks, in short cycles, with pauses of others between its steps. For the same plans.
pub const BACKGROUND: Stress = Stress {
    name: "marked in the background",
    settings: &[
        ("gc.driver", "background"),
        ("stress.every_bytes", "24K"),
        ("verify.poison", "true"),
        ("gc.sweep_beside", "always"),
        ("stress.random_yield", "true"),
    ],
};

/// A test for each stress setting that suits every plan; `$run` takes the setting.
#[macro_export]
macro_rules! tests_under_stress {
    ($run:path) => {
        #[test]
        fn workloads_compute_the_same_when_collected_every_few_kilobytes() {
            $run($crate::matrix::EVERY_BYTES);
        }

        #[test]
        fn workloads_compute_the_same_when_everything_moves_in_every_collection() {
            $run($crate::matrix::ALWAYS_DEFRAG);
        }

        #[test]
        fn workloads_compute_the_same_when_threads_yield_here_and_there() {
            $run($crate::matrix::RANDOM_YIELD);
        }

        #[test]
        fn workloads_compute_the_same_when_all_workers_join_every_section() {
            $run($crate::matrix::WAKE_HELPERS);
        }

        #[test]
        fn workloads_compute_the_same_when_freed_memory_is_poisoned_and_returned() {
            $run($crate::matrix::POISON);
        }

        #[test]
        fn workloads_compute_the_same_when_the_heap_grows_with_what_is_live() {
            $run($crate::matrix::PROPORTIONAL);
        }
    };
}

/// All stress settings, in the order in which they take turns. A heap near its minimum is the one after them.
const STRESSES: [Stress; 10] = [
    EVERY_BYTES,
    ALWAYS_DEFRAG,
    RANDOM_YIELD,
    WAKE_HELPERS,
    POISON,
    PROPORTIONAL,
    NURSERY,
    NURSERY_AND_FULL,
    QUANTA,
    BACKGROUND,
];
const TINY_HEAP: &str = "tiny heap";

/// The number of threads that the variable names when it has this value.
fn named(value: Option<&str>) -> Option<usize> {
    let value = value?;
    match value.parse() {
        Ok(number) if THREADS.contains(&number) => Some(number),
        _ => panic!("{VARIABLE}={value}: must be one of {THREADS:?}"),
    }
}

/// The numbers of mutators and of GC workers with which a workload is run on a plan under a setting.
fn threads(extent: Extent, plan: &str, workload: Workload, stress: &str) -> Vec<(usize, usize)> {
    let mut pairs: Vec<_> = THREADS.iter().flat_map(|mutators| THREADS.map(|workers| (*mutators, workers))).collect();
    // Their megabyte of garbage takes half a second there.
    let lists = matches!(workload, Workload::List | Workload::ListShuffled | Workload::Wide);
    if plan == "PageProtect" && lists {
        pairs = vec![(2, 2)];
    } else if let Some(number) = named(std::env::var(VARIABLE).ok().as_deref()) {
        pairs = vec![(number, number)];
    }
    if extent == Extent::Full {
        return pairs;
    }
    // A plan from outside comes after those of `policies`.
    let plan = policies::PLANS.iter().position(|known| known.name == plan).unwrap_or(policies::PLANS.len());
    let workload = SPECS.iter().position(|spec| spec.workload == workload).expect("a workload");
    let stress = STRESSES.iter().position(|known| known.name == stress).unwrap_or(STRESSES.len());
    if workload % 3 != (plan + stress) % 3 {
        return Vec::new();
    }
    // The factor keeps the pair from following the choice above.
    vec![pairs[(3 * plan + workload + stress) % pairs.len()]]
}

type Sizes = fn(Workload) -> (usize, usize);

/// Sizes at which a workload takes milliseconds and collects some dozen times.
fn sizes_to_collect(plan: &str) -> Sizes {
    let dense = |workload| match workload {
        Workload::GcBench | Workload::BinaryTrees | Workload::MtGcBench => (8, 0),
        Workload::Splay => (50, 100),
        Workload::LruCache => (200, 2000),
        Workload::Fragger => (64, 4),
        Workload::Large => (4, 10),
        Workload::List | Workload::ListShuffled | Workload::Wide => (1500, 1),
        Workload::Mutation => (150, 20_000),
        Workload::Phases => (150, 12),
    };
    // Each object costs the system tens of microseconds.
    let page_protect = |workload| match workload {
        Workload::GcBench | Workload::BinaryTrees => (6, 0),
        Workload::MtGcBench => (8, 0),
        Workload::Splay => (30, 20),
        Workload::LruCache => (60, 500),
        Workload::Fragger => (24, 4),
        Workload::Large => (4, 10),
        Workload::List | Workload::ListShuffled | Workload::Wide => (1500, 1),
        Workload::Mutation => (60, 4000),
        Workload::Phases => (60, 8),
    };
    if plan == "PageProtect" { page_protect } else { dense }
}

/// Sizes at which what is live fills more than the smallest heap there is.
fn sizes_that_fill(plan: &str) -> Sizes {
    let dense = |workload| match workload {
        Workload::GcBench | Workload::BinaryTrees | Workload::MtGcBench => (11, 0),
        Workload::Splay => (150, 80),
        Workload::LruCache => (3000, 2000),
        Workload::Fragger => (800, 2),
        Workload::Large => (4, 10),
        Workload::List | Workload::ListShuffled | Workload::Wide => (30_000, 1),
        Workload::Mutation => (8000, 30_000),
        Workload::Phases => (12_000, 2),
    };
    // Four threads' shares are no more objects than may share memory. Those beyond have a page each, and then
    // what four threads need together is not what each needs alone.
    let page_protect = |workload| match workload {
        Workload::GcBench | Workload::BinaryTrees | Workload::MtGcBench => (7, 0),
        Workload::Splay => (50, 80),
        Workload::LruCache => (1000, 1000),
        Workload::Fragger => (200, 2),
        Workload::Large => (4, 10),
        Workload::List | Workload::ListShuffled | Workload::Wide => (1500, 1),
        Workload::Mutation => (2000, 5000),
        Workload::Phases => (700, 2),
    };
    if plan == "PageProtect" { page_protect } else { dense }
}

/// One run, as messages name it.
struct Case<'a> {
    plan: &'a str,
    workload: &'static str,
    mutators: usize,
    workers: usize,
    stress: &'a str,
    limit: usize,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { plan, workload, mutators, workers, stress, limit } = self;
        write!(f, "{workload} on {plan}: {mutators} mutators, {workers} workers, {stress}, limit {limit}")
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed: {self}");
        }
    }
}

/// What the workload computes when nothing is ever freed.
fn expected(spec: &'static Spec, (size, ops): (usize, usize), mutators: usize) -> u64 {
    type Key = (&'static str, usize, usize, usize);
    static KNOWN: Mutex<Option<HashMap<Key, u64>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.get_or_insert_default().entry((spec.name, size, ops, mutators)).or_insert_with(|| {
        let heap = NeverFreeHeap::<true>::new(false, 16 << 30, |why| panic!("{why}"));
        spec.run_on_threads(&heap, size, ops, mutators).unwrap().1.checksum
    })
}

/// Runs the workload, at its small size, on attached threads; the sum of their checksums.
///
/// # Errors
/// When a thread ran out of memory; the others finish or run out too.
///
/// # Panics
/// When a thread did.
pub fn run<VM: TestVM>(spec: &'static Spec, heap: &Heap<VM>, mutators: usize) -> Result<u64, OutOfMemory> {
    run_some(spec, sizes_to_collect(heap.plan_name())(spec.workload), heap, 0..mutators, mutators)
}

/// Runs the shares `running` of so many mutators' shares.
fn run_some<VM: TestVM>(
    spec: &'static Spec,
    (size, ops): (usize, usize),
    heap: &Heap<VM>,
    running: std::ops::Range<usize>,
    mutators: usize,
) -> Result<u64, OutOfMemory> {
    let program = |tid| {
        move || {
            let thread = Thread::attach(heap);
            spec.run(*thread, Params { size, ops, tid, nthreads: mutators }).checksum
        }
    };
    std::thread::scope(|scope| {
        let start = |tid| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, program(tid));
        let threads: Vec<_> = running.map(|tid| start(tid).expect("a thread")).collect();
        // All are joined before any error is returned.
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let mut sum = 0u64;
        for result in results {
            match result {
                Ok(part) => sum = sum.wrapping_add(part),
                Err(panic) => match panic.downcast::<OutOfMemory>() {
                    Ok(error) => return Err(*error),
                    Err(other) => std::panic::resume_unwind(other),
                },
            }
        }
        Ok(sum)
    })
}

fn heap_for<VM: TestVM>(make: MakeHeap<VM>, case: &Case<'_>, settings: &[(&str, &str)]) -> Heap<VM> {
    let workers = case.workers.to_string();
    let mut all = vec![("gc.workers", workers.as_str())];
    all.extend(settings);
    make(VM::new(), options(case.plan, case.limit, &all)).unwrap_or_else(|error| panic!("{error}"))
}

/// One run with all its checks; how many collections it took.
fn check<VM: TestVM>(
    make: MakeHeap<VM>,
    spec: &'static Spec,
    sizes: Sizes,
    case: &Case<'_>,
    settings: &[(&str, &str)],
) -> u64 {
    let size = sizes(spec.workload);
    let mut settings = settings.to_vec();
    settings.push(("verify.trace", "true"));
    let heap = heap_for(make, case, &settings);
    let checksum =
        run_some(spec, size, &heap, 0..case.mutators, case.mutators).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(checksum, expected(spec, size, case.mutators), "the checksum differs");
    assert_within_limit(&heap);
    let collections = heap.statistics().collections;
    heap.collect();
    let after = heap.statistics();
    if after.collections > 0 {
        assert_eq!(after.live_bytes, 0, "nobody is attached, but something is live");
        assert!(after.reserved_bytes < case.limit / 2, "nobody is attached, but the heap holds {after:?}");
    }
    assert_within_limit(&heap);
    collections
}

/// Every workload x mutators x workers on `plan` under `stress`.
///
/// # Panics
/// When a run is not right.
pub fn all_workloads<VM: TestVM>(make: MakeHeap<VM>, plan: &str, stress: Stress) {
    for spec in SPECS {
        for (mutators, workers) in threads(Extent::chosen(), plan, spec.workload, stress.name) {
            let case = Case { plan, workload: spec.name, mutators, workers, stress: stress.name, limit: ROOMY };
            let collections = check(make, spec, sizes_to_collect(plan), &case, stress.settings);
            assert!(collections > 0 || plan == "NoGC", "the stress was none: no collection");
        }
    }
}

/// The workloads on a plan that never collects, which needs no stress but room.
///
/// # Panics
/// When a run is not right.
pub fn all_workloads_without_collection<VM: TestVM>(make: MakeHeap<VM>, plan: &str) {
    for spec in SPECS {
        for mutators in THREADS {
            let case = Case { plan, workload: spec.name, mutators, workers: 1, stress: "none", limit: 256 << 20 };
            assert_eq!(
                check(make, spec, sizes_to_collect(plan), &case, &[]),
                0,
                "a plan that does not collect collected"
            );
        }
    }
}

/// Every workload x mutators x workers in a heap a little larger than the smallest in which it runs.
///
/// # Panics
/// When a run is not right.
pub fn all_workloads_near_their_minimum<VM: TestVM>(make: MakeHeap<VM>, plan: &str) {
    for spec in SPECS {
        let mut least = HashMap::new();
        // What the last share needed, and of how many it was one: the next needs about as much.
        let mut last = (LEAST_LIMIT, 1);
        for (mutators, workers) in threads(Extent::chosen(), plan, spec.workload, TINY_HEAP) {
            let least = *least.entry(mutators).or_insert_with(|| {
                let mut sum = (0, 0u64);
                for tid in 0..mutators {
                    let guess = last.0 * last.1 / mutators;
                    let (limit, checksum) = least_limit(make, plan, spec, (tid, mutators), guess);
                    last = (limit, mutators);
                    sum = (sum.0 + limit, sum.1.wrapping_add(checksum));
                }
                // Not verified, so that allocation took the fast path.
                let right = expected(spec, sizes_that_fill(plan)(spec.workload), mutators);
                assert_eq!(sum.1, right, "{} on {plan}, alone: the checksum differs", spec.name);
                sum.0
            });
            // The threads' shares may be live all at once; a quarter more, since no two runs interleave
            // alike.
            let limit = least + least / 4 + (mutators + workers) * (64 << 10);
            let case = Case { plan, workload: spec.name, mutators, workers, stress: TINY_HEAP, limit };
            let wake = if workers == 2 { "always" } else { "auto" };
            check(make, spec, sizes_that_fill(plan), &case, &[("gc.wake_helpers", wake)]);
        }
    }
}

/// The smallest limit at which one mutator's share ran alone, to a quarter of a megabyte, and its checksum.
/// Alone, so that the answer does not depend on how many threads happened to run at the same time. The search
/// begins at `guess`, in steps that double.
fn least_limit<VM: TestVM>(
    make: MakeHeap<VM>,
    plan: &str,
    spec: &'static Spec,
    (tid, mutators): (usize, usize),
    guess: usize,
) -> (usize, u64) {
    let checksum = Cell::new(0);
    let runs = |limit| {
        let case = Case { plan, workload: spec.name, mutators, workers: 1, stress: "search", limit };
        let heap = heap_for(make, &case, &[]);
        let result = run_some(spec, sizes_that_fill(plan)(spec.workload), &heap, tid..tid + 1, mutators);
        assert_within_limit(&heap);
        assert!(result.as_ref().err().is_none_or(|error| error.limit == limit), "{result:?}");
        checksum.set(result.as_ref().map_or(checksum.get(), |sum| *sum));
        result.is_ok()
    };
    let (mut fails, mut works, mut step) = (None, None, LIMIT_STEP);
    let mut limit = guess.max(LEAST_LIMIT);
    loop {
        assert!(limit <= ROOMY, "{} does not run on {plan} in {limit} bytes", spec.name);
        if runs(limit) {
            works = Some(limit);
        } else {
            fails = Some(limit);
        }
        limit = match (fails, works) {
            (_, Some(works)) if works <= LEAST_LIMIT => return (works, checksum.get()),
            (Some(fails), Some(works)) if works - fails <= LIMIT_STEP => return (works, checksum.get()),
            (Some(fails), Some(works)) => (fails + works) / 2,
            (None, Some(works)) => works.saturating_sub(step).max(LEAST_LIMIT),
            (Some(fails), None) => fails + step,
            (None, None) => unreachable!("it ran or it failed"),
        };
        step *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn any_two_of_plan_workload_setting_and_threads_are_run_together() {
        let plans: Vec<_> = crate::dense_plans().chain(["a plan from outside"]).collect();
        let settings: Vec<_> = STRESSES.iter().map(|stress| stress.name).chain([TINY_HEAP]).collect();
        let workloads: Vec<_> = SPECS.iter().map(|spec| spec.name).collect();
        let mut together = HashSet::new();
        for (plan, setting) in plans.iter().flat_map(|plan| settings.iter().map(move |setting| (plan, setting))) {
            for spec in SPECS {
                assert_eq!(threads(Extent::Full, plan, spec.workload, setting).len(), 9);
                let pairs = threads(Extent::Short, plan, spec.workload, setting);
                assert!(pairs.len() <= 1, "{plan}, {}, {setting}", spec.name);
                for pair in pairs {
                    let pair = format!("{pair:?}");
                    let all = [plan, setting, spec.name, &pair].map(str::to_string);
                    let couples = (0..4).flat_map(|one| (0..one).map(move |other| [other, one]));
                    together.extend(couples.map(|couple| couple.map(|which| all[which].clone())));
                }
            }
        }
        let [p, s, w, t] = [plans.len(), settings.len(), workloads.len(), THREADS.len().pow(2)];
        assert_eq!(together.len(), p * s + p * w + p * t + s * w + s * t + w * t);
    }

    #[test]
    fn the_variable_picks_one_number_of_threads() {
        assert_eq!(named(None), None);
        assert_eq!(named(Some("2")), Some(2));
        for wrong in ["", "3", "two"] {
            let text = crate::panic_of(|| named(Some(wrong)));
            assert_eq!(text, format!("MATRIX_THREADS={wrong}: must be one of [1, 2, 4]"));
        }
    }
}
