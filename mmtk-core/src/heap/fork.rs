//! Forking a process that has a heap.
//!
//! The child gets the forking thread alone, but all memory as it was: locks that other threads held stay
//! held, helpers that should be woken are not there, and the registry lists threads that will never stop. So
//! the heap comes to rest first:
//!
//! 1. the timer that looks after idle heaps ends, and no other begins, while the forking thread is in a
//!    native region: the timer may be waiting for it;
//! 2. all mutators stop, as for a collection: they hold none of the heap's locks; and the helpers end;
//! 3. the locks that others may take at any time, in native regions or without being mutators, are held by
//!    the forking thread: those of the timer, of the listeners and of the safepoint.
//!
//! Helpers and timer are started again when they are next needed, in each process. Neither joins small pages
//! to huge ones any more: that would double what they share.
//!
//! In the child the other mutators are then detached. What they kept for the VM ([`VMBinding::Local`]) is
//! neither dropped nor scanned any more: objects that they alone referred to are garbage. Each keeps the
//! heap's memory in place, so that goes with the process.
//!
//! The safepoint's lock and conditions are std's (`protocols::sync`), which keep no queue outside themselves:
//! what the child inherits from threads that waited is a number.

use super::Mutator;
use crate::alloc::ThreadPart;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::cycle::{Collector, Late};
use crate::error::HeapError;
use crate::events::Wait;

impl<VM: VMBinding> Mutator<VM> {
    /// Calls `fork`, which forks the process and returns the result of the system call: 0 in the child.
    /// Returns that result, in both processes. A safepoint: the other mutators stand still until the parent
    /// has its answer, and in the child they are gone; listeners stay with the parent.
    ///
    /// While `fork` runs, no thread but those inside native regions may be in a call of this heap (such as
    /// [`Heap::add_vm_object`](crate::Heap::add_vm_object)), and neither `fork` nor handlers that the system
    /// calls for it (`pthread_atfork`) may use the heap. In a process with several heaps, nest the calls.
    ///
    /// # Safety
    /// `fork` returns 0 in a new process that has this thread alone, and nowhere else: there the heap takes
    /// the other mutators' memory for its own.
    ///
    /// # Errors
    /// The plan shares memory between processes; `fork` was not called. Of the plans of `policies` that is
    /// PageProtect.
    ///
    /// # Panics
    /// In a native region of this mutator, and in a callback of the heap. Also at once when `fork` uses the
    /// heap; that ends the heap in this process.
    pub unsafe fn fork(&self, fork: impl FnOnce() -> i32) -> Result<i32, HeapError> {
        self.check_running();
        let heap = self.heap();
        heap.refuse_in("Mutator::fork", Callback::ANY);
        if !heap.plan.can_fork() {
            return Err(HeapError::CannotFork { plan: heap.plan_name() });
        }
        let part = self.part();
        Ok(part.where_it_may_stop(|| heap.fork(part, fork)))
    }
}

impl<VM: VMBinding> Collector<VM> {
    fn fork(&self, me: &ThreadPart<VM>, fork: impl FnOnce() -> i32) -> i32 {
        self.safepoint.enter_native(me.thread());
        self.idle.hold(&mut |waited| {
            let what = "its timer, which looks after the idle heap, to end";
            self.report_waiting(Wait::Timer, waited, "a heap whose process is about to fork", what, Vec::new());
        });
        self.safepoint.leave_native(me.thread(), || Late::stopped(self));
        self.stop_and_lead(Some(me));
        let unfinished = self.led_by(Some(me));
        self.gang.end_helpers();
        self.solo.end_helpers();
        let fork = || {
            let _inside = self.call(Callback::Fork);
            fork()
        };
        // A listener may set options, and so take the lock of the timer: that of the listeners comes first.
        let (result, gone) = self.listeners.fork(|| self.idle.fork(|| self.safepoint.fork(me.thread(), fork)));
        if result >= 0 {
            self.memory.end_joining();
        }
        if result == 0 {
            me.begin_in_child();
        }
        for mutator in gone {
            // SAFETY: of a thread that stood still when the process was forked and is not in this one.
            let (allocators, remembered, requested) = unsafe {
                (
                    ThreadPart::allocators_of_stopped(mutator.0),
                    ThreadPart::remembered_of_stopped(mutator.0),
                    ThreadPart::requested_of_stopped(mutator.0),
                )
            };
            self.leave(allocators);
            self.keep_remembered(remembered);
            self.keep_requested(requested);
        }
        std::mem::forget(unfinished);
        self.resume_all();
        self.idle.release();
        self.attend_when_idle();
        result
    }
}
