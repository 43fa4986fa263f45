//! The tracing loop of one worker, and what the workers share.
//!
//! I1. A worker's stack and window are its own; what others may take is in its deque, in packets.
//! I2. A worker leaves (`Termination::leave`) only with empty stack, window and deque.

use super::item::TraceItem;
use super::policy::Policy;
use super::tracer::Traced;
use crate::address::{Address, ObjectReference};
use crate::binding::{SlotVisitor, VMBinding};
use crate::stack::each_word;
use crate::workers::{Gang, Worker};
use crossbeam_deque::{Steal, Stealer, Worker as Deque};
use protocols::sync::Mutex;
use protocols::termination::{Look, Termination};
use std::ops::Range;

/// Objects in flight between prefetch and use. Sixteen cover a memory latency of 150 ns at 100 million
/// objects a second.
const WINDOW: usize = 16;
/// Slots of a large array that are visited at once.
const PART_SLOTS: usize = 1024;
/// Objects between two looks at whether somebody is hungry.
const LOOK_EVERY: usize = 64;
/// Objects after which waking the helpers pays: about twice the 30 us that the wake-up costs.
const WAKE_AFTER: usize = 2048;
/// Objects of more than this may be large arrays, which are visited in parts.
const LARGE_BYTES: usize = 8 * PART_SLOTS;
/// A stack shorter than this has nothing to share.
const SHARE_MIN: usize = 32;
/// Fruitless rounds before a worker sleeps; a few microseconds.
const PATIENCE: usize = 200;

/// Work that another worker can take.
enum Packet<I> {
    Items(Vec<I>),
    Array { object: ObjectReference, from: usize, to: usize },
}

/// Where a worker keeps its work. Empty between traces, and kept for the next if it is small.
struct Buffers<I> {
    deque: Deque<Packet<I>>,
    stack: Vec<I>,
}

/// Entries of a stack that is kept from one trace to the next: what minor collections need.
const KEPT_ENTRIES: usize = 4096;

/// What the workers of one trace share.
pub(crate) struct TraceShared<I> {
    termination: Termination,
    buffers: Vec<Mutex<Option<Box<Buffers<I>>>>>,
    stealers: Vec<Stealer<Packet<I>>>,
}

impl<I: Send + 'static> TraceShared<I> {
    /// For the workers of a gang. The leader is active from now on.
    pub fn new(gang: &Gang) -> TraceShared<I> {
        let new = || Box::new(Buffers { deque: Deque::new_lifo(), stack: Vec::with_capacity(1024) });
        let buffers: Vec<Box<Buffers<I>>> = (0..gang.size()).map(|_| gang.take_spare().unwrap_or_else(new)).collect();
        let stealers = buffers.iter().map(|buffers| buffers.deque.stealer()).collect();
        let termination = Termination::new();
        termination.open();
        TraceShared { termination, stealers, buffers: buffers.into_iter().map(|b| Mutex::new(Some(b))).collect() }
    }

    /// When all workers have left: keeps the buffers.
    pub fn finish(self, gang: &Gang) {
        for mut buffers in self.buffers.into_iter().filter_map(Mutex::into_inner) {
            if buffers.stack.capacity() <= KEPT_ENTRIES {
                debug_assert!(buffers.stack.is_empty() && buffers.deque.is_empty());
                buffers.stack.clear();
                gang.keep_spare(buffers);
            }
        }
    }
}

/// One worker's part of a trace.
pub(crate) struct Tracing<'a, VM: VMBinding, T: Policy<VM>> {
    tracer: T,
    shared: &'a TraceShared<T::Item>,
    gang: &'a Gang,
    deque: Deque<Packet<T::Item>>,
    stack: Vec<T::Item>,
    index: usize,
    since_look: usize,
    /// Objects since this worker began: decides when waking helpers pays.
    followed: usize,
    may_wake: bool,
    vm: &'a VM,
}

/// The private stack as the visitor that a binding hands slots to.
struct Push<'a, VM: VMBinding, T: Policy<VM>> {
    items: &'a mut Vec<T::Item>,
    tracer: T,
    vm: &'a VM,
}

impl<VM: VMBinding, T: Policy<VM>> SlotVisitor<VM::Slot> for Push<'_, VM, T> {
    #[inline(always)]
    fn visit(&mut self, slot: VM::Slot) {
        if let Some(item) = T::Item::from_slot(slot) {
            self.items.push(item);
        }
    }

    fn visit_ambiguous(&mut self, words: Range<Address>) {
        let found = |word| self.tracer.find_object(self.vm.address_in(word)).and_then(T::Item::from_object);
        each_word(words, |word| self.items.extend(found(word)));
    }
}

