//! A marking: a value that holds the grey edges and how far the marking has come, and that is advanced in
//! bounded steps.
//!
//! ```text
//! begun: roots are copied, nothing is followed --advance--> More .. --advance--> Done --> ended
//! ```
//! Any thread may advance it: today the workers of a pause do, in one step or in many. Between two steps it
//! belongs to no thread and holds all that is needed to go on: on whose stack it lies, and which threads made
//! the earlier steps, does not matter. Objects do not move while it is under way.
//!
//! I1. An object that is marked and not grey has been scanned: each of its slots was pushed, as the object
//!     that it led to.
//! I2. Only an ended marking says what is dead. To drop one earlier, with grey objects, is a fault of the
//!     code that drives it.

use super::grey::{Grey, Section};
use super::item::ObjectItem;
use super::marker::Tracing;
use super::policy::Policy;
use crate::binding::VMBinding;
use crate::workers::{Gang, Worker};

/// Whether a marking must be advanced again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Objects are grey.
    More,
    /// Everything that the roots reach is marked.
    Done,
}

/// A marking in progress.
#[must_use = "a marking that is not ended says nothing about what is dead"]
pub(crate) struct Marking {
    grey: Grey<ObjectItem>,
    progress: Progress,
}

impl Marking {
    /// Begins one, by the workers of a gang; `copy_roots` makes what the roots refer to grey, and follows
    /// nothing. Helpers are woken if `wake`.
    pub fn begin<VM: VMBinding, T: Policy<VM, Item = ObjectItem>>(
        policy: T,
        vm: &VM,
        gang: &Gang,
        wake: bool,
        copy_roots: impl Fn(&mut Tracing<'_, VM, T>, &mut Worker) + Sync,
    ) -> Marking {
        let grey = Grey::new(gang);
        let section = Section::bounded(&grey, 0);
        gang.run(wake, &|worker| {
            let Some(mut tracing) = Tracing::enter(policy, vm, &section, gang, worker) else { return };
            copy_roots(&mut tracing, worker);
            tracing.run(worker);
            tracing.leave();
        });
        Marking { grey, progress: Progress::More }
    }

    /// One step: each worker of the gang follows at most `objects`. Helpers are woken if `wake`, or when
    /// there is much to do.
    pub fn advance<VM: VMBinding, T: Policy<VM, Item = ObjectItem>>(
        &mut self,
        policy: T,
        vm: &VM,
        gang: &Gang,
        wake: bool,
        objects: usize,
    ) -> Progress {
        debug_assert!(objects > 0 && self.progress == Progress::More);
        let section = Section::bounded(&self.grey, objects);
        gang.run(wake, &|worker| {
            let Some(mut tracing) = Tracing::enter(policy, vm, &section, gang, worker) else { return };
            tracing.run(worker);
            tracing.leave();
        });
        if self.grey.is_empty() {
            self.progress = Progress::Done;
        }
        self.progress
    }

    /// Ends it.
    ///
    /// # Panics
    /// If objects are grey (I2).
    pub fn end(self, gang: &Gang) {
        assert_eq!(self.progress, Progress::Done, "a marking ends while objects are grey");
        self.grey.finish(gang);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, ObjectReference};
    use crate::binding::{SlotVisitor, WordSlot};
    use crate::trace::Traced;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    const SLOTS: usize = 4;

    #[derive(Default)]
    struct Object {
        slots: [AtomicUsize; SLOTS],
        marked: AtomicUsize,
    }

    struct Graph(Box<[Object]>);

    // SAFETY: objects have one size and live as long as the graph; there are no roots but those of the tests.
    unsafe impl VMBinding for Graph {
        type Slot = WordSlot;
        type Local = ();
        fn object_size(&self, _: ObjectReference) -> usize {
            size_of::<Object>()
        }
        fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
            for n in 0..SLOTS {
                // SAFETY: a slot of the object.
                visitor.visit(unsafe { WordSlot::at(object.address().plus(8 * n)) });
            }
        }
        fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
    }

