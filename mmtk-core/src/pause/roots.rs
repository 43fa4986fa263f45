//! Every root, once: the references of threads, of the VM and of the heap itself that keep objects alive.
//!
//! A new kind of root is added here. Then the compiler asks each visitor of roots what it does with that
//! kind: the trace, the compaction that updates slots, the verifier.

use super::{Pause, next_range};
use crate::address::ObjectReference;
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::{SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::weak::{QueuedRoot, QueuedRoots};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Fewer stacks than this are not worth a wake-up.
const MUTATORS_FOR_HELPERS: usize = 8;

/// What a visitor does with roots.
pub(crate) trait RootVisitor<VM: VMBinding> {
    /// For slots that the VM's scans visit.
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot>;
    /// An object outside the heap: its slots are roots.
    fn object_outside(&mut self, object: ObjectReference);
    /// An object that an ambiguous word of a stack refers to. It stays where it is.
    fn ambiguous(&mut self, object: ObjectReference);
    /// An entry of the queue of finalizers and cleared references.
    fn queued(&mut self, root: QueuedRoot<'_>);
    /// Some roots were visited: the visitor may follow them before it gets more.
    fn rest(&mut self) {}
}

/// The roots of a pause, which workers share. Each is visited once by one of them.
pub(crate) struct Roots<'a, VM: VMBinding> {
    vm: &'a VM,
    /// Which of the VM's scans is called. The verifier always asks for all roots.
    kind: CollectionKind,
    mutators: &'a [MutatorRef<VM>],
    vm_objects: &'a [ObjectReference],
    ambiguous: &'a [ObjectReference],
    queued: QueuedRoots<'a>,
    next_mutator: AtomicUsize,
    next_vm_object: AtomicUsize,
    next_ambiguous: AtomicUsize,
    next_queued: AtomicUsize,
}

impl<'a, VM: VMBinding> Roots<'a, VM> {
    /// All roots of this pause, as a collection of this kind sees them.
    pub fn of(pause: &'a Pause<'_, VM>, kind: CollectionKind) -> Roots<'a, VM> {
        Roots {
            vm: pause.vm,
            kind,
            mutators: pause.mutators,
            vm_objects: pause.vm_objects,
            ambiguous: &pause.ambiguous,
            queued: pause.weak.roots(pause.arena),
            next_mutator: AtomicUsize::new(0),
            next_vm_object: AtomicUsize::new(0),
            next_ambiguous: AtomicUsize::new(0),
            next_queued: AtomicUsize::new(0),
        }
    }

    /// How many things there are to share, threads apart.
    fn len(&self) -> usize {
        self.vm_objects.len() + self.ambiguous.len() + self.queued.len()
    }

    /// Whether helpers are woken at once to visit them.
    pub fn pay_to_wake(&self, pause: &Pause<'_, VM>) -> bool {
        self.mutators.len() >= MUTATORS_FOR_HELPERS || pause.pays_to_wake(self.len())
    }

    /// Visits roots until there are none left. The first worker (`first`) visits those of the VM.
    pub fn visit(&self, first: bool, visitor: &mut impl RootVisitor<VM>) {
        if first {
            match self.kind {
                CollectionKind::Full => self.vm.scan_vm(&mut visitor.slots()),
                CollectionKind::Minor => self.vm.scan_vm_minor(&mut visitor.slots()),
            }
            if VM::PINS_ROOTS {
                self.vm.scan_pinned_roots(&mut visitor.slots());
                self.vm.scan_transitively_pinned_roots(&mut visitor.slots());
            }
        }
        while let Some(mutator) = self.mutators.get(self.next_mutator.fetch_add(1, Relaxed)) {
            // SAFETY: the mutator is stopped, and the counter gives it to this worker alone.
            let local = unsafe { ThreadPart::local_of_stopped(mutator.0) };
            self.vm.scan_thread(local, &mut visitor.slots());
        }
        while let Some(range) = next_range(&self.next_vm_object, self.vm_objects.len()) {
            self.vm_objects[range].iter().for_each(|object| visitor.object_outside(*object));
            visitor.rest();
        }
        while let Some(range) = next_range(&self.next_ambiguous, self.ambiguous.len()) {
            self.ambiguous[range].iter().for_each(|object| visitor.ambiguous(*object));
            visitor.rest();
        }
        while let Some(range) = next_range(&self.next_queued, self.queued.len()) {
            range.filter_map(|n| self.queued.get(n)).for_each(|root| visitor.queued(root));
            visitor.rest();
        }
    }
}
