//! A `RefCell` that can be traced.
//!
//! The collector skips a cell that is being written: its content may be half moved. Handles in it are then
//! not counted as lying inside the heap, which makes their targets roots; so nothing is lost.

use crate::{Finalize, Trace, Tracer};
use std::cell::{Cell, UnsafeCell};
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// How many readers, or `WRITING`.
type Borrows = usize;
const WRITING: Borrows = Borrows::MAX;

/// A place in an object that can be changed.
pub struct GcRefCell<T: ?Sized + 'static> {
    borrows: Cell<Borrows>,
    value: UnsafeCell<T>,
}

impl<T> GcRefCell<T> {
    /// A cell with this value.
    pub const fn new(value: T) -> Self {
        GcRefCell { borrows: Cell::new(0), value: UnsafeCell::new(value) }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> GcRefCell<T> {
    /// Borrows the value to read it.
    ///
    /// # Panics
    /// If it is borrowed for writing.
    #[track_caller]
    pub fn borrow(&self) -> GcRef<'_, T> {
        match self.try_borrow() {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Borrows the value to write it.
    ///
    /// # Panics
    /// If it is borrowed.
    #[track_caller]
    pub fn borrow_mut(&self) -> GcRefMut<'_, T> {
        match self.try_borrow_mut() {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Borrows the value to read it.
    ///
    /// # Errors
    /// If it is borrowed for writing.
    pub fn try_borrow(&self) -> Result<GcRef<'_, T>, BorrowError> {
        if self.borrows.get() == WRITING {
            return Err(BorrowError);
        }
        // SAFETY: nobody writes, and nobody will as long as this reader is counted.
        Ok(GcRef { borrow: Reader::new(&self.borrows), value: unsafe { NonNull::new_unchecked(self.value.get()) } })
    }

    /// Borrows the value to write it.
    ///
    /// # Errors
    /// If it is borrowed.
    pub fn try_borrow_mut(&self) -> Result<GcRefMut<'_, T>, BorrowMutError> {
        if self.borrows.get() != 0 {
            return Err(BorrowMutError);
        }
        self.borrows.set(WRITING);
        Ok(GcRefMut {
            borrow: Writer(&self.borrows),
            // SAFETY: the pointer of a cell; nobody else has borrowed it, nor can as long as it is marked as
            // being written.
            value: unsafe { NonNull::new_unchecked(self.value.get()) },
            marker: PhantomData,
        })
    }

    /// The value, unless it is being written.
    fn for_collector(&self) -> Option<&T> {
        // SAFETY: nobody writes, and the mutator stands still while the collector looks; finalizers borrow as
        // anybody does.
        (self.borrows.get() != WRITING).then(|| unsafe { &*self.value.get() })
    }
}

/// Borrowed for writing already.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BorrowError;

impl fmt::Display for BorrowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcRefCell: already borrowed for writing")
    }
}

/// Borrowed already.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BorrowMutError;

impl fmt::Display for BorrowMutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcRefCell: already borrowed")
    }
}

impl<T: Trace + ?Sized> Finalize for GcRefCell<T> {}

// SAFETY: walks the value once, or not at all while it is written.
unsafe impl<T: Trace + ?Sized> Trace for GcRefCell<T> {
    #[inline]
    unsafe fn trace(&self, tracer: &mut Tracer) {
        if let Some(value) = self.for_collector() {
            // SAFETY: passed on from the caller.
            unsafe { value.trace(tracer) }
        }
    }
    #[inline]
    unsafe fn trace_non_roots(&self) {
        if let Some(value) = self.for_collector() {
            // SAFETY: passed on from the caller.
            unsafe { value.trace_non_roots() }
        }
    }
    #[inline]
    fn run_finalizer(&self) {
        Finalize::finalize(self);
        if let Some(value) = self.for_collector() {
            value.run_finalizer();
        }
    }
}

// SAFETY: the cell owns its value; the borrow count is used by the thread that has the cell.
unsafe impl<T: ?Sized + Send> Send for GcRefCell<T> {}

struct Reader<'a>(&'a Cell<Borrows>);

impl<'a> Reader<'a> {
    #[inline(always)]
    fn new(borrows: &'a Cell<Borrows>) -> Self {
        let readers = borrows.get() + 1;
        assert!(readers != WRITING, "GcRefCell: too many readers");
        borrows.set(readers);
        Reader(borrows)
    }
}

impl Drop for Reader<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        debug_assert!(self.0.get() != 0 && self.0.get() != WRITING);
        self.0.set(self.0.get().wrapping_sub(1));
    }
}

struct Writer<'a>(&'a Cell<Borrows>);

impl Drop for Writer<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        debug_assert!(self.0.get() == WRITING);
        self.0.set(0);
    }
}

/// A value borrowed for reading.
pub struct GcRef<'a, T: ?Sized + 'static> {
    value: NonNull<T>,
    borrow: Reader<'a>,
}

