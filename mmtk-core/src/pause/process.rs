//! The steps in which native references are processed. `weak` has their order.
//!
//! I1. An entry is looked at by one worker a step.
//! I2. The index holds each key and owner that was not reached when it was filled, so a value is followed
//!     when the last of these is reached.
//! I3. A step that clears begins when nothing is being traced: objects that are not reached then stay
//!     unreached until the next step that keeps objects alive.

use super::Pause;
use super::watching::{Aim, Held, Numbered, PendingKeys, Watching};
use crate::address::ObjectReference;
use crate::binding::{VMBinding, WeakProcessor};
use crate::events::CollectionKind;
use crate::memory::{Arena, List};
use crate::trace::{Policy, Tracing};
use crate::weak::{Entries, Entry, NOTIFY, ReferenceKind, Sift, Softness, Table, WeakTables, key};
use crate::workers::Worker;
use protocols::conditions::{Conditions, KEY, OWNER};
use protocols::index::Index;
use protocols::sync::Mutex;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// How many entries ahead objects are brought near.
const AHEAD: usize = 16;

/// What one worker found.
pub(super) struct Found<'a> {
    /// Ephemerons whose keys are live and whose values were not reached, and soft references that are to
    /// stay.
    ready: List<'a, Numbered>,
    /// The same, but the key or the owner was not reached.
    held: List<'a, Held>,
    /// Entries whose owners were not reached when the entry was looked at.
    orphans: List<'a, Numbered>,
    /// Entries that were cleared, and whose makers want to know.
    cleared: List<'a, Numbered>,
    /// Entries whose targets were not reached.
    pub(super) dead: List<'a, u32>,
    /// Entries whose targets moved, and the addresses they had.
    moved: List<'a, (u32, usize)>,
}