impl<'a, VM: VMBinding, T: Policy<VM>> Tracing<'a, VM, T> {
    /// Enters the section as this worker; none if the trace has ended already.
    pub fn enter(
        tracer: T,
        vm: &'a VM,
        shared: &'a TraceShared<T::Item>,
        gang: &'a Gang,
        worker: &Worker,
    ) -> Option<Self> {
        if worker.index != 0 && !shared.termination.start() {
            return None;
        }
        let Buffers { deque, stack } =
            *shared.buffers[worker.index].lock().take().expect("a worker enters a trace once");
        Some(Tracing {
            tracer,
            shared,
            gang,
            deque,
            stack,
            index: worker.index,
            since_look: 0,
            followed: 0,
            may_wake: worker.index == 0 && gang.size() > 1,
            vm,
        })
    }

    /// Leaves the section, without work.
    pub fn leave(self) {
        let Tracing { shared, deque, stack, index, .. } = self;
        *shared.buffers[index].lock() = Some(Box::new(Buffers { deque, stack }));
    }

    /// Lets a binding push roots.
    pub fn roots(&mut self) -> impl SlotVisitor<VM::Slot> + use<'_, 'a, VM, T> {
        Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm }
    }

    /// Visits the slots of an object that is marked already, or outside the heap: it may refer to new
    /// objects. It is where it stays in this pause. An unmarked one is not read: another worker may have
    /// moved it, and left a forwarding word in it.
    pub fn visit_again(&mut self, object: ObjectReference) {
        match self.vm.object_size(object) {
            0..=LARGE_BYTES => {
                self.vm.scan_object(object, &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm })
            }
            _ => self.follow_large(object),
        }
    }

    /// Traces one object, but visits none of its slots; returns its place. [`Tracing::visit_again`] is to
    /// follow, in a later section.
    pub fn claim(&mut self, object: ObjectReference, worker: &mut Worker) -> ObjectReference {
        match self.tracer.trace(object, worker) {
            Traced::Seen(place) | Traced::New(place) | Traced::NewLarge(place) => place,
        }
    }

    /// Traces one object, whose slots are then to be followed; returns its place.
    pub fn keep(&mut self, object: ObjectReference, worker: &mut Worker) -> ObjectReference {
        self.follow(object, worker)
    }

    /// Follows the edges found so far, those of this worker's packets excepted.
    pub fn keep_up(&mut self, worker: &mut Worker) {
        self.drain(worker);
    }

    /// Traces one object and all that it reaches, as far as this worker gets before it runs out; returns its
    /// place.
    pub fn keep_alive(&mut self, object: ObjectReference, worker: &mut Worker) -> ObjectReference {
        let place = self.follow(object, worker);
        self.drain(worker);
        while let Some(packet) = self.deque.pop() {
            self.unpack(packet);
            self.drain(worker);
        }
        place
    }

    /// Works until no worker has anything left.
    pub fn run(&mut self, worker: &mut Worker) {
        loop {
            self.drain(worker);
            if let Some(packet) = self.deque.pop().or_else(|| self.steal(worker.index)) {
                self.unpack(packet);
                continue;
            }
            if !self.rejoin(worker.index) {
                return;
            }
        }
    }

    /// Leaves, and looks for work until there is some (true) or the trace is over (false).
    fn rejoin(&mut self, me: usize) -> bool {
        let (termination, stealers) = (&self.shared.termination, &self.shared.stealers);
        loop {
            if termination.leave() {
                return false;
            }
            let visible = || stealers.iter().enumerate().any(|(i, s)| i != me && !s.is_empty());
            let found = match me {
                0 => {
                    let mut late = self.gang.late();
                    termination.look_and_sleep(visible, PATIENCE, |changed, sleeping| late.wait(changed, sleeping))
                }
                helper => self.gang.resting(helper, || termination.look(visible, PATIENCE)),
            };
            if found == Look::Finished {
                return false;
            }
            if let Some(packet) = self.steal(me) {
                self.unpack(packet);
                return true;
            }
        }
    }

    fn steal(&self, me: usize) -> Option<Packet<T::Item>> {
        let stealers = &self.shared.stealers;
        for turn in 1..stealers.len() {
            let victim = &stealers[(me + turn) % stealers.len()];
            loop {
                match victim.steal() {
                    Steal::Success(packet) => return Some(packet),
                    Steal::Empty => break,
                    Steal::Retry => protocols::sync::spin(),
                }
            }
        }
        None
    }

    fn unpack(&mut self, packet: Packet<T::Item>) {
        match packet {
            Packet::Items(items) if self.stack.is_empty() => self.stack = items,
            Packet::Items(items) => self.stack.extend(items),
            Packet::Array { object, from, mut to } => {
                // The far halves go to the deque first: a thief takes the largest, this worker comes to them
                // in order.
                while to - from > PART_SLOTS {
                    let middle = from + (to - from) / 2;
                    self.deque.push(Packet::Array { object, from: middle, to });
                    to = middle;
                }
                self.share_hint();
                self.vm.scan_part(
                    object,
                    from,
                    to,
                    &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm },
                );
            }
        }
    }

    /// Follows edges until there are none left in stack and window, and nothing is held by what was reached.
    fn drain(&mut self, worker: &mut Worker) {
        loop {
            self.drain_stack(worker);
            match self.tracer.next_held(worker) {
                Some(object) => self.follow(object, worker),
                None => return,
            };
        }
    }

    #[inline(never)]
    fn drain_stack(&mut self, worker: &mut Worker) {
        let Some((first, target)) = self.next() else { return };
        let mut window = [(first, target); WINDOW];
        let (mut head, mut filled) = (0usize, 1usize);
        loop {
            while filled < WINDOW {
                let Some((item, target)) = self.next() else { break };
                self.tracer.prefetch(target);
                window[(head + filled) % WINDOW] = (item, target);
                filled += 1;
            }
            if filled == 0 {
                return;
            }
            let (item, target) = window[head % WINDOW];
            head = head.wrapping_add(1);
            filled -= 1;
            let place = self.follow(target, worker);
            if place != target {
                item.update(place);
            }
            self.since_look += 1;
            if self.since_look >= LOOK_EVERY {
                self.look();
            }
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<(T::Item, ObjectReference)> {
        loop {
            let item = self.stack.pop()?;
            if let Some(target) = item.target() {
                return Some((item, target));
            }
        }
    }

    #[inline(always)]
    fn follow(&mut self, object: ObjectReference, worker: &mut Worker) -> ObjectReference {
        match self.tracer.trace(object, worker) {
            Traced::Seen(place) => place,
            Traced::New(place) => {
                self.vm.scan_object(place, &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm });
                place
            }
            Traced::NewLarge(place) => {
                self.follow_large(place);
                place
            }
        }
    }

    #[cold]
    fn follow_large(&mut self, object: ObjectReference) {
        match self.vm.slots_of_large(object) {
            Some(slots) if slots > PART_SLOTS => {
                self.deque.push(Packet::Array { object, from: 0, to: slots });
                if slots > 16 * PART_SLOTS && self.may_wake {
                    self.may_wake = false;
                    self.gang.wake();
                }
                self.share_hint();
            }
            _ => self.vm.scan_object(object, &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm }),
        }
    }

    /// Every few dozen objects: are helpers worth waking, is somebody hungry?
    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.followed += self.since_look;
        self.since_look = 0;
        if self.may_wake && self.followed >= WAKE_AFTER && self.stack.len() >= SHARE_MIN {
            self.may_wake = false;
            self.gang.wake();
        }
        if self.shared.termination.hungry() > 0 {
            if self.deque.is_empty() && self.stack.len() >= SHARE_MIN {
                let items = every_other(&mut self.stack);
                self.deque.push(Packet::Items(items));
            }
            self.share_hint();
        }
    }

    fn share_hint(&self) {
        if !self.deque.is_empty() {
            self.shared.termination.published();
        }
    }
}

/// Takes every other edge from a stack, from the oldest on.
///
/// The oldest edges lead to the largest parts of a tree, each about as large as all newer ones together. So
/// both workers get some of each size. With the older half a worker would hand over nearly all that is left,
/// would soon ask for it back, and in between the two would work in the same lines.
fn every_other<I: Copy>(stack: &mut Vec<I>) -> Vec<I> {
    let given = stack.iter().copied().step_by(2).collect();
    let kept = stack.len() / 2;
    for index in 0..kept {
        stack[index] = stack[2 * index + 1];
    }
    stack.truncate(kept);
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_edge_is_handed_over_and_none_is_lost() {
        for length in 0..6 {
            let mut stack: Vec<usize> = (0..length).collect();
            let given = every_other(&mut stack);
            assert_eq!(given, (0..length).step_by(2).collect::<Vec<_>>());
            assert_eq!(stack, (1..length).step_by(2).collect::<Vec<_>>());
        }
    }
}
