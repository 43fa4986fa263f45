//! Threads come and go: mutators attach, detach, and enter and leave native regions.
//!
//! Callers: the thread itself.

use super::collector::Collector;
use super::late::Late;
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::callback::Callback;

impl<VM: VMBinding> Collector<VM> {
    /// Makes the thread a mutator. Waits while a pause is in progress.
    pub(crate) fn attach(&self, me: &ThreadPart<VM>) {
        let arm = || me.arm_barrier(self.armed());
        self.safepoint.attach(MutatorRef(me), &mut Late::stopped(self), arm);
        self.attend_when_idle();
    }

    /// The thread is no mutator any more: others go on in its ranges.
    ///
    /// # Safety
    /// The caller is the thread, and uses the part no more as a mutator.
    pub(crate) unsafe fn detach(&self, me: &ThreadPart<VM>) {
        // SAFETY: the owner runs `leave` itself, while no pause can begin; the entry leaves the registry with
        // it.
        self.safepoint.detach(me.thread(), &mut Late::stopped(self), || unsafe {
            self.leave(ThreadPart::allocators_of_stopped(me));
            self.keep_remembered(ThreadPart::remembered_of_stopped(me));
            self.keep_noted(ThreadPart::noted_of_stopped(me));
            self.watch.keep_requested(ThreadPart::requested_of_stopped(me));
            self.pacing.goal().mutator_left(me.meter().take());
        });
        if !std::thread::panicking() {
            let _inside = self.call(Callback::Listener);
            self.watch.listeners().tell_late();
        }
    }

    /// The thread begins a native region: pauses do not wait for it.
    #[inline(always)]
    pub(crate) fn enter_native(&self, me: &ThreadPart<VM>) {
        self.safepoint.enter_native(me.thread());
    }

    /// The region ends. Waits while a pause is in progress.
    #[inline(always)]
    pub(crate) fn leave_native(&self, me: &ThreadPart<VM>) {
        self.safepoint.leave_native(me.thread(), || Late::of_mutator(self, me));
    }
}
