//! The thread that works beside mutators: it sweeps what full collections have left, and takes steps of a
//! marking in progress.
//!
//! 1. The leader of a pause that leaves something wakes it when mutators run again.
//! 2. It takes unit after unit, and step after step. A pause takes the rest itself, and waits for what is at
//!    hand alone. When no object is grey, it leads the pause that ends the marking. Between steps it rests,
//!    if it has worked for longer than its share (`duty`).
//! 3. When nothing was asked of it for a while, it ends, and is started anew when it is next needed.
//!
//! Between steps it has no handle of the heap, so it does not keep a heap that is dropped.
//! Callers: leaders, when mutators run; a thread that forks or drops the heap.

use super::duty::Duty;
use super::marking::{MarkingBeside, Stepped};
use super::side_thread::SideThread;
use super::spells::Spells;
use super::sweeping::Sweeping;
use crate::binding::VMBinding;
use crate::events::{BackgroundWork, Spell};
use crate::memory::{Asked, Memory};
use crate::patience::Patience;
use crate::warnings;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long it waits for more to do. To start a thread takes as long as many pauses.
const LINGER: Duration = Duration::from_secs(10);

/// A heap whose marking can be ended.
pub(crate) trait EndsMarking: Send + Sync {
    /// The background thread has found no grey object: the marking ends, unless mutators have noted some.
    fn end_if_dry(self: Arc<Self>);

    /// If a tick is due, the pacer says how hard to work. Returns the time from one tick to the next, in ns.
    fn tick(&self) -> u64;
}

/// The thread of one heap.
pub(crate) struct Background<VM: VMBinding> {
    shared: Arc<Shared<VM>>,
    memory: Arc<Memory>,
    /// A stress option: it does nothing.
    idles: bool,
}

struct Shared<VM: VMBinding> {
    sweeping: Arc<Sweeping<VM>>,
    marking: Arc<MarkingBeside<VM>>,
    heap: Weak<dyn EndsMarking>,
    spells: Spells,
    thread: SideThread<Work>,
}

/// What it is asked.
#[derive(Copy, Clone, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// There are units to sweep.
    sweep: bool,
    /// There may be grey objects.
    mark: bool,
}

impl<VM: VMBinding> Background<VM> {
    /// For this sweep and this marking of a heap. No thread runs yet, and none ever if it `idles`.
    pub fn new(
        sweeping: Arc<Sweeping<VM>>,
        marking: Arc<MarkingBeside<VM>>,
        heap: Weak<dyn EndsMarking>,
        memory: Arc<Memory>,
        patience: Arc<Patience>,
        spells: Spells,
        idles: bool,
    ) -> Self {
        let shared = Shared { sweeping, marking, heap, spells, thread: SideThread::new(patience) };
        Background { shared: Arc::new(shared), memory, idles }
    }

    /// There is something to sweep. Not in a pause: it may start the thread.
    pub fn sweep(&self) {
        _ = self.wake(|asked| asked.sweep = true);
    }

    /// There is something to mark; whether a thread hears of it. Not in a pause.
    pub fn mark(&self) -> bool {
        self.wake(|asked| asked.mark = true)
    }

    fn wake(&self, ask: impl FnOnce(&mut Work)) -> bool {
        if self.idles {
            return false;
        }
        let mut state = self.shared.thread.lock();
        let before = state.asked;
        ask(&mut state.asked);
        if state.is_running() {
            // A thread that rests knows what it was asked before, and is not woken for it.
            if state.asked != before {
                self.shared.thread.tell();
            }
            return true;
        }
        let shared = self.shared.clone();
        let started = self.shared.thread.start(state, "gc-background", move || run(&shared));
        if let Err(error) = &started {
            // Mutators and the next pause sweep and mark.
            self.memory.refusals().add(Asked::Thread, 0, error);
        }
        started.is_ok()
    }

    /// The thread, for a fork.
    pub fn thread(&self) -> &SideThread<Work> {
        &self.shared.thread
    }
}

impl<VM: VMBinding> Drop for Background<VM> {
    fn drop(&mut self) {
        self.shared.thread.hold(&mut |waited| {
            warnings::warn(format_args!(
                "the drop of a heap has waited {:.3} s for its background thread to end",
                waited.as_secs_f64()
            ));
        });
    }
}

fn run<VM: VMBinding>(shared: &Shared<VM>) {
    let thread = &shared.thread;
    let _panics = thread.watch_for_panics();
    let (spells, mut spell) = (&shared.spells, Spell::default());
    let created = Instant::now();
    let now = || created.elapsed().as_nanos() as u64;
    let (mut duty, mut tick_ns) = (Duty::default(), 0);
    let mut state = thread.lock();
    while !state.is_held() {
        if std::mem::take(&mut state.asked.sweep) {
            drop(state);
            let since = spells.clock();
            let swept = shared.sweeping.sweep_unit_beside().is_some();
            if swept {
                spells.more(&mut spell, BackgroundWork::Sweep, since);
            }
            state = thread.lock();
            // It may have been asked while it looked in vain.
            state.asked.sweep |= swept;
            continue;
        }
        if state.asked.mark {
            let before = now();
            if let Some(rest) = duty.rest(before, shared.marking.efforts().workers(), tick_ns) {
                if let Some(ended) = spell.end() {
                    drop(state);
                    spells.tell(Some(ended));
                    state = thread.lock();
                    continue;
                }
                // A request to sweep, a fork, or the heap's end wakes it. No pause waits for a thread that
                // rests.
                thread.wait(&mut state, rest);
                shared.marking.rested(now() - before);
                continue;
            }
            state.asked.mark = false;
            drop(state);
            let since = spells.clock();
            let (stepped, cpu_ns) = shared.marking.step_beside();
            duty.worked(cpu_ns);
            if stepped != Stepped::Nothing {
                spells.more(&mut spell, BackgroundWork::Mark, since);
            }
            if let Some(heap) = shared.heap.upgrade() {
                tick_ns = heap.tick();
                if stepped == Stepped::Dry {
                    // It may lead a pause now.
                    spells.tell(spell.end());
                    heap.end_if_dry();
                }
            }
            state = thread.lock();
            state.asked.mark |= stepped == Stepped::More;
            continue;
        }
        if let Some(ended) = spell.end() {
            drop(state);
            spells.tell(Some(ended));
            state = thread.lock();
            continue;
        }
        thread.wait(&mut state, LINGER);
        if !state.asked.sweep && !state.asked.mark {
            break;
        }
    }
    thread.end(state);
    spells.tell(spell.end());
}
