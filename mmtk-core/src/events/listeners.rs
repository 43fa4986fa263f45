//! Listeners: the closures that are told what happened.
//!
//! One lock around a list. Events are as rare as pauses, so a lock-free list would buy nothing.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use protocols::sync::Mutex;

use super::event::Event;
use crate::os::PageVec;

/// Is told what happens to a heap.
///
/// Called by the thread that ran the pause, with the lock of [`Listeners`] held: be quick, do not allocate in
/// the heap that is being observed, do not add listeners, and do not panic.
pub trait Listener: Send {
    /// Something happened. Calls for one heap come one at a time and in order.
    fn on_event(&mut self, event: &Event);
}

/// Any closure can listen.
impl<F: FnMut(&Event) + Send> Listener for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}

/// The listeners of one heap. Any thread may add and emit.
#[derive(Default)]
pub struct Listeners {
    /// Whether `list` has an entry. Written under the lock.
    any: AtomicBool,
    /// A leaf lock, unless a listener takes more; `late` comes behind it.
    list: Mutex<Vec<Box<dyn Listener>>>,
    /// What happened between pauses and is not told yet. In pages: the background thread adds to it in a
    /// pause, too. A leaf lock.
    late: Mutex<PageVec<Event>>,
}

impl Listeners {
    /// Nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener. It hears the events emitted from now on, and is dropped with this value.
    pub fn add(&self, listener: Box<dyn Listener>) {
        let mut list = self.list.lock();
        list.push(listener);
        // Relaxed: a hint that publishes nothing, the list itself is read under the lock.
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether nobody listens, for one load: spares the caller the making of a report.
    ///
    /// A listener that another thread adds at this moment may miss an event.
    pub fn is_empty(&self) -> bool {
        // Relaxed: see `add`.
        !self.any.load(Ordering::Relaxed)
    }

    /// To be told before the next event is, or by [`Listeners::tell_late`]. For what a thread cannot tell
    /// when it happens. Nothing is kept while nobody listens.
    pub(crate) fn tell_later(&self, events: impl IntoIterator<Item = Event>) {
        if !self.is_empty() {
            self.late.lock().extend(events);
        }
    }

    /// Tells what came late, unless another thread tells something now: nobody waits for a listener that is
    /// slow, and the next event comes.
    pub(crate) fn tell_late(&self) {
        if !self.is_empty()
            && !self.late.lock().is_empty()
            && let Some(mut list) = self.list.try_lock()
        {
            self.tell_all(&mut list, std::iter::empty());
        }
    }

    /// What came late, and then these.
    fn tell_all(&self, list: &mut [Box<dyn Listener>], events: impl Iterator<Item = Event>) {
        let mut late = std::mem::take(&mut *self.late.lock());
        if std::thread::panicking() {
            // A listener may panic again, and must hear of the heap's end before that.
            late.clear();
        }
        for event in late.into_iter().chain(events) {
            for listener in list.iter_mut() {
                listener.on_event(&event);
            }
        }
    }

    /// Tells every listener what `happens` returns, in the order in which `happens` was called: the lock is
    /// held meanwhile. So two pauses on two threads are heard in their own order, although each is told after
    /// its mutators resumed.
    pub fn emit_in_order<E: IntoIterator<Item = Event>>(&self, happens: impl FnOnce() -> E) {
        let mut list = self.list.lock();
        let events = happens();
        self.tell_all(&mut list, events.into_iter());
    }

    /// Calls `f`, which forks the process and returns 0 first in the child, while nobody else holds the lock.
    /// The child has no listeners: what they hold, files say, is the parent's, so they are not dropped
    /// either.
    pub(crate) fn fork<R>(&self, f: impl FnOnce() -> (i32, R)) -> (i32, R) {
        let mut list = self.list.lock();
        let mut late = self.late.lock();
        let result = f();
        if result.0 == 0 {
            std::mem::forget(std::mem::take(&mut *list));
            late.clear();
            self.any.store(false, Ordering::Relaxed);
        }
        result
    }

    /// Tells every listener, in the order they were added.
    pub fn emit(&self, event: &Event) {
        if self.is_empty() {
            return;
        }
        self.tell_all(&mut self.list.lock(), std::iter::once(event.clone()));
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("any", &!self.is_empty()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::held_up::HeldUp;
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_listener_hears_every_event_in_order() {
        let listeners = Listeners::new();
        assert!(listeners.is_empty());
        let heard: Arc<Mutex<Vec<(usize, Event)>>> = Arc::default();
        for id in 0..2 {
            let heard = Arc::clone(&heard);
            listeners.add(Box::new(move |event: &Event| heard.lock().push((id, event.clone()))));
        }
        assert!(!listeners.is_empty());
        let life = [
            Event::HeapCreated { plan: "Immix", limit_bytes: 64 << 20, workers: 2 },
            Event::OutOfMemory { requested_bytes: 1 << 20, reserved_bytes: 64 << 20, limit_bytes: 64 << 20 },
            Event::HeapDropped,
        ];
        life.iter().for_each(|event| listeners.emit(event));
        let expected: Vec<_> = life.into_iter().flat_map(|event| [(0, event.clone()), (1, event)]).collect();
        assert_eq!(*heard.lock(), expected);
    }

    #[test]
    fn what_came_late_is_told_before_the_next_event_and_kept_for_listeners_alone() {
        let heard: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let late = || [Event::HeldUp(HeldUp::default())];
        let listeners = Listeners::new();
        listeners.tell_later(late());
        let hears = heard.clone();
        listeners.add(Box::new(move |event: &Event| hears.lock().push(event.name())));
        listeners.tell_late();
        assert_eq!(*heard.lock(), [""; 0], "nobody listened then");
        listeners.tell_later(late());
        listeners.emit(&Event::HeapDropped);
        listeners.tell_later(late());
        listeners.emit_in_order(|| {
            // Of the pause itself, by a mutator that runs again.
            listeners.tell_later(late());
            [Event::HeapDropped]
        });
        listeners.tell_later(late());
        listeners.tell_late();
        let (held, other) = ("held_up", "heap_dropped");
        assert_eq!(*heard.lock(), [held, other, held, held, other, held]);
    }

    #[test]
    fn threads_may_emit_together() {
        let listeners = Listeners::new();
        let count = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&count);
        listeners.add(Box::new(move |_: &Event| *counter.lock() += 1));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..100).for_each(|_| listeners.emit(&Event::HeapDropped)));
            }
        });
        assert_eq!(*count.lock(), 300);
    }
}
