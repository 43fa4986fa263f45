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
//! A step is bounded by a number of objects, and ends early when a leader closes the packets. Between steps
//! the marking belongs to no thread.
//!
//! I1. What a step or a log has read of an object stays on its stack only if it claimed the object
//!     (`snapshot`, rule 2).
//! I2. A packet is handed on between visits, never inside one.
//! I3. What is counted is in a [`Tally`] of the thread that counts, until a leader takes it in a pause.
//! Callers: `Step` any thread that has a packet; `Log` the mutator; the rest the leader of a pause.

use super::snapshot::SnapshotTracer;
use crate::address::ObjectReference;
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::metadata::{Count, Tally};
use crate::os::{PageVec, Pages};
use protocols::shared_work::SharedWork;

/// Objects in flight between prefetch and use, as in the tracing loop of pauses.
const WINDOW: usize = 16;
/// Objects between two looks at whether somebody wants the step to end: a few microseconds.
const LOOK_EVERY: usize = 64;
/// Objects of a packet.
pub(crate) const PACKET: usize = 256;

/// The grey objects of a marking.
pub(crate) type GreyPackets = SharedWork<PageVec<ObjectReference>, Pages>;

/// Puts what slots refer to on a list. Of slots alone: a plan that marks beside mutators refuses bindings with
/// ambiguous words in objects.
pub(crate) struct Targets<'s, L>(pub &'s mut L);

impl<S: Slot, L: Extend<ObjectReference>> SlotVisitor<S> for Targets<'_, L> {
    #[inline(always)]
    fn visit(&mut self, slot: S) {
        self.0.extend(slot.load());
    }
}

/// Reads the slots of a white object, and claims it. The policy is lent: it is large, and a copy of it for each
/// object would cost as much as the claim.
#[inline(always)]
fn visit<VM: VMBinding, T: SnapshotTracer<VM>>(
    vm: &VM,
    tracer: &T,
    object: ObjectReference,
    stack: &mut PageVec<ObjectReference>,
    count: &mut impl Count,
) {
    if !tracer.holds(object) || !tracer.is_white(object) {
        return;
    }
    let before = stack.len();
    vm.scan_object(object, &mut Targets(stack));
    if !tracer.claim(object, count) {
        stack.truncate(before);
    }
}

/// A step of a marking, by a thread that has taken a packet.
pub struct Step<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) grey: &'a GreyPackets,
    pub(crate) stack: PageVec<ObjectReference>,
    pub(crate) tally: &'a mut Tally,
    /// Objects that it may still follow.
    pub(crate) left: usize,
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
            visit(self.vm, &tracer, object, &mut self.stack, self.tally);
            self.left -= 1;
            since_look += 1;
            if since_look >= LOOK_EVERY {
                since_look = 0;
                if self.grey.should_yield() {
                    break;
                }
                if self.stack.len() >= 2 * PACKET && self.grey.is_hungry() {
                    self.grey.add(take_oldest(&mut self.stack));
                }
            }
        }
        self.stack.extend((0..filled).map(|n| window[(head + n) % WINDOW]));
    }
}

/// A packet of the oldest objects of a stack that has two packets at least: they lead to most of the graph. The
/// newest take their places, so that the rest is not moved.
fn take_oldest(stack: &mut PageVec<ObjectReference>) -> PageVec<ObjectReference> {
    (0..PACKET).map(|place| stack.swap_remove(place)).collect()
}

/// Where a mutator notes what a marking in progress must reach.
pub struct Log<'a, VM: VMBinding> {
    pub(crate) vm: &'a VM,
    pub(crate) grey: &'a GreyPackets,
    pub(crate) stack: &'a mut PageVec<ObjectReference>,
    pub(crate) tally: &'a mut Tally,
}

impl<VM: VMBinding> Log<'_, VM> {
    /// A store into the object is to come: it is claimed, by this mutator or before, when this returns,
    /// unless it is new.
    pub fn visit(&mut self, tracer: impl SnapshotTracer<VM>, object: ObjectReference) {
        visit(self.vm, &tracer, object, self.stack, self.tally);
        self.hand_on_when_full();
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
