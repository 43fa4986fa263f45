//! The plan's tracer, which also watches for what waits: ephemerons wait for their keys and owners, objects
//! for finalizers.

use crate::address::{Address, ObjectReference};
use crate::binding::VMBinding;
use crate::memory::{Arena, List};
use crate::trace::{Policy, Traced};
use crate::weak::{ReferenceKind, key};
use crate::workers::Worker;
use protocols::conditions::{Conditions, KEY, OWNER};
use protocols::index::Index;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// An entry: its kind and number.
pub(super) type Numbered = (ReferenceKind, u32);

/// The plan's tracer, with an eye on keys that were not reached yet.
pub(super) struct Watching<'a, T> {
    pub plan: T,
    pub pending: &'a PendingKeys<'a>,
    pub aim: Aim<'a>,
}

/// What a trace is for.
#[derive(Copy, Clone)]
pub(super) enum Aim<'a> {
    /// To keep objects with all that they hold.
    Keep,
    /// To claim the objects that wait for ordered finalizers. Values of ephemerons stay in `Worker::held`,
    /// here and in the next.
    Claim,
    /// To keep what those refer to, and to find out which are referred to.
    Order(&'a Claimed<'a>),
}

impl<T: Copy> Clone for Watching<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Copy> Copy for Watching<'_, T> {}

/// What waits for keys and owners.
pub(super) struct PendingKeys<'a> {
    pub held: List<'a, Held>,
    /// Of the `n`th, `2 * n` is indexed under its key, and `2 * n + 1` under its owner, unless they were
    /// reached.
    pub index: Index<&'a Arena>,
}

/// An entry that waits.
pub(super) struct Held {
    pub numbered: Numbered,
    /// What it will keep.
    pub value: Option<ObjectReference>,
    pub key: Option<ObjectReference>,
    pub owner: Option<ObjectReference>,
    pub conditions: Conditions,
}

impl PendingKeys<'_> {
    /// Under which objects the `n`th is indexed.
    pub fn insert(&self, n: usize) {
        let Held { key: its_key, owner, .. } = self.held[n];
        its_key.into_iter().for_each(|object| self.index.insert(key(object), 2 * n));
        owner.into_iter().for_each(|object| self.index.insert(key(object), 2 * n + 1));
    }

    #[cold]
    fn reached(&self, object: ObjectReference, worker: &mut Worker) {
        for candidate in self.index.candidates(key(object)) {
            let held = &self.held[candidate / 2];
            let (awaited, condition) = if candidate.is_multiple_of(2) { (held.key, KEY) } else { (held.owner, OWNER) };
            if awaited == Some(object) && held.conditions.meet(condition) {
                worker.held.extend(held.value);
            }
        }
    }
}

impl<VM: VMBinding, T: Policy<VM>> Policy<VM> for Watching<'_, T> {
    type Item = T::Item;

    #[inline(always)]
    fn trace(&self, object: ObjectReference, worker: &mut Worker) -> Traced {
        let traced = self.plan.trace(object, worker);
        if !self.pending.index.is_empty() && !matches!(traced, Traced::Seen(_)) {
            self.pending.reached(object, worker);
        }
        if let Aim::Order(claimed) = self.aim {
            claimed.note(traced, worker);
        }
        traced
    }

    #[inline(always)]
    fn prefetch(&self, object: ObjectReference) {
        self.plan.prefetch(object);
    }

    fn resolve(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.plan.resolve(object)
    }

    fn find_object(&self, address: Address) -> Option<ObjectReference> {
        self.plan.find_object(address)
    }

    #[inline(always)]
    fn next_held(&self, worker: &mut Worker) -> Option<ObjectReference> {
        match self.aim {
            Aim::Keep => worker.held.pop(),
            Aim::Claim | Aim::Order(_) => None,
        }
    }
}

/// The objects that wait for ordered finalizers, after they were claimed.
pub(super) struct Claimed<'a> {
    /// By their places.
    pub index: Index<&'a Arena>,
    pub places: List<'a, ObjectReference>,
    /// Whether an object that was unreachable refers to it.
    pub referred: List<'a, AtomicBool>,
}

impl Claimed<'_> {
    /// What became of an object to which one of those refers that were unreachable. Any worker.
    pub fn note(&self, traced: Traced, worker: &mut Worker) {
        match traced {
            Traced::New(place) | Traced::NewLarge(place) => worker.noted.push(place),
            Traced::Seen(place) => {
                for n in self.index.candidates(key(place)).filter(|n| self.places[*n] == place) {
                    // Relaxed: read when the section is over.
                    self.referred[n].store(true, Relaxed);
                }
            }
        }
    }
}
