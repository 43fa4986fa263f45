//! Packets of work that threads share, each as long as it likes, and that a leader closes for a pause.
//!
//! A thread that takes a packet is busy until it gives back what is left of its work. While the work is
//! closed nobody can take any. So the leader, once nobody is busy, has all there is to itself.
//!
//! ```text
//! Open --close--> Closed, waits for busy threads --the last gives back--> Closed, the leader's --open--> Open
//! ```
//! One lock protects it all: a packet is some hundred objects, so the lock is rarely taken. Two hints are
//! read without it, between two objects of a packet: whether others would take a packet, and whether somebody
//! closes the work.
//!
//! I1. Packets and the count of busy threads change together, under the lock. So "dry" (no packets, and
//!     nobody busy) means that no work is left but what threads add that are not busy.
//! I2. Between `close` and `open` nobody is busy, and the leader sees what all that were busy had done. Who
//!     takes a packet sees what the thread that gave it had done, and what leaders did before. The lock
//!     carries it.
//! I3. A busy thread does not stop at a safepoint: it gives back first.
//! I4. Memory of the list grows in `add` and `give_back` alone. A busy thread that gives back while
//!     mutators are stopped may not call `malloc`; a heap whose leader closes the work then makes the list in
//!     pages of the system (`new_in`).
//! Callers: `close`, `drain` and `open` the leader of a pause; the rest any thread.

use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use crate::sync::{Condvar, Mutex, dropped};
use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::vec::Vec;

/// What the lock protects.
struct State<T, A: Allocator> {
    packets: Vec<T, A>,
    /// Threads that took a packet and have not given back.
    busy: usize,
    closed: bool,
}

impl<T, A: Allocator> State<T, A> {
    fn is_dry(&self) -> bool {
        self.packets.is_empty() && self.busy == 0
    }
}

/// Packets that threads share. Its list has memory from `A`.
pub struct SharedWork<T, A: Allocator = Global> {
    state: Mutex<State<T, A>>,
    /// The last busy thread has given back, and the leader waits for that.
    nobody_busy: Condvar,
    /// How many packets there are: a hint. Written under the lock.
    packets: AtomicUsize,
    /// Whether the work is closed: a hint. Written under the lock.
    closing: AtomicU8,
}

impl<T> Default for SharedWork<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SharedWork<T> {
    /// No work; it is open.
    pub fn new() -> SharedWork<T> {
        SharedWork::new_in(Global)
    }
}

impl<T, A: Allocator> SharedWork<T, A> {
    /// No work; it is open. The list will have memory from `allocator` (I4).
    pub fn new_in(allocator: A) -> SharedWork<T, A> {
        SharedWork {
            state: Mutex::new(State { packets: Vec::new_in(allocator), busy: 0, closed: false }),
            nobody_busy: Condvar::new(),
            packets: AtomicUsize::new(0),
            closing: AtomicU8::new(0),
        }
    }

    /// Adds a packet. Any thread, a busy one, too; while the work is closed, too.
    pub fn add(&self, packet: T) {
        let mut state = self.state.lock();
        state.packets.push(packet);
        self.packets.store(state.packets.len(), Relaxed);
    }

    /// Takes a packet: the caller is busy from now until [`SharedWork::give_back`]. None if there is no
    /// packet, or the work is closed; then the caller is not busy.
    #[must_use = "who has taken a packet is busy until it gives back"]
    pub fn take(&self) -> Option<T> {
        let mut state = self.state.lock();
        if state.closed && !dropped!("shared-work-closed") {
            return None;
        }
        let packet = state.packets.pop()?;
        state.busy += 1;
        self.packets.store(state.packets.len(), Relaxed);
        Some(packet)
    }

    /// The caller is no longer busy: `packets` is what is left of its work. True if the work is dry now: no
    /// packets are left, and nobody is busy. `packets` is walked with the lock held, so it calls nothing that
    /// uses this work.
    ///
    /// # Panics
    /// If nobody is busy.
    pub fn give_back(&self, packets: impl IntoIterator<Item = T>) -> bool {
        let packets = packets.into_iter();
        let mut state = self.state.lock();
        if dropped!("shared-work-packets-first") {
            // The count changes without the packets (I1).
            state.busy -= 1;
            drop(state);
            state = self.state.lock();
            state.busy += 1;
        }
        state.packets.extend(packets);
        self.packets.store(state.packets.len(), Relaxed);
        state.busy = state.busy.checked_sub(1).expect("a thread gave work back and had taken none");
        if state.busy == 0 && state.closed && !dropped!("shared-work-wake") {
            self.nobody_busy.notify_one();
        }
        state.is_dry()
    }

    /// Whether there is no packet for others to take: then a busy thread does well to share. A hint.
    #[inline(always)]
    pub fn is_hungry(&self) -> bool {
        self.packets.load(Relaxed) == 0
    }

    /// Whether a leader closes the work: a busy thread should give back soon. A hint.
    #[inline(always)]
    pub fn should_yield(&self) -> bool {
        self.closing.load(Relaxed) != 0
    }

