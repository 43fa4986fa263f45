//! Packets of work, which the workers of a trace keep and take from each other. A worker queues its packets,
//! and they are taken from either end. The queues have memory of their own, because a pause may not call
//! `malloc`.
//!
//! A packet is 32 edges at least, or a thousand slots of an array, so a lock costs little beside it. A worker
//! that looks for work reads a count, without the lock. The owner takes the packet that it queued last;
//! others take the oldest, which leads to most of the graph.
//!
//! I1. The count is a hint: it is written under the lock and read without.
//! Callers: the workers of a trace. The model of `termination` (`loom-tests`) has these queues.

use crate::address::ObjectReference;
use crate::os::PageVec;
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Work that another worker can take.
pub(super) enum Packet<I> {
    Items(PageVec<I>),
    Array { object: ObjectReference, from: usize, to: usize },
}

/// The packets of one worker, from the oldest to the newest, behind places of those that were taken.
struct Packets<I> {
    packets: PageVec<Option<Packet<I>>>,
    taken: usize,
}

impl<I> Packets<I> {
    /// After packets were taken: places that nobody needs any more go.
    fn tidy(&mut self) {
        if 2 * self.taken >= self.packets.len() {
            self.packets.drain(..self.taken);
            self.taken = 0;
        }
    }

    fn len(&self) -> usize {
        self.packets.len() - self.taken
    }
}

/// The queue of one worker. Cache lines of its own: its owner writes while others look.
#[repr(align(128))]
pub(super) struct Queue<I> {
    count: AtomicUsize,
    packets: Mutex<Packets<I>>,
}

impl<I> Default for Queue<I> {
    fn default() -> Self {
        Queue { count: AtomicUsize::new(0), packets: Mutex::new(Packets { packets: PageVec::new(), taken: 0 }) }
    }
}

impl<I> Queue<I> {
    /// Whether there seems to be nothing (I1).
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    fn change<R>(&self, f: impl FnOnce(&mut Packets<I>) -> R) -> R {
        let mut packets = self.packets.lock();
        let result = f(&mut packets);
        self.count.store(packets.len(), Relaxed);
        result
    }

    /// Queues a packet. Its owner.
    pub fn push(&self, packet: Packet<I>) {
        self.change(|packets| packets.packets.push(Some(packet)));
    }

    /// The newest packet. Its owner, who alone adds any.
    pub fn pop(&self) -> Option<Packet<I>> {
        if self.is_empty() {
            return None;
        }
        self.change(|packets| {
            let newest = if packets.len() > 0 { packets.packets.pop().flatten() } else { None };
            packets.tidy();
            newest
        })
    }

    /// The oldest packet. Any worker.
    pub fn steal(&self) -> Option<Packet<I>> {
        if self.is_empty() {
            return None;
        }
        self.change(|packets| {
            let taken = packets.taken;
            let oldest = packets.packets.get_mut(taken)?.take();
            packets.taken += 1;
            packets.tidy();
            oldest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn array(from: usize) -> Packet<u64> {
        // SAFETY: nobody reads it.
        let object = unsafe { ObjectReference::from_address(Address::from_usize(64)) }.unwrap();
        Packet::Array { object, from, to: from + 1 }
    }

    fn number(packet: Option<Packet<u64>>) -> Option<usize> {
        packet.map(|packet| match packet {
            Packet::Array { from, .. } => from,
            Packet::Items(_) => panic!("no array"),
        })
    }

    #[test]
    fn its_owner_takes_the_newest_packet_and_others_the_oldest() {
        let queue = Queue::default();
        (0..5).for_each(|n| queue.push(array(n)));
        assert_eq!((number(queue.steal()), number(queue.pop())), (Some(0), Some(4)));
        queue.push(array(5));
        assert_eq!((number(queue.steal()), number(queue.steal()), number(queue.pop())), (Some(1), Some(2), Some(5)));
        assert!(!queue.is_empty());
        assert_eq!((number(queue.pop()), number(queue.pop()), number(queue.steal())), (Some(3), None, None));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_queue_that_is_used_for_long_does_not_grow() {
        let queue = Queue::default();
        for n in 0..10_000 {
            queue.push(array(n));
            queue.push(array(n + 10_000));
            assert!(queue.steal().is_some() && queue.steal().is_some());
        }
        assert!(queue.is_empty() && queue.packets.lock().packets.capacity() < 1000);
    }

    #[test]
    fn every_packet_is_taken_once() {
        let (queue, taken) = (Queue::default(), AtomicUsize::new(0));
        let packets = if cfg!(miri) { 50 } else { 5000 };
        let take =
            |packet: Option<Packet<u64>>| number(packet).map(|number| taken.fetch_add(number, Relaxed)).is_some();
        std::thread::scope(|scope| {
            let thief = scope.spawn(|| (0..packets).filter(|_| take(queue.steal())).count());
            (1..=packets).for_each(|n| {
                queue.push(array(n));
                if n % 3 == 0 {
                    take(queue.pop());
                }
            });
            thief.join().unwrap();
        });
        while take(queue.pop()) {}
        assert_eq!(taken.load(Relaxed), packets * (packets + 1) / 2);
    }
}
