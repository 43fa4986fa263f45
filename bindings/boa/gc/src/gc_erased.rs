//! A handle whose type is known to the object only.

use crate::gc_box::GcBox;
use crate::{Finalize, Gc, Trace, Tracer, custom_trace};
use std::any::TypeId;
use std::fmt;

/// A value that nobody can look at: what an erased handle points to.
enum Hidden {}

impl Finalize for Hidden {}

// SAFETY: there is no value of this type. Objects are traced through their own vtable.
unsafe impl Trace for Hidden {
    unsafe fn trace(&self, _: &mut Tracer) {
        match *self {}
    }
    unsafe fn trace_non_roots(&self) {
        match *self {}
    }
    fn run_finalizer(&self) {
        match *self {}
    }
}

/// A handle of an object of any sized type.
#[derive(Clone)]
#[repr(transparent)]
pub struct GcErased(Gc<Hidden>);

impl GcErased {
    /// Forgets the handle's type.
    #[must_use]
    pub fn new<T: Trace>(gc: Gc<T>) -> Self {
        let inner = Gc::into_raw(gc).cast::<GcBox<Hidden>>();
        // SAFETY: from `into_raw`, used once; the value is never looked at as `Hidden`.
        GcErased(unsafe { Gc::from_raw(inner) })
    }

    /// Whether both are handles of the same object.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Gc::ptr_eq(&this.0, &other.0)
    }

    /// The type with which the object was made.
    #[must_use]
    pub fn type_id(&self) -> TypeId {
        Gc::type_id(&self.0)
    }

    /// Whether the object was made as a `T`.
    #[must_use]
    pub fn is<T: Trace + 'static>(&self) -> bool {
        Gc::is::<T>(&self.0)
    }

    /// The handle with its type again.
    #[must_use]
    pub fn downcast<T: Trace + 'static>(self) -> Option<Gc<T>> {
        Gc::downcast(self.0)
    }

    /// As [`GcErased::downcast`], unchecked.
    ///
    /// # Safety
    /// The object's value can be used as a `T`.
    #[must_use]
    pub unsafe fn downcast_unchecked<T: Trace + 'static>(self) -> Gc<T> {
        // SAFETY: the caller's promise.
        unsafe { Gc::cast_unchecked(self.0) }
    }

    /// As [`GcErased::downcast_unchecked`], by reference.
    ///
    /// # Safety
    /// The object's value can be used as a `T`.
    #[must_use]
    pub unsafe fn downcast_ref_unchecked<T: Trace + 'static>(&self) -> &Gc<T> {
        // SAFETY: the caller's promise.
        unsafe { Gc::cast_ref_unchecked(&self.0) }
    }
}

impl Finalize for GcErased {}

// SAFETY: the handle is the only edge.
unsafe impl Trace for GcErased {
    custom_trace!(this, mark, mark(&this.0));
}

impl fmt::Debug for GcErased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GcErased({:p})", self.0)
    }
}
