//! The table of options, and the struct that the table becomes.
//!
//! To add an option, add a row: its doc comment is the "why" that users read, its `allowed` is a `Domain`.

use std::sync::LazyLock;

use super::bytes::{Bytes, MIB, TIB};
use super::choice::{Driver, OneOf, WakeHelpers, Warnings, When};
use super::domain::{Auto, Decimal, Domain, Finite, Flag, Name, Number, check, read};
use super::error::OptionError;
use super::machine;
use super::needs::Need;
use pacer::{HeapMode, PolicyName};

/// One row of the table, as text: what `--help` and the book print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Dotted name, as in `--set` and in nested TOML tables.
    pub key: &'static str,
    /// Environment variable that sets it.
    pub env_name: String,
    /// Kind of value: `bytes`, `whole number`, `choice`, `bool` or `name`.
    pub type_name: &'static str,
    /// The value if it is not set; `auto` where the machine decides.
    pub default: String,
    /// What is accepted; completes the sentence "must be ...".
    pub allowed: String,
    /// What it is for, in one line.
    pub why: &'static str,
    /// What it needs to have an effect; completes the sentence "needs ...". Empty if it always has one.
    pub needs: String,
}

macro_rules! options {
    ($(
        $(#[doc = $why:literal])+
        $field:ident: $type:ty {
            key: $key:literal, default: $default:expr, allowed: $domain:expr $(, needs: [$($need:expr),*])? $(,)?
        }
    )+) => {
        /// Every option, typed. Write fields, or text by [`set`](Options::set); then [`validate`](Options::validate).
        ///
        /// Plain data without locks: filled in by one thread, read-only once a heap exists.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options {
            $(
                $(#[doc = $why])+
                #[doc = concat!("\n\nKey: `", $key, "`.")]
                pub $field: $type,
            )+
        }

        impl Default for Options {
            /// The defaults of the table; `auto` ones look at the machine now.
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Options {
            /// Sets one option from text. Checks its own range, not how it combines with others.
            ///
            /// # Errors
            /// Unknown key, text that cannot be read, or a value out of range. The options are unchanged then.
            pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
                match key {
                    $($key => self.$field = read(&$domain, $key, value)?,)+
                    _ => return Err(OptionError::unknown(key, Self::table().iter().map(|row| row.key))),
                }
                Ok(())
            }

            /// The value of an option in the syntax that [`set`](Options::set) accepts; `None` for an unknown key.
            ///
            /// An `auto` option answers with the value that was found, so that a report can be repeated elsewhere.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some(Domain::<$type>::print(&$domain, &self.$field)),)+
                    _ => None,
                }
            }

            /// The whole table in its declared order.
            pub fn table() -> &'static [OptionInfo] {
                static TABLE: LazyLock<Vec<OptionInfo>> = LazyLock::new(|| vec![$(
                    OptionInfo {
                        key: $key,
                        env_name: env_name($key),
                        type_name: Domain::<$type>::type_name(&$domain),
                        default: Domain::<$type>::default_text(&$domain, &$default),
                        allowed: Domain::<$type>::allowed(&$domain),
                        why: concat!($($why),+).trim(),
                        needs: needs_text(&[$($($need),*)?]),
                    },
                )+]);
                &TABLE
            }

            /// What each row of the table needs, in the same order.
            pub(super) fn needs() -> &'static [&'static [Need]] {
                &[$(&[$($($need),*)?],)+]
            }

            fn check_each(&self) -> Result<(), OptionError> {
                $(check(&$domain, $key, &self.$field)?;)+
                Ok(())
            }
        }
    };
}

