//! Marking beside mutators: the grey objects that threads share, a step of a thread that marks, and the log
//! of a mutator.
//!
//! ```text
//!   pause begins --copied roots--.                        .--- log of a mutator (what it claimed refers to)
//!                                v                        v
//!                       shared packets of grey objects <--+--- what a step leaves
//!                                |
//!                                '--take--> stack of a step --pop--> read its slots, claim --won--> keep them on the stack
//!                                                                                    --lost--> forget them
//! ```
//! A step is bounded by a number of objects and by a time, and ends early when a leader closes the packets.
//! It looks up every few microseconds, and what lies between two looks is bounded too: an object, or a part
//! of a large array. Between steps the marking belongs to no thread.
//!
//! A large array is claimed in parts (`metadata/array_claims.rs`). A step takes one, and puts the array back
//! below what that part refers to, until all parts are claimed; then it claims the array. A mutator claims
//! those that it is about to store into.
//!
//! I1. What a step or a log has read of an object, or of a part, stays on its stack only if it claimed that
//!     (`snapshot`, rule 2).
//! I2. A packet is handed on between visits, never inside one.
//! I3. What is counted is in a [`Tally`] of the thread that counts, until a leader takes it in a pause.
//! Callers: `Step` any thread that has a packet; `Log` the mutator; the rest the leader of a pause.

use super::snapshot::SnapshotTracer;
use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::metadata::{ArrayClaims, Count, InParts, PART_SLOTS, Tally};
use crate::os::{PageVec, Pages};
use protocols::part_claims::Next;
use protocols::shared_work::SharedWork;
use std::ops::Range;
use std::time::Instant;

/// Objects in flight between prefetch and use, as in the tracing loop of pauses.
const WINDOW: usize = 16;
/// What an object costs, in slots.
const OBJECT_SLOTS: usize = 16;
/// Slots between two looks at whether the step is to end: a few microseconds.
const LOOK_EVERY: usize = 64 * OBJECT_SLOTS;
/// Objects of a packet.
pub(crate) const PACKET: usize = 256;

/// The grey objects of a marking.
pub(crate) type GreyPackets = SharedWork<PageVec<ObjectReference>, Pages>;

/// Puts what slots refer to on a list. Of slots alone: a plan that marks beside mutators refuses bindings
/// with ambiguous words in objects.
pub(crate) struct Targets<'s, L>(pub &'s mut L);

impl<S: Slot, L: Extend<ObjectReference>> SlotVisitor<S> for Targets<'_, L> {
    #[inline(always)]
    fn visit(&mut self, slot: S) {
        self.0.extend(slot.load());
    }
}

/// The same, and counts the slots.
struct Counted<'s> {
    stack: &'s mut PageVec<ObjectReference>,
    slots: usize,
}

impl<S: Slot> SlotVisitor<S> for Counted<'_> {
    #[inline(always)]
    fn visit(&mut self, slot: S) {
        self.slots += 1;
        self.stack.extend(slot.load());
    }
}

/// Reads the slots of a white object, and claims it. Returns how many it has read. The policy is lent: it is
/// large, and a copy of it for each object would cost as much as the claim.
#[inline(always)]
fn visit_whole<VM: VMBinding, T: SnapshotTracer<VM>>(
    vm: &VM,
    tracer: &T,
    object: ObjectReference,
    stack: &mut PageVec<ObjectReference>,
    count: &mut impl Count,
) -> usize {
    let before = stack.len();
    let mut counted = Counted { stack, slots: 0 };
    vm.scan_object(object, &mut counted);
    let slots = counted.slots;
    if !tracer.claim(object, count) {
        stack.truncate(before);
    }
    slots
}

/// Reads the slots of a part of an array, and claims the part. Returns how many it has read.
fn visit_part<VM: VMBinding>(
    vm: &VM,
    object: ObjectReference,
    parts: &InParts<'_>,
    part: u32,
    stack: &mut PageVec<ObjectReference>,
) -> usize {
    let claims = parts.claims();
    if claims.is_claimed(part) {
        return 0;
    }
    let (before, slots) = (stack.len(), parts.slots_of(part));
    vm.scan_part(object, slots.start, slots.end, &mut Targets(stack));
    let read = slots.len();
    if !claims.claim(part) {
        stack.truncate(before);
    }
    read
}

/// A step of a marking, by a thread that has taken a packet.
pub struct Step<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) grey: &'a GreyPackets,
    pub(crate) claims: &'a ArrayClaims,
    pub(crate) stack: PageVec<ObjectReference>,
    pub(crate) tally: &'a mut Tally,
    /// Objects, or parts of arrays, that it may still follow.
    pub(crate) left: usize,
    /// When it ends at the latest, but for what it has in hand.
    pub(crate) until: Option<Instant>,
}

