//! The two pauses of a marking beside mutators: one takes the snapshot, one ends the marking.
//!
//! In the first the roots are copied: what each slot refers to is noted, and nothing is followed. In the
//! second the rest of the marking is done, by the tracing loop of all pauses: what mutators have noted since
//! the last step, and in a heap that is full everything that is left. Then native references are processed.
//! No root is looked at again: what a thread holds was in the snapshot, is new, or was noted.

use super::of_marking::OfMarking;
use super::roots::{RootVisitor, Roots};
use super::{Pause, PausePhase};
use crate::address::ObjectReference;
use crate::binding::{SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::os::PageVec;
use crate::trace::{InPause, OfSpaces, SnapshotTracer, Targets};
use crate::weak::QueuedRoot;

impl<VM: VMBinding> Pause<'_, VM> {
    /// Notes what the roots refer to, for the marking that begins. The spaces have begun the snapshot.
    pub fn copy_roots(&mut self) {
        self.phase.enter(PausePhase::Tracing);
        self.timed("copy roots", |pause| {
            let grey = pause.marking().grey;
            let roots = Roots::of(pause, CollectionKind::Full);
            pause.gang.run(roots.pay_to_wake(pause), &|worker| {
                let mut copied = Copied { vm: pause.vm, objects: PageVec::new() };
                roots.visit(worker.index == 0, &mut copied);
                if !copied.objects.is_empty() {
                    grey.add(copied.objects);
                }
            });
        });
    }

    /// Ends the marking in progress: marks what is left, then processes native references.
    pub fn finish_marking<T: SnapshotTracer<VM>>(&mut self, tracer: T) {
        self.phase.enter(PausePhase::Preparing);
        self.phase.enter(PausePhase::Tracing);
        let policy = OfSpaces { tracer: InPause(tracer), spaces: self.spaces };
        let marking = self.marking.as_mut().expect("a marking ends that is in progress");
        let grey = marking.grey;
        let mut objects = std::mem::replace(&mut marking.logged, self.arena.list());
        grey.drain(|packet| objects.extend(packet.iter().copied()));
        self.found.add(&marking.counted);
        self.trace_from("trace", policy, objects.len(), |tracing, range, worker| {
            for object in &objects[range] {
                tracing.keep(*object, worker);
            }
        });
        self.count_live();
        self.process_weak(policy);
    }

    fn marking(&self) -> &OfMarking<'_> {
        self.marking.as_ref().expect("the plan marks beside mutators")
    }
}

/// What roots refer to.
struct Copied<'a, VM> {
    vm: &'a VM,
    objects: PageVec<ObjectReference>,
}

impl<VM: VMBinding> RootVisitor<VM> for Copied<'_, VM> {
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot> {
        Targets(&mut self.objects)
    }

    fn object_outside(&mut self, object: ObjectReference) {
        self.vm.scan_object(object, &mut Targets(&mut self.objects));
    }

    fn ambiguous(&mut self, object: ObjectReference) {
        self.objects.push(object);
    }

    fn queued(&mut self, root: QueuedRoot<'_>) {
        self.objects.extend(root.load());
    }
}