impl<'a, T: ?Sized> GcRef<'a, T> {
    /// The borrow with another type.
    ///
    /// # Safety
    /// The value can be used as a `U`.
    #[must_use]
    pub unsafe fn cast<U>(orig: Self) -> GcRef<'a, U> {
        GcRef { value: orig.value.cast(), borrow: orig.borrow }
    }

    /// Another borrow of the same. Not a method: that would hide the value's own.
    #[allow(clippy::should_implement_trait)]
    #[must_use]
    pub fn clone(orig: &GcRef<'a, T>) -> GcRef<'a, T> {
        GcRef { value: orig.value, borrow: Reader::new(orig.borrow.0) }
    }

    /// The borrow of a part, if there is one.
    pub fn try_map<U: ?Sized, F: FnOnce(&T) -> Option<&U>>(orig: Self, f: F) -> Option<GcRef<'a, U>> {
        let value = NonNull::from(f(&*orig)?);
        Some(GcRef { value, borrow: orig.borrow })
    }

    /// The borrow of a part.
    pub fn map<U: ?Sized, F: FnOnce(&T) -> &U>(orig: Self, f: F) -> GcRef<'a, U> {
        let value = NonNull::from(f(&*orig));
        GcRef { value, borrow: orig.borrow }
    }

    /// The borrows of two parts.
    pub fn map_split<U, V, F>(orig: Self, f: F) -> (GcRef<'a, U>, GcRef<'a, V>)
    where
        U: ?Sized,
        V: ?Sized,
        F: FnOnce(&T) -> (&U, &V),
    {
        let (first, second) = f(&*orig);
        let (first, second) = (NonNull::from(first), NonNull::from(second));
        (GcRef { value: first, borrow: Reader::new(orig.borrow.0) }, GcRef { value: second, borrow: orig.borrow })
    }
}

impl<T: ?Sized> Deref for GcRef<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: borrowed for reading.
        unsafe { self.value.as_ref() }
    }
}

/// A value borrowed for writing.
pub struct GcRefMut<'a, T: ?Sized> {
    // A pointer, since a reference would claim the value beyond the drop of the borrow.
    value: NonNull<T>,
    borrow: Writer<'a>,
    marker: PhantomData<&'a mut T>,
}

impl<'a, T: ?Sized> GcRefMut<'a, T> {
    /// The borrow with another type.
    ///
    /// # Safety
    /// The value can be used as a `V`.
    #[must_use]
    pub unsafe fn cast<V>(orig: Self) -> GcRefMut<'a, V> {
        GcRefMut { value: orig.value.cast(), borrow: orig.borrow, marker: PhantomData }
    }

    /// The borrow of a part, if there is one.
    pub fn try_map<V: ?Sized, F: FnOnce(&mut T) -> Option<&mut V>>(mut orig: Self, f: F) -> Option<GcRefMut<'a, V>> {
        let value = NonNull::from(f(&mut *orig)?);
        Some(GcRefMut { value, borrow: orig.borrow, marker: PhantomData })
    }

    /// The borrow of a part.
    pub fn map<V: ?Sized, F: FnOnce(&mut T) -> &mut V>(mut orig: Self, f: F) -> GcRefMut<'a, V> {
        let value = NonNull::from(f(&mut *orig));
        GcRefMut { value, borrow: orig.borrow, marker: PhantomData }
    }
}

impl<T: ?Sized> Deref for GcRefMut<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: borrowed by this value alone.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for GcRefMut<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: borrowed by this value alone.
        unsafe { self.value.as_mut() }
    }
}

macro_rules! shown_as_the_value {
    ($($trait:ident)*) => {$(
        impl<T: ?Sized + fmt::$trait> fmt::$trait for GcRef<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
        impl<T: ?Sized + fmt::$trait> fmt::$trait for GcRefMut<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )*};
}

shown_as_the_value!(Debug Display);

impl<T: ?Sized + fmt::Debug> fmt::Debug for GcRefCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_borrow() {
            Ok(value) => f.debug_tuple("GcRefCell").field(&value).finish(),
            Err(_) => f.write_str("GcRefCell(<being written>)"),
        }
    }
}

impl<T: Trace + Clone> Clone for GcRefCell<T> {
    fn clone(&self) -> Self {
        GcRefCell::new(T::clone(&self.borrow()))
    }
}

impl<T: Default> Default for GcRefCell<T> {
    fn default() -> Self {
        GcRefCell::new(T::default())
    }
}

impl<T: ?Sized + PartialEq> PartialEq for GcRefCell<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        *self.borrow() == *other.borrow()
    }
}

impl<T: ?Sized + Eq> Eq for GcRefCell<T> {}

impl<T: ?Sized + PartialOrd> PartialOrd for GcRefCell<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (*self.borrow()).partial_cmp(&*other.borrow())
    }
}

impl<T: ?Sized + Ord> Ord for GcRefCell<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (*self.borrow()).cmp(&*other.borrow())
    }
}
