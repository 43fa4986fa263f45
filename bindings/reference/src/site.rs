//! The places where this runtime owes the heap a call before it changes which object refers to which, and a
//! switch that leaves one of them out.
//!
//! Each such call stands in this crate once, behind the name of its place: `Site::Store.call(|| ..)`. A test
//! leaves out one after the other, and the verifier has to find each. Builds without debug assertions have no
//! switch.

use std::cell::Cell;

/// A place where the runtime calls the heap.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Site {
    /// The barrier of [`write_ref`](crate::ThreadHandle::write_ref).
    Store,
    /// The barrier of [`swap_ref`](crate::ThreadHandle::swap_ref).
    Swap,
    /// The barrier of [`replace_ref`](crate::ThreadHandle::replace_ref).
    Replace,
    /// The barrier of [`copy_refs`](crate::ThreadHandle::copy_refs).
    Copy,
    /// The barrier of [`clear_refs`](crate::ThreadHandle::clear_refs).
    Clear,
    /// What [`truncate_refs`](crate::ThreadHandle::truncate_refs) says before it changes the object.
    Truncate,
    /// What [`keep`](crate::ThreadHandle::keep) says of a target that comes from a table of the VM.
    Keep,
}

std::thread_local! { static LEFT_OUT: Cell<Option<Site>> = const { Cell::new(None) }; }

impl Site {
    /// All places.
    pub const ALL: [Site; 7] =
        [Site::Store, Site::Swap, Site::Replace, Site::Copy, Site::Clear, Site::Truncate, Site::Keep];

    /// Makes the call of this place, unless it is left out.
    #[inline(always)]
    pub(crate) fn call(self, call: impl FnOnce()) {
        if cfg!(debug_assertions) && LEFT_OUT.get() == Some(self) {
            return;
        }
        call();
    }

    /// Runs `f`, in which this thread leaves out the call of this place. A test of the verifier.
    ///
    /// # Safety
    /// A collection frees what a barrier would have kept: the verifier stops the program then, or the thread
    /// uses nothing afterwards that it got out of an object in `f`.
    ///
    /// # Panics
    /// In a build without debug assertions, which has no switch.
    pub unsafe fn without<R>(self, f: impl FnOnce() -> R) -> R {
        if cfg!(not(debug_assertions)) {
            panic!("a build without debug assertions leaves out no barrier");
        }
        struct Back(Option<Site>);
        impl Drop for Back {
            fn drop(&mut self) {
                LEFT_OUT.set(self.0);
            }
        }
        let _back = Back(LEFT_OUT.replace(Some(self)));
        f()
    }
}
