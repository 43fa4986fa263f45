//! Packets that threads share: a leader that closes the work has it to itself, no packet is lost, and work
//! that is dry is done.

use crate::check::{Failure, fails_without, holds};
use loom::cell::UnsafeCell;
use loom::thread;
use protocols::shared_work::SharedWork;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A packet: how many more packets come of it.
type Packet = usize;

struct Heap {
    work: SharedWork<Packet>,
    /// What each busy thread touches, and the leader in its pause.
    touched: [UnsafeCell<usize>; 2],
    /// Packets that were done. Not part of the model: loom does not see it.
    done: AtomicUsize,
}

// SAFETY: that the accesses to `touched` do not race is what the models check.
unsafe impl Sync for Heap {}
// SAFETY: as for Sync.
unsafe impl Send for Heap {}

impl Heap {
    fn new(packets: &[Packet]) -> Arc<Heap> {
        let work = SharedWork::new();
        packets.iter().for_each(|packet| work.add(*packet));
        Arc::new(Heap { work, touched: [UnsafeCell::new(0), UnsafeCell::new(0)], done: AtomicUsize::new(0) })
    }

    fn touch(&self, thread: usize) {
        // SAFETY: loom reports a race: a busy thread beside the pause, or one that has not seen what the
        // other did.
        self.touched[thread].with_mut(|touched| unsafe { *touched += 1 });
    }

    /// Takes a packet, does it, and gives back what comes of it. Whether the work was dry then.
    fn step(&self, thread: usize) -> Option<bool> {
        let packet = self.work.take()?;
        self.touch(thread);
        self.done.fetch_add(1, Relaxed);
        let dry = self.work.give_back(packet.checked_sub(1));
        assert!(!dry || packet == 0, "a thread that gives back a packet finds the work dry");
        Some(dry)
    }

    fn pause(&self) {
        self.work.close();
        (0..self.touched.len()).for_each(|thread| self.touch(thread));
        self.work.open();
    }
}

/// Two threads take a packet each, which becomes another one; a leader closes the work at any time.
fn a_pause_comes() {
    let heap = Heap::new(&[1, 1]);
    let others = [0, 1].map(|thread| {
        let heap = heap.clone();
        thread::spawn(move || heap.step(thread))
    });
    heap.pause();
    let steps = others.map(|other| usize::from(other.join().unwrap().is_some())).iter().sum::<usize>();
    let mut left = 0;
    heap.work.close();
    heap.work.drain(|packet| left += packet + 1);
    heap.work.open();
    assert_eq!(steps + left, 4, "no packet is lost");
    assert!(heap.work.is_dry());
}

/// A thread shares a packet while it is busy, and another takes it or not.
fn one_shares() {
    let heap = Heap::new(&[0]);
    let other = {
        let heap = heap.clone();
        thread::spawn(move || heap.step(1))
    };
    let mut shared = false;
    if heap.work.take().is_some() {
        heap.touch(0);
        heap.work.add(0);
        shared = true;
        assert!(!heap.work.is_dry(), "this thread is busy");
        heap.work.give_back([]);
    }
    let by_other = other.join().unwrap().is_some();
    assert!(shared || by_other);
    assert_eq!(heap.work.len() + usize::from(by_other), 1, "a packet is taken once");
}

/// Two threads do all there is; a third asks whether the work is dry, and looks at what they did.
fn one_finds_it_dry() {
    let heap = Heap::new(&[1]);
    let others = [0, 1].map(|thread| {
        let heap = heap.clone();
        thread::spawn(move || heap.step(thread) == Some(true))
    });
    if heap.work.is_dry() {
        assert_eq!(heap.done.load(Relaxed), 2, "it is dry before all is done");
        (0..2).for_each(|thread| heap.touch(thread));
    }
    let ended = others.map(|other| usize::from(other.join().unwrap())).iter().sum::<usize>();
    assert_eq!(ended, usize::from(heap.done.load(Relaxed) == 2), "the one that did the last packet finds it dry");
    assert_eq!(heap.work.is_dry(), ended == 1);
}

#[test]
fn a_leader_that_closes_the_work_has_it_to_itself_and_no_packet_is_lost() {
    holds(Some(3), a_pause_comes);
    holds(None, one_shares);
}

#[test]
fn work_that_is_dry_is_done() {
    holds(Some(3), one_finds_it_dry);
}

#[test]
fn a_leader_waits_for_busy_threads_and_nobody_takes_meanwhile() {
    fails_without("shared-work-close-waits", Failure::Race, Some(3), a_pause_comes);
    fails_without("shared-work-closed", Failure::Race, Some(3), a_pause_comes);
}

#[test]
fn the_last_busy_thread_wakes_the_leader() {
    fails_without("shared-work-wake", Failure::Deadlock, Some(3), a_pause_comes);
}

#[test]
fn a_thread_that_is_no_longer_busy_before_its_packets_are_in_makes_work_look_dry() {
    fails_without("shared-work-packets-first", Failure::Wrong, Some(3), one_finds_it_dry);
}
