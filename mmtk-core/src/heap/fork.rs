//! Forking a process that has a heap: what a VM calls. How the heap comes to rest is in `cycle/fork.rs`.

use super::Mutator;
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::error::HeapError;

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
        if !heap.plan().can_fork() {
            return Err(HeapError::CannotFork { plan: heap.plan_name() });
        }
        let part = self.part();
        Ok(part.where_it_may_stop(|| heap.fork(part, fork)))
    }
}
