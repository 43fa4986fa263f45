//! What is grey: edges that were found and not yet followed, by worker.
//!
//! A worker takes its work for a section and brings it back at the end, so the grey edges belong to
//! nobody between two sections, and may outlive the thread that found them.
//!
//! I1. In a section a worker's work is its own; what others may take is in its deque, in packets.
//! Callers: the leader of a pause makes, asks and gives back, between sections.

use crate::address::ObjectReference;
use crate::workers::Gang;
use crossbeam_deque::{Stealer, Worker as Deque};
use protocols::sync::Mutex;
use protocols::termination::Termination;

/// Work that another worker can take.
pub(super) enum Packet<I> {
    Items(Vec<I>),
    Array { object: ObjectReference, from: usize, to: usize },
}

/// The work of a worker.
pub(super) struct Work<I> {
    pub deque: Deque<Packet<I>>,
    pub stack: Vec<I>,
}

/// Where it is between sections. Kept from one trace to the next.
type Place<I> = Mutex<Option<Work<I>>>;

/// Entries of a stack that is kept from one trace to the next: what minor collections need.
const KEPT_ENTRIES: usize = 4096;

/// The grey edges of one trace.
pub(crate) struct Grey<I> {
    #[expect(clippy::vec_box, reason = "the gang keeps them boxed from one trace to the next")]
    places: Vec<Box<Place<I>>>,
    pub(super) stealers: Vec<Stealer<Packet<I>>>,
}

impl<I: Send + 'static> Grey<I> {
    /// None yet, for the workers of a gang.
    pub fn new(gang: &Gang) -> Grey<I> {
        let new = || Box::new(Mutex::new(Some(Work { deque: Deque::new_lifo(), stack: Vec::with_capacity(1024) })));
        let mut places: Vec<Box<Place<I>>> = (0..gang.size()).map(|_| gang.take_spare().unwrap_or_else(new)).collect();
        let stealers = places.iter_mut().map(|place| work(place).deque.stealer()).collect();
        Grey { places, stealers }
    }

    /// The work of a worker, for a section.
    pub(super) fn take(&self, worker: usize) -> Work<I> {
        self.places[worker].lock().take().expect("a worker enters a section once")
    }

    /// It brings it back.
    pub(super) fn bring_back(&self, worker: usize, work: Work<I>) {
        *self.places[worker].lock() = Some(work);
    }

    /// Whether there are none left. Between sections.
    pub fn is_empty(&mut self) -> bool {
        self.places.iter_mut().map(work).all(|work| work.stack.is_empty() && work.deque.is_empty())
    }

    /// When there are none left: keeps the buffers for the next trace.
    pub fn finish(mut self, gang: &Gang) {
        assert!(self.is_empty(), "a trace ends while objects are grey");
        for mut place in self.places {
            if work(&mut place).stack.capacity() <= KEPT_ENTRIES {
                gang.keep_spare(place);
            }
        }
    }
}

fn work<I>(place: &mut Box<Place<I>>) -> &mut Work<I> {
    place.get_mut().as_mut().expect("brought back at the end of a section")
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

    /// Until each worker has followed so many objects, or there are no grey edges left.
    pub fn bounded(grey: &'a Grey<I>, objects: usize) -> Section<'a, I> {
        let termination = Termination::new();
        termination.open();
        Section { grey, termination, objects }
    }
}
