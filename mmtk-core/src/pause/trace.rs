//! The part of a pause in which live objects are found.

use super::roots::{RootVisitor, Roots};
use super::{Pause, PausePhase, next_range};
use crate::address::ObjectReference;
use crate::binding::{SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::options::WakeHelpers;
use crate::trace::{
    Grey, Marking, ObjectItem, OfSpaces, Policy, Progress, Section, SlotItem, SpaceTracer, Targets, Tracing,
};
use crate::weak::QueuedRoot;
use crate::workers::Worker;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// Fewer remembered parts of arrays than this are not worth a wake-up: the slots of a large array for which
/// helpers are woken.
const PARTS_FOR_HELPERS: usize = 32;

impl<VM: VMBinding> Pause<'_, VM> {
    /// Finds what is live in spaces that move nothing now: what the roots reach, in a minor collection also
    /// what the remembered objects refer to, and what weak references and finalizers keep.
    pub fn trace<T: SpaceTracer<VM, Item = ObjectItem>>(&mut self, spaces: T) {
        let policy = OfSpaces { tracer: spaces, spaces: self.spaces };
        match self.kind {
            CollectionKind::Full => self.mark(policy),
            CollectionKind::Minor => self.trace_roots(policy),
        }
        self.process_weak(policy);
    }

    /// The same where objects move. What transitively pinned roots reach is traced first, by `in_place`, the
    /// policy of the same spaces that leaves everything where it is.
    pub fn evacuate<T, P>(&mut self, spaces: T, in_place: P)
    where
        T: SpaceTracer<VM, Item = SlotItem<VM::Slot>>,
        P: SpaceTracer<VM, Item = ObjectItem>,
    {
        let policy = OfSpaces { tracer: spaces, spaces: self.spaces };
        self.trace_pinned(OfSpaces { tracer: in_place, spaces: self.spaces });
        self.trace_roots(policy);
        self.process_weak(policy);
    }

    /// A marking from begin to end, with the mutators stopped: in one step, or in steps of
    /// `stress.step_objects`.
    fn mark<T: Policy<VM, Item = ObjectItem>>(&mut self, policy: T) {
        self.phase.enter(PausePhase::Tracing);
        self.timed("trace", |pause| {
            let (vm, gang) = (pause.vm, pause.gang);
            let always = pause.options.gc_helpers == WakeHelpers::Always;
            let objects = match pause.options.stress_step_objects {
                0 => usize::MAX,
                objects => objects,
            };
            let roots = Roots::of(pause, CollectionKind::Full);
            let wake = roots.pay_to_wake(pause);
            let mut marking = Marking::begin(policy, vm, gang, wake, |tracing, worker| {
                roots.visit(worker.index == 0, &mut Shade { tracing, worker, follow: false });
            });
            while marking.advance(policy, vm, gang, always, objects) == Progress::More {}
            marking.end(gang);
        });
        self.count_live();
    }

    /// Traces what transitively pinned roots reach. In a minor collection old objects are not gone through,
    /// so whatever the remembered ones refer to is taken for reachable from such a root.
    fn trace_pinned<T: Policy<VM>>(&mut self, policy: T) {
        if !VM::PINS_ROOTS {
            return;
        }
        let mut targets = self.arena.list();
        self.vm.scan_transitively_pinned_roots(&mut Targets(&mut targets));
        if targets.is_empty() {
            return;
        }
        let remembered = self.arena.collect(self.remembered.iter().copied());
        self.trace_from("pinned", policy, targets.len() + remembered.len(), |tracing, range, worker| {
            for n in range {
                match targets.get(n) {
                    Some(target) => {
                        tracing.keep(*target, worker);
                    }
                    None => tracing.visit_remembered(remembered[n - targets.len()]),
                }
            }
        });
    }

    /// Traces everything that the roots reach, and in a minor collection what the remembered objects refer
    /// to: each few roots are followed before the next, so the stack stays short. Returns when no worker has
    /// work.
    fn trace_roots<T: Policy<VM>>(&mut self, policy: T) {
        self.phase.enter(PausePhase::Tracing);
        self.timed("trace", |pause| {
            let (vm, gang, states) = (pause.vm, pause.gang, pause.states);
            let grey = Grey::<T::Item>::new(gang);
            let section = Section::new(&grey);
            let remembered = &pause.remembered;
            let next_remembered = AtomicUsize::new(0);
            let parts = remembered.iter().filter(|remembered| remembered.is_part()).count();
            let wake = parts >= PARTS_FOR_HELPERS || pause.options.gc_helpers == WakeHelpers::Always;
            let roots = Roots::of(pause, pause.kind);
            gang.run(wake, &|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(policy, vm, &section, gang, worker) else { return };
                roots.visit(worker.index == 0, &mut Shade { tracing: &mut tracing, worker, follow: true });
                while let Some(range) = next_range(&next_remembered, remembered.len()) {
                    for &remembered in &remembered[range] {
                        if !remembered.is_part() {
                            states.unlog(remembered.object());
                        }
                        tracing.visit_remembered(remembered);
                    }
                    tracing.keep_up(worker);
                }
                tracing.run(worker);
                tracing.leave();
            });
            grey.finish(gang);
        });
        self.count_live();
    }

    /// A trace that begins with what `f` does with things that are numbered up to `count`, a range at a time;
    /// returns when no worker has work.
    pub(super) fn trace_from<T: Policy<VM>>(
        &mut self,
        name: &'static str,
        policy: T,
        count: usize,
        f: impl Fn(&mut Tracing<'_, VM, T>, Range<usize>, &mut Worker) + Sync,
    ) {
        self.timed(name, |pause| {
            let (vm, gang) = (pause.vm, pause.gang);
            let grey = Grey::<T::Item>::new(gang);
            let section = Section::new(&grey);
            let next = AtomicUsize::new(0);
            gang.run(pause.pays_to_wake(count), &|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(policy, vm, &section, gang, worker) else { return };
                while let Some(range) = next_range(&next, count) {
                    f(&mut tracing, range, worker);
                    tracing.keep_up(worker);
                }
                tracing.run(worker);
                tracing.leave();
            });
            grey.finish(gang);
        });
    }

    /// A trace by the leader alone, as `f` asks for it.
    pub(super) fn trace_alone<T: Policy<VM>>(
        &mut self,
        name: &'static str,
        policy: T,
        f: impl Fn(&VM, &mut Tracing<'_, VM, T>, &mut Worker) + Sync,
    ) {
        self.timed(name, |pause| {
            let (vm, solo) = (pause.vm, pause.solo);
            let grey = Grey::<T::Item>::new(solo);
            let section = Section::new(&grey);
            pause.gang.run_alone(|worker| {
                let Some(mut tracing) = Tracing::<VM, T>::enter(policy, vm, &section, solo, worker) else { return };
                f(vm, &mut tracing, worker);
                tracing.leave();
            });
            grey.finish(solo);
        });
    }
}

/// Makes what roots refer to grey, and follows it if it may.
struct Shade<'t, 'a, 'w, VM: VMBinding, T: Policy<VM>> {
    tracing: &'t mut Tracing<'a, VM, T>,
    worker: &'w mut Worker,
    follow: bool,
}

impl<VM: VMBinding, T: Policy<VM>> RootVisitor<VM> for Shade<'_, '_, '_, VM, T> {
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot> {
        self.tracing.roots()
    }

    fn object_outside(&mut self, object: ObjectReference) {
        self.tracing.visit_again(object);
    }

    fn ambiguous(&mut self, object: ObjectReference) {
        self.tracing.keep(object, self.worker);
    }

    fn queued(&mut self, root: QueuedRoot<'_>) {
        if let Some(object) = root.load() {
            root.store(self.tracing.keep(object, self.worker));
        }
    }

    fn rest(&mut self) {
        if self.follow {
            self.tracing.keep_up(self.worker);
        }
    }
}
