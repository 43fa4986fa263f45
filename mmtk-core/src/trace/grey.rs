//! Grey edges: those that were found and not yet followed, by worker.
//!
//! A worker takes its edges for a section and puts back what is left at the end. So between two sections the
//! grey edges belong to no thread, and may outlive the thread that found them.
//!
//! I1. In a section a worker's stack is its own; edges that others may take are in its queue, in packets.
//! Callers: the leader of a pause makes, asks and gives back, between sections.

use super::packets::Queue;
use crate::os::{PageVec, Pages};
use crate::workers::Gang;
use allocator_api2::boxed::Box;
use protocols::sync::Mutex;
use protocols::termination::Termination;

/// What a worker has.
struct Part<I> {
    queue: Queue<I>,
    /// None while the worker is in a section.
    stack: Mutex<Option<PageVec<I>>>,
}

/// Entries of a list that is kept from one trace to the next: what minor collections need.
const KEPT_ENTRIES: usize = 4096;

/// Kept from one trace to the next, without edges.
struct Parts<I> {
    /// Of each worker.
    all: PageVec<Part<I>>,
    /// Empty lists: for packets, and stacks whose place a packet took.
    lists: Mutex<PageVec<PageVec<I>>>,
}

/// The grey edges of one trace.
pub(crate) struct Grey<I>(Box<Parts<I>, Pages>);

impl<I: Send + 'static> Grey<I> {
    /// None yet, for the workers of a gang.
    pub fn new(gang: &Gang) -> Grey<I> {
        let part = |_| Part { queue: Queue::default(), stack: Mutex::new(Some(PageVec::new())) };
        let new = || Parts { all: (0..gang.size()).map(part).collect(), lists: Mutex::default() };
        Grey(gang.take_spare().unwrap_or_else(|| Box::new_in(new(), Pages)))
    }

    /// Whether there are none left. Between sections.
    pub fn is_empty(&mut self) -> bool {
        self.0.all.iter_mut().all(|part| part.queue.is_empty() && stack(part).is_empty())
    }

    /// When there are none left: keeps the buffers for the next trace, if they are small.
    pub fn finish(mut self, gang: &Gang) {
        assert!(self.is_empty(), "a trace ends while objects are grey");
        let Grey(mut parts) = self;
        for stack in parts.all.iter_mut().map(stack).filter(|stack| stack.capacity() > KEPT_ENTRIES) {
            *stack = PageVec::new();
        }
        let lists = parts.lists.get_mut();
        lists.retain(|list| list.capacity() <= KEPT_ENTRIES);
        lists.truncate(gang.size());
        gang.keep_spare(parts);
    }
}

impl<I> Grey<I> {
    /// The queue of each worker.
    pub(super) fn queues(&self) -> impl ExactSizeIterator<Item = &Queue<I>> {
        self.0.all.iter().map(|part| &part.queue)
    }

    /// The queue of a worker.
    pub(super) fn queue(&self, worker: usize) -> &Queue<I> {
        &self.0.all[worker].queue
    }

    /// The stack of a worker, for a section.
    pub(super) fn take(&self, worker: usize) -> PageVec<I> {
        self.0.all[worker].stack.lock().take().expect("a worker enters a section once")
    }

    /// It brings it back.
    pub(super) fn bring_back(&self, worker: usize, stack: PageVec<I>) {
        *self.0.all[worker].stack.lock() = Some(stack);
    }

    /// An empty list.
    pub(super) fn list(&self) -> PageVec<I> {
        self.0.lists.lock().pop().unwrap_or_default()
    }

    /// A list that is empty now.
    pub(super) fn keep_list(&self, list: PageVec<I>) {
        debug_assert!(list.is_empty());
        if list.capacity() > 0 {
            self.0.lists.lock().push(list);
        }
    }
}

fn stack<I>(part: &mut Part<I>) -> &mut PageVec<I> {
    part.stack.get_mut().as_mut().expect("brought back at the end of a section")
}

/// A section in which workers follow grey edges.
pub(crate) struct Section<'a, I> {
    pub(super) grey: &'a Grey<I>,
    pub(super) termination: Termination,
    /// How many objects each worker follows at most.
    pub(super) objects: usize,
}

impl<'a, I: Send + 'static> Section<'a, I> {
    /// Until there are no grey edges left. The leader is active from now on.
    pub fn new(grey: &'a Grey<I>) -> Section<'a, I> {
        Self::bounded(grey, usize::MAX)
    }

    /// A section that ends when each worker has followed `objects` objects, or when there are no grey edges
    /// left.
    pub fn bounded(grey: &'a Grey<I>, objects: usize) -> Section<'a, I> {
        let termination = Termination::new();
        termination.open();
        Section { grey, termination, objects }
    }
}