    impl Graph {
        /// Each object refers to some of the next two hundred, so part of them is reachable from the first.
        fn new() -> Graph {
            let graph = Graph((0..5000).map(|_| Object::default()).collect());
            let mut random = 1usize;
            for (n, object) in graph.0.iter().enumerate() {
                for slot in &object.slots {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let target = n + 1 + (random >> 40) % 200;
                    if target < graph.0.len() && random >> 62 != 0 {
                        slot.store(graph.at(target).address().as_usize(), Relaxed);
                    }
                }
            }
            graph
        }

        fn at(&self, n: usize) -> ObjectReference {
            ObjectReference::for_test(Address::from_ptr(&raw const self.0[n]))
        }

        fn of(&self, object: ObjectReference) -> &Object {
            &self.0[object.address().bytes_from(Address::from_ptr(self.0.as_ptr())) / size_of::<Object>()]
        }

        fn marked(&self) -> Vec<bool> {
            self.0.iter().map(|object| object.marked.load(Relaxed) > 0).collect()
        }
    }

    impl Policy<Graph> for &Graph {
        type Item = ObjectItem;
        fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
            worker.noted.push(object);
            match self.of(object).marked.swap(1, Relaxed) {
                0 => Traced::New(object),
                _ => Traced::Seen(object),
            }
        }
        fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
            (self.of(object).marked.load(Relaxed) > 0).then_some(object)
        }
        fn prefetch(&self, _: ObjectReference) {}
        fn find_object(&self, _: Address) -> Option<ObjectReference> {
            None
        }
    }

    fn begin(graph: &Graph, gang: &Gang) -> Marking {
        Marking::begin(graph, graph, gang, false, |tracing, worker| {
            if worker.index == 0 {
                let root = graph.at(0).address().as_usize();
                // SAFETY: a word with the address of an object.
                tracing.roots().visit(unsafe { WordSlot::at(Address::from_ptr(&raw const root)) });
            }
        })
    }

    /// How many objects a worker followed at most since the last call.
    fn most(gang: &Gang) -> usize {
        let mut most = 0;
        gang.for_each_worker(|worker| most = most.max(std::mem::take(&mut worker.noted).len()));
        most
    }

    #[test]
    fn a_marking_in_steps_finds_what_a_marking_in_one_finds() {
        let whole = Graph::new();
        let gang = Gang::new(1, "test");
        let mut marking = begin(&whole, &gang);
        assert_eq!(marking.advance(&whole, &whole, &gang, false, usize::MAX), Progress::Done);
        marking.end(&gang);
        let reached = whole.marked().iter().filter(|marked| **marked).count();
        assert!((100..5000).contains(&reached), "{reached} of the graph are reachable, which shows little");
        for workers in [1, 2, 3] {
            for objects in [1, 7, 63, 64, 65, 1000] {
                let (graph, gang) = (Graph::new(), Gang::new(workers, "test"));
                let mut marking = begin(&graph, &gang);
                most(&gang);
                let mut steps = 1;
                while marking.advance(&graph, &graph, &gang, true, objects) == Progress::More {
                    steps += 1;
                    let most = most(&gang);
                    assert!((1..=objects).contains(&most), "{most} objects in a step of {objects} by {workers}");
                }
                marking.end(&gang);
                assert!(steps * objects * workers >= reached, "{steps} steps of {objects} by {workers}");
                assert!(graph.marked() == whole.marked(), "steps of {objects} by {workers}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a marking ends while objects are grey")]
    fn a_marking_with_grey_objects_cannot_end() {
        let (graph, gang) = (Graph::new(), Gang::new(1, "test"));
        let mut marking = begin(&graph, &gang);
        assert_eq!(marking.advance(&graph, &graph, &gang, false, 1), Progress::More);
        marking.end(&gang);
    }
}
