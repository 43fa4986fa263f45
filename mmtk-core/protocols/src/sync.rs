//! Atomics and locks for the protocol files: std's normally, loom's under `--cfg loom`.
//!
//! A protocol file takes everything that two threads share from here, so that the models in `loom-tests`
//! explore the same source that runs in a heap. `order!` and `dropped!` mark the orderings and steps that a
//! model can weaken by name; outside a loom build both are constants and cost nothing. For each name a test
//! shows that a model fails without it, so an ordering that bears no name is either `Relaxed` or says why no
//! model can see it.

/// A word that threads share, of a type that says what it may hold: an enum, or a newtype. One to eight
/// bytes without padding.
#[cfg(not(loom))]
pub use ::atomic::Atomic;
#[cfg(loom)]
pub use typed::Atomic;

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

/// Looks before a thread lets others run: what it waits for takes some ten microseconds at most, unless the
/// thread that does it was preempted.
const LOOKS: u32 = 200;

/// A wait for a few steps of another thread, which may not be running: `wait` is called between two looks.
#[derive(Default)]
pub struct Spin {
    looks: u32,
}

impl Spin {
    /// The first times a few cycles; later, other threads run first.
    #[cold]
    pub fn wait(&mut self) {
        spin();
        self.looks = self.looks.saturating_add(1);
        #[cfg(not(loom))]
        if self.looks > LOOKS {
            std::thread::yield_now();
        }
        #[cfg(loom)]
        let _ = LOOKS;
    }

    /// Whether other threads have run meanwhile.
    pub fn is_long(&self) -> bool {
        self.looks > LOOKS
    }
}

/// The memory ordering, or a weaker one while a model has weakened `name`: `Relaxed`, or one half of `AcqRel`
/// if what is dropped is `name-acquire` or `name-release`.
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

/// The crate `atomic` is made for std's atomics alone. In a model its part is taken by this: the value's
/// bytes in a word of loom's.
#[cfg(loom)]
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

/// Locks without poisoning that refuse a thread that has them already; `wait` takes the guard by reference.
/// Std's are one word each. Locks that keep who waits in a table of the process would break in a forked
/// child, which inherits the table with threads in it that are gone (`fork`). The crate `parking_lot` has
/// such; it serves where no forked child comes: in reports and the lab.
mod locks {
    #[cfg(loom)]
    use loom::sync as imp;
    use std::ops::{Deref, DerefMut};
    #[cfg(not(loom))]
    use std::sync as imp;
    use std::sync::PoisonError;

    /// The thread that holds a lock, so that a second try of the same thread is an error and not a wait for
    /// ever.
    ///
    /// Relaxed will do: a thread finds itself only if it wrote that itself, and it takes its mark off before
    /// it gives the lock up.
    #[cfg(not(loom))]
    #[derive(Default)]
    struct Holder(super::atomic::AtomicUsize);

    #[cfg(not(loom))]
    impl Holder {
        /// A word that no two running threads share: the address of something that each has one of.
        #[inline(always)]
        fn this_thread() -> usize {
            std::thread_local! { static HERE: u8 = const { 0 }; }
            HERE.with(|here| std::ptr::from_ref(here).addr())
        }
        const fn none() -> Holder {
            Holder(super::atomic::AtomicUsize::new(0))
        }
        #[inline(always)]
        fn took(&self) {
            self.0.store(Holder::this_thread(), super::atomic::Ordering::Relaxed);
        }
        #[inline(always)]
        fn gives_up(&self) {
            self.0.store(0, super::atomic::Ordering::Relaxed);
        }
        fn is_this_thread(&self) -> bool {
            self.0.load(super::atomic::Ordering::Relaxed) == Holder::this_thread()
        }
    }

    /// In a model a thread that takes a lock twice is a deadlock, which loom reports.
    #[cfg(loom)]
    #[derive(Default)]
    struct Holder;

    #[cfg(loom)]
    impl Holder {
        fn none() -> Holder {
            Holder
        }
        fn took(&self) {}
        fn gives_up(&self) {}
    }

    /// A mutual-exclusion lock.
    #[derive(Default)]
    pub struct Mutex<T> {
        lock: imp::Mutex<T>,
        holder: Holder,
    }
    /// The right to use what a [`Mutex`] protects. Without its lock only inside [`Condvar::wait`] and
    /// [`MutexGuard::without`].
    pub struct MutexGuard<'a, T> {
        lock: Option<imp::MutexGuard<'a, T>>,
        of: &'a Mutex<T>,
    }

    const HELD: &str = "the lock is given up only inside `wait` and `without`";

    impl<T> Mutex<T> {
        /// An unlocked mutex.
        #[cfg(loom)]
        pub fn new(value: T) -> Self {
            Mutex { lock: imp::Mutex::new(value), holder: Holder::none() }
        }
        /// An unlocked mutex.
        #[cfg(not(loom))]
        pub const fn new(value: T) -> Self {
            Mutex { lock: imp::Mutex::new(value), holder: Holder::none() }
        }
        /// What it protected.
        #[cfg(not(loom))]
        pub fn into_inner(self) -> T {
            self.lock.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
        /// What it protects, without locking: nobody else has it.
        #[cfg(not(loom))]
        pub fn get_mut(&mut self) -> &mut T {
            self.lock.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
        /// The lock, if nobody has it, the calling thread itself included.
        #[cfg(not(loom))]
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            let lock = match self.lock.try_lock() {
                Ok(lock) => lock,
                Err(imp::TryLockError::Poisoned(lock)) => lock.into_inner(),
                Err(imp::TryLockError::WouldBlock) => return None,
            };
            self.holder.took();
            Some(MutexGuard { lock: Some(lock), of: self })
        }
        /// Waits for the lock.
        ///
        /// # Panics
        /// When this thread holds it already.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            #[cfg(not(loom))]
            return self.try_lock().unwrap_or_else(|| self.wait());
            #[cfg(loom)]
            MutexGuard { lock: Some(self.lock.lock().unwrap_or_else(PoisonError::into_inner)), of: self }
        }
        #[cfg(not(loom))]
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
        fn into_lock(mut self) -> imp::MutexGuard<'a, T> {
            self.lock.take().expect(HELD)
        }
        fn give_up(&mut self) -> imp::MutexGuard<'a, T> {
            self.of.holder.gives_up();
            self.lock.take().expect(HELD)
        }
        fn took(&mut self, lock: imp::MutexGuard<'a, T>) {
            self.lock = Some(lock);
            self.of.holder.took();
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
            let lock = guard.give_up();
            guard.took(self.0.wait(lock).unwrap_or_else(PoisonError::into_inner));
        }
        /// As [`Condvar::wait`], but not for longer than this. In a model it does not sleep: the time is over
        /// at once.
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, most: std::time::Duration) {
            #[cfg(loom)]
            let _ = (guard, most);
            #[cfg(not(loom))]
            {
                let lock = guard.give_up();
                guard.took(self.0.wait_timeout(lock, most).unwrap_or_else(PoisonError::into_inner).0);
            }
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

#[cfg(all(test, not(loom)))]
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