impl<'a> Found<'a> {
    fn new(arena: &'a Arena) -> Found<'a> {
        Found {
            ready: arena.list(),
            held: arena.list(),
            orphans: arena.list(),
            cleared: arena.list(),
            dead: arena.list(),
            moved: arena.list(),
        }
    }

    /// An entry waits for its key, its owner or both.
    fn hold(
        &mut self,
        numbered: Numbered,
        key: Option<ObjectReference>,
        owner: Option<ObjectReference>,
        value: Option<ObjectReference>,
    ) {
        let met = |awaited: Option<_>, condition| if awaited.is_none() { condition } else { 0 };
        let conditions = Conditions::new(met(key, KEY) | met(owner, OWNER));
        self.held.push(Held { numbered, value, key, owner, conditions });
    }
}

/// The steps, and what they share.
pub(super) struct Process<'p, 'a, VM: VMBinding, T> {
    pub(super) pause: &'p mut Pause<'a, VM>,
    pub(super) tracer: T,
    /// What the step in progress is called in the report of the pause.
    pub phase: &'static str,
    pub(super) tables: &'a WeakTables,
    pending: PendingKeys<'a>,
    /// One a worker.
    found: List<'a, Mutex<Found<'a>>>,
    /// Old objects that the binding knows to be dead.
    pub released: Mutex<List<'a, ObjectReference>>,
    /// What a sift has left, where the pause ends a marking beside mutators.
    pub sift: Option<Sift>,
    /// Entries that were looked at, each as often as it was.
    pub looked_at: usize,
}

impl<'a, VM: VMBinding, T: Policy<VM>> Process<'_, 'a, VM, T> {
    pub fn new<'p>(pause: &'p mut Pause<'a, VM>, tracer: T, tables: &'a WeakTables) -> Process<'p, 'a, VM, T> {
        let arena = pause.arena;
        let found = arena.collect((0..pause.gang.size()).map(|_| Mutex::new(Found::new(arena))));
        let pending = PendingKeys { held: arena.list(), index: Index::new_in(0, arena) };
        let released = Mutex::new(arena.list());
        let sift = pause.marking.as_mut().and_then(|marking| marking.sift.take());
        Process { pause, tracer, phase: "weak", tables, pending, found, released, sift, looked_at: 0 }
    }

    /// Workers share the entries of a table that this collection looks at. The objects that they refer to are
    /// brought near ahead, values too if there are any.
    pub(super) fn each(&mut self, table: &Table, values: bool, f: impl Fn(&mut Found<'_>, u32, &Entry) + Sync) {
        let (tracer, found) = (self.tracer, &self.found);
        let scan = match &self.sift {
            Some(sift) => table.scan_left(sift.left_of(table, self.tables)),
            None => table.scan(self.pause.kind(), self.pause.arena),
        };
        self.looked_at += scan.entries;
        if scan.entries == 0 {
            return;
        }
        self.pause.parallel(self.phase, scan.entries, |worker, range: Range<usize>| {
            let mut found = found[worker.index].lock();
            let prefetch = |position: usize| {
                if position < range.end
                    && let Some((_, entry)) = scan.at(position)
                {
                    entry.target().into_iter().for_each(|object| tracer.prefetch(object));
                    if values {
                        entry.value().into_iter().for_each(|object| tracer.prefetch(object));
                    }
                }
            };
            (range.start..range.start + AHEAD).for_each(prefetch);
            for position in range.clone() {
                prefetch(position + AHEAD);
                if let Some((number, entry)) = scan.at(position) {
                    f(&mut found, number, entry);
                }
            }
        });
    }

    /// Takes what all workers found of something.
    pub(super) fn take<R>(&mut self, what: impl for<'f> Fn(&'f mut Found<'a>) -> &'f mut List<'a, R>) -> List<'a, R> {
        let mut all = self.pause.arena.list();
        for found in &mut self.found {
            all.append(what(found.get_mut()));
        }
        all
    }

    /// A trace that begins with what `f` does with `count` numbered things. The object of each, which `near`
    /// names, is brought near ahead.
    pub(super) fn keep(
        &mut self,
        aim: Aim<'_>,
        count: usize,
        near: impl Fn(usize) -> Option<ObjectReference> + Sync,
        f: impl Fn(&mut Tracing<'_, VM, Watching<'_, T>>, usize, &mut Worker) + Sync,
    ) {
        if count == 0 {
            return;
        }
        let tracer = Watching { plan: self.tracer, pending: &self.pending, aim };
        self.pause.trace_from(self.phase, tracer, count, |tracing, range, worker| {
            let prefetch = |n: usize| {
                if n < range.end {
                    near(n).into_iter().for_each(|object| tracer.plan.prefetch(object));
                }
            };
            (range.start..range.start + AHEAD).for_each(prefetch);
            for n in range.clone() {
                prefetch(n + AHEAD);
                f(tracing, n, worker);
            }
        });
    }

    /// Lets the binding look at what is live, and keep more; again as long as `f` says so.
    pub fn binding(&mut self, f: impl Fn(&VM, &mut dyn WeakProcessor) -> bool + Sync) {
        let tracer = Watching { plan: self.tracer, pending: &self.pending, aim: Aim::Keep };
        let released = &self.released;
        self.pause.trace_alone(self.phase, tracer, |vm, tracing, worker| {
            let mut weak = Weak { tracer, tracing, worker, released };
            while f(vm, &mut weak) {}
        });
    }

    /// An owner's part in the fate of an entry that is not queued: who is queued keeps it.
    fn look_at_owner(tracer: &T, found: &mut Found<'_>, entry: &Entry, numbered: Numbered) {
        if let Some(owner) = entry.owner()
            && !entry.is_queued()
        {
            match tracer.resolve(owner) {
                Some(place) => entry.set_owner(Some(place)),
                None => found.orphans.push(numbered),
            }
        }
    }

    fn clear_entry(found: &mut Found<'_>, entry: &Entry, numbered: Numbered) {
        entry.set_target(None);
        entry.set_value(None);
        if entry.has(NOTIFY) {
            found.cleared.push(numbered);
        }
    }

    /// Whether soft references stay in this collection: not when memory is short, and not those that were
    /// long out of use.
    fn soft_stays(&self) -> impl Fn(&Entry) -> bool + Sync + use<VM, T> {
        let (emergency, minor) = (self.pause.is_emergency(), self.pause.kind() == CollectionKind::Minor);
        let softness = Softness::new(self.tables.fulls.load(Relaxed), self.pause.options().soft_collections);
        move |entry| !emergency && (minor || softness.stays(entry))
    }

    /// Step 1: what depends on live keys is brought up to date, or is ready to be kept; what does not waits
    /// in the index.
    pub fn find_ephemerons(&mut self) {
        let (tracer, stays) = (self.tracer, self.soft_stays());
        // The object, unless it was reached or there is none.
        let awaited = |object: Option<ObjectReference>| object.filter(|object| tracer.resolve(*object).is_none());
        self.each(self.tables.of(ReferenceKind::Soft), false, |found, number, entry| {
            let numbered = (ReferenceKind::Soft, number);
            let Some(target) = entry.target().filter(|_| stays(entry)) else { return };
            match awaited(entry.owner()) {
                Some(owner) => found.hold(numbered, None, Some(owner), Some(target)),
                None if tracer.resolve(target).is_none() => found.ready.push(numbered),
                None => (),
            }
        });
        self.each(self.tables.of(ReferenceKind::Ephemeron), true, |found, number, entry| {
            let numbered = (ReferenceKind::Ephemeron, number);
            Self::look_at_owner(&tracer, found, entry, numbered);
            let Some(key) = entry.target() else { return };
            let (waits_for, owner) = (awaited(Some(key)), awaited(entry.owner()));
            if waits_for.is_some() || owner.is_some() {
                return found.hold(numbered, waits_for, owner, entry.value());
            }
            entry.set_target(tracer.resolve(key));
            match entry.value().map(|value| tracer.resolve(value)) {
                Some(None) => found.ready.push(numbered),
                Some(value) => entry.set_value(value),
                None => (),
            }
        });
        self.pending.held = self.take(|found| &mut found.held);
        self.pending.index = Index::new_in(2 * self.pending.held.len(), self.pause.arena);
        let pending = &self.pending;
        self.pause.parallel(self.phase, pending.held.len(), |_, range| range.for_each(|n| pending.insert(n)));
    }

    pub fn keep_soft_and_values(&mut self) {
        let (ready, tables) = (self.take(|found| &mut found.ready), self.tables);
        let entry = |n: usize| (ready[n].0, tables.of(ready[n].0).any(ready[n].1 as usize));
        let object = |n: usize| match entry(n) {
            (ReferenceKind::Soft, entry) => entry.target(),
            (_, entry) => entry.value(),
        };
        self.keep(Aim::Keep, ready.len(), object, |tracing, n, worker| {
            let place = object(n).map(|object| tracing.keep(object, worker));
            match entry(n) {
                (ReferenceKind::Soft, entry) => entry.set_target(place),
                (_, entry) => entry.set_value(place),
            }
        });
    }

    /// Steps 2 and 5: clears what refers to objects that were not reached.
    pub fn clear(&mut self, kind: ReferenceKind) {
        let (tracer, stays) = (self.tracer, self.soft_stays());
        self.each(self.tables.of(kind), false, |found, number, entry| {
            Self::look_at_owner(&tracer, found, entry, (kind, number));
            let Some(target) = entry.target() else { return };
            match tracer.resolve(target) {
                Some(place) => entry.set_target(Some(place)),
                // Its owner was not reached, and may be yet.
                None if kind == ReferenceKind::Soft && stays(entry) => (),
                None => Self::clear_entry(found, entry, (kind, number)),
            }
        });
    }

    /// Step 5: what waited for a key has it now, or never will.
    pub fn settle_ephemerons(&mut self) {
        let (tracer, pending, tables, found) = (self.tracer, &self.pending, self.tables, &self.found);
        self.pause.parallel(self.phase, pending.held.len(), |worker, range| {
            let mut found = found[worker.index].lock();
            for held in &pending.held[range] {
                let entry = tables.of(held.numbered.0).any(held.numbered.1 as usize);
                let place = |object: Option<ObjectReference>| object.and_then(|object| tracer.resolve(object));
                // A value that was not kept dies with its entry, whose owner is dead.
                match (held.numbered.0, place(entry.target())) {
                    (_, None) => Self::clear_entry(&mut found, entry, held.numbered),
                    (ReferenceKind::Ephemeron, key) => {
                        entry.set_target(key);
                        entry.set_value(place(held.value));
                    }
                    (_, target) => entry.set_target(target),
                }
            }
        });
    }

    pub fn free_orphans_and_notify(&mut self) {
        let (orphans, mut cleared) = (self.take(|found| &mut found.orphans), self.take(|found| &mut found.cleared));
        let by_kind = |kind| move |(k, number): &Numbered| (*k == kind).then_some(*number);
        for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
            let table = self.tables.of(kind);
            let tracer = self.tracer;
            let died = |number: &u32| {
                let entry = table.any(*number as usize);
                let place = entry.owner().and_then(|owner| tracer.resolve(owner));
                place.into_iter().for_each(|place| entry.set_owner(Some(place)));
                place.is_none()
            };
            table.free_all(orphans.iter().filter_map(by_kind(kind)).filter(died));
        }
        // As they stand in the table; workers found them in any order.
        cleared.sort_unstable_by_key(|(_, number)| *number);
        for kind in [ReferenceKind::Soft, ReferenceKind::Weak, ReferenceKind::Phantom, ReferenceKind::Ephemeron] {
            let table = self.tables.of(kind);
            let there = |number: &u32| !table.any(*number as usize).is_free();
            table.enqueue(cleared.iter().filter_map(by_kind(kind)).filter(there));
        }
    }

    /// Tables keyed by objects: dead keys go, moved ones are found under their new addresses.
    pub fn address_tables(&mut self) {
        for entries in self.tables.addresses.in_use(self.pause.arena) {
            let (tracer, table) = (self.tracer, &entries.table);
            self.each(table, false, |found, number, entry| {
                let Some(target) = entry.target() else { return };
                match tracer.resolve(target) {
                    Some(place) if place == target => (),
                    Some(place) => {
                        entry.set_target(Some(place));
                        found.moved.push((number, key(target)));
                    }
                    None => found.dead.push(number),
                }
            });
            let (dead, moved) = (self.take(|found| &mut found.dead), self.take(|found| &mut found.moved));
            let is_full = self.pause.kind() == CollectionKind::Full;
            let shrinks = is_full && table.is_sparse_without(dead.len());
            if shrinks {
                table.free_all(dead.into_iter());
            } else {
                entries.forget(&dead);
                self.find_again(&entries, &moved);
            }
            table.forget_young();
            if shrinks {
                entries.shrink();
                self.pause.index_again(&entries, self.phase);
            } else if is_full {
                table.forget_young_of_empty();
            }
        }
    }

    fn find_again(&mut self, entries: &Entries, moved: &[(u32, usize)]) {
        let table = &entries.table;
        let target = |number: u32| table.any(number as usize).target();
        // Taking one out of its chain costs about twice what putting one in does.
        if moved.len() * 3 < table.in_use_now() {
            let index = entries.index.read();
            for (number, before) in moved {
                index.remove(*before, *number as usize);
                index.insert(key(target(*number).expect("it moved")), *number as usize);
            }
            return;
        }
        entries.index.write().clear();
        self.pause.index_again(entries, self.phase);
    }
}

struct Weak<'t, 'a, 'b, 'r, VM: VMBinding, T: Policy<VM>> {
    tracer: Watching<'t, T>,
    tracing: &'b mut Tracing<'a, VM, Watching<'t, T>>,
    worker: &'b mut Worker,
    released: &'b Mutex<List<'r, ObjectReference>>,
}

impl<VM: VMBinding, T: Policy<VM>> WeakProcessor for Weak<'_, '_, '_, '_, VM, T> {
    fn live(&self, object: ObjectReference) -> Option<ObjectReference> {
        self.tracer.resolve(object)
    }
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference {
        self.tracing.keep_alive(object, self.worker)
    }
    fn release(&mut self, object: ObjectReference) {
        self.released.lock().push(object);
    }
}
