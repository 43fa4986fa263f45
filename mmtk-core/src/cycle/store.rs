//! The store of a heap: its memory, and what is kept of the objects in it beside what spaces keep.
//!
//! Callers: any thread, by the rules of each part.

use crate::address::{Address, ObjectReference};
use crate::alloc::Leftovers;
use crate::binding::VMBinding;
use crate::memory::{Extent, Memory};
use crate::metadata::{Ages, ArrayParts, ObjectStates};
use crate::pause::{Moving, VmSpace};
use crate::space::{Space, Spaces};
use crate::weak::WeakTables;
use std::sync::Arc;

/// The store of one heap.
pub(crate) struct Store<VM: VMBinding> {
    memory: Arc<Memory>,
    states: ObjectStates<VM>,
    /// Which arrays the barrier remembers in parts.
    parts: ArrayParts,
    /// Where objects may move.
    moving: Box<[Moving]>,
    /// Where mutators note the starts of objects.
    starts_in: Box<[Extent]>,
    vm_space: VmSpace,
    weak: Arc<WeakTables>,
    leftovers: Arc<Leftovers>,
}

impl<VM: VMBinding> Store<VM> {
    /// Of a heap with these spaces.
    pub fn new(
        memory: Arc<Memory>,
        states: ObjectStates<VM>,
        parts: ArrayParts,
        spaces: &Spaces<'_>,
        ages: Ages,
    ) -> Store<VM> {
        let moves = |space: &dyn Space| Moving { extent: space.extent(), name: space.name(), pins: space.pins() };
        Store {
            moving: spaces.iter().filter(|space| space.moves()).map(moves).collect(),
            starts_in: spaces.iter().filter(|space| space.keeps_starts()).map(|space| space.extent()).collect(),
            vm_space: VmSpace::default(),
            weak: Arc::new(WeakTables::new(ages.has_old(), &memory)),
            leftovers: Arc::default(),
            memory,
            states,
            parts: if ages.has_old() { parts } else { ArrayParts::default() },
        }
    }

    /// Address space, tables, budget, arena.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// State bytes and starts of objects.
    pub fn states(&self) -> &ObjectStates<VM> {
        &self.states
    }

    /// Which arrays the barrier remembers in parts, and which of their parts it has noted.
    pub fn parts(&self) -> &ArrayParts {
        &self.parts
    }

    /// The spaces whose objects may move.
    pub fn moving(&self) -> &[Moving] {
        &self.moving
    }

    /// The space of an object that may move.
    pub fn moving_space(&self, object: ObjectReference) -> Option<&Moving> {
        self.moving.iter().find(|space| space.extent.holds(object))
    }

    /// Objects outside the heap.
    pub fn vm_space(&self) -> &VmSpace {
        &self.vm_space
    }

    /// Native references, finalizers, tables keyed by objects.
    #[inline(always)]
    pub fn weak(&self) -> &Arc<WeakTables> {
        &self.weak
    }

    /// What threads that detached had not used of their ranges.
    pub fn leftovers(&self) -> &Arc<Leftovers> {
        &self.leftovers
    }

    /// An object was allocated at `address`, in whatever space.
    pub fn note_start(&self, address: Address) {
        if VM::OBJECT_STARTS && self.starts_in.iter().any(|extent| extent.contains(address)) {
            self.states.starts().set_shared(address);
        }
    }
}
