//! What a workload sees of a collector: [`Heap`], [`Mutator`] and [`Ref`].
//!
//! An object is `nrefs` reference slots followed by `nbytes` bytes of raw data, rounded up to words. Slots
//! and words share one index space: slot `i < nrefs` is a reference, word `nrefs + j` is the j-th raw word.
//! Everything is zero after `alloc`. A header, if there is one, is the adapter's business.
//!
//! I1. A [`Ref`] in a Rust local is stale after any `alloc` or `poll`: what must live on is on the shadow
//!     stack.
//! I2. A [`Mutator`] handle is used between `bind` and `unbind`, and only by the thread that bound it.
//! I3. A workload reads slots as references and words as words, and stays inside the object.
//!
//! Adapters are monomorphised over these traits and over their own configuration, which is what a JIT or a
//! static compiler would do; with fast paths marked `inline(always)` a comparison then measures collectors,
//! not calls.

use std::time::Instant;

/// A reference as a workload sees it: a word, 0 is null.
///
/// How it is stored in the heap is up to the adapter; a compressing heap would narrow it in `write_ref`.
pub use reference::Ref;

/// The handle of one mutator thread.
///
/// It is a pointer-sized `Copy` value so that it travels in a register; the state behind it may be read by
/// the collector while the thread is stopped.
pub trait Mutator: Copy + 'static {
    /// Allocates a zeroed object. May collect, and may move every object.
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref;

    /// Loads slot `i`.
    fn read_ref(self, object: Ref, i: usize) -> Ref;

    /// Stores into slot `i`, with the collector's write barrier.
    fn write_ref(self, object: Ref, i: usize, value: Ref);

    /// Initialising store into the object most recently returned by `alloc`, with no GC point in between.
    ///
    /// A collector may leave out its barrier here, as an optimising compiler does.
    #[inline(always)]
    fn init_ref(self, object: Ref, i: usize, value: Ref) {
        self.write_ref(object, i, value);
    }

    /// Loads raw word `w`.
    fn read_word(self, object: Ref, w: usize) -> u64;

    /// Stores raw word `w`.
    fn write_word(self, object: Ref, w: usize, value: u64);

    /// Safepoint poll.
    fn poll(self);

    /// Pushes on the shadow stack and returns the absolute index of the new entry.
    fn push(self, value: Ref) -> usize;

    /// Shadow stack entry by absolute index.
    fn get(self, index: usize) -> Ref;

    /// Overwrites a shadow stack entry by absolute index.
    fn set(self, index: usize, value: Ref);

    /// Shadow stack entry counted from the top; 0 is the last pushed.
    fn peek(self, depth: usize) -> Ref;

    /// Drops the top `n` entries of the shadow stack.
    fn pop(self, n: usize);
}

/// One stop of all mutators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When the stop was requested.
    pub start: Instant,
    /// From the request to the resume, in nanoseconds: time to safepoint counts.
    pub length_ns: u64,
}

/// A stretch of time in which a collector held up one mutator: by a pause, or by work that the mutator had
/// to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// A number of its thread.
    pub thread: u32,
    /// When it began.
    pub start: Instant,
    /// Until the mutator went on with its program, in nanoseconds.
    pub length_ns: u64,
}

/// What a collector did since the last [`Heap::take_stats`].
#[derive(Clone, Debug, Default)]
pub struct GcStats {
    /// Each stop of the mutators, in order.
    pub pauses: Vec<Pause>,
    /// Of collectors that tell it: each time a mutator was held up; those of one thread in order and apart.
    pub held_up: Option<Vec<HeldUp>>,
    /// Collections; for a concurrent collector its cycles, or its pauses where cycles are not reported.
    pub gcs: u64,
    /// CPU time spent collecting, on whatever threads.
    pub gc_cpu_ns: u64,
    /// Largest number of bytes held against the heap limit, metadata and copy reserve included where the
    /// collector counts them.
    pub peak_reserved_bytes: u64,
    /// Of collectors that set themselves goals: the most bytes in a cycle, as a part of its goal, in order.
    /// Without cycles that ended for another reason.
    pub peak_to_goal: Vec<f64>,
}

/// A heap with its collector.
pub trait Heap: Sync {
    /// The handle of a bound thread.
    type M: Mutator;

    /// Makes the calling thread a mutator. The handle must not outlive the heap (I2).
    fn bind(&self) -> Self::M;

    /// The calling thread stops being a mutator; its shadow stack is empty.
    fn unbind(&self, mutator: Self::M);

    /// A full collection, called outside the timed region.
    fn collect(&self, mutator: Self::M);

    /// Statistics since the last call. No mutator is bound.
    fn take_stats(&self) -> GcStats;

    /// Whether the heap writes the file of `--trace` itself, in more detail than the pauses in [`GcStats`].
    fn writes_trace(&self) -> bool {
        false
    }
}
