//! Atomics and locks for the protocol files: std's normally, loom's under `--cfg loom`.
//!
//! A protocol file takes everything that two threads share from here, so that the very same source is
//! what the models in `loom-tests` explore. `order!` and `dropped!` mark the orderings and steps that a model
//! can weaken by name; outside a loom build both are constants and cost nothing. For each name a test shows that a model fails
//! without it, so an ordering that bears no name is either `Relaxed` or says why no model can see it.

#[cfg(not(loom))]
pub use std::sync::atomic;

/// What a thread does while another one finishes a few instructions.
#[inline(always)]
pub fn spin() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}

/// The memory ordering, or a weaker one while a model has weakened `name`: `Relaxed`, or one half of `AcqRel` if what is
/// dropped is `name-acquire` or `name-release`.
macro_rules! order {
    ($ordering:ident, $name:literal) => {{
        #[cfg(loom)]
        let ordering = $crate::sync::mutation::weakened($crate::sync::atomic::Ordering::$ordering, $name);
        #[cfg(not(loom))]
        let ordering = $crate::sync::atomic::Ordering::$ordering;
        ordering
    }};
}

/// True while a model has dropped the step `name`; constant false outside a loom build.
macro_rules! dropped {
    ($name:literal) => {{
        #[cfg(loom)]
        let dropped = $crate::sync::mutation::is($name);
        #[cfg(not(loom))]
        let dropped = false;
        dropped
    }};
}
pub(crate) use {dropped, order};

/// Which ordering or step the running model has weakened.
#[cfg(loom)]
pub mod mutation {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    // Loom runs all threads of a model as coroutines of one OS thread, so a std thread local reaches all of them.
    std::thread_local! { static ACTIVE: Cell<&'static str> = const { Cell::new("") }; }

    pub(crate) fn is(name: &str) -> bool {
        ACTIVE.get() == name
    }

    pub(crate) fn weakened(ordering: Ordering, name: &str) -> Ordering {
        match (ACTIVE.get().strip_prefix(name), ordering) {
            (Some(""), _) => Ordering::Relaxed,
            (Some("-acquire"), Ordering::AcqRel) => Ordering::Release,
            (Some("-release"), Ordering::AcqRel) => Ordering::Acquire,
            _ => ordering,
        }
    }

    /// Runs `f` with the mutation `name` in force.
    pub fn with<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                ACTIVE.set("");
            }
        }
        ACTIVE.set(name);
        let _reset = Reset;
        f()
    }
}

/// loom's atomics, each with a second word that every operation changes first.
///
/// Loom tries two operations in both orders if they conflict, but it compares an operation with the last one on its word only.
/// If that is the same thread's own load, say the one before its exchange, then an earlier load of another thread goes
/// unnoticed, and the order in which that load comes later is never tried. Changes of a word always conflict. They are
/// relaxed, so they make nothing visible.
#[cfg(loom)]
pub mod atomic {
    pub use loom::Ordering;
    use loom::sync::atomic as loom;

    macro_rules! atomics {
        ($($name:ident $type:ident),*) => { $(
            #[doc = concat!("A `", stringify!($type), "` that threads share.")]
            #[derive(Debug, Default)]
            pub struct $name {
                value: loom::$name,
                turns: loom::AtomicUsize,
            }

            #[expect(missing_docs, reason = "as in std")]
            impl $name {
                pub fn new(value: $type) -> Self {
                    $name { value: loom::$name::new(value), turns: loom::AtomicUsize::new(0) }
                }
                fn turn(&self) -> &loom::$name {
                    self.turns.fetch_add(1, Ordering::Relaxed);
                    &self.value
                }
                pub fn load(&self, order: Ordering) -> $type {
                    self.turn().load(order)
                }
                pub fn store(&self, value: $type, order: Ordering) {
                    self.turn().store(value, order);
                }
                pub fn swap(&self, value: $type, order: Ordering) -> $type {
                    self.turn().swap(value, order)
                }
                pub fn fetch_add(&self, value: $type, order: Ordering) -> $type {
                    self.turn().fetch_add(value, order)
                }
                pub fn fetch_sub(&self, value: $type, order: Ordering) -> $type {
                    self.turn().fetch_sub(value, order)
                }
                pub fn fetch_max(&self, value: $type, order: Ordering) -> $type {
                    self.turn().fetch_max(value, order)
                }
                pub fn fetch_or(&self, value: $type, order: Ordering) -> $type {
                    self.turn().fetch_or(value, order)
                }
                pub fn fetch_and(&self, value: $type, order: Ordering) -> $type {
                    self.turn().fetch_and(value, order)
                }
                pub fn compare_exchange(
                    &self, seen: $type, new: $type, success: Ordering, failure: Ordering,
                ) -> Result<$type, $type> {
                    self.turn().compare_exchange(seen, new, success, failure)
                }
                pub fn compare_exchange_weak(
                    &self, seen: $type, new: $type, success: Ordering, failure: Ordering,
                ) -> Result<$type, $type> {
                    self.turn().compare_exchange_weak(seen, new, success, failure)
                }
            }
        )* };
    }
    atomics!(AtomicU8 u8, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize);
}