options! {
    /// Which collector runs. The name is checked when the heap is made.
    plan: String { key: "plan", default: "Immix".to_owned(), allowed: Name }

    /// The heap never grows beyond this. auto: half of the least that the machine, its cgroup and `ulimit -v`
    /// grant.
    heap_limit: usize {
        key: "heap.limit",
        default: machine::default_heap_bytes(),
        allowed: Auto { of: Bytes(MIB..=TIB), resolve: machine::default_heap_bytes },
    }

    /// When to collect. fixed: at the limit. proportional: when the heap has grown by heap.headroom_percent
    /// of the bytes that were live after the last collection. cpu-target: at such intervals that collecting
    /// takes heap.gc_cpu_target of the processor time. membalancer: by the square-root rule of MemBalancer,
    /// with the price heap.balance. delegated: when the VM asks, or at the limit.
    heap_mode: HeapMode { key: "heap.mode", default: HeapMode::Fixed, allowed: OneOf, needs: [Need::Collections] }

    /// Proportional mode: how far the heap grows beyond the live bytes before the next collection, in percent
    /// of the live bytes. A larger value takes more memory and less GC work.
    heap_headroom_percent: u32 {
        key: "heap.headroom_percent", default: 100, allowed: Number(1..=10_000),
        needs: [Need::Collections, Need::Sized],
    }

    /// CPU-target mode: the part of the processor time that collections take; mutators have the rest. A
    /// smaller part needs more memory.
    heap_gc_cpu_target: Finite {
        key: "heap.gc_cpu_target", default: Finite::new(0.08), allowed: Decimal(0.001..=0.9),
        needs: [Need::Collections, Need::Mode(HeapMode::CpuTarget)],
    }

    /// MemBalancer mode: the price of a byte of memory. Four times the price gives half the room above the
    /// live bytes. With the default, a heap with 100 MB live has room for another 100 MB if the program
    /// allocates 1 GB/s and the collector marks 1 GB/s.
    heap_balance: Finite {
        key: "heap.balance", default: Finite::new(1e-8), allowed: Decimal(1e-15..=1.0),
        needs: [Need::Collections, Need::Mode(HeapMode::MemBalancer)],
    }

    /// A limit that the heap keeps to by collecting more often. The heap still exceeds it if more than that
    /// is live, or if collecting would otherwise take more than pacer.gc_cpu_cap of the processor time. 0:
    /// nine tenths of the memory that the machine or its cgroup grants at the time.
    heap_soft_limit: usize { key: "heap.soft_limit", default: 0, allowed: Bytes(0..=TIB), needs: [Need::Collections] }

    /// All modes but fixed and delegated: the heap is not collected while it is smaller than this, so that a
    /// small heap does not collect all the time.
    heap_min: usize {
        key: "heap.min", default: 4 * MIB, allowed: Bytes(0..=TIB),
        needs: [Need::Collections, Need::Sized],
    }

    /// The algorithm that decides how large the heap may grow and when a collection starts. adaptive is the
    /// toolkit's own; the others are there for comparison.
    pacer_policy: PolicyName {
        key: "pacer.policy", default: PolicyName::Adaptive, allowed: OneOf,
        needs: [Need::Collections],
    }

    /// Concurrent plans: share of the machine that marking takes when nothing is urgent. It decides when a
    /// marking begins, and how long the thread that marks rests.
    pacer_gc_share: Finite {
        key: "pacer.gc_share", default: Finite::new(0.25), allowed: Decimal(0.01..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: the largest share of the machine that marking takes before mutators have to help.
    /// One thread marks: more than one processor it does not take.
    pacer_gc_share_max: Finite {
        key: "pacer.gc_share_max", default: Finite::new(0.5), allowed: Decimal(0.01..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: the smallest share of the machine that marking takes.
    pacer_gc_share_min: Finite {
        key: "pacer.gc_share_min", default: Finite::new(0.1), allowed: Decimal(0.0..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: the largest share of the machine that mutators spend on helping while the heap is
    /// below its goal. With gc.driver=quanta they mark for what they allocate.
    pacer_assist_cap: Finite {
        key: "pacer.assist_cap", default: Finite::new(0.25), allowed: Decimal(0.0..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: how much mutators may allocate while marking runs, as a part of the room above the
    /// live bytes.
    pacer_float_budget: Finite {
        key: "pacer.float_budget", default: Finite::new(0.25), allowed: Decimal(0.01..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: the distance below the goal at which marking should end, as a part of the room above
    /// the live bytes.
    pacer_margin: Finite {
        key: "pacer.margin", default: Finite::new(0.02), allowed: Decimal(0.0..=0.5),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: how many standard deviations the pacer adds to its estimates, to be on the safe
    /// side.
    pacer_safety_sigma: Finite {
        key: "pacer.safety_sigma", default: Finite::new(1.0), allowed: Decimal(0.0..=10.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: how strongly the pacer corrects its estimates by what it learned from past cycles
    /// (the gain of that correction).
    pacer_trim_gain: Finite {
        key: "pacer.trim_gain", default: Finite::new(0.3), allowed: Decimal(0.0..=1.0),
        needs: [Need::Concurrent],
    }

    /// Concurrent plans: how often the pacer decides how hard to work while marking runs, in
    /// microseconds.
    pacer_tick_us: u64 {
        key: "pacer.tick_us", default: 1000, allowed: Number(100..=1_000_000),
        needs: [Need::Concurrent],
    }

    /// The largest part of the processor time that may be spent on collections caused by heap.soft_limit,
    /// memory pressure or memory outside the heap. If they would take more, the heap grows instead. The VM is
    /// told if collecting has taken more than this for two seconds and nearly all of the heap is live.
    pacer_gc_cpu_cap: Finite {
        key: "pacer.gc_cpu_cap", default: Finite::new(0.5), allowed: Decimal(0.01..=1.0),
        needs: [Need::Collections],
    }

    /// When free memory goes back to the system. auto: when it has been free for heap.uncommit_delay_ms.
    /// always: after each collection. never: not at all.
    return_memory: When { key: "heap.return_memory", default: When::Auto, allowed: OneOf, needs: [Need::Collections] }

    /// All modes but fixed and delegated: while tasks of this cgroup or machine wait for memory (as the
    /// kernel's PSI tells), the heap leaves less room above the live bytes, down to a quarter.
    heap_pressure: bool { key: "heap.pressure", default: true, allowed: Flag, needs: [Need::Collections, Need::Sized] }

    /// With heap.return_memory=auto: how long memory must have been free before it goes back to the system,
    /// in ms.
    uncommit_delay_ms: u64 {
        key: "heap.uncommit_delay_ms", default: 5000, allowed: Number(0..=86_400_000),
        needs: [Need::Collections, Need::DelayedReturn],
    }

    /// A thread of the heap collects when the program has allocated and has then been quiet for this many
    /// seconds, so that the memory of dead objects can go back to the system. 0: never; then only mutators
    /// start collections.
    idle_gc_s: Finite {
        key: "heap.idle_gc_s", default: Finite::new(120.0), allowed: Decimal(0.0..=1e6),
        needs: [Need::Collections],
    }

    /// The largest number of threads that work in a pause. auto: the number of processors that affinity and
    /// cgroup quota grant. A pause uses only as many threads as made recent pauses shorter.
    gc_workers: usize {
        key: "gc.workers",
        default: machine::default_workers(),
        allowed: Auto { of: Number(1..=machine::WORKERS_MAX), resolve: machine::default_workers },
        needs: [Need::Collections],
    }

    /// When a pause wakes the threads that help its leader. auto: when there is enough work to pay for the
    /// wake-up, and only as many as made recent pauses shorter. always: all at once, to stress the protocols.
    gc_helpers: WakeHelpers {
        key: "gc.wake_helpers", default: WakeHelpers::Auto, allowed: OneOf,
        needs: [Need::Collections, Need::Helpers],
    }

    /// Whether a full collection leaves the sweep for when mutators run again, in spaces that mark in place.
    /// auto: when that saves more of the pause than it costs to wake a thread. always: whenever there is
    /// anything to sweep. Both not if the pause needs to know what is free. never: pauses sweep.
    gc_sweep_beside: When {
        key: "gc.sweep_beside", default: When::Auto, allowed: OneOf,
        needs: [Need::Collections],
    }

    /// Who marks while mutators run, in plans that do. background: a thread of the heap's own, and mutators
    /// that allocate faster than it marks. quanta: mutators alone, in bounded steps. auto: background if
    /// affinity and cgroup quota grant more than one processor, else quanta.
    gc_driver: Driver {
        key: "gc.driver", default: Driver::Auto, allowed: OneOf,
        needs: [Need::Concurrent],
    }

    /// How long a step of marking takes that a mutator makes, in microseconds: for what it allocates, or in
    /// Mutator::step. It may take as long again as the object that it has in hand then: 1024 slots of a large
    /// array, or as many as another object has.
    gc_step_us: u64 { key: "gc.step_us", default: 200, allowed: Number(20..=1_000_000), needs: [Need::Concurrent] }

    /// Generational plans: bytes that mutators allocate between two minor collections. The larger the
    /// nursery, the more of its objects are dead when a collection begins. 0: the heap chooses. It takes half
    /// of the free room, and makes no minor collections while they do not pay.
    nursery_bytes: usize { key: "nursery.bytes", default: 0, allowed: Bytes(0..=TIB), needs: [Need::Generational] }

    /// The largest nursery that the heap chooses by itself.
    nursery_max_bytes: usize {
        key: "nursery.max_bytes", default: 128 * MIB, allowed: Bytes(MIB..=TIB),
        needs: [Need::Generational, Need::NurseryOfItsChoice],
    }

    /// How long minor collections should take, in microseconds: the heap chooses the nursery so that about
    /// half of them take less. 0: there is no goal, and the heap chooses the nursery that costs the least.
    nursery_pause_goal_us: u64 {
        key: "nursery.pause_goal_us", default: 0, allowed: Number(0..=10_000_000),
        needs: [Need::Generational, Need::NurseryOfItsChoice],
    }

    /// A soft reference that was not used during this many full collections is cleared by the next one. An
    /// emergency collection clears all soft references.
    soft_collections: u32 {
        key: "references.soft_collections", default: 16, allowed: Number(0..=1_000_000),
        needs: [Need::Collections],
    }

    /// Part of the heap that is kept free for evacuation, in percent. 0: evacuation can use only memory that
    /// happens to be free.
    immix_headroom_percent: u32 {
        key: "immix.headroom_percent", default: 3, allowed: Number(0..=50),
        needs: [Need::Space("immix"), Need::Moving, Need::Defrag],
    }

    /// Evacuate sparse blocks. If this is off, Immix never moves an object, and fragmentation stays.
    immix_defrag: bool {
        key: "immix.defrag", default: true, allowed: Flag,
        needs: [Need::Space("immix"), Need::Moving],
    }

    /// PageProtect: size of the address range for objects; each object takes at least a page of it. When the
    /// range is used up, the addresses of dead objects are used again, in their order.
    page_protect_addresses: usize {
        key: "page_protect.addresses", default: TIB, allowed: Bytes(64 * MIB..=TIB),
        needs: [Need::Space("page-protect")],
    }

    /// Huge pages for the heap. auto: in large heaps from the first touch on, unless that costs much more
    /// than with small pages; otherwise once the program has run long enough. always: everywhere. never:
    /// turned off, even where the system would use them by itself.
    huge_pages: When { key: "os.huge_pages", default: When::Auto, allowed: OneOf }

    /// A thread that has waited for this many ms until other threads stop or end reports which threads these
    /// are, by a warning and an event. It reports again each time that the wait has doubled. 0: never.
    safepoint_warn_ms: u64 { key: "safepoint.warn_ms", default: 1000, allowed: Number(0..=86_400_000) }

    /// Writes a line about each pause to standard error.
    log_gc: bool { key: "log.gc", default: false, allowed: Flag, needs: [Need::Collections] }

    /// Where warnings go in a process that has installed no logger (crate log): to standard error, or
    /// nowhere. If one heap says never, the whole process is silent.
    warnings: Warnings { key: "warnings", default: Warnings::Stderr, allowed: OneOf }

    /// Collect each time that mutators have allocated this many bytes, to find missing roots and barriers
    /// early. A plan that marks while mutators run begins a collection at one such time, and ends it at the
    /// next. 0: off.
    stress_bytes: usize { key: "stress.every_bytes", default: 0, allowed: Bytes(0..=TIB), needs: [Need::Collections] }

    /// Generational plans: every Nth collection that the nursery or stress.every_bytes asks for is a full
    /// one; with 2, a full collection follows every minor one. 0: the heap decides: the nursery gets minor
    /// collections only, and one in four that stress.every_bytes asks for is full.
    stress_full_every: u64 {
        key: "stress.full_every", default: 0, allowed: Number(0..=1_000_000),
        needs: [Need::Generational],
    }

    /// Defragment in every collection, so that each object that may move does move.
    stress_defrag: bool {
        key: "stress.always_defrag", default: false, allowed: Flag,
        needs: [Need::Space("immix"), Need::Moving],
    }

    /// Mark in steps: each worker follows at most this many objects, then all begin the next step. Mutators
    /// stay stopped throughout. This tests that marking can be interrupted anywhere. 0: one step. It has no
    /// effect in collections that evacuate objects, nor in minor ones.
    stress_step_objects: usize { key: "stress.step_objects", default: 0, allowed: Number(0..=1_000_000), needs: [Need::Collections] }

    /// No thread of the heap works beside mutators: what pauses leave to be swept is left to mutators that
    /// need memory, and to the next pause.
    stress_no_background: bool {
        key: "stress.no_background", default: false, allowed: Flag, needs: [Need::Collections],
    }

    /// Yield at random points of the protocols, to visit rare interleavings.
    stress_yield: bool { key: "stress.random_yield", default: false, allowed: Flag }

    /// Seed of every random choice that a stress option makes; the same seed asks for the same choices.
    stress_seed: u64 { key: "stress.seed", default: 1, allowed: Number(0..=u64::MAX), needs: [Need::RandomYield] }

    /// Before and after each collection, trace the heap once more with the simplest code there is, and
    /// compare. In plans that mark while mutators run, also note what objects hold when the marking begins,
    /// to find stores without barrier.
    verify: bool { key: "verify.trace", default: false, allowed: Flag, needs: [Need::Collections] }

    /// Verify only every Nth collection. If the collection before was not verified, the verifier knows only
    /// the objects allocated since, so it may miss references to dead ones.
    verify_every: u64 {
        key: "verify.every", default: 1, allowed: Number(1..=1_000_000),
        needs: [Need::Collections, Need::Verifier],
    }

    /// Fill freed memory with a pattern, so that a stale reference fails fast and visibly.
    poison: bool { key: "verify.poison", default: false, allowed: Flag }
}

impl Options {
    /// Checks every value and how the values combine. The code that creates a heap calls this once, first.
    ///
    /// # Errors
    /// The first offence in the order of the table, in the words that [`set`](Options::set) would have used.
    pub fn validate(&self) -> Result<(), OptionError> {
        self.check_each()?;
        // A heap that is as large as its limit does not read `heap.min`: a tiny one need not lower it first.
        let sized = !matches!(self.heap_mode, HeapMode::Fixed | HeapMode::Delegated);
        if sized && self.heap_min > self.heap_limit {
            return Err(self.conflict("heap.min", "at most", "heap.limit", &format!(" in {} mode", self.heap_mode)));
        }
        if self.pacer_gc_share > self.pacer_gc_share_max {
            return Err(self.conflict("pacer.gc_share", "at most", "pacer.gc_share_max", ""));
        }
        if self.pacer_gc_share_min > self.pacer_gc_share {
            return Err(self.conflict("pacer.gc_share_min", "at most", "pacer.gc_share", ""));
        }
        if self.stress_defrag && !self.immix_defrag {
            return Err(self.conflict("stress.always_defrag", "false with", "immix.defrag", ""));
        }
        Ok(())
    }

    fn conflict(&self, key: &'static str, relation: &str, other: &str, when: &str) -> OptionError {
        let text = |key| self.get(key).expect("a cross-check names rows of the table");
        OptionError::Conflict { key, value: text(key), rule: format!("{relation} {other}={}{when}", text(other)) }
    }
}

fn needs_text(needs: &[Need]) -> String {
    let texts: Vec<String> = needs.iter().map(|need| need.text()).collect();
    texts.join(" and ")
}

/// `heap.limit` -> `MMTK_HEAP_LIMIT`.
fn env_name(key: &str) -> String {
    format!("MMTK_{}", key.replace('.', "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Options::default().validate().unwrap();
    }

    #[test]
    fn every_printed_default_and_value_can_be_set_again() {
        let options = Options::default();
        for row in Options::table() {
            let mut copy = options.clone();
            copy.set(row.key, &options.get(row.key).unwrap()).unwrap();
            assert_eq!(copy, options, "{}", row.key);
            copy.set(row.key, &row.default).unwrap();
            assert_eq!(copy, options, "{}", row.key);
        }
    }

    #[test]
    fn values_other_than_the_default_survive_printing() {
        let given = [
            ("plan", "GenImmix"),
            ("heap.limit", "1536M"),
            ("heap.mode", "delegated"),
            ("heap.headroom_percent", "250"),
            ("heap.gc_cpu_target", "0.125"),
            ("heap.balance", "0.00001"),
            ("heap.soft_limit", "1G"),
            ("heap.min", "12345"),
            ("pacer.policy", "go"),
            ("pacer.gc_share", "0.3"),
            ("pacer.gc_share_max", "0.6"),
            ("pacer.gc_share_min", "0.05"),
            ("pacer.assist_cap", "0.2"),
            ("pacer.float_budget", "0.5"),
            ("pacer.margin", "0.01"),
            ("pacer.safety_sigma", "2"),
            ("pacer.trim_gain", "0"),
            ("pacer.tick_us", "500"),
            ("pacer.gc_cpu_cap", "0.75"),
            ("heap.return_memory", "never"),
            ("heap.pressure", "false"),
            ("heap.uncommit_delay_ms", "250"),
            ("heap.idle_gc_s", "0.5"),
            ("gc.workers", "7"),
            ("gc.wake_helpers", "always"),
            ("gc.sweep_beside", "always"),
            ("gc.driver", "quanta"),
            ("gc.step_us", "50"),
            ("nursery.bytes", "4M"),
            ("nursery.max_bytes", "16M"),
            ("nursery.pause_goal_us", "500"),
            ("references.soft_collections", "3"),
            ("immix.headroom_percent", "0"),
            ("immix.defrag", "false"),
            ("page_protect.addresses", "1G"),
            ("os.huge_pages", "always"),
            ("safepoint.warn_ms", "250"),
            ("log.gc", "true"),
            ("warnings", "never"),
            ("stress.every_bytes", "64K"),
            ("stress.full_every", "2"),
            ("stress.always_defrag", "true"),
            ("stress.step_objects", "7"),
            ("stress.no_background", "true"),
            ("stress.random_yield", "true"),
            ("stress.seed", "18446744073709551615"),
            ("verify.trace", "true"),
            ("verify.every", "16"),
            ("verify.poison", "true"),
        ];
        assert_eq!(
            given.map(|(key, _)| key).as_slice(),
            Options::table().iter().map(|row| row.key).collect::<Vec<_>>()
        );
        let mut options = Options::default();
        for (key, value) in given {
            options.set(key, value).unwrap();
            assert_eq!(options.get(key).as_deref(), Some(value));
        }
    }

    #[test]
    fn a_typed_write_gets_the_error_of_a_string_write() {
        let by_text = |key, value| Options::default().set(key, value).unwrap_err();
        let by_field = |write: fn(&mut Options)| {
            let mut options = Options::default();
            write(&mut options);
            options.validate().unwrap_err()
        };
        assert_eq!(by_field(|o| o.gc_workers = 0), by_text("gc.workers", "0"));
        assert_eq!(by_field(|o| o.heap_limit = 4096), by_text("heap.limit", "4K"));
        assert_eq!(by_field(|o| o.plan.clear()), by_text("plan", ""));
        assert_eq!(by_field(|o| o.immix_headroom_percent = 51), by_text("immix.headroom_percent", "51"));
    }

    #[test]
    fn a_bad_value_changes_nothing() {
        let mut options = Options::default();
        let bad = [("gc.workers", "257"), ("heap.limit", "NaN"), ("heap.mode", "big"), ("plan", " "), ("no.such", "1")];
        for (key, value) in bad {
            options.set(key, value).unwrap_err();
            assert_eq!(options, Options::default());
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let mut options = Options { heap_limit: 2 * MIB, ..Options::default() };
        options.validate().expect("heap.min does not matter to a fixed heap");
        options.heap_mode = HeapMode::Proportional;
        let error = options.validate().unwrap_err().to_string();
        assert_eq!(error, "heap.min=4M: must be at most heap.limit=2M in proportional mode");

        let mut options = Options::default();
        options.set("pacer.gc_share", "0.6").unwrap();
        let error = options.validate().unwrap_err().to_string();
        assert_eq!(error, "pacer.gc_share=0.6: must be at most pacer.gc_share_max=0.5");

        let options = Options { stress_defrag: true, immix_defrag: false, ..Options::default() };
        let error = options.validate().unwrap_err().to_string();
        assert_eq!(error, "stress.always_defrag=true: must be false with immix.defrag=false");
    }
}
