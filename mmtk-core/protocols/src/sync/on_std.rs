//! What threads share, on std and the crate `atomic`.
//!
//! Locks are without poisoning and refuse a thread that has them already; `wait` takes the guard by
//! reference. Std's are one word each. Locks that keep who waits in a table of the process would break in a
//! forked child, which inherits the table with threads in it that are gone (`fork`). The crate `parking_lot`
//! has such; it serves where no forked child comes: in reports and the lab.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

/// A word that threads share, of a type that says what it may hold: an enum, or a newtype. One to eight
/// bytes without padding.
pub use ::atomic::Atomic;
/// What a thread does while another one finishes a few instructions.
pub use std::hint::spin_loop as spin;
pub use std::sync::atomic;
pub(super) use std::thread::yield_now;

/// The memory ordering. A model may weaken it under this name.
macro_rules! order {
    ($ordering:ident, $name:literal) => {
        $crate::sync::atomic::Ordering::$ordering
    };
}

/// False. A model may drop a step under this name.
macro_rules! dropped {
    ($name:literal) => {
        false
    };
}
pub(crate) use {dropped, order};

/// The thread that holds a lock, so that a second try of the same thread is an error and not a wait for
/// ever.
///
/// Relaxed will do: a thread finds itself only if it wrote that itself, and it takes its mark off before
/// it gives the lock up.
#[derive(Default)]
struct Holder(atomic::AtomicUsize);

impl Holder {
    /// A word that no two running threads share: the address of something that each has one of.
    #[inline(always)]
    fn this_thread() -> usize {
        std::thread_local! { static HERE: u8 = const { 0 }; }
        HERE.with(|here| std::ptr::from_ref(here).addr())
    }
    const fn none() -> Holder {
        Holder(atomic::AtomicUsize::new(0))
    }
    #[inline(always)]
    fn took(&self) {
        self.0.store(Holder::this_thread(), atomic::Ordering::Relaxed);
    }
    #[inline(always)]
    fn gives_up(&self) {
        self.0.store(0, atomic::Ordering::Relaxed);
    }
    fn is_this_thread(&self) -> bool {
        self.0.load(atomic::Ordering::Relaxed) == Holder::this_thread()
    }
}

/// A mutual-exclusion lock.
#[derive(Default)]
pub struct Mutex<T> {
    lock: std::sync::Mutex<T>,
    holder: Holder,
}
/// The right to use what a [`Mutex`] protects. Without its lock only inside [`Condvar::wait`] and
/// [`MutexGuard::without`].
pub struct MutexGuard<'a, T> {
    lock: Option<std::sync::MutexGuard<'a, T>>,
    of: &'a Mutex<T>,
}

const HELD: &str = "the lock is given up only inside `wait` and `without`";

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub const fn new(value: T) -> Self {
        Mutex { lock: std::sync::Mutex::new(value), holder: Holder::none() }
    }
    /// What it protected.
    pub fn into_inner(self) -> T {
        self.lock.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
    /// What it protects, without locking: nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.lock.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
    /// The lock, if nobody has it, the calling thread itself included.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let lock = match self.lock.try_lock() {
            Ok(lock) => lock,
            Err(std::sync::TryLockError::Poisoned(lock)) => lock.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        self.holder.took();
        Some(MutexGuard { lock: Some(lock), of: self })
    }
    /// Waits for the lock.
    ///
    /// # Panics
    /// When this thread holds it already.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }
    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        assert!(
            !self.holder.is_this_thread(),
            "this thread has locked {} already and would wait for itself: something that the heap called (a listener, a \
             logger, a closure, a function of the VM) called the heap",
            std::any::type_name::<T>()
        );
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.holder.took();
        MutexGuard { lock: Some(lock), of: self }
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
impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.lock.is_some() {
            self.of.holder.gives_up();
        }
    }
}

impl<'a, T> MutexGuard<'a, T> {
    /// Gives up the lock, and takes it again after `f`.
    pub fn without<R>(guard: &mut Self, f: impl FnOnce() -> R) -> R {
        drop(guard.give_up());
        let result = f();
        let again = guard.of.lock();
        guard.took(again.into_lock());
        result
    }
    fn into_lock(mut self) -> std::sync::MutexGuard<'a, T> {
        self.lock.take().expect(HELD)
    }
    fn give_up(&mut self) -> std::sync::MutexGuard<'a, T> {
        self.of.holder.gives_up();
        self.lock.take().expect(HELD)
    }
    fn took(&mut self, lock: std::sync::MutexGuard<'a, T>) {
        self.lock = Some(lock);
        self.of.holder.took();
    }
}

/// A lock that many may hold to read, or one to write.
#[derive(Default)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> Self {
        RwLock(std::sync::RwLock::new(value))
    }
    /// Waits until nobody writes.
    pub fn read(&self) -> std::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// Waits until nobody reads or writes.
    pub fn write(&self) -> std::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// What it protects, without locking: nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable.
pub struct Condvar(std::sync::Condvar);
impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}
impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Condvar(std::sync::Condvar::new())
    }
    /// Gives up the lock, sleeps until notified, and takes the lock again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let lock = guard.give_up();
        guard.took(self.0.wait(lock).unwrap_or_else(PoisonError::into_inner));
    }
    /// As [`Condvar::wait`], but not for longer than this.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, most: Duration) {
        let lock = guard.give_up();
        guard.took(self.0.wait_timeout(lock, most).unwrap_or_else(PoisonError::into_inner).0);
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

#[cfg(test)]
mod tests {
    use super::{Condvar, Mutex};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    fn refuses(lock: &Mutex<u32>) -> bool {
        let again = catch_unwind(AssertUnwindSafe(|| drop(lock.lock())));
        again.is_err_and(|panic| panic.downcast::<String>().unwrap().starts_with("this thread has locked u32 already"))
    }

    #[test]
    fn a_thread_that_takes_a_lock_twice_is_told_so_and_keeps_it() {
        let lock = Mutex::new(1);
        let mut guard = lock.lock();
        assert!(refuses(&lock) && refuses(&lock));
        Condvar::new().wait_for(&mut guard, Duration::ZERO);
        assert!(refuses(&lock), "it has the lock again");
        drop(guard);
        drop(lock.lock());
    }

    #[test]
    fn a_thread_that_waits_for_another_is_not_refused() {
        let (lock, shared) = (Mutex::new(0), Condvar::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut guard = lock.lock();
                        *guard += 1;
                        shared.notify_all();
                        // Gives the lock up, and takes it while others have had it.
                        shared.wait_for(&mut guard, Duration::ZERO);
                    }
                });
            }
        });
        assert_eq!(lock.into_inner(), 3000);
    }
}