/// Locks without poisoning; `wait` takes the guard by reference. Std's are one word each. Locks that keep who waits in a table of the process would break in a forked child, which inherits the
/// table with threads in it that are gone (`fork`).
mod locks {
    #[cfg(loom)]
    use loom::sync as imp;
    use std::ops::{Deref, DerefMut};
    #[cfg(not(loom))]
    use std::sync as imp;
    use std::sync::PoisonError;

    /// A mutual-exclusion lock.
    #[derive(Default)]
    pub struct Mutex<T>(imp::Mutex<T>);
    /// The right to use what a [`Mutex`] protects. Empty only inside [`Condvar::wait`].
    pub struct MutexGuard<'a, T>(Option<imp::MutexGuard<'a, T>>);

    const HELD: &str = "the lock is given up only inside `wait`";

    impl<T> Mutex<T> {
        /// An unlocked mutex.
        #[cfg(loom)]
        pub fn new(value: T) -> Self {
            Mutex(imp::Mutex::new(value))
        }
        /// An unlocked mutex.
        #[cfg(not(loom))]
        pub const fn new(value: T) -> Self {
            Mutex(imp::Mutex::new(value))
        }
        /// What it protected.
        #[cfg(not(loom))]
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
        /// What it protects, without locking: nobody else has it.
        #[cfg(not(loom))]
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
        /// The lock, if nobody has it, the calling thread itself included.
        #[cfg(not(loom))]
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(MutexGuard(Some(guard))),
                Err(std::sync::TryLockError::Poisoned(error)) => Some(MutexGuard(Some(error.into_inner()))),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }
        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }
    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect(HELD)
        }
    }
    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect(HELD)
        }
    }

    /// A lock that many may hold to read, or one to write.
    #[cfg(not(loom))]
    #[derive(Default)]
    pub struct RwLock<T>(imp::RwLock<T>);

    #[cfg(not(loom))]
    impl<T> RwLock<T> {
        /// An unlocked lock.
        pub const fn new(value: T) -> Self {
            RwLock(imp::RwLock::new(value))
        }
        /// Waits until nobody writes.
        pub fn read(&self) -> imp::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }
        /// Waits until nobody reads or writes.
        pub fn write(&self) -> imp::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
        /// What it protects, without locking: nobody else has it.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A condition variable.
    pub struct Condvar(imp::Condvar);
    impl Default for Condvar {
        fn default() -> Self {
            Self::new()
        }
    }
    impl Condvar {
        /// Nobody waits.
        pub fn new() -> Self {
            Condvar(imp::Condvar::new())
        }
        /// Gives up the lock, sleeps until notified, and takes the lock again.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect(HELD);
            guard.0 = Some(self.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
        }
        /// As [`Condvar::wait`], but not for longer than this.
        #[cfg(not(loom))]
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, most: std::time::Duration) {
            let inner = guard.0.take().expect(HELD);
            guard.0 = Some(self.0.wait_timeout(inner, most).unwrap_or_else(PoisonError::into_inner).0);
        }
        /// Wakes one waiter.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }
        /// Wakes all waiters.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
#[cfg(not(loom))]
pub use locks::RwLock;
pub use locks::{Condvar, Mutex, MutexGuard};
