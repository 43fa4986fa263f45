//! What lies at an address: for conservative roots, debuggers, and programs in C that ask about their memory.
//!
//! Any address will do: inside an object, outside the heap, where memory was freed. The heap notes where each
//! object begins (`metadata::ObjectStarts`), and each space knows which of those have died
//! (`Space::find_object`). Only for bindings with [`VMBinding::OBJECT_STARTS`]; for others these functions do
//! not compile.
//!
//! I1. An answer to a mutator is true until its next safepoint: nothing is freed or moved before.

use super::{Heap, Mutator};
use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::cycle::Collector;
use crate::plan::Plan;
use std::borrow::Cow;

/// What lies at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it begins.
    pub object: ObjectReference,
    /// Its size in bytes.
    pub bytes: usize,
    /// The space it is in.
    pub space: &'static str,
    /// What the binding calls it ([`VMBinding::type_name`]).
    pub type_name: Cow<'static, str>,
    /// Whether it has survived a collection; in a plan that is not generational, whether it has survived the
    /// last one.
    pub is_old: bool,
}

/// How compiled code notes that an object begins at `address`: it sets bit `(address >> shift) & 7` of the
/// byte at `base + (address >> (shift + 3))` (wrapping). No other thread changes that byte at the same time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct StartParts {
    /// What is added to the shifted address.
    pub base: usize,
    /// The granule, as a power of two.
    pub shift: u32,
}

impl<VM: VMBinding> Collector<VM> {
    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        const { assert!(VM::OBJECT_STARTS, "objects are found by address only with VMBinding::OBJECT_STARTS") };
        find_in(self.plan(), address)
    }

    fn describe(&self, address: Address) -> Option<ObjectInfo> {
        let object = self.find_object(address)?;
        let space = self.plan().spaces().of(object)?;
        Some(ObjectInfo {
            object,
            bytes: self.vm().object_size(object),
            space: space.name(),
            type_name: self.vm().type_name(object),
            is_old: space.survived(object),
        })
    }
}

/// The object that lies at an address, by the tables of the space that it belongs to.
fn find_in<VM: VMBinding>(plan: &dyn Plan<VM>, address: Address) -> Option<ObjectReference> {
    plan.spaces().find_object(address)
}

impl<VM: VMBinding> Mutator<VM> {
    /// The object that lies at `address`, which may be anywhere inside it; `None` if there is no object, or
    /// if it is not of this heap. Objects that the last collection found dead are not found. New objects are
    /// found whether or not anything refers to them: by their own thread as soon as they are allocated, by
    /// another thread once it has learned of them. Not a safepoint; the answer holds until the next one.
    ///
    /// This may call [`VMBinding::object_size`] for an object that another thread has just allocated, and
    /// whose memory still reads as zero.
    ///
    /// # Panics
    /// In a native region of this mutator.
    pub fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.check_running();
        self.heap().find_object(address).inspect(|object| self.keep(*object))
    }

    /// Whether an object begins at `address`. As [`Mutator::find_object`].
    pub fn is_object(&self, address: Address) -> bool {
        self.find_object(address).is_some_and(|object| object.address() == address)
    }

    /// All that is known of the object at `address`. As [`Mutator::find_object`].
    pub fn describe(&self, address: Address) -> Option<ObjectInfo> {
        self.check_running();
        self.heap().describe(address).inspect(|found| self.keep(found.object))
    }

    /// Visits every object of the heap: those that `find_object` would find. Objects that became unreachable
    /// since the last collection are among them; collect first to leave these out. A safepoint. The other
    /// threads stand still while `visit` is called; `visit` must neither allocate in this heap nor come to a
    /// safepoint. If it unwinds, the heap is as after a panic in a pause. For an object that the program is
    /// to use afterwards, and did not know, `visit` calls [`Mutator::keep`].
    ///
    /// # Panics
    /// In a native region of this mutator.
    pub fn for_each_object(&self, mut visit: impl FnMut(ObjectReference)) {
        const { assert!(VM::OBJECT_STARTS, "objects are found by address only with VMBinding::OBJECT_STARTS") };
        self.check_running();
        self.while_stopped(|plan| plan.spaces().iter().for_each(|space| space.for_each_object(&mut visit)));
    }

    /// How compiled code notes where an object begins.
    pub fn start_parts(&self) -> StartParts {
        const { assert!(VM::OBJECT_STARTS, "starts are noted only with VMBinding::OBJECT_STARTS") };
        StartParts { base: self.states().starts().biased_base().as_usize(), shift: VM::LOG_GRANULE }
    }
}

impl<VM: VMBinding> Heap<VM> {
    /// As [`Mutator::find_object`], for a thread that is not a mutator.
    ///
    /// # Safety
    /// No collection runs during the call, nor as long as the answer is used: nothing else keeps the object
    /// that is found in place.
    pub unsafe fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.inner().find_object(address)
    }
}
