//! The weak handle: an ephemeron without a value.

use crate::{Ephemeron, Finalize, Gc, Trace};
use std::hash::{Hash, Hasher};

/// A handle that does not keep its object alive.
#[derive(Debug, Trace, Finalize)]
#[repr(transparent)]
pub struct WeakGc<T: Trace + ?Sized + 'static> {
    ephemeron: Ephemeron<T, ()>,
}

impl<T: Trace + ?Sized> WeakGc<T> {
    /// A weak handle of the same object.
    #[must_use]
    pub fn new(value: &Gc<T>) -> Self {
        WeakGc { ephemeron: Ephemeron::new(value, ()) }
    }

    /// One that has no object yet.
    pub(crate) fn unset() -> Self {
        WeakGc { ephemeron: Ephemeron::unset() }
    }

    /// A handle, if the object is alive.
    #[must_use]
    pub fn upgrade(&self) -> Option<Gc<T>> {
        self.ephemeron.key()
    }

    /// Whether the object is alive.
    #[must_use]
    pub fn is_upgradable(&self) -> bool {
        self.ephemeron.has_value()
    }

    pub(crate) fn ephemeron(&self) -> &Ephemeron<T, ()> {
        &self.ephemeron
    }
}

impl<T: Trace + ?Sized> Clone for WeakGc<T> {
    fn clone(&self) -> Self {
        WeakGc { ephemeron: self.ephemeron.clone() }
    }
}

impl<T: Trace + ?Sized> From<Ephemeron<T, ()>> for WeakGc<T> {
    fn from(ephemeron: Ephemeron<T, ()>) -> Self {
        WeakGc { ephemeron }
    }
}

/// Equal if both are alive and the same.
impl<T: Trace + ?Sized> PartialEq for WeakGc<T> {
    fn eq(&self, other: &Self) -> bool {
        self.upgrade().zip(other.upgrade()).is_some_and(|(a, b)| Gc::ptr_eq(&a, &b))
    }
}

impl<T: Trace + ?Sized> Eq for WeakGc<T> {}

impl<T: Trace + ?Sized> Hash for WeakGc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.upgrade() {
            Some(gc) => gc.as_ptr().cast::<()>().hash(state),
            None => std::ptr::hash(self, state),
        }
    }
}
