//! What the verifier's walk through the graph knows.

use super::history::{History, Survivor};
use super::slots::Slots;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::events::CollectionKind;
use crate::memory::Extent;
use crate::metadata::ObjectStates;
use crate::space::Spaces;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;

/// Where a reference was found.
#[derive(Copy, Clone)]
pub(super) enum From<S> {
    Root(S),
    Object(ObjectReference, S),
    /// An ambiguous word of an object.
    Word(ObjectReference),
    /// An entry of the heap's own tables.
    Entry(&'static str),
}

/// An object that the walk has reached.
pub(super) struct Seen<S> {
    pub bytes: usize,
    /// Where it was found first.
    pub from: From<S>,
}

/// A walk through the graph.
pub(super) struct Walk<'a, VM: VMBinding> {
    pub vm: &'a VM,
    pub spaces: Spaces<'a>,
    /// All addresses of the heap.
    pub heap: Extent,
    pub states: &'a ObjectStates<VM>,
    pub phase: &'static str,
    pub kind: CollectionKind,
    /// What is known of the objects before the collection.
    pub history: &'a History,
    pub before: bool,
    /// The epoch of the marking that this pause ends.
    pub claimed: Option<u8>,
    /// Looked up for each reference, so hashing must be quick.
    pub seen: HashMap<ObjectReference, Seen<VM::Slot>, FxBuildHasher>,
    /// After the collection: what was seen, in the order of the walk.
    pub found: Vec<Survivor>,
    pub slots: Slots<VM::Slot>,
}

impl<VM: VMBinding> Walk<'_, VM> {
    /// Whether the object lies in no space of the heap.
    pub fn is_outside(&self, object: ObjectReference) -> bool {
        self.spaces.of(object).is_none()
    }
}
