//! What a heap says when one of its threads waits long for others.

use super::HeapInner;
use crate::alloc::MutatorState;
use crate::binding::VMBinding;
use crate::cycle::CyclePhase;
use crate::events::{Event, LateThread, Wait};
use crate::patience::Waiting;
use crate::pause::MutatorRef;
use crate::safepoint::{Lateness, WaitsFor};
use crate::warnings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// More threads are counted in a warning, not named. The event has all.
const NAMED: usize = 8;

/// Reports when mutators take long to stop, or another leader's pause takes long.
pub(crate) struct Late<'a, VM: VMBinding> {
    heap: &'a HeapInner<VM>,
    waiting: Waiting<'a>,
    /// Of the threads that wait for the end of a pause one reports it: for the pause of this number.
    reports_pause: u64,
}

impl<'a, VM: VMBinding> Late<'a, VM> {
    pub fn new(heap: &'a HeapInner<VM>) -> Self {
        Late { heap, waiting: Waiting::new(&heap.patience), reports_pause: 0 }
    }
}

impl<VM: VMBinding> Lateness<MutatorRef<VM>> for Late<'_, VM> {
    fn patience(&mut self) -> Option<Duration> {
        self.waiting.left()
    }

    fn report(&mut self, waits: WaitsFor<MutatorRef<VM>>) {
        let waited = self.waiting.reported();
        match waits {
            WaitsFor::Mutators(late) => {
                // SAFETY: an entry of the registry points to an attached mutator's state, and nobody detaches while a pause is in progress.
                let late = late.into_iter().map(|mutator| unsafe { &*mutator.0 });
                self.heap.report_late(waited, late.map(MutatorState::late_thread).collect());
            }
            WaitsFor::Leader => {
                let pause = self.heap.pauses.load(Relaxed) + 1;
                if self.reports_pause != pause && self.heap.reported_pause.swap(pause, Relaxed) == pause {
                    return;
                }
                self.reports_pause = pause;
                let doing = match self.heap.cycle.phase() {
                    CyclePhase::Idle => CyclePhase::Stopping,
                    phase => phase,
                };
                let leader = match self.heap.leader_id.load(Relaxed) {
                    0 => "another thread".to_owned(),
                    id => format!("thread {id}"),
                };
                let what = format!("the end of the pause that {leader} leads ({doing})");
                self.heap.report_waiting(Wait::Leader, waited, "a thread that wants to collect", &what, Vec::new());
            }
        }
    }
}

impl<VM: VMBinding> HeapInner<VM> {
    /// A leader waits for these mutators. All may have stopped meanwhile.
    fn report_late(&self, waited: Duration, threads: Vec<LateThread>) {
        if threads.is_empty() {
            return;
        }
        let mut names: Vec<String> = threads.iter().take(NAMED).map(LateThread::to_string).collect();
        if threads.len() > NAMED {
            names.push(format!("and {} more", threads.len() - NAMED));
        }
        let what = format!(
            "{} of its {} mutators to stop: {}. A mutator stops when it polls, allocates or enters a native region: long loops have to \
             poll, long calls of other code belong inside `Mutator::native`, and a thread that ends has to drop its mutator",
            threads.len(),
            self.safepoint.attached(),
            names.join("; ")
        );
        self.report_waiting(Wait::Mutators, waited, "a collection", &what, threads);
    }

    /// `subject`, on this thread, has waited so long for `what`.
    pub(crate) fn report_waiting(
        &self,
        wait: Wait,
        waited: Duration,
        subject: &str,
        what: &str,
        threads: Vec<LateThread>,
    ) {
        // A logger or a listener that panics must not leave a pause half begun. Its message is out.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            // First: a listener may be what is waited for, and then this thread waits for the lock of the listeners.
            warnings::warn(format_args!(
                "{subject} has waited {:.3} s for {what} (heap with plan {}, safepoint.warn_ms={})",
                waited.as_secs_f64(),
                self.plan.name(),
                self.patience.warn_ms()
            ));
            let (at_ns, waited_ns) = (self.created.elapsed().as_nanos() as u64, waited.as_nanos() as u64);
            self.tell(&Event::Waiting { wait, at_ns, waited_ns, threads });
        }));
    }
}
