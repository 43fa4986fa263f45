//! Native references and finalizers of one thread, and what the model says of them after a collection.
//!
//! The model reaches objects in two steps, as a collection does. First from the roots, from soft references
//! that are set (whether they stay is the collector's choice), and from ephemerons whose keys are reached:
//! weak references to the rest are cleared. Then also from objects that wait for their finalizers: phantom
//! references and ephemerons to the rest are cleared, and the entries of dead owners are gone.
//!
//! The queues belong to the heap: only a thread that is alone registers finalizers and asks for notice.

use super::{Actor, Found};
use crate::TestVM;
use mmtk_core::weak::{FinalizerOrder, Reference, ReferenceKind, Terms};
use mmtk_core::{ObjectReference, References};
use proptest::prelude::*;
use reference::Ref;
use std::collections::HashSet;

/// A step with native references.
#[derive(Clone, Debug)]
pub(super) enum NativeOp {
    /// A reference, or an ephemeron without a value, to the object at a root, with another one as its owner.
    Create { kind: ReferenceKind, root: usize, owner: Option<usize>, notify: bool },
    /// A new value for an ephemeron.
    SetValue { which: usize, root: Option<usize> },
    /// The VM gives up a reference.
    Free { which: usize },
    /// The VM clears a reference.
    Clear { which: usize },
    /// A finalizer for the object at a root.
    Finalizer { root: usize, order: FinalizerOrder },
}

pub(super) fn native_op() -> impl Strategy<Value = NativeOp> {
    let any = || 0..64usize;
    let maybe = || proptest::option::of(any());
    let kind = prop_oneof![
        1 => Just(ReferenceKind::Soft),
        2 => Just(ReferenceKind::Weak),
        1 => Just(ReferenceKind::Phantom),
        3 => Just(ReferenceKind::Ephemeron),
    ];
    let order =
        prop_oneof![Just(FinalizerOrder::Any), Just(FinalizerOrder::ReferrersFirst), Just(FinalizerOrder::Topological)];
    prop_oneof![
        5 => (kind, any(), maybe(), proptest::bool::ANY).prop_map(|(kind, root, owner, notify)| {
            NativeOp::Create { kind, root, owner, notify }
        }),
        5 => (any(), maybe()).prop_map(|(which, root)| NativeOp::SetValue { which, root }),
        1 => any().prop_map(|which| NativeOp::Free { which }),
        1 => any().prop_map(|which| NativeOp::Clear { which }),
        3 => (any(), order).prop_map(|(root, order)| NativeOp::Finalizer { root, order }),
    ]
}

/// A native reference as the model knows it; nodes by their numbers.
struct Native {
    reference: Reference,
    target: Option<usize>,
    value: Option<usize>,
    owner: Option<usize>,
    notify: bool,
}

#[derive(Default)]
pub(super) struct Natives {
    references: Vec<Native>,
    /// Objects whose finalizers have not come, once for each.
    finalizers: Vec<(usize, FinalizerOrder)>,
}

fn object(at: Ref) -> ObjectReference {
    at.object().expect("not null")
}

fn place(object: ObjectReference) -> Ref {
    Ref(object.address().as_usize())
}

