//! The tracing loop of one worker.
//!
//! I1. A worker's stack and window are its own; edges that others may take are in its queue, in packets.
//! I2. A worker leaves (`Termination::leave`) with empty stack, window and queue, or when it has followed as
//!     many objects as it may in this section: then the edges that are left are in its queue, and grey. So if
//!     no worker comes to that limit, the section ends when there are no grey edges.

use super::grey::Section;
use super::item::TraceItem;
use super::packets::{Packet, Queue};
use super::policy::Policy;
use super::tracer::Traced;
use crate::address::{Address, ObjectReference};
use crate::binding::{SlotVisitor, VMBinding};
use crate::metadata::Remembered;
use crate::os::PageVec;
use crate::stack::each_word;
use crate::workers::{Gang, Worker};
use protocols::termination::Look;
use std::ops::Range;

/// Objects in flight between prefetch and use. Sixteen cover a memory latency of 150 ns at 100 million
/// objects a second.
const WINDOW: usize = 16;
/// Slots of a large array that are visited at once.
const PART_SLOTS: usize = 1024;
/// Objects between two looks at whether a worker is hungry.
const LOOK_EVERY: usize = 64;
/// Objects after which waking the helpers pays: about twice the 30 us that the wake-up costs.
const WAKE_AFTER: usize = 2048;
/// Objects of more than this may be large arrays, which are visited in parts.
const LARGE_BYTES: usize = 8 * PART_SLOTS;
/// A stack shorter than this has nothing to share.
const SHARE_MIN: usize = 32;
/// Fruitless rounds before a worker sleeps; a few microseconds.
const PATIENCE: usize = 200;

/// One worker's part of a section.
pub(crate) struct Tracing<'a, VM: VMBinding, T: Policy<VM>> {
    tracer: T,
    section: &'a Section<'a, T::Item>,
    gang: &'a Gang,
    queue: &'a Queue<T::Item>,
    stack: PageVec<T::Item>,
    /// Edges that this worker may not follow in this section.
    aside: PageVec<T::Item>,
    index: usize,
    /// Objects since the last look, and how many there may be until the next.
    since_look: usize,
    look_after: usize,
    /// Objects that it may follow in this section, as of the last look.
    left: usize,
    /// Objects since this worker began: decides when waking helpers pays.
    followed: usize,
    may_wake: bool,
    vm: &'a VM,
}

