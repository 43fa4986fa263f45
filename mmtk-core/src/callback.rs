//! Callbacks: code of the VM or of its program that the heap calls. A callback may not make every call to the
//! same heap; this file refuses the others.
//!
//! A callback runs while its thread holds a lock of the heap, or while mutators stand still. A call that
//! waits for another thread could then wait for ever, though often only if that thread collects at the same
//! moment: a test would not find it. So each call that can wait first checks whether its thread is inside a
//! callback of the same heap, and refuses at once.
//!
//! I1. The callbacks of a thread are a stack: a heap's listener may use another heap, whose pause calls the
//!     VM.
//! I2. Fast paths do not check. In a callback they touch only the thread's own ranges and words.
//! Callers: any thread.

use std::cell::Cell;

/// What the heap has called.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Callback {
    /// A function of the VM, or a visitor of objects, while mutators are stopped. On helpers too.
    Pause,
    /// With the lock of the listeners.
    Listener,
    /// With the lock of the pacer.
    Retune,
    /// With all locks that a fork takes.
    Fork,
}

impl Callback {
    /// Where a call that may wait for a pause, or lead one, is refused.
    pub const ANY: &[Callback] = &[Callback::Pause, Callback::Listener, Callback::Retune, Callback::Fork];

    /// What it is, and what to do instead.
    fn sentence(self) -> (&'static str, &'static str) {
        match self {
            Callback::Pause => (
                "a function called by a collection",
                "functions of the VM and visitors of objects note what is to be done, for later, when mutators run",
            ),
            Callback::Listener => ("a listener", "note what is to be done, and do it when the listener has returned"),
            Callback::Retune => ("a closure of `retune`", "the closure only changes the options that it is given"),
            Callback::Fork => (
                "a closure of `fork`",
                "the closure only forks the process; parent and child use the heap when `Mutator::fork` has returned",
            ),
        }
    }
}

/// A callback of a heap, which its address stands for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub heap: usize,
    pub what: Callback,
}

/// More heaps than anyone nests. Deeper callbacks are not kept, and what they call is not refused.
const DEPTH: usize = 8;

// Without destructors: a mutator may be dropped when those of its thread have run.
thread_local! {
    static DEPTH_NOW: Cell<usize> = const { Cell::new(0) };
    static FRAMES: [Cell<Option<Frame>>; DEPTH] = const { [const { Cell::new(None) }; DEPTH] };
}

/// Lives while the callback runs.
pub(crate) struct Inside(());

/// This thread calls a callback.
pub(crate) fn enter(frame: Frame) -> Inside {
    let depth = DEPTH_NOW.replace(DEPTH_NOW.get() + 1);
    FRAMES.with(|frames| frames.get(depth).into_iter().for_each(|place| place.set(Some(frame))));
    Inside(())
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH_NOW.set(DEPTH_NOW.get() - 1);
    }
}

/// The innermost callback of this thread, for helpers that run part of it.
pub(crate) fn current() -> Option<Frame> {
    DEPTH_NOW.get().checked_sub(1).and_then(|last| FRAMES.with(|frames| frames.get(last)?.get()))
}

/// Whether this thread works for a collection, of whatever heap: it leads a pause, from the moment when all
/// mutators have stopped until they may go on, or helps its leader. For what a VM's own code may not do then:
/// wait for a lock that a stopped thread may hold, that of `malloc`, say. From any thread, signal handlers
/// too.
pub fn in_pause() -> bool {
    let frames = DEPTH_NOW.get().min(DEPTH);
    frames > 0
        && FRAMES.with(|all| {
            all[..frames].iter().any(|frame| frame.get().is_some_and(|frame| frame.what == Callback::Pause))
        })
}

/// Panics if this thread is inside one of these callbacks of `heap`.
#[inline(always)]
pub(crate) fn refuse(heap: usize, call: &str, callbacks: &[Callback]) {
    if DEPTH_NOW.get() > 0 {
        refuse_slow(heap, call, callbacks);
    }
}

#[cold]
fn refuse_slow(heap: usize, call: &str, callbacks: &[Callback]) {
    let depth = DEPTH_NOW.get().min(DEPTH);
    FRAMES.with(|frames| {
        for frame in frames[..depth].iter().filter_map(Cell::get) {
            if frame.heap == heap && callbacks.contains(&frame.what) {
                let (place, instead) = frame.what.sentence();
                panic!("{call} is refused inside {place} of this heap, where it could wait for ever: {instead}");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn refused(heap: usize, callbacks: &'static [Callback]) -> bool {
        catch_unwind(|| refuse(heap, "a call", callbacks)).is_err()
    }

    #[test]
    fn a_call_is_refused_inside_a_callback_of_its_own_heap() {
        let listener = enter(Frame { heap: 1, what: Callback::Listener });
        assert!(refused(1, Callback::ANY));
        assert!(!refused(2, Callback::ANY), "another heap may be used");
        assert!(!refused(1, &[Callback::Retune]));
        assert!(!in_pause());
        {
            let _pause = enter(Frame { heap: 2, what: Callback::Pause });
            assert!(refused(1, Callback::ANY) && refused(2, Callback::ANY), "the outer one is still there");
            assert!(in_pause());
            let _inner = enter(Frame { heap: 3, what: Callback::Listener });
            assert!(in_pause(), "a listener that a pause calls is inside the pause");
        }
        assert!(!in_pause());
        assert!(!refused(2, Callback::ANY));
        drop(listener);
        assert!(!refused(1, Callback::ANY));
    }

    #[test]
    fn callbacks_nested_too_deep_are_forgotten_and_nothing_breaks() {
        let frames: Vec<_> = (0..DEPTH + 2).map(|heap| enter(Frame { heap, what: Callback::Pause })).collect();
        assert!(refused(DEPTH - 1, Callback::ANY) && !refused(DEPTH, Callback::ANY));
        assert_eq!(current(), None);
        drop(frames);
        assert!(!refused(0, Callback::ANY));
    }
}
