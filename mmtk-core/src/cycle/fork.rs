//! How a heap comes to rest before its process forks, and goes on in both.
//!
//! The child gets the forking thread alone, but all memory as it was: locks that other threads held stay
//! held, helpers that should be woken are not there, and the registry lists threads that will never stop. So
//! the heap comes to rest first:
//!
//! 1. the timer that looks after idle heaps and the background thread end, and no others begin, while the
//!    forking thread is in a native region: the timer may be waiting for it;
//! 2. all mutators stop, as for a collection: they hold none of the heap's locks; and the helpers end;
//! 3. the locks that others may take at any time, in native regions or without being mutators, are held by
//!    the forking thread: those of these two threads, of the listeners and of the safepoint.
//!
//! Helpers and the two threads are started again when they are next needed, in each process. Neither joins
//! small pages to huge ones any more: that would double what they share.
//!
//! In the child the other mutators are then detached. What they kept for the VM ([`VMBinding::Local`]) is
//! neither dropped nor scanned any more: objects that they alone referred to are garbage. Each keeps the
//! heap's memory in place, so that goes with the process.
//!
//! The safepoint's lock and conditions are std's (`protocols::sync`), which keep no queue outside themselves:
//! what the child inherits from threads that waited is a number.

use super::collector::Collector;
use super::late::Late;
use crate::alloc::ThreadPart;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::events::Wait;

impl<VM: VMBinding> Collector<VM> {
    /// Calls `fork` while the heap is at rest, as [`Mutator::fork`](crate::Mutator::fork) says.
    pub(crate) fn fork(&self, me: &ThreadPart<VM>, fork: impl FnOnce() -> i32) -> i32 {
        self.safepoint.enter_native(me.thread());
        self.idle.thread().hold(&mut |waited| {
            let what = "its timer, which looks after the idle heap, to end";
            self.report_waiting(Wait::Timer, waited, "a heap whose process is about to fork", what, Vec::new());
        });
        self.background.thread().hold(&mut |waited| {
            let what = "its background thread to end";
            self.report_waiting(Wait::Timer, waited, "a heap whose process is about to fork", what, Vec::new());
        });
        self.safepoint.leave_native(me.thread(), || Late::stopped(self));
        self.stop_and_lead(Some(me));
        let unfinished = self.led_by(Some(me));
        self.helpers.end_threads();
        let fork = || {
            let _inside = self.call(Callback::Fork);
            fork()
        };
        // A listener may set options, and so take the lock of the timer: that of the listeners comes first.
        let (result, gone) = self.watch.listeners().fork(|| {
            let idle = self.idle.thread();
            idle.fork(|| self.background.thread().fork(|| self.safepoint.fork(me.thread(), fork)))
        });
        if result >= 0 {
            self.memory().end_joining();
        }
        if result == 0 {
            me.begin_in_child();
        }
        for mutator in gone {
            // SAFETY: of a thread that stood still when the process was forked and is not in this one.
            let (allocators, noted, remembered, requested) = unsafe {
                (
                    ThreadPart::allocators_of_stopped(mutator.0),
                    ThreadPart::noted_of_stopped(mutator.0),
                    ThreadPart::remembered_of_stopped(mutator.0),
                    ThreadPart::requested_of_stopped(mutator.0),
                )
            };
            self.leave(allocators);
            self.keep_noted(noted);
            self.keep_remembered(remembered);
            self.watch.keep_requested(requested);
        }
        std::mem::forget(unfinished);
        self.resume_all();
        self.idle.thread().release();
        self.background.thread().release();
        self.go_on_beside();
        self.attend_when_idle();
        result
    }
}
