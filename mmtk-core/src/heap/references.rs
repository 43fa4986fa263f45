//! What a mutator does with native references and finalizers.

use super::Mutator;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::error::OutOfMemory;
use crate::weak::{
    Finalizer, FinalizerOrder, NOTIFY, REFERRERS_FIRST, Reference, ReferenceKind, TOPOLOGICAL, Table, Terms, WeakTables,
};
use std::sync::atomic::Ordering::Relaxed;

/// The native references of a heap, as a running mutator sees them. Nothing here is a safepoint.
///
/// A function that makes an entry fails with [`OutOfMemory`] if the limit leaves no room for the table to
/// grow. It does not collect, because the caller's references would become stale. Inside
/// [`Mutator::or_collect`] it is called again after each collection that an allocation would make.
pub struct References<'m, VM: VMBinding> {
    mutator: &'m Mutator<VM>,
}

impl<VM: VMBinding> Mutator<VM> {
    /// Native references, finalizers and identity hashes.
    ///
    /// # Panics
    /// In a native region of this mutator.
    #[inline]
    pub fn references(&self) -> References<'_, VM> {
        self.check_running();
        References { mutator: self }
    }
}

impl<VM: VMBinding> References<'_, VM> {
    /// Each call checks that the mutator runs: it may have entered a native region since this handle was
    /// made.
    #[inline(always)]
    fn tables(&self) -> &WeakTables {
        self.mutator.weak_tables()
    }

    #[inline(always)]
    fn of(&self, kind: ReferenceKind) -> &Table {
        self.tables().of(kind)
    }

    /// A soft, weak or phantom reference to `target`, or an ephemeron with this key and no value.
    ///
    /// # Errors
    /// Out of memory: see [`References`].
    pub fn create(&self, kind: ReferenceKind, target: ObjectReference, terms: Terms) -> Result<Reference, OutOfMemory> {
        let flags = if terms.notify { NOTIFY } else { 0 };
        let table = self.of(kind);
        let memory = self.mutator.memory();
        let handle = self.mutator.or_sweep(|| table.create(memory, target, terms.owner, flags))?;
        if kind == ReferenceKind::Soft {
            table.in_use(handle).use_now(self.tables().fulls.load(Relaxed));
        }
        Ok(Reference { kind, handle })
    }

    /// An ephemeron.
    ///
    /// # Errors
    /// Out of memory: see [`References`].
    pub fn create_ephemeron(
        &self,
        key: ObjectReference,
        value: Option<ObjectReference>,
        terms: Terms,
    ) -> Result<Reference, OutOfMemory> {
        let ephemeron = self.create(ReferenceKind::Ephemeron, key, terms)?;
        self.of(ReferenceKind::Ephemeron).in_use(ephemeron.handle).set_value(value);
        Ok(ephemeron)
    }

    /// The target, or the key of an ephemeron; `None` once it is cleared, and always for a phantom reference.
    /// Like all references to objects, the result is stale after the next safepoint.
    #[inline]
    pub fn get(&self, reference: Reference) -> Option<ObjectReference> {
        let entry = self.of(reference.kind).in_use(reference.handle);
        let target = entry.target().filter(|_| reference.kind != ReferenceKind::Phantom)?;
        if reference.kind == ReferenceKind::Soft {
            entry.use_now(self.tables().fulls.load(Relaxed));
        }
        self.mutator.keep(target);
        Some(target)
    }

    /// Whether it has no target any more: it was cleared, by a collection or by the VM.
    pub fn is_cleared(&self, reference: Reference) -> bool {
        self.of(reference.kind).in_use(reference.handle).target().is_none()
    }

    /// The value of an ephemeron, unless it is cleared or has none.
    ///
    /// # Panics
    /// When it is no ephemeron.
    pub fn value(&self, ephemeron: Reference) -> Option<ObjectReference> {
        let entry = self.of(Self::check_ephemeron(ephemeron)).in_use(ephemeron.handle);
        let value = entry.target().and(entry.value())?;
        self.mutator.keep(value);
        Some(value)
    }

    /// Changes the value of an ephemeron; false if it is cleared. No write barrier is needed.
    ///
    /// # Panics
    /// When it is no ephemeron.
    pub fn set_value(&self, ephemeron: Reference, value: Option<ObjectReference>) -> bool {
        self.of(Self::check_ephemeron(ephemeron)).set_value(ephemeron.handle, value)
    }

    fn check_ephemeron(reference: Reference) -> ReferenceKind {
        assert_eq!(reference.kind, ReferenceKind::Ephemeron, "only ephemerons have a value");
        reference.kind
    }

    /// Clears it, as a collection would, but without a notice.
    pub fn clear(&self, reference: Reference) {
        self.of(reference.kind).clear(reference.handle);
    }

    /// Gives it up. Its number may be used for another one.
    pub fn free(&self, reference: Reference) {
        self.of(reference.kind).free(reference.handle);
    }

    /// The owner of a reference.
    pub fn owner(&self, reference: Reference) -> Option<ObjectReference> {
        let owner = self.of(reference.kind).in_use(reference.handle).owner()?;
        self.mutator.keep(owner);
        Some(owner)
    }

    /// The next reference that a collection cleared and whose [`Terms`] ask for notice. Each is returned
    /// once, to one thread. References of one kind come in the order in which they were cleared.
    pub fn next_cleared(&self) -> Option<Reference> {
        let next = |kind| Some(Reference { kind, handle: self.of(kind).next_queued(false)?.0 });
        ReferenceKind::ALL.into_iter().find_map(next)
    }

    /// Registers a finalizer: when `object` is not reachable any more, it is kept alive and
    /// [`References::next_finalizable`] returns it. One registration returns the object once; an object may
    /// have several.
    ///
    /// # Errors
    /// Out of memory: see [`References`].
    pub fn add_finalizer(&self, object: ObjectReference, order: FinalizerOrder) -> Result<Finalizer, OutOfMemory> {
        let (finalizers, memory) = (&self.tables().finalizers, self.mutator.memory());
        let handle = self.mutator.or_sweep(|| finalizers.create(memory, object, None, 0))?;
        let bits = match order {
            FinalizerOrder::Any => 0,
            FinalizerOrder::ReferrersFirst => REFERRERS_FIRST,
            FinalizerOrder::Topological => TOPOLOGICAL,
        };
        self.tables().finalizers.in_use(handle).set_bits(bits);
        Ok(Finalizer(handle))
    }

    /// Withdraws a finalizer that was not returned yet.
    pub fn cancel_finalizer(&self, finalizer: Finalizer) {
        self.tables().finalizers.free(finalizer.0);
    }

    /// The next object whose finalizer is due. Each is returned once, to one thread. It is an object like any
    /// other then: it lives as long as it is reachable, and may be registered again.
    pub fn next_finalizable(&self) -> Option<ObjectReference> {
        self.tables().finalizers.next_queued(true)?.1
    }

    /// How many entries wait in the two queues. Finalizers that were withdrawn count until their turn comes.
    pub fn waiting(&self) -> usize {
        let cleared: usize = self.tables().references.iter().map(|table| table.queued()).sum();
        cleared + self.tables().finalizers.queued()
    }

    /// A number that stays the same as long as the object lives, wherever it moves: equal for equal objects,
    /// and hardly ever for two that live at the same time. It comes from the address where objects do not
    /// move; otherwise a table remembers it.
    ///
    /// # Errors
    /// Out of memory: see [`References`].
    pub fn identity_hash(&self, object: ObjectReference) -> Result<u64, OutOfMemory> {
        if self.mutator.moving(object).is_none() {
            return Ok(crate::weak::mix(object.address().as_usize() as u64));
        }
        self.mutator.or_sweep(|| self.tables().addresses.identity_hash(object))
    }
}
