//! A thread of the heap's own, beside its mutators: it is started when there is something to do, ends when
//! nothing is left, and is not there while the process forks or when the heap is dropped.
//!
//! I1. At most one runs; the next is started when the one before holds the lock no more.
//! I2. While somebody holds it, none runs.
//! Callers: any thread, but `wait`, `end` and `watch_for_panics` the thread itself.

use crate::patience::{Patience, Waiting};
use protocols::sync::{Condvar, Mutex, MutexGuard};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread, and what it shares with those who give it something to do.
pub(crate) struct SideThread<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
    patience: Arc<Patience>,
}

/// What the lock protects.
#[derive(Default)]
pub(crate) struct State<S> {
    /// From the start of the thread until it holds the lock for the last time.
    running: bool,
    /// How many want no thread to run: it ends, and no other begins.
    holds: usize,
    /// The thread that was started last, until somebody has waited for its end.
    thread: Option<JoinHandle<()>>,
    /// What is to be done.
    pub asked: S,
}

impl<S> State<S> {
    /// Whether a thread runs, and so hears of what is asked.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether the thread is to end.
    pub fn is_held(&self) -> bool {
        self.holds > 0
    }
}

impl<S: Default> SideThread<S> {
    /// No thread runs yet. Who waits long for its end says so.
    pub fn new(patience: Arc<Patience>) -> SideThread<S> {
        SideThread { state: Mutex::default(), changed: Condvar::new(), patience }
    }

    /// What is shared. A leaf lock.
    pub fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock()
    }

    /// The patience of this heap's threads.
    pub fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// What is asked has changed: the thread looks.
    pub fn tell(&self) {
        self.changed.notify_all();
    }

    /// Starts the thread, which runs `body`, unless it is held. Not while one runs.
    ///
    /// # Errors
    /// What the system says; then no thread runs.
    pub fn start(
        &self,
        mut state: MutexGuard<'_, State<S>>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        debug_assert!(!state.running);
        if state.holds > 0 {
            return Ok(());
        }
        if let Some(ended) = state.thread.take() {
            // It does not take the lock again (I1).
            let _ = ended.join();
        }
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        (state.thread, state.running) = (Some(thread), true);
        Ok(())
    }

    /// Waits until it is told something, or for `most`.
    pub fn wait(&self, state: &mut MutexGuard<'_, State<S>>, most: Duration) {
        self.changed.wait_for(state, most);
    }

    /// It ends: it takes the lock no more.
    pub fn end(&self, mut state: MutexGuard<'_, State<S>>) {
        state.running = false;
        self.changed.notify_all();
    }

    /// For the thread's body. If that panics (in a listener, for example), no thread waits for its end, and
    /// the next may begin.
    pub fn watch_for_panics(&self) -> impl Drop {
        Panics(self)
    }

    /// Ends the thread, and waits for it; no other begins before [`SideThread::release`]. Not in a pause: the
    /// thread may wait for its end. `report` is told how long it has waited, when that is long.
    pub fn hold(&self, report: &mut dyn FnMut(Duration)) {
        let mut state = self.state.lock();
        state.holds += 1;
        let thread = state.thread.take();
        self.changed.notify_all();
        if thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id()) {
            // It held the last handle of the heap: it ends by itself.
            return;
        }
        // If another thread waits for its end too, that one has the handle.
        let mut waiting = Waiting::new(&self.patience);
        while state.running {
            waiting.wait(&self.changed, &mut state, &mut *report);
        }
        drop(state);
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Ends one [`SideThread::hold`]. Who ends the last sees to it that the thread is started again, if there
    /// is something to do.
    pub fn release(&self) {
        self.state.lock().holds -= 1;
    }

    /// Calls `f`, which forks the process and returns 0 first in the child, while nobody else has the lock.
    /// The caller holds the thread.
    pub fn fork<R>(&self, f: impl FnOnce() -> (i32, R)) -> (i32, R) {
        let mut state = self.state.lock();
        let result = f();
        if result.0 == 0 {
            // The others who held it, in native regions, are not in this process.
            state.holds = 1;
        }
        result
    }
}

struct Panics<'a, S>(&'a SideThread<S>);

impl<S> Drop for Panics<'_, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state.lock().running = false;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_who_hold_it_the_one_who_forks_is_alone_in_the_child() {
        for (process, left) in [("parent", 1), ("child", 0)] {
            let thread = SideThread::<()>::new(Arc::new(Patience::new(0)));
            (0..2).for_each(|_| thread.hold(&mut |_| ()));
            let pid = if process == "child" { 0 } else { 1 };
            assert_eq!(thread.fork(|| (pid, "what it returns")), (pid, "what it returns"));
            thread.release();
            assert_eq!(thread.lock().holds, left, "{process}");
        }
    }
}
