//! What the tracing loop asks about any object, in the heap or outside.

use super::item::TraceItem;
use super::tracer::{SpaceTracer, Traced};
use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::space::Spaces;
use crate::workers::Worker;

/// The policy of a trace.
pub(crate) trait Policy<VM: VMBinding>: Copy + Send + Sync {
    /// What the stack holds.
    type Item: TraceItem<VM>;

    /// Marks or copies the object, whichever its space does. Objects outside the heap are `Seen`.
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced;

    /// Where the object is now if the trace has reached it. Objects outside the heap are live.
    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference>;

    /// Brings near what `trace` will read.
    fn prefetch(&self, object: ObjectReference);

    /// The object that lies at an address, which may be anything.
    fn find_object(&self, address: Address) -> Option<ObjectReference>;

    /// An object that lives because of one that this worker reached, but that no slot of it refers to.
    #[inline(always)]
    fn next_held(&self, _worker: &mut Worker) -> Option<ObjectReference> {
        None
    }
}

/// The policy of all spaces of a plan.
#[derive(Copy, Clone)]
pub(crate) struct OfSpaces<'a, T> {
    pub tracer: T,
    pub spaces: &'a Spaces<'a>,
}

impl<VM: VMBinding, T: SpaceTracer<VM>> Policy<VM> for OfSpaces<'_, T> {
    type Item = T::Item;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        match self.tracer.holds(object) {
            true => self.tracer.trace(object, worker),
            false => Traced::Seen(object),
        }
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        match self.tracer.holds(object) {
            true => self.tracer.resolve(object),
            false => Some(object),
        }
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.tracer.prefetch(object);
    }

    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.spaces.find_object(address)
    }
}