impl<VM: VMBinding> Step<'_, VM> {
    /// Marks until the step is over.
    pub fn mark<T: SnapshotTracer<VM>>(&mut self, tracer: T) {
        let mut since_look = 0;
        let Some(first) = self.stack.pop() else { return };
        let mut window = [first; WINDOW];
        let (mut head, mut filled) = (0usize, 1usize);
        while self.left > 0 {
            while filled < WINDOW
                && let Some(object) = self.stack.pop()
            {
                tracer.prefetch(object);
                window[(head + filled) % WINDOW] = object;
                filled += 1;
            }
            if filled == 0 {
                return;
            }
            let object = window[head % WINDOW];
            head = head.wrapping_add(1);
            filled -= 1;
            since_look += OBJECT_SLOTS + self.visit(&tracer, object);
            self.left -= 1;
            if since_look >= LOOK_EVERY {
                since_look = 0;
                if self.grey.should_yield() || self.until.is_some_and(|until| Instant::now() >= until) {
                    break;
                }
                if self.stack.len() >= 2 * PACKET && self.grey.is_hungry() {
                    self.grey.add(take_oldest(&mut self.stack));
                }
            }
        }
        self.stack.extend((0..filled).map(|n| window[(head + n) % WINDOW]));
    }

    /// Claims an object if it is white, or a part of it. Returns how many slots it has read.
    #[inline(always)]
    fn visit<T: SnapshotTracer<VM>>(&mut self, tracer: &T, object: ObjectReference) -> usize {
        if !tracer.holds(object) || !tracer.is_white(object) {
            return 0;
        }
        if tracer.is_large(object) {
            return self.visit_large(tracer, object);
        }
        visit_whole(self.vm, tracer, object, &mut self.stack, self.tally)
    }

    #[cold]
    #[inline(never)]
    fn visit_large<T: SnapshotTracer<VM>>(&mut self, tracer: &T, object: ObjectReference) -> usize {
        let Some(parts) = self.claims.of(self.vm, object) else {
            return visit_whole(self.vm, tracer, object, &mut self.stack, self.tally);
        };
        match parts.claims().next(PART_SLOTS as u32) {
            Next::AllClaimed => {
                // Nothing was read for it: a loser has nothing to forget.
                _ = tracer.claim(object, self.tally);
                return 0;
            }
            Next::Later => self.stack.push(object),
            Next::Part(part) => {
                // Below what the part refers to, which is followed first: so the stack stays short.
                self.stack.push(object);
                _ = visit_part(self.vm, object, &parts, part, &mut self.stack);
            }
        }
        PART_SLOTS
    }
}

/// A packet of the oldest objects of a stack that has two packets at least: they lead to most of the graph.
/// The newest take their places, so that the rest is not moved.
fn take_oldest(stack: &mut PageVec<ObjectReference>) -> PageVec<ObjectReference> {
    (0..PACKET).map(|place| stack.swap_remove(place)).collect()
}

/// What a mutator is about to do to an object.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// To store into the slots in this range of addresses, which is not empty.
    Slots(Range<Address>),
    /// To store into a slot that has no place.
    SomeSlot,
    /// To change its size, or what its words mean.
    Layout,
    /// Nothing.
    No,
}

/// Where a mutator notes what a marking in progress must reach.
pub struct Log<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) grey: &'a GreyPackets,
    pub(crate) claims: &'a ArrayClaims,
    pub(crate) change: Change,
    pub(crate) stack: &'a mut PageVec<ObjectReference>,
    pub(crate) tally: &'a mut Tally,
    /// Whether parts of an array are left to be claimed, into which this mutator does not store now.
    pub(crate) leaves_parts: bool,
    /// How many slots it has read.
    pub(crate) slots_read: usize,
}

impl<VM: VMBinding> Log<'_, VM> {
    /// A store into the object is to come: it is claimed, by this mutator or before, when this returns,
    /// unless it is new. Of a large array, the parts are that the store is to.
    pub fn visit(&mut self, tracer: impl SnapshotTracer<VM>, object: ObjectReference) {
        if !tracer.holds(object) {
            return;
        }
        if tracer.is_large(object) {
            self.visit_large(&tracer, object);
        } else if tracer.is_white(object) {
            self.slots_read += visit_whole(self.vm, &tracer, object, self.stack, self.tally);
        }
        self.hand_on_when_full();
    }

    fn visit_large(&mut self, tracer: &impl SnapshotTracer<VM>, object: ObjectReference) {
        let is_white = tracer.is_white(object);
        match self.claims.of(self.vm, object).filter(|_| is_white) {
            Some(parts) => {
                let stored = match &self.change {
                    Change::Slots(range) => parts.parts_at(self.vm, range.clone()),
                    Change::SomeSlot | Change::Layout | Change::No => None,
                };
                self.leaves_parts = stored.is_some();
                for part in stored.unwrap_or(0..parts.claims().parts()) {
                    self.slots_read += visit_part(self.vm, object, &parts, part, self.stack);
                    self.hand_on_when_full();
                }
                if !self.leaves_parts {
                    // Nothing was read for it: a loser has nothing to forget.
                    _ = tracer.claim(object, self.tally);
                }
            }
            None if is_white => self.slots_read += visit_whole(self.vm, tracer, object, self.stack, self.tally),
            None => (),
        }
        if matches!(self.change, Change::Layout) {
            self.claims.claim_all_words(self.vm, object);
        }
    }

    /// A reference to the object came from nowhere: it is to be marked.
    pub fn keep(&mut self, tracer: impl SnapshotTracer<VM>, object: ObjectReference) {
        if tracer.holds(object) && tracer.is_white(object) {
            self.stack.push(object);
            self.hand_on_when_full();
        }
    }

    fn hand_on_when_full(&mut self) {
        if self.stack.len() >= PACKET {
            self.grey.add(std::mem::take(self.stack));
        }
    }
}