    /// From now on nobody can take a packet; returns when nobody is busy. The leader, which must not be busy
    /// itself.
    ///
    /// # Panics
    /// If the work is closed already.
    pub fn close(&self) {
        let mut state = self.state.lock();
        assert!(!state.closed, "shared work was closed twice: one leader at a time may close it");
        state.closed = true;
        self.closing.store(1, Relaxed);
        while state.busy > 0 && !dropped!("shared-work-close-waits") {
            self.nobody_busy.wait(&mut state);
        }
    }

    /// Others may take packets again. The leader, after [`SharedWork::close`].
    ///
    /// # Panics
    /// If the work is open.
    pub fn open(&self) {
        let mut state = self.state.lock();
        assert!(state.closed, "shared work was opened and was not closed");
        state.closed = false;
        self.closing.store(0, Relaxed);
    }

    /// Hands all packets to `f`, one after the other, those that `f` adds, too. The lock is not held
    /// meanwhile. The leader, between [`SharedWork::close`] and [`SharedWork::open`].
    ///
    /// # Panics
    /// If the work is open.
    pub fn drain(&self, mut f: impl FnMut(T)) {
        let next = || {
            let mut state = self.state.lock();
            assert!(state.closed, "shared work is drained while it is open: close it first");
            let packet = state.packets.pop();
            self.packets.store(state.packets.len(), Relaxed);
            packet
        };
        while let Some(packet) = next() {
            f(packet);
        }
    }

    /// Whether no packets are left and nobody is busy. It stays so until a thread adds a packet that was not
    /// busy (I1).
    pub fn is_dry(&self) -> bool {
        self.state.lock().is_dry()
    }

    /// How many packets there are to take. Busy threads have more at hand.
    pub fn len(&self) -> usize {
        self.state.lock().packets.len()
    }

    /// Whether there are no packets to take. Busy threads may have some at hand.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn work_is_dry_when_nothing_is_left_and_nobody_is_busy() {
        let work = SharedWork::new();
        assert!(work.is_dry() && work.is_hungry() && work.is_empty() && work.take().is_none());
        work.add(1);
        assert!(!work.is_dry() && !work.is_hungry() && work.len() == 1);
        assert_eq!(work.take(), Some(1));
        assert!(work.is_empty() && work.is_hungry() && !work.is_dry(), "one is busy");
        work.add(2);
        assert!(!work.give_back([3]), "packets are left");
        assert!(work.take().is_some() && work.take().is_some() && work.take().is_none());
        assert!(!work.give_back([]), "another one is busy");
        assert!(work.give_back([]) && work.is_dry());
    }

    #[test]
    fn closed_work_takes_packets_and_gives_none_but_to_the_leader() {
        let work = SharedWork::default();
        (0..3).for_each(|packet| work.add(packet));
        assert!(!work.should_yield());
        work.close();
        assert!(work.should_yield() && work.take().is_none());
        work.add(3);
        let mut drained = Vec::new();
        work.drain(|packet| {
            drained.push(packet);
            if packet == 3 {
                work.add(4);
            }
        });
        drained.sort_unstable();
        assert_eq!(drained, [0, 1, 2, 3, 4]);
        assert!(work.is_dry() && work.is_hungry());
        work.open();
        work.add(5);
        assert_eq!((work.should_yield(), work.take()), (false, Some(5)));
    }

    #[test]
    #[should_panic(expected = "closed twice")]
    fn two_leaders_cannot_close_it() {
        let work = SharedWork::<u8>::new();
        work.close();
        work.close();
    }

    #[test]
    #[should_panic(expected = "was not closed")]
    fn open_work_is_not_opened() {
        SharedWork::<u8>::new().open();
    }

    #[test]
    #[should_panic(expected = "close it first")]
    fn open_work_is_not_drained() {
        SharedWork::<u8>::new().drain(|_| ());
    }

    #[test]
    #[should_panic(expected = "had taken none")]
    fn who_has_taken_nothing_gives_nothing_back() {
        SharedWork::<u8>::new().give_back([]);
    }

    /// A packet is a number of units; each thread does one unit of a packet and gives back the rest.
    #[test]
    fn threads_do_all_work_once_beside_a_leader_that_closes_it() {
        const PACKETS: usize = 20;
        const UNITS: usize = 50;
        let work = SharedWork::new();
        (0..PACKETS).for_each(|_| work.add(UNITS));
        let (done, busy, paused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !work.is_dry() {
                        let Some(mut units) = work.take() else {
                            std::thread::yield_now();
                            continue;
                        };
                        busy.fetch_add(1, Relaxed);
                        assert!(!paused.load(Relaxed));
                        while units > 0 && !work.should_yield() {
                            units -= 1;
                            done.fetch_add(1, Relaxed);
                            if work.is_hungry() && units > 1 {
                                units -= 1;
                                work.add(1);
                            }
                        }
                        busy.fetch_sub(1, Relaxed);
                        work.give_back((units > 0).then_some(units));
                    }
                });
            }
            while !work.is_dry() {
                work.close();
                paused.store(true, Relaxed);
                assert_eq!(busy.load(Relaxed), 0);
                std::thread::yield_now();
                paused.store(false, Relaxed);
                work.open();
                std::thread::yield_now();
            }
        });
        assert_eq!(done.load(Relaxed), PACKETS * UNITS);
    }
}
