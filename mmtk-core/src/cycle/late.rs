//! What a heap says when one of its threads waits long for others.

use super::collector::Collector;
use crate::alloc::{MutatorRef, ThreadPart};
use crate::binding::VMBinding;
use crate::events::{Event, HeldBy, LateThread, Wait};
use crate::options::Driver;
use crate::patience::Waiting;
use crate::pause::PausePhase;
use crate::warnings;
use protocols::safepoint::{Lateness, WaitsFor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// More threads are counted in a warning, not named. The event has all.
const NAMED: usize = 8;

/// How long a thread looks for what it waits for before it sleeps. A short pause is over by then, and waking
/// a thread takes about as long.
const LOOKS: Duration = Duration::from_micros(50);

/// Whether threads look before they sleep: where pauses are short, and each thread has a processor, so that
/// none takes the one away for which it waits.
fn look_before_sleep(short_pauses: bool, processors: usize, mutators: usize, background: usize) -> bool {
    short_pauses && mutators + background <= processors
}

/// The threads, for a warning.
fn named(threads: &[LateThread]) -> String {
    let mut names: Vec<String> = threads.iter().take(NAMED).map(LateThread::to_string).collect();
    if threads.len() > NAMED {
        names.push(format!("and {} more", threads.len() - NAMED));
    }
    names.join("; ")
}

/// Reports when mutators take long to stop, or another leader's pause takes long.
pub(crate) struct Late<'a, VM: VMBinding> {
    heap: &'a Collector<VM>,
    /// It does not want to lead.
    stopped: bool,
    waiting: Waiting<'a>,
    /// Until when it looks; none before it was asked.
    looks: Option<Instant>,
    /// Of the threads that wait for the end of a pause one reports it: for the pause of this number.
    reports_pause: u64,
    /// The mutator that a pause holds up.
    mutator: Option<&'a ThreadPart<VM>>,
    /// Since when it waits, if it does and somebody listens.
    since: Option<Instant>,
}

impl<'a, VM: VMBinding> Late<'a, VM> {
    /// Of a thread that wants to lead a pause.
    pub fn new(heap: &'a Collector<VM>) -> Self {
        Late {
            heap,
            stopped: false,
            waiting: Waiting::new(heap.watch.patience()),
            looks: None,
            reports_pause: 0,
            mutator: None,
            since: None,
        }
    }

    /// Of a thread that waits for the end of a pause before it becomes a mutator, or is one no more.
    pub fn stopped(heap: &'a Collector<VM>) -> Self {
        let mut late = Late::new(heap);
        late.stopped = true;
        late
    }

    /// Of a mutator that a pause holds up: if it has to wait, that is noted when this is dropped.
    pub fn of_mutator(heap: &'a Collector<VM>, me: &'a ThreadPart<VM>) -> Self {
        let mut late = Late::stopped(heap);
        late.mutator = Some(me);
        late
    }

    /// Said before each wait, and not if there is none.
    fn waits(&mut self) {
        if self.mutator.is_some() && self.since.is_none() {
            self.since = self.heap.clock();
        }
    }
}

impl<VM: VMBinding> Lateness<MutatorRef<VM>> for Late<'_, VM> {
    fn patience(&mut self) -> Option<Duration> {
        self.waits();
        self.waiting.left()
    }

    fn looks_again(&mut self, mutators: usize) -> bool {
        self.waits();
        let heap = self.heap;
        let background = usize::from(heap.driver == Driver::Background);
        look_before_sleep(heap.marks_beside, heap.processors, mutators, background)
            && Instant::now() < *self.looks.get_or_insert_with(|| Instant::now() + LOOKS)
    }

    fn report(&mut self, waits: WaitsFor<MutatorRef<VM>>) {
        let waited = self.waiting.reported();
        match waits {
            WaitsFor::Mutators(late) => {
                // SAFETY: an entry of the registry points to an attached mutator's state, and nobody detaches
                // while a pause is in progress.
                let late = late.into_iter().map(|mutator| unsafe { &*mutator.0 });
                self.heap.report_late(waited, late.map(ThreadPart::late_thread).collect());
            }
            WaitsFor::Answers(late) => self.heap.report_late_answers(waited, late),
            WaitsFor::Leader => {
                let subject = match self.stopped {
                    // The leader itself reports those that have not stopped.
                    true if self.heap.pauses.in_progress().is_none() => return,
                    true => "a stopped mutator",
                    false => "a thread that wants to collect",
                };
                let pause = self.heap.pauses.next();
                if self.heap.report_late_leader(waited, subject, self.reports_pause == pause) {
                    self.reports_pause = pause;
                }
            }
        }
    }
}

