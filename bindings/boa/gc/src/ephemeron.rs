//! Ephemerons: a value that is alive as long as its key is, without keeping the key alive.
//!
//! The box of an ephemeron is an ordinary object. Marking does not look into it; the collector resolves
//! ephemerons when all else is marked, and empties those whose keys are dead (`collection`). Counting does
//! look into it, since a handle in the value lies inside the heap; the key is an uncounted pointer.

use crate::gc_box::{GcBox, Object};
use crate::{Finalize, Gc, Trace, Tracer, heap};
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

/// A handle of an ephemeron.
pub struct Ephemeron<K: Trace + ?Sized + 'static, V: Trace + 'static>(Gc<EphemeronBox<K, V>>);

/// What the heap holds for an ephemeron. I1. The key is alive, or about to be found dead, as long as the
/// entry is there.
pub(crate) struct EphemeronBox<K: ?Sized + 'static, V: 'static> {
    entry: UnsafeCell<Option<Entry<K, V>>>,
}

struct Entry<K: ?Sized + 'static, V> {
    key: NonNull<GcBox<K>>,
    value: V,
}

/// An ephemeron of any type, as the collector sees it.
pub(crate) trait AnyEphemeron {
    /// The key, unless the entry is gone.
    fn key(&self) -> Option<Object>;
    /// Reports the handles in the value.
    fn trace_value(&self, tracer: &mut Tracer);
    /// Takes the entry out and drops it.
    fn clear(&self);
}

impl<K: Trace + ?Sized, V: Trace> EphemeronBox<K, V> {
    fn entry(&self) -> Option<&Entry<K, V>> {
        // SAFETY: the entry changes in `set_key`, when nobody can have looked at it, and in `clear`, when the
        // key is dead: a reference into the value holds a handle of the key (`EphemeronValueRef`), and the
        // others end in the calling function.
        unsafe { &*self.entry.get() }.as_ref()
    }
}

impl<K: Trace + ?Sized> EphemeronBox<K, ()> {
    /// Gives an ephemeron that has none its key.
    pub(crate) fn set_key(ephemeron: &Ephemeron<K, ()>, key: &Gc<K>) {
        // SAFETY: as for `entry`; there was no entry to look at.
        unsafe { *ephemeron.0.entry.get() = Some(Entry { key: key.as_ptr(), value: () }) };
        // The ephemeron is older than its key, and perhaps old: it is looked at as if it were new.
        heap::register_ephemeron(ephemeron.0.as_ptr(), key.object());
    }
}

impl<K: Trace + ?Sized, V: Trace> AnyEphemeron for EphemeronBox<K, V> {
    fn key(&self) -> Option<Object> {
        self.entry().map(|entry| Object::of(entry.key))
    }

    fn trace_value(&self, tracer: &mut Tracer) {
        if let Some(entry) = self.entry() {
            // SAFETY: called by the collector.
            unsafe { entry.value.trace(tracer) }
        }
    }

    fn clear(&self) {
        // SAFETY: as for `entry`. It is taken out first: the drop may look at this ephemeron.
        let entry = unsafe { &mut *self.entry.get() }.take();
        drop(entry);
    }
}

impl<K: ?Sized, V> Finalize for EphemeronBox<K, V> {}

// SAFETY: counting walks the value once; marking walks nothing, and the collector resolves the ephemeron.
unsafe impl<K: Trace + ?Sized, V: Trace> Trace for EphemeronBox<K, V> {
    unsafe fn trace(&self, tracer: &mut Tracer) {
        if tracer.counts() {
            self.trace_value(tracer);
        }
    }
    unsafe fn trace_non_roots(&self) {}
    fn run_finalizer(&self) {
        if let Some(entry) = self.entry() {
            entry.value.run_finalizer();
        }
    }
}

impl<K: Trace + ?Sized, V: Trace> Ephemeron<K, V> {
    /// An ephemeron of this key and value.
    #[must_use]
    pub fn new(key: &Gc<K>, value: V) -> Self {
        let entry = Some(Entry { key: key.as_ptr(), value });
        let gc = Gc::new(EphemeronBox { entry: UnsafeCell::new(entry) });
        heap::register_ephemeron(gc.as_ptr(), key.object());
        Ephemeron(gc)
    }

    /// The key, if it is alive.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Option<Gc<K>> {
        let key = self.0.entry()?.key;
        // SAFETY: the key is there as long as the entry is (I1); the handle that is made here is counted.
        unsafe {
            key.as_ref().header().add_handle();
            Some(Gc::from_raw(key))
        }
    }

    /// The value, if the key is alive.
    #[must_use]
    pub fn value(&self) -> Option<EphemeronValueRef<'_, K, V>> {
        let key = self.key()?;
        self.0.entry().map(|entry| EphemeronValueRef { _key: key, value: &entry.value })
    }

    /// Whether the key is alive.
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.0.entry().is_some()
    }

    /// Whether both are handles of the same ephemeron.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Gc::ptr_eq(&this.0, &other.0)
    }

    /// Whether the entry is there and this is its key.
    pub(crate) fn has_key(&self, key: &Gc<K>) -> bool {
        self.0.key() == Some(key.object())
    }
}

impl<K: Trace + ?Sized> Ephemeron<K, ()> {
    /// An ephemeron without a key, for now.
    pub(crate) fn unset() -> Self {
        Ephemeron(Gc::new(EphemeronBox { entry: UnsafeCell::new(None) }))
    }
}

impl<K: Trace + ?Sized, V: Trace> Clone for Ephemeron<K, V> {
    fn clone(&self) -> Self {
        Ephemeron(self.0.clone())
    }
}

impl<K: Trace + ?Sized, V: Trace> Finalize for Ephemeron<K, V> {}

// SAFETY: the handle of the ephemeron is the only edge.
unsafe impl<K: Trace + ?Sized, V: Trace> Trace for Ephemeron<K, V> {
    unsafe fn trace(&self, tracer: &mut Tracer) {
        tracer.edge(self.0.object());
    }
    unsafe fn trace_non_roots(&self) {}
    fn run_finalizer(&self) {}
}

impl<K: Trace + ?Sized, V: Trace> fmt::Debug for Ephemeron<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ephemeron").field("has_value", &self.has_value()).finish_non_exhaustive()
    }
}

/// The value of an ephemeron whose key is held meanwhile.
pub struct EphemeronValueRef<'a, K: Trace + ?Sized + 'static, V> {
    _key: Gc<K>,
    value: &'a V,
}

impl<K: Trace + ?Sized, V> Deref for EphemeronValueRef<'_, K, V> {
    type Target = V;
    fn deref(&self) -> &V {
        self.value
    }
}

impl<K: Trace + ?Sized, V: fmt::Debug> fmt::Debug for EphemeronValueRef<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
