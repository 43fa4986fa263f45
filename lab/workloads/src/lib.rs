//! The workloads: deterministic programs over the traits in [`heap`], the same for every collector.
//!
//! [`adapter`] makes a thread of the reference binding a mutator of them, and so a thread of any binding with
//! its objects and shadow stack: the lab and the tests have one adapter. [`never_free`] has allocators to
//! compare with, whose checksums are right by construction. The collectors of others are in the lab.
//!
//! A workload returns a checksum of all it kept alive. An object lost or overwritten by a collector changes
//! it, or fails one of the assertions on the way. Sizes, seeds and sums are frozen: results compare across
//! years.
//!
//! Functions that are called in loops over cache misses are `inline(always)`. How many misses a processor
//! overlaps depends on the instructions between them; left alone, the compiler would inline for one collector
//! and not for another, by the size of its allocation.
//!
//! Each of `n` mutators runs the workload on its share of the size and of the work, with its own seed.

pub mod heap;
pub mod shadow_stack;

pub mod adapter;
pub mod never_free;

pub mod rng;
pub mod threads;
pub mod ticks;

mod binary_trees;
mod churn;
mod fragger;
mod gcbench;
mod large;
mod list;
mod lru_cache;
mod mutation;
mod params;
mod phases;
mod splay;
mod wide;

use std::ops::RangeInclusive;

use heap::{Heap, Mutator, Ref};
use list::Order;
pub use params::{Outcome, Params};

use threads::TooFewThreads;

/// Stack of a mutator thread: the workloads recurse as deep as their trees.
const THREAD_STACK_BYTES: usize = 16 << 20;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    /// See [`SPECS`].
    GcBench,
    /// See [`SPECS`].
    BinaryTrees,
    /// See [`SPECS`].
    MtGcBench,
    /// See [`SPECS`].
    Splay,
    /// See [`SPECS`].
    LruCache,
    /// See [`SPECS`].
    Fragger,
    /// See [`SPECS`].
    Large,
    /// See [`SPECS`].
    List,
    /// See [`SPECS`].
    ListShuffled,
    /// See [`SPECS`].
    Wide,
    /// See [`SPECS`].
    Mutation,
    /// See [`SPECS`].
    Phases,
}

/// A workload with its names and default sizes.
#[derive(Debug)]
pub struct Spec {
    /// The program.
    pub workload: Workload,
    /// Its name.
    pub name: &'static str,
    /// Another name that is understood, or none.
    pub alias: Option<&'static str>,
    /// Default of [`Params::size`].
    pub size: usize,
    /// Default of [`Params::ops`].
    pub ops: usize,
    /// What `size` and `ops` count.
    pub what: &'static str,
    /// What it is hard on.
    pub stresses: &'static str,
}

/// All workloads.
pub const SPECS: &[Spec] = &[
    Spec {
        workload: Workload::GcBench,
        name: "gcbench",
        alias: None,
        size: 18,
        ops: 0,
        what: "size = depth of the long-lived tree (stretch tree: 2 more)",
        stresses: "small-object allocation, short-lived trees beside long-lived ones",
    },
    Spec {
        workload: Workload::BinaryTrees,
        name: "binary-trees",
        alias: None,
        size: 18,
        ops: 0,
        what: "size = greatest depth",
        stresses: "allocation rate; reading all that was allocated",
    },
    Spec {
        workload: Workload::MtGcBench,
        name: "mt-gcbench",
        alias: None,
        size: 18,
        ops: 0,
        what: "gcbench, its size split over the mutators",
        stresses: "many mutators: block supply, safepoints",
    },
    Spec {
        workload: Workload::Splay,
        name: "splay",
        alias: None,
        size: 8000,
        ops: 100_000,
        what: "size = nodes, each with a payload tree; ops = insert and remove",
        stresses: "old data rearranged all the time, medium lifetimes",
    },
    Spec {
        workload: Workload::LruCache,
        name: "lru-cache",
        alias: Some("lru"),
        size: 200_000,
        ops: 2_000_000,
        what: "size = entries; ops = requests, each timed",
        stresses: "request latency, random replacement of old objects",
    },
    Spec {
        workload: Workload::Fragger,
        name: "fragger",
        alias: None,
        size: 65_536,
        ops: 8,
        what: "size = slots; ops = phases of another size range",
        stresses: "fragmentation",
    },
    Spec {
        workload: Workload::Large,
        name: "large",
        alias: None,
        size: 40,
        ops: 3000,
        what: "size = slots; ops = arrays of 64 KB to 4 MB",
        stresses: "large objects; the floor of a pause, with 40 objects alive",
    },
    Spec {
        workload: Workload::List,
        name: "list",
        alias: None,
        size: 2_000_000,
        ops: 1500,
        what: "size = nodes in allocation order; ops = MB of garbage",
        stresses: "a trace without parallelism, mark depth",
    },
    Spec {
        workload: Workload::ListShuffled,
        name: "list-shuffled",
        alias: None,
        size: 1_000_000,
        ops: 1000,
        what: "size = nodes in random order; ops = MB of garbage",
        stresses: "a trace of cache misses",
    },
    Spec {
        workload: Workload::Wide,
        name: "wide",
        alias: None,
        size: 2_000_000,
        ops: 1500,
        what: "size = leaves of one array; ops = MB of garbage",
        stresses: "sharing one huge array among GC workers",
    },
    Spec {
        workload: Workload::Mutation,
        name: "mutation",
        alias: Some("mutate"),
        size: 200_000,
        ops: 30_000_000,
        what: "size = old objects; ops = stores",
        stresses: "write barriers, old-to-young references",
    },
    Spec {
        workload: Workload::Phases,
        name: "phases",
        alias: Some("phased"),
        size: 200_000,
        ops: 12,
        what: "size = records of a table; ops = phases",
        stresses: "live bytes and allocation rate that change",
    },
];

