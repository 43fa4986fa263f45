//! The handle: a counted pointer to an object. The count says how many handles there are, not when the object
//! dies.

use crate::ephemeron::EphemeronBox;
use crate::gc_box::{GcBox, Object, VTable};
use crate::{Finalize, Trace, Tracer, WeakGc, finalizer_safe, heap};
use std::any::TypeId;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// A handle of an object in this thread's heap.
///
/// A handle inside another object keeps its target alive as long as that object is alive; any other handle
/// keeps it alive by itself.
pub struct Gc<T: Trace + ?Sized + 'static> {
    inner: NonNull<GcBox<T>>,
    /// Neither Send nor Sync: the heap and its counts belong to a thread.
    marker: PhantomData<Rc<T>>,
}

impl<T: Trace + ?Sized> Gc<T> {
    /// Moves a value into the heap. May collect first.
    ///
    /// # Panics
    /// In a finalizer: the collector is at work there.
    #[must_use]
    pub fn new(value: T) -> Self
    where
        T: Sized,
    {
        Gc { inner: heap::allocate(value), marker: PhantomData }
    }

    /// Moves a value into the heap that holds a weak handle of itself. The handle cannot be upgraded before
    /// this returns.
    #[must_use]
    pub fn new_cyclic<F>(data_fn: F) -> Self
    where
        F: FnOnce(&WeakGc<T>) -> T,
        T: Sized,
    {
        let weak = WeakGc::unset();
        let gc = Gc::new(data_fn(&weak));
        EphemeronBox::set_key(weak.ephemeron(), &gc);
        gc
    }

    /// The box, without giving up the handle's count: for [`Gc::from_raw`].
    #[must_use]
    pub fn into_raw(this: Self) -> NonNull<GcBox<T>> {
        let inner = this.inner;
        std::mem::forget(this);
        inner
    }

    /// The handle that [`Gc::into_raw`] made a pointer of.
    ///
    /// # Safety
    /// The pointer came from `into_raw`, perhaps coerced to another type of the same object, and is used
    /// once.
    #[must_use]
    pub const unsafe fn from_raw(inner: NonNull<GcBox<T>>) -> Self {
        Gc { inner, marker: PhantomData }
    }

    /// Whether both are handles of the same object.
    #[must_use]
    pub fn ptr_eq<U: Trace + ?Sized>(this: &Self, other: &Gc<U>) -> bool {
        std::ptr::addr_eq(this.inner.as_ptr(), other.inner.as_ptr())
    }

    /// The type with which the object was made.
    #[must_use]
    pub fn type_id(this: &Self) -> TypeId {
        this.vtable().type_id
    }

    /// Whether the object was made as a `U`.
    #[must_use]
    pub fn is<U: Trace + 'static>(this: &Self) -> bool {
        Gc::type_id(this) == TypeId::of::<U>()
    }

    /// A handle of the object as the type with which it was made.
    #[must_use]
    pub fn downcast<U: Trace + 'static>(this: Self) -> Option<Gc<U>> {
        // SAFETY: the object was made as a `U`.
        Gc::is::<U>(&this).then(|| unsafe { Gc::cast_unchecked(this) })
    }

    /// The same handle with another type.
    ///
    /// # Safety
    /// The object's value can be used as a `U`.
    #[must_use]
    pub unsafe fn cast_unchecked<U: Trace + 'static>(this: Self) -> Gc<U> {
        Gc { inner: Gc::into_raw(this).cast(), marker: PhantomData }
    }

    /// As [`Gc::cast_unchecked`], by reference.
    ///
    /// # Safety
    /// As for `cast_unchecked`.
    #[must_use]
    pub unsafe fn cast_ref_unchecked<U: Trace + 'static>(this: &Self) -> &Gc<U> {
        // SAFETY: a handle begins with the box's address, whatever its type; the rest is the caller's
        // promise.
        unsafe { &*std::ptr::from_ref(this).cast::<Gc<U>>() }
    }

    fn vtable(&self) -> &'static VTable {
        self.gc_box().header().vtable()
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> NonNull<GcBox<T>> {
        self.inner
    }

    #[inline(always)]
    pub(crate) fn object(&self) -> Object {
        Object::of(self.inner)
    }

    #[inline(always)]
    fn gc_box(&self) -> &GcBox<T> {
        // SAFETY: a handle keeps its object, or lies in a dead object; then it is only counted down, and
        // headers outlive drops.
        unsafe { self.inner.as_ref() }
    }
}

impl<T: Trace + ?Sized> Finalize for Gc<T> {}

// SAFETY: the object is the handle's only edge.
unsafe impl<T: Trace + ?Sized> Trace for Gc<T> {
    #[inline(always)]
    unsafe fn trace(&self, tracer: &mut Tracer) {
        tracer.edge(self.object());
    }
    #[inline(always)]
    unsafe fn trace_non_roots(&self) {}
    #[inline(always)]
    fn run_finalizer(&self) {}
}

impl<T: Trace + ?Sized> Clone for Gc<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        self.gc_box().header().add_handle();
        Gc { inner: self.inner, marker: PhantomData }
    }
}

impl<T: Trace + ?Sized> Drop for Gc<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Also while the collector drops a dead object: its target may be alive, or dead with its header
        // still there.
        self.gc_box().header().remove_handle();
    }
}

impl<T: Trace + ?Sized> Deref for Gc<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        debug_assert!(
            finalizer_safe(),
            "a Drop implementation follows a Gc, whose object may have been dropped before"
        );
        self.gc_box().value()
    }
}

impl<T: Trace + ?Sized> AsRef<T> for Gc<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: Trace + ?Sized> std::borrow::Borrow<T> for Gc<T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: Trace + Default> Default for Gc<T> {
    fn default() -> Self {
        Gc::new(T::default())
    }
}

impl<T: Trace + ?Sized + PartialEq> PartialEq for Gc<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Trace + ?Sized + Eq> Eq for Gc<T> {}

impl<T: Trace + ?Sized + PartialOrd> PartialOrd for Gc<T> {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Trace + ?Sized + Ord> Ord for Gc<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Trace + ?Sized + Hash> Hash for Gc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Trace + ?Sized + fmt::Debug> fmt::Debug for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Trace + ?Sized + fmt::Display> fmt::Display for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Trace + ?Sized> fmt::Pointer for Gc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.inner, f)
    }
}
