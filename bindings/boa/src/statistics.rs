//! The heap's options on the command line, and its numbers at the end.

use reports::{Summary, SummaryHandle};

/// Options of the heap.
#[derive(clap::Args, Debug)]
pub struct HeapArguments {
    /// Collector: StickyMarkSweep, StickyImmix, MarkSweep or Immix (without moving).
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// The heap's limit, objects and tables: 256M, 2G.
    #[arg(long, value_name = "BYTES")]
    heap: Option<String>,
    /// Any option of the toolkit.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints a table of collections, pauses and memory at the end.
    #[arg(long)]
    heap_stats: bool,
}

/// Prints the table, if it is wanted.
pub struct Statistics(Option<SummaryHandle>);

impl HeapArguments {
    /// Sets up this thread's heap.
    pub fn configure(&self) -> Result<Statistics, String> {
        let mut options = boa_gc::default_options().map_err(|error| error.to_string())?;
        if let Some(plan) = &self.plan {
            options.set("plan", plan).map_err(|error| error.to_string())?;
        }
        if let Some(limit) = &self.heap {
            options.set("heap.limit", limit).map_err(|error| error.to_string())?;
        }
        for assignment in &self.set {
            options.apply_assignment(assignment).map_err(|error| error.to_string())?;
        }
        boa_gc::configure(options).map_err(|error| error.to_string())?;
        Ok(Statistics(self.heap_stats.then(|| {
            let (listener, handle) = Summary::new();
            boa_gc::with_heap(|heap| heap.listen(Box::new(listener)));
            handle
        })))
    }
}

impl Statistics {
    /// Prints the table to standard error.
    pub fn print(&self) {
        let Some(handle) = &self.0 else { return };
        let pauses = handle.snapshot();
        let heap = boa_gc::with_heap(|heap| heap.statistics());
        let ms = |ns: u64| format!("{:.2} ms", ns as f64 / 1e6);
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
        let rows = [
            ("plan", pauses.plan.to_string()),
            ("collections", heap.collections.to_string()),
            ("full ones", heap.full_collections.to_string()),
            ("pause p50", ms(pauses.pause_ns_p50)),
            ("pause p99", ms(pauses.pause_ns_p99)),
            ("pause max", ms(pauses.pause_ns_max)),
            ("GC cpu", ms(heap.gc_cpu_ns)),
            ("live", mib(heap.live_bytes)),
            ("peak reserved", mib(heap.peak_reserved_bytes)),
            ("resident", mib(heap.resident_bytes)),
        ];
        eprintln!("{:-<34}", "");
        for (name, value) in rows {
            eprintln!("{name:<16}{value:>18}");
        }
        eprintln!("{:-<34}", "");
    }
}
