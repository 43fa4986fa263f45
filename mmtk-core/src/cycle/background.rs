//! The thread that works beside mutators: it sweeps what full collections have left.
//!
//! 1. The leader of a pause that leaves something wakes it when mutators run again.
//! 2. It takes unit after unit. A pause takes the rest itself, and waits for the unit at hand alone.
//! 3. When nothing was asked of it for a while, it ends, and is started anew when it is next needed.
//!
//! It has no handle of the heap, so it does not keep a heap that is dropped.
//! Callers: leaders, when mutators run; a thread that forks or drops the heap.

use super::side_thread::SideThread;
use super::sweeping::Sweeping;
use crate::binding::VMBinding;
use crate::memory::{Asked, Memory};
use crate::patience::Patience;
use crate::warnings;
use std::sync::Arc;
use std::time::Duration;

/// How long it waits for more to do. To start a thread takes as long as many pauses.
const LINGER: Duration = Duration::from_secs(10);

/// The thread of one heap.
pub(crate) struct Background<VM: VMBinding> {
    shared: Arc<Shared<VM>>,
    memory: Arc<Memory>,
    /// A stress option: it does nothing.
    idles: bool,
}

struct Shared<VM: VMBinding> {
    sweeping: Arc<Sweeping<VM>>,
    thread: SideThread<Work>,
}

/// What it is asked.
#[derive(Default)]
pub(crate) struct Work {
    /// There are units to sweep.
    sweep: bool,
}

impl<VM: VMBinding> Background<VM> {
    /// For this sweep. No thread runs yet, and none ever if it `idles`.
    pub fn new(sweeping: Arc<Sweeping<VM>>, memory: Arc<Memory>, patience: Arc<Patience>, idles: bool) -> Self {
        Background { shared: Arc::new(Shared { sweeping, thread: SideThread::new(patience) }), memory, idles }
    }

    /// There is something to sweep. Not in a pause: it may start the thread.
    pub fn wake(&self) {
        if self.idles {
            return;
        }
        let mut state = self.shared.thread.lock();
        state.asked.sweep = true;
        if state.is_running() {
            self.shared.thread.tell();
            return;
        }
        let shared = self.shared.clone();
        if let Err(error) = self.shared.thread.start(state, "gc-background", move || run(&shared)) {
            // Mutators and the next pause sweep.
            self.memory.refusals().add(Asked::Thread, 0, &error);
        }
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
    let mut state = thread.lock();
    while !state.is_held() {
        if std::mem::take(&mut state.asked.sweep) {
            drop(state);
            let swept = shared.sweeping.sweep_unit_beside().is_some();
            state = thread.lock();
            // It may have been asked while it looked in vain.
            state.asked.sweep |= swept;
            continue;
        }
        thread.wait(&mut state, LINGER);
        if !state.asked.sweep {
            break;
        }
    }
    thread.end(state);
}