/// The private stack as the visitor that a binding hands slots to.
struct Push<'a, VM: VMBinding, T: Policy<VM>> {
    items: &'a mut PageVec<T::Item>,
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
    /// Enters the section as this worker; none if it has ended already.
    pub fn enter(
        tracer: T,
        vm: &'a VM,
        section: &'a Section<'a, T::Item>,
        gang: &'a Gang,
        worker: &Worker,
    ) -> Option<Self> {
        if worker.index != 0 && !section.termination.start() {
            return None;
        }
        Some(Tracing {
            tracer,
            section,
            gang,
            queue: section.grey.queue(worker.index),
            stack: section.grey.take(worker.index),
            aside: PageVec::new(),
            index: worker.index,
            since_look: 0,
            look_after: look_after(section.objects),
            left: section.objects,
            followed: 0,
            may_wake: worker.index == 0 && gang.size() > 1,
            vm,
        })
    }

    /// Leaves the section. What is left goes where any worker finds it in the next one: this one may not
    /// come.
    pub fn leave(self) {
        let Tracing { section, queue, mut stack, aside, index, .. } = self;
        if !stack.is_empty() {
            queue.push(Packet::Items(std::mem::replace(&mut stack, section.grey.list())));
        }
        if !aside.is_empty() {
            queue.push(Packet::Items(aside));
        }
        section.grey.bring_back(index, stack);
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

    /// The same for what a barrier remembered: a part of an object, or all of it.
    pub fn visit_remembered(&mut self, remembered: Remembered) {
        match remembered.slots(self.vm) {
            Some(Range { start, end }) => self.vm.scan_part(
                remembered.object(),
                start,
                end,
                &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm },
            ),
            None => self.visit_again(remembered.object()),
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
        while let Some(packet) = self.queue.pop() {
            self.unpack(packet);
            self.drain(worker);
        }
        place
    }

    /// Works until no worker has anything left, or this one has followed as many objects as it may.
    pub fn run(&mut self, worker: &mut Worker) {
        while self.left > 0 {
            self.drain(worker);
            if self.left == 0 {
                break;
            }
            if let Some(packet) = self.queue.pop().or_else(|| self.steal(worker.index)) {
                self.unpack(packet);
                continue;
            }
            if !self.rejoin(worker.index) {
                return;
            }
        }
        self.section.termination.leave();
    }

    /// Leaves, and looks for work until there is some (true) or the trace is over (false).
    fn rejoin(&mut self, me: usize) -> bool {
        let Section { termination, grey, .. } = self.section;
        loop {
            if termination.leave() {
                return false;
            }
            let visible = || grey.queues().enumerate().any(|(n, queue)| n != me && !queue.is_empty());
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
        let (grey, workers) = (self.section.grey, self.gang.size());
        (1..workers).find_map(|turn| grey.queue((me + turn) % workers).steal())
    }

    fn unpack(&mut self, packet: Packet<T::Item>) {
        match packet {
            Packet::Items(items) if self.stack.is_empty() => {
                self.section.grey.keep_list(std::mem::replace(&mut self.stack, items));
            }
            Packet::Items(mut items) => {
                self.stack.append(&mut items);
                self.section.grey.keep_list(items);
            }
            Packet::Array { object, from, mut to } => {
                // The far halves go to the queue first: a thief takes the largest, this worker comes to them
                // in order.
                while to - from > PART_SLOTS {
                    let middle = from + (to - from) / 2;
                    self.queue.push(Packet::Array { object, from: middle, to });
                    to = middle;
                }
                self.share_hint();
                self.since_look += 1;
                if self.since_look >= self.look_after {
                    self.look();
                }
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
        if self.left <= WINDOW {
            self.put_aside(self.left);
        }
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
            if self.since_look >= self.look_after {
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
                self.queue.push(Packet::Array { object, from: 0, to: slots });
                if slots > 16 * PART_SLOTS && self.may_wake {
                    self.may_wake = false;
                    self.gang.wake();
                }
                self.share_hint();
            }
            _ => self.vm.scan_object(object, &mut Push { items: &mut self.stack, tracer: self.tracer, vm: self.vm }),
        }
    }

    /// All of the stack but the newest edges is put aside. The first time that is the stack itself, so a step
    /// costs what it follows, and not what it leaves.
    #[cold]
    fn put_aside(&mut self, kept: usize) {
        let rest = self.stack.len().saturating_sub(kept);
        if rest == 0 {
            return;
        }
        let mut newest = self.section.grey.list();
        newest.extend(self.stack.drain(rest..));
        let mut rest = std::mem::replace(&mut self.stack, newest);
        if self.aside.is_empty() {
            std::mem::swap(&mut self.aside, &mut rest);
        } else {
            self.aside.append(&mut rest);
        }
        self.section.grey.keep_list(rest);
    }

    /// Every few dozen objects: are helpers worth waking, is a worker hungry, and how many more objects may
    /// this worker follow?
    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.followed += self.since_look;
        self.left -= self.since_look;
        self.since_look = 0;
        self.look_after = look_after(self.left);
        if self.left <= WINDOW {
            // What is in flight is all that it may follow.
            self.put_aside(0);
        }
        if self.may_wake && self.followed >= WAKE_AFTER && self.stack.len() >= SHARE_MIN {
            self.may_wake = false;
            self.gang.wake();
        }
        if self.section.termination.hungry() > 0 {
            if self.queue.is_empty() && self.stack.len() >= SHARE_MIN {
                let mut items = self.section.grey.list();
                every_other(&mut self.stack, &mut items);
                self.queue.push(Packet::Items(items));
            }
            self.share_hint();
        }
    }

    fn share_hint(&self) {
        if !self.queue.is_empty() {
            self.section.termination.published();
        }
    }
}

/// After how many objects to look again, with `left` objects to follow: before only a window of them is left.
fn look_after(left: usize) -> usize {
    left.saturating_sub(WINDOW).clamp(1, LOOK_EVERY)
}

/// Takes every other edge from a stack, from the oldest on.
///
/// The oldest edges lead to the largest parts of a tree, each about as large as all newer ones together. So
/// both workers get some of each size. With the older half a worker would hand over nearly all that is left,
/// would soon ask for it back, and in between the two would work in the same lines.
fn every_other<I: Copy>(stack: &mut PageVec<I>, given: &mut PageVec<I>) {
    given.extend(stack.iter().copied().step_by(2));
    let kept = stack.len() / 2;
    for index in 0..kept {
        stack[index] = stack[2 * index + 1];
    }
    stack.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_edge_is_handed_over_and_none_is_lost() {
        for length in 0..6 {
            let (mut stack, mut given): (PageVec<usize>, _) = ((0..length).collect(), PageVec::new());
            every_other(&mut stack, &mut given);
            assert!(given.iter().copied().eq((0..length).step_by(2)));
            assert!(stack.iter().copied().eq((1..length).step_by(2)));
        }
    }
}
