//! `mmtk count WORKLOAD`: what it allocates, reads and writes, on a heap that counts and never frees.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::cli::{self, RunOptions};
use crate::failure::Failure;
use crate::output;
use crate::table::Table;
use workloads::heap::{GcStats, Heap, Mutator, Ref};
use workloads::never_free::{Handle, NeverFreeHeap};

/// All that a workload allocates stays: this is the most it may be.
const LIMIT_BYTES: usize = 20 << 30;

// Relaxed: independent counters, read after the threads were joined.
static OBJECTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static SLOTS_READ: AtomicU64 = AtomicU64::new(0);
static SLOTS_WRITTEN: AtomicU64 = AtomicU64::new(0);
static SLOTS_INITIALISED: AtomicU64 = AtomicU64::new(0);

/// Runs one iteration and prints the counts.
///
/// # Errors
/// An unknown workload, an amount out of range; a thread that cannot be started.
pub(super) fn count(options: &RunOptions, workload: &str) -> Result<(), Failure> {
    let spec = cli::workload(workload)?;
    options.check_amounts(spec)?;
    let heap = Counting(NeverFreeHeap::new(true, LIMIT_BYTES, crate::oom::exit));
    let (_, outcome) = spec.run_on_threads(&heap, options.size, options.ops, options.mutators)?;
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = [
        ("objects", of(&OBJECTS)),
        ("bytes", of(&BYTES)),
        ("slots_read", of(&SLOTS_READ)),
        ("slots_written", of(&SLOTS_WRITTEN)),
        ("slots_initialised", of(&SLOTS_INITIALISED)),
    ];
    let checksum = format!("{:016x}", outcome.checksum);
    if options.json {
        let mut line = json!({"workload": spec.name, "checksum": checksum});
        for (name, count) in counts {
            line[name] = count.into();
        }
        output::line(line)?;
    } else {
        let mut table = Table::new([spec.name, "count"]);
        for (name, count) in counts {
            table.row([name.replace('_', " "), count.to_string()]);
        }
        table.row(["checksum".to_owned(), checksum]);
        output::text(&table.plain())?;
    }
    Ok(())
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

struct Counting(NeverFreeHeap<true>);

#[derive(Clone, Copy)]
struct CountingHandle(Handle<true>);

impl Heap for Counting {
    type M = CountingHandle;

    fn bind(&self) -> Self::M {
        CountingHandle(self.0.bind())
    }

    fn unbind(&self, mutator: Self::M) {
        self.0.unbind(mutator.0);
    }

    fn collect(&self, _mutator: Self::M) {}

    fn take_stats(&self) -> GcStats {
        GcStats::default()
    }
}

impl Mutator for CountingHandle {
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref {
        add(&OBJECTS, 1);
        add(&BYTES, ((1 + nrefs + nbytes.div_ceil(8)).max(2) * 8) as u64);
        self.0.alloc(nrefs, nbytes)
    }

    fn read_ref(self, object: Ref, i: usize) -> Ref {
        add(&SLOTS_READ, 1);
        self.0.read_ref(object, i)
    }

    fn write_ref(self, object: Ref, i: usize, value: Ref) {
        add(&SLOTS_WRITTEN, 1);
        self.0.write_ref(object, i, value);
    }

    fn init_ref(self, object: Ref, i: usize, value: Ref) {
        add(&SLOTS_INITIALISED, 1);
        self.0.init_ref(object, i, value);
    }

    fn read_word(self, object: Ref, w: usize) -> u64 {
        self.0.read_word(object, w)
    }

    fn write_word(self, object: Ref, w: usize, value: u64) {
        self.0.write_word(object, w, value);
    }

    fn poll(self) {}

    fn push(self, value: Ref) -> usize {
        self.0.push(value)
    }

    fn get(self, index: usize) -> Ref {
        self.0.get(index)
    }

    fn set(self, index: usize, value: Ref) {
        self.0.set(index, value);
    }

    fn peek(self, depth: usize) -> Ref {
        self.0.peek(depth)
    }

    fn pop(self, n: usize) {
        self.0.pop(n);
    }
}