/// No workload takes more work than this: years of it.
pub const OPS_MAX: usize = 1_000_000_000;

impl Spec {
    /// Sizes for which it computes what it says, memory permitting.
    pub fn sizes(&self) -> RangeInclusive<usize> {
        match self.workload {
            // The depth of a tree: one more doubles it.
            Workload::GcBench | Workload::BinaryTrees | Workload::MtGcBench => 1..=32,
            // Entries, some of which have a word in a table outside the heap.
            _ => 1..=100_000_000,
        }
    }
}

/// The workload of this name or alias.
pub fn find(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name || spec.alias == Some(name))
}

impl Spec {
    /// Runs the workload on the calling mutator.
    ///
    /// # Panics
    /// When the heap was corrupted.
    pub fn run<M: Mutator>(&self, m: M, params: Params) -> Outcome {
        let base = m.push(Ref::NULL);
        let outcome = match self.workload {
            Workload::GcBench => gcbench::gcbench(m, params.size).into(),
            Workload::BinaryTrees => binary_trees::binary_trees(m, params.size).into(),
            Workload::MtGcBench => gcbench::gcbench(m, params.share_of_depth()).into(),
            Workload::Splay => splay::splay(m, &params.with_share_of_size_and_ops()).into(),
            Workload::LruCache => lru_cache::lru_cache(m, &params.with_share_of_size_and_ops()),
            Workload::Fragger => fragger::fragger(m, &params.with_share_of_size()).into(),
            Workload::Large => large::large(m, &params.with_share_of_size_and_ops()).into(),
            Workload::List => list::list(m, &params.with_share_of_size_and_ops(), Order::Allocation).into(),
            Workload::ListShuffled => list::list(m, &params.with_share_of_size_and_ops(), Order::Shuffled).into(),
            Workload::Wide => wide::wide(m, &params.with_share_of_size_and_ops()).into(),
            Workload::Mutation => mutation::mutation(m, &params.with_share_of_size_and_ops()).into(),
            Workload::Phases => phases::phases(m, &params.with_share_of_size()).into(),
        };
        assert_eq!(m.push(Ref::NULL), base + 1, "unbalanced shadow stack");
        m.pop(2);
        outcome
    }

    /// Runs the workload with `mutators` threads on a heap; a `size` or `ops` of 0 means the default.
    ///
    /// Returns the wall time of the parallel section in milliseconds, and the combined outcome.
    ///
    /// # Errors
    /// The system refuses a thread.
    ///
    /// # Panics
    /// When the heap was corrupted.
    pub fn run_on_threads<H: Heap>(
        &self,
        heap: &H,
        size: usize,
        ops: usize,
        mutators: usize,
    ) -> Result<(f64, Outcome), TooFewThreads> {
        let or_default = |given, default| if given == 0 { default } else { given };
        let (size, ops) = (or_default(size, self.size), or_default(ops, self.ops));
        let mutator = |tid| {
            let m = heap.bind();
            let outcome = self.run(m, Params { size, ops, tid, nthreads: mutators });
            heap.unbind(m);
            outcome
        };
        let (wall, outcomes) = threads::together(mutators, THREAD_STACK_BYTES, mutator)?;
        let wall_ms = wall.as_secs_f64() * 1e3;
        let mut all = Outcome::default();
        for mut outcome in outcomes {
            all.checksum = all.checksum.wrapping_add(outcome.checksum);
            all.latency_ticks.append(&mut outcome.latency_ticks);
        }
        Ok((wall_ms, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use never_free::NeverFreeHeap;

    /// Sizes at which a workload takes milliseconds.
    fn tiny(spec: &Spec) -> (usize, usize) {
        match spec.workload {
            Workload::GcBench | Workload::BinaryTrees | Workload::MtGcBench => (6, 0),
            Workload::Splay => (50, 100),
            Workload::LruCache => (200, 2000),
            Workload::Fragger => (64, 4),
            Workload::Large => (4, 10),
            Workload::List | Workload::ListShuffled | Workload::Wide => (1000, 1),
            Workload::Mutation => (100, 5000),
            Workload::Phases => (100, 7),
        }
    }

    fn checksum(spec: &Spec, mutators: usize) -> u64 {
        let (size, ops) = tiny(spec);
        let heap = NeverFreeHeap::<true>::new(false, 4 << 30, |why| panic!("{why}"));
        spec.run_on_threads(&heap, size, ops, mutators).unwrap().1.checksum
    }

    #[test]
    fn a_workload_computes_the_same_each_time() {
        for spec in SPECS {
            for mutators in [1, 2] {
                let first = checksum(spec, mutators);
                assert_eq!(first, checksum(spec, mutators), "{} on {mutators}", spec.name);
            }
        }
    }

    #[test]
    fn workloads_are_found_by_name_and_by_alias() {
        assert_eq!(find("lru").unwrap().workload, Workload::LruCache);
        assert_eq!(find("mutate").unwrap().name, "mutation");
        assert!(SPECS.iter().all(|spec| find(spec.name).unwrap().workload == spec.workload));
        assert!(find("lrucache").is_none());
    }

    #[test]
    fn latency_has_one_entry_a_request() {
        let heap = NeverFreeHeap::<false>::new(false, 1 << 30, |why| panic!("{why}"));
        let (_, outcome) = find("lru").unwrap().run_on_threads(&heap, 200, 1000, 2).unwrap();
        assert_eq!(outcome.latency_ticks.len(), 1000);
    }
}