impl<VM: TestVM> Actor<'_, VM> {
    fn with_references<R>(&self, f: impl FnOnce(&References<'_, VM>) -> R) -> R {
        f(&self.m().mutator().references())
    }

    pub(super) fn perform_native(&mut self, op: &NativeOp) {
        let count = self.natives.references.len().max(1);
        match *op {
            NativeOp::Create { kind, root, owner, notify } => {
                let Some((target, at)) = self.object(root) else { return };
                let owner = owner.and_then(|root| self.object(root));
                let notify = notify && self.alone;
                let terms = Terms { owner: owner.map(|(_, at)| object(at)), notify };
                let made = self.with_references(|references| references.create(kind, object(at), terms));
                let reference = made.unwrap_or_else(|error| panic!("{error}"));
                let owner = owner.map(|(node, _)| node);
                self.natives.references.push(Native { reference, target: Some(target), value: None, owner, notify });
            }
            NativeOp::SetValue { which, root } => {
                let value = root.and_then(|root| self.object(root));
                let Some(native) = self.natives.references.get(which % count) else { return };
                let (reference, is_set) = (native.reference, native.target.is_some());
                if reference.kind() == ReferenceKind::Ephemeron {
                    let at = value.map(|(_, at)| object(at));
                    assert_eq!(self.with_references(|references| references.set_value(reference, at)), is_set);
                    self.natives.references[which % count].value = value.map(|(node, _)| node).filter(|_| is_set);
                }
            }
            NativeOp::Free { which } => {
                if which < self.natives.references.len() {
                    let native = self.natives.references.swap_remove(which);
                    self.with_references(|references| references.free(native.reference));
                }
            }
            NativeOp::Clear { which } => {
                let Some(native) = self.natives.references.get_mut(which % count) else { return };
                (native.target, native.value, native.notify) = (None, None, false);
                let reference = native.reference;
                self.with_references(|references| references.clear(reference));
            }
            NativeOp::Finalizer { root, order } => {
                let Some((node, at)) = self.object(root).filter(|_| self.alone) else { return };
                let made = self.with_references(|references| references.add_finalizer(object(at), order));
                made.unwrap_or_else(|error| panic!("{error}"));
                self.natives.finalizers.push((node, order));
            }
        }
    }

    /// The thread goes: whether a collection saw its roots before or after, nobody can tell.
    pub(super) fn give_up_natives(&mut self) {
        // Whatever the model knows is still there: there was no safepoint since the last check.
        for native in std::mem::take(&mut self.natives.references) {
            self.with_references(|references| references.free(native.reference));
        }
        while self.alone && self.with_references(|references| references.next_cleared()).is_some() {}
    }

    /// Adds what is reached through soft references and ephemerons.
    pub(super) fn reach_held(&self, found: &mut Found) {
        loop {
            let before = found.places.len();
            for native in &self.natives.references {
                let is_live = |node: Option<usize>| node.is_some_and(|node| found.places.contains_key(&node));
                let held = self.with_references(|references| match native.reference.kind() {
                    ReferenceKind::Soft if native.owner.is_none() || is_live(native.owner) => {
                        references.get(native.reference).map(|at| (native.target, at))
                    }
                    ReferenceKind::Ephemeron
                        if is_live(native.target) && (native.owner.is_none() || is_live(native.owner)) =>
                    {
                        let at = references.value(native.reference);
                        assert_eq!(at.is_some(), native.value.is_some(), "the value of an ephemeron with a live key");
                        at.map(|at| (native.value, at))
                    }
                    _ => None,
                });
                if let Some((node, at)) = held {
                    self.walk(vec![(node, place(at))], found);
                }
            }
            if found.places.len() == before {
                return;
            }
        }
    }

    /// Which nodes the model reaches from these, by references, ephemerons, and soft references that the
    /// collector did not clear.
    fn model_reaches(&self, mut from: Vec<usize>) -> HashSet<usize> {
        let mut reached = HashSet::new();
        while let Some(node) = from.pop() {
            if reached.insert(node) {
                from.extend(self.nodes[node].refs.iter().flatten());
            }
            if from.is_empty() {
                let is_in = |node: usize| reached.contains(&node);
                let held = self.natives.references.iter().filter_map(|native| match native.reference.kind() {
                    ReferenceKind::Soft => {
                        let target = native.target.filter(|_| native.owner.is_some_and(is_in))?;
                        self.with_references(|references| (!references.is_cleared(native.reference)).then_some(target))
                    }
                    ReferenceKind::Ephemeron => {
                        (is_in(native.target?) && native.owner.is_none_or(is_in)).then_some(native.value?)
                    }
                    ReferenceKind::Weak | ReferenceKind::Phantom => None,
                });
                from.extend(held.filter(|value| !is_in(*value)));
            }
        }
        reached
    }

    /// After a collection, which was a full one if `full`. `found` is what roots, soft references and
    /// ephemerons reach. Returns what is alive.
    pub(super) fn check_natives(&mut self, mut found: Found, full: bool) -> HashSet<usize> {
        let strong: HashSet<usize> = found.places.keys().copied().collect();
        let waiting: Vec<usize> =
            self.natives.finalizers.iter().map(|(n, _)| *n).filter(|n| !strong.contains(n)).collect();
        let alive = self.model_reaches(strong.iter().copied().chain(waiting).collect());
        self.check_finalizers(&strong, &mut found, full);
        let mut cleared: HashSet<Reference> = HashSet::new();
        for native in std::mem::take(&mut self.natives.references) {
            if native.owner.is_some_and(|owner| !alive.contains(&owner)) {
                continue;
            }
            let mut native = native;
            if let Some(target) = native.target {
                let is_cleared = self.with_references(|references| references.is_cleared(native.reference));
                let kind = native.reference.kind();
                let (in_strong, in_alive) = (strong.contains(&target), alive.contains(&target));
                // Soft references to what is between the two may be either.
                let (lives, may_live) = match kind {
                    ReferenceKind::Weak => (in_strong, in_strong),
                    ReferenceKind::Soft => (in_strong, in_alive),
                    ReferenceKind::Phantom | ReferenceKind::Ephemeron => (in_alive, in_alive),
                };
                assert!(!(is_cleared && lives), "a cleared reference to a live object: {:?}", native.reference);
                assert!(is_cleared || may_live || !full, "a reference to a dead object: {:?}", native.reference);
                if !is_cleared && kind != ReferenceKind::Phantom && found.places.contains_key(&target) {
                    let at = self.with_references(|references| references.get(native.reference)).map(place);
                    assert_eq!(at, Some(found.places[&target]), "the place of a target");
                }
                if is_cleared {
                    (native.target, native.value) = (None, None);
                    if native.notify {
                        cleared.insert(native.reference);
                    }
                }
            }
            self.natives.references.push(native);
        }
        let mut told = HashSet::new();
        while self.alone
            && let Some(reference) = self.with_references(|references| references.next_cleared())
        {
            assert!(told.insert(reference), "told twice of {reference:?}");
        }
        // Of entries that are gone by now nothing is known here.
        assert!(!full || cleared.is_subset(&told), "nobody was told of some of {cleared:?}");
        alive
    }

    /// Takes what is due from the queue.
    fn check_finalizers(&mut self, strong: &HashSet<usize>, found: &mut Found, full: bool) {
        while self.alone
            && let Some(object) = self.with_references(|references| references.next_finalizable())
        {
            let at = place(object);
            let id = self.m().read_word(at, reference::object::header(object).refs());
            let node = id as u32 as usize;
            assert!(!strong.contains(&node), "the finalizer of object {node}, which is alive");
            // Those that wait for nobody come first.
            let finalizers = &mut self.natives.finalizers;
            let of_order = |order| finalizers.iter().position(|known| *known == (node, order));
            let orders = [FinalizerOrder::Any, FinalizerOrder::Topological, FinalizerOrder::ReferrersFirst];
            let registered = orders.into_iter().find_map(of_order);
            finalizers.swap_remove(registered.expect("its finalizer comes once"));
            self.walk(vec![(Some(node), at)], found);
        }
        if full
            && let Some((node, _)) =
                self.natives.finalizers.iter().find(|(n, order)| *order == FinalizerOrder::Any && !strong.contains(n))
        {
            panic!("object {node} died, and its finalizer did not come");
        }
    }
}
