//! What a plan is: spaces, how to allocate in them, and the steps of a collection.

use crate::memory::{Extent, Memory};
use crate::metadata::{ObjectStarts, ObjectStates};
use crate::needs::{Need, OldToNew};
use crate::options::Options;
use std::cell::Cell;
use std::sync::Arc;

/// What the file of a plan names.
pub use crate::{
    address::Address,
    alloc::{Allocators, Request, Semantics},
    binding::VMBinding,
    error::HeapError,
    events::CollectionKind,
    needs::Needs,
    pause::Pause,
    space::Spaces,
};

/// What a plan gets to build its spaces from.
pub struct PlanContext<'a, VM> {
    /// The VM: a space that asks it about objects keeps it.
    pub vm: &'a Arc<VM>,
    /// Address space, tables, budget.
    pub memory: &'a Arc<Memory>,
    /// The checked options.
    pub options: &'a Options,
    /// Where the objects' state bytes are.
    pub states: ObjectStates<VM>,
    /// Whether spaces were made that remember stores.
    generational: &'a Cell<bool>,
}

impl<'a, VM: VMBinding> PlanContext<'a, VM> {
    pub(crate) fn new(
        vm: &'a Arc<VM>,
        memory: &'a Arc<Memory>,
        options: &'a Options,
        states: ObjectStates<VM>,
        generational: &'a Cell<bool>,
    ) -> Self {
        PlanContext { vm, memory, options, states, generational }
    }

    /// The context of a plan that has minor collections, whose spaces remember stores.
    ///
    /// # Errors
    /// The binding does not tell what old objects refer to ([`VMBinding::OLD_TO_NEW`]).
    pub fn generational(&self, plan: &'static str) -> Result<PlanContext<'a, VM>, HeapError> {
        if VM::OLD_TO_NEW == OldToNew::Unknown {
            return Err(HeapError::Unsuitable { plan, need: Need::OldToNew, suits: Vec::new() });
        }
        self.generational.set(true);
        let PlanContext { vm, memory, options, generational, .. } = *self;
        Ok(PlanContext { vm, memory, options, states: self.states.clone().generational(), generational })
    }

    /// A table of where objects begin, for one space. It costs [`ObjectStarts::table_bytes`], which the space
    /// charges.
    pub fn object_starts(&self, extent: Extent) -> Result<ObjectStarts, HeapError> {
        Ok(ObjectStarts::new(self.memory, extent, VM::LOG_GRANULE)?)
    }
}

/// What users read about a plan, and what it asks for.
#[derive(Debug)]
pub struct PlanInfo {
    /// The name, as users write it; upper and lower case are the same.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// What it needs of a binding.
    pub needs: Needs,
}

/// A complete collector.
///
/// The virtual calls happen per buffer refill and per pause; the tracing loop is compiled for the
/// [`SpaceTracer`](crate::trace::SpaceTracer)s of the plan's spaces.
pub trait Plan<VM: VMBinding>: Send + Sync {
    /// What it is, and what it needs of the binding: if the binding does not meet that, no heap is made. The
    /// spaces of a plan with minor collections are made from [`PlanContext::generational`].
    fn info(&self) -> &'static PlanInfo;

    /// Its spaces.
    fn spaces(&self) -> Spaces<'_>;

    /// The slow path of allocation: memory for the request, zeroed, from the present range or a new one;
    /// memory that takes long to zero goes to [`Allocators::zero_later`]. `None` if the budget is exhausted;
    /// then the caller collects and tries again. Called by any mutator; takes no lock in the common case.
    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address>;

    /// One collection, from stopped mutators to swept spaces. Called by the leader of a pause.
    fn collect(&self, pause: &mut Pause<'_, VM>);

    /// Whether a forked process has memory of its own for the objects
    /// ([`Mutator::fork`](crate::Mutator::fork)).
    fn can_fork(&self) -> bool {
        true
    }

    /// Whether it collects at all.
    fn can_collect(&self) -> bool {
        true
    }
}
