//! What threads share, on loom: for models.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

pub(super) use ::loom::thread::yield_now;
/// What a thread does while another one finishes a few instructions.
pub use ::loom::thread::yield_now as spin;
pub use typed::Atomic;

/// The memory ordering, or a weaker one while a model has weakened `name`: `Relaxed`, or one half of `AcqRel`
/// if what is dropped is `name-acquire` or `name-release`.
macro_rules! order {
    ($ordering:ident, $name:literal) => {
        $crate::sync::mutation::weakened($crate::sync::atomic::Ordering::$ordering, $name)
    };
}

/// True while a model has dropped the step `name`.
macro_rules! dropped {
    ($name:literal) => {
        $crate::sync::mutation::is($name)
    };
}
pub(crate) use {dropped, order};

/// Which ordering or step the running model has weakened.
pub mod mutation {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    // Loom runs all threads of a model as coroutines of one OS thread, so a std thread local reaches all of
    // them.
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
/// Loom tries two operations in both orders if they conflict, but it compares an operation with the last one
/// on its word only. If that is the same thread's own load, say the one before its exchange, then an earlier
/// load of another thread goes unnoticed, and the order in which that load comes later is never tried.
/// Changes of a word always conflict. They are relaxed, so they make nothing visible.
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

/// The crate `atomic` is made for std's atomics alone. In a model its part is taken by this: the value's
/// bytes in a word of loom's.
mod typed {
    use super::atomic::{AtomicU64, Ordering};
    use bytemuck::{CheckedBitPattern, NoUninit};
    use std::marker::PhantomData;

    /// A word that threads share, of a type that says what it may hold.
    pub struct Atomic<T> {
        word: AtomicU64,
        holds: PhantomData<T>,
    }

    fn word<T: NoUninit>(value: T) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(&value));
        u64::from_ne_bytes(bytes)
    }

    fn value<T: CheckedBitPattern>(word: u64) -> T {
        bytemuck::checked::pod_read_unaligned(&word.to_ne_bytes()[..size_of::<T>()])
    }

    #[expect(missing_docs, reason = "as in the crate `atomic`")]
    impl<T: NoUninit + CheckedBitPattern> Atomic<T> {
        pub fn new(value: T) -> Self {
            Atomic { word: AtomicU64::new(word(value)), holds: PhantomData }
        }
        pub fn load(&self, order: Ordering) -> T {
            value(self.word.load(order))
        }
        pub fn store(&self, value: T, order: Ordering) {
            self.word.store(word(value), order);
        }
        pub fn compare_exchange(&self, seen: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T> {
            self.word.compare_exchange(word(seen), word(new), success, failure).map(value).map_err(value)
        }
    }

    impl<T: NoUninit + CheckedBitPattern + std::fmt::Debug> std::fmt::Debug for Atomic<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.load(Ordering::Relaxed).fmt(f)
        }
    }
}

/// A mutual-exclusion lock. That a thread takes it twice is a deadlock, which loom reports.
#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// The right to use what a [`Mutex`] protects. Without its lock only inside [`Condvar::wait`] and
/// [`MutexGuard::without`].
pub struct MutexGuard<'a, T> {
    lock: Option<loom::sync::MutexGuard<'a, T>>,
    of: &'a Mutex<T>,
}

const HELD: &str = "the lock is given up only inside `wait` and `without`";

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)), of: self }
    }
}
impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.lock.as_ref().expect(HELD)
    }
}
impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.lock.as_mut().expect(HELD)
    }
}

impl<T> MutexGuard<'_, T> {
    /// Gives up the lock, and takes it again after `f`.
    pub fn without<R>(guard: &mut Self, f: impl FnOnce() -> R) -> R {
        drop(guard.lock.take());
        let result = f();
        guard.lock = guard.of.lock().lock.take();
        result
    }
}

/// A condition variable.
pub struct Condvar(loom::sync::Condvar);
impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}
impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Condvar(loom::sync::Condvar::new())
    }
    /// Gives up the lock, sleeps until notified, and takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let lock = guard.lock.take().expect(HELD);
        guard.lock = Some(self.0.wait(lock).unwrap_or_else(PoisonError::into_inner));
    }
    /// Does not sleep: the time is over at once.
    pub fn wait_for<T>(&self, _: &mut MutexGuard<'_, T>, _: Duration) {}
    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }
    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}