impl<VM: VMBinding> Drop for Late<'_, VM> {
    fn drop(&mut self) {
        if let Some(me) = self.mutator {
            self.heap.held_up(me, HeldBy::Pause, self.since);
        }
    }
}

/// What the leader of a pause does that has waited long for helpers: their numbers and threads are given.
pub(super) fn workers_are_late<VM: VMBinding>(
    heap: Weak<Collector<VM>>,
) -> impl Fn(Duration, Vec<(usize, u32)>) + Send + Sync {
    move |waited, late| {
        if let Some(heap) = heap.upgrade() {
            heap.report_late_workers(waited, &late);
        }
    }
}

impl<VM: VMBinding> Collector<VM> {
    /// `subject` waits for the end of a pause, which may be over. One thread reports a pause, and `again`
    /// says that it is this one; whether it is now.
    pub(super) fn report_late_leader(&self, waited: Duration, subject: &str, again: bool) -> bool {
        if !again && !self.pauses.first_to_report(self.pauses.next()) {
            return false;
        }
        let doing = match self.pauses.phase().now() {
            PausePhase::Idle => PausePhase::Stopping,
            phase => phase,
        };
        let what = match self.pauses.in_progress().map(|pause| pause.leader_id) {
            None => format!("the end of the pause that another thread leads ({doing})"),
            Some(id) => format!(
                "the end of the pause that thread {id} leads ({doing}). If it goes on, a function of the VM that a collection calls, \
                 `scan_object`, say, may not have returned"
            ),
        };
        self.report_waiting(Wait::Leader, waited, subject, &what, Vec::new());
        true
    }

    /// The leader waits for these helpers. All may have come back meanwhile.
    fn report_late_workers(&self, waited: Duration, late: &[(usize, u32)]) {
        if late.is_empty() {
            return;
        }
        let thread =
            |(helper, id): &(usize, u32)| LateThread { name: Some(format!("gc-{helper}")), id: *id, ended: false };
        let threads: Vec<LateThread> = late.iter().map(thread).collect();
        let what = format!(
            "{} of its {} helpers to end a step of the collection ({}): {}. A function of the VM that the helper called, \
             `scan_object`, say, may not have returned",
            threads.len(),
            self.workers() - 1,
            self.pauses.phase().now(),
            named(&threads)
        );
        self.report_waiting(Wait::Workers, waited, "the leader of a collection", &what, threads);
    }

    /// A leader waits for these mutators. All may have stopped meanwhile.
    fn report_late(&self, waited: Duration, threads: Vec<LateThread>) {
        if threads.is_empty() {
            return;
        }
        let what = format!(
            "{} of its {} mutators to stop: {}. A mutator stops when it polls, allocates or enters a native region: long loops have to \
             poll, long calls of other code belong inside `Mutator::native`, and a thread that ends has to drop its mutator",
            threads.len(),
            self.safepoint.attached(),
            named(&threads)
        );
        self.report_waiting(Wait::Mutators, waited, "a collection", &what, threads);
    }

    /// A handshake waits for this number of mutators. All may have answered meanwhile, and may be gone: so
    /// they have no names.
    fn report_late_answers(&self, waited: Duration, late: usize) {
        let what = format!(
            "{late} of its {} mutators to hand in what their barriers noted. A mutator does so when it polls, allocates or enters a \
             native region: long loops have to poll, and long calls of other code belong inside `Mutator::native`",
            self.safepoint.attached()
        );
        self.report_waiting(Wait::Mutators, waited, "a collection beside mutators", &what, Vec::new());
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
            // First: a listener may be what is waited for, and then this thread waits for the lock of the
            // listeners.
            warnings::warn(format_args!(
                "{subject} has waited {:.3} s for {what} (heap with plan {}, safepoint.warn_ms={})",
                waited.as_secs_f64(),
                self.plan.info().name,
                self.watch.patience().warn_ms()
            ));
            let (at_ns, waited_ns) = (self.pauses.at_ns(Instant::now()), waited.as_nanos() as u64);
            self.tell(&Event::Waiting { wait, at_ns, waited_ns, threads });
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_look_before_they_sleep_where_each_has_a_processor_and_pauses_are_short() {
        for (short_pauses, processors, mutators, background, look) in [
            (true, 2, 1, 1, true),
            (true, 2, 2, 0, true),
            (true, 2, 2, 1, false),
            (true, 1, 1, 1, false),
            (false, 64, 1, 0, false),
        ] {
            assert_eq!(look_before_sleep(short_pauses, processors, mutators, background), look);
        }
    }
}
