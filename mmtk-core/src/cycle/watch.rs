//! What watches a heap: listeners, the verifier, and the patience of threads that wait for others.
//!
//! Callers: leaders of pauses; threads that detach; any thread that has something to tell.

use crate::address::Address;
use crate::binding::VMBinding;
use crate::events::{GcLog, Listeners};
use crate::memory::Extent;
use crate::options::Options;
use crate::patience::Patience;
use crate::pause::Pause;
use crate::plan::Plan;
use crate::verify;
use protocols::sync::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// What watches one heap.
pub(crate) struct Watch {
    listeners: Arc<Listeners>,
    patience: Arc<Patience>,
    /// For the verifier. Taken alone: by the leader of a pause, and by threads that detach.
    history: Mutex<verify::History>,
    /// For the verifier: what was there when the marking in progress began. Of leaders.
    snapshot: Mutex<Option<verify::Snapshot>>,
    /// Whether collections are verified: every Nth of them.
    verify: Option<u64>,
}

impl Watch {
    /// With these options, of a heap with this plan.
    pub fn new(options: &Options, plan: &'static str) -> Watch {
        let listeners = Arc::new(Listeners::new());
        if options.log_gc {
            listeners.add(Box::new(GcLog::new(plan, options.gc_workers)));
        }
        Watch {
            listeners,
            patience: Arc::new(Patience::new(options.safepoint_warn_ms)),
            history: Mutex::default(),
            snapshot: Mutex::default(),
            verify: options.verify.then_some(options.verify_every),
        }
    }

    /// They are told what happened.
    pub fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// How long a thread waits before it says so.
    pub fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// Whether collections are verified.
    pub fn verifies(&self) -> bool {
        self.verify.is_some()
    }

    /// A mutator stops or leaves: what it asked for since the last collection.
    pub fn keep_requested(&self, requested: Vec<Range<Address>>) {
        if !requested.is_empty() {
            self.history.lock().add(requested);
        }
    }

    fn is_due(&self, number: u64) -> bool {
        self.verify.is_some_and(|every| number.is_multiple_of(every))
    }

    /// A marking beside mutators begins, in collection number `number`: what it has to reach is noted, if the
    /// verifier will look at it. The leader, with the roots of this pause.
    pub fn note_snapshot<VM: VMBinding>(&self, number: u64, plan: &dyn Plan<VM>, pause: &Pause<'_, VM>) {
        *self.snapshot.lock() = self.is_due(number).then(|| verify::note_snapshot(pause, plan));
    }

    /// Runs `collect`, collection number `number`, from 0, of a heap with these addresses; the verifier
    /// traces before and after it, if it is this collection's turn.
    pub fn verified<'p, VM: VMBinding>(
        &self,
        number: u64,
        plan: &dyn Plan<VM>,
        heap: Extent,
        pause: &mut Pause<'p, VM>,
        collect: impl FnOnce(&mut Pause<'p, VM>),
    ) {
        let due = self.is_due(number);
        let snapshot = self.snapshot.lock().take();
        if let Some(snapshot) = &snapshot {
            snapshot.check_unclaimed(pause, plan);
        }
        if due {
            verify::before_collection(pause, plan, heap, &mut self.history.lock());
        }
        collect(pause);
        if let Some(snapshot) = &snapshot {
            snapshot.check_reached(pause, plan);
        }
        if due {
            verify::after_collection(pause, plan, heap, &mut self.history.lock());
        } else if self.verifies() {
            self.history.lock().forget();
        }
    }
}
