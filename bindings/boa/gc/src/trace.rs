//! What a type says about the handles in it.
//!
//! `Trace` has three walks over the same parts. The collector uses two: `trace` reports handles, for counting
//! and for marking, and `run_finalizer` runs the finalizers of an object that is about to die.
//! `trace_non_roots` is part of the published trait, so the derive writes it; nobody calls it.

use crate::gc_box::Object;
use std::mem::MaybeUninit;

/// What happens to a value before it is collected. It may follow handles, and store them elsewhere: what it
/// stores survives. It must not make new objects.
pub trait Finalize {
    /// The finalizer.
    fn finalize(&self) {}
}

/// A value that says which handles it holds.
///
/// # Safety
/// `trace` reports no handle that is not part of the value, and none twice: a handle counted too often would
/// be taken for one inside the heap, and its target freed under the handle outside. A handle that is not
/// reported is a root.
pub unsafe trait Trace: Finalize {
    /// Reports the handles.
    ///
    /// # Safety
    /// For the collector.
    unsafe fn trace(&self, tracer: &mut Tracer);

    /// Not used.
    ///
    /// # Safety
    /// For the collector.
    unsafe fn trace_non_roots(&self);

    /// Runs the finalizers of the value and of its parts.
    fn run_finalizer(&self);
}

/// Handles reported before they are passed on: enough to hide the latency of the first, few enough for the
/// stack.
const EDGES: usize = 64;

/// Receives the handles that [`Trace::trace`] reports.
pub struct Tracer {
    edges: [MaybeUninit<Object>; EDGES],
    len: usize,
    /// Counting sees every handle; marking does not see the values of ephemerons.
    counts: bool,
    pass_on: unsafe fn(*mut (), &[Object]),
    to: *mut (),
}

impl Tracer {
    /// Lets `walk` report handles, and passes them on in batches.
    #[inline(always)]
    pub(crate) fn with<F: FnMut(&[Object])>(counts: bool, mut to: F, walk: impl FnOnce(&mut Tracer)) {
        unsafe fn call<F: FnMut(&[Object])>(to: *mut (), edges: &[Object]) {
            // SAFETY: `to` below, which nobody else uses while the tracer exists.
            unsafe { (*to.cast::<F>())(edges) }
        }
        let mut tracer = Tracer {
            edges: [const { MaybeUninit::uninit() }; EDGES],
            len: 0,
            counts,
            pass_on: call::<F>,
            to: (&raw mut to).cast(),
        };
        walk(&mut tracer);
        let len = tracer.len;
        // SAFETY: the first `len` entries are written.
        let rest = unsafe { std::slice::from_raw_parts(tracer.edges.as_ptr().cast::<Object>(), len) };
        to(rest);
    }

    #[inline(always)]
    pub(crate) fn edge(&mut self, object: Object) {
        if self.len == EDGES {
            self.flush();
        }
        // The next to look at the object comes a few dozen edges later.
        object.address().prefetch();
        self.edges[self.len].write(object);
        self.len += 1;
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        // SAFETY: the first `len` entries are written; `pass_on` and `to` belong together.
        unsafe {
            let edges = std::slice::from_raw_parts(self.edges.as_ptr().cast::<Object>(), self.len);
            (self.pass_on)(self.to, edges);
        }
        self.len = 0;
    }

    pub(crate) fn counts(&self) -> bool {
        self.counts
    }
}

/// The methods of [`Trace`] for a type without handles.
#[macro_export]
macro_rules! empty_trace {
    () => {
        #[inline]
        unsafe fn trace(&self, _: &mut $crate::Tracer) {}
        #[inline]
        unsafe fn trace_non_roots(&self) {}
        #[inline]
        fn run_finalizer(&self) {
            $crate::Finalize::finalize(self);
        }
    };
}

/// The methods of [`Trace`] from one expression that calls `mark` on each part: `custom_trace!(this, mark,
/// mark(&this.part))`.
#[macro_export]
macro_rules! custom_trace {
    ($this:ident, $mark:ident, $parts:expr) => {
        #[inline]
        unsafe fn trace(&self, tracer: &mut $crate::Tracer) {
            // SAFETY: passed on from the caller.
            let mut $mark = |part: &dyn $crate::Trace| unsafe { $crate::Trace::trace(part, tracer) };
            let $this = self;
            $parts
        }
        #[inline]
        unsafe fn trace_non_roots(&self) {
            fn $mark<T: $crate::Trace + ?Sized>(part: &T) {
                // SAFETY: passed on from the caller.
                unsafe { $crate::Trace::trace_non_roots(part) }
            }
            let $this = self;
            $parts
        }
        #[inline]
        fn run_finalizer(&self) {
            fn $mark<T: $crate::Trace + ?Sized>(part: &T) {
                $crate::Trace::run_finalizer(part);
            }
            $crate::Finalize::finalize(self);
            let $this = self;
            $parts
        }
    };
}
