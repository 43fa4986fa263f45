//! The sift: a look through the tables while the heap is marked, so that the pause that ends the marking has
//! few entries to look at.
//!
//! When the marking finds nothing more to follow, nearly all that lives is marked. An entry is *settled* if
//! all that it refers to is marked: the pause would find nothing to do for it. The sift takes a look at each
//! entry, and notes the others. The pause processes these alone, in its own steps and in its own order
//! (`pause/process`); nothing is cleared before.
//!
//! 1. The first pass looks at all entries that were there when the marking began.
//! 2. A soft reference that is to stay makes its target grey, and an ephemeron whose key is marked its value.
//!    The marking follows these before the next pass.
//! 3. Further passes look at soft references and ephemerons that are not settled: what has been followed may
//!    have led to their owners and keys. The passes end when one has made nothing grey, or after
//!    `MOST_PASSES`. A long chain of ephemerons is left to the pause, which needs one pass for it.
//!
//! I1. What is marked stays so, and nothing moves, until the marking ends.
//! I2. A mutator may make an entry meanwhile, or change one. From then on it holds what the entry refers to.
//!     What a mutator holds is new, or will be marked by the end (`trace/snapshot`, and `keep` for references
//!     that came from nowhere). So such an entry is settled at the end, whenever the sift saw it, and also if
//!     its number belonged to another entry before.
//! I3. One thread has the sift at a time, and none in a pause (`protocols::shared_work`). So no chunk of a
//!     table goes meanwhile (`chunks`, I2).
//! I4. An entry is read with its table's lock held: an entry that leaves the queue, say, is seen before or
//!     after that.
//! I5. A pause may come between any two entries. Those that the sift has not come to are left to the pause.
//! Callers: any thread that marks, when no object is grey; a leader begins it, and takes what is left.
//! Source: the precleaning of discovered references in HotSpot's collectors,
//! `preclean_discovered_references`.

use super::address_table::Entries;
use super::kinds::ReferenceKind;
use super::table::{Entry, Table};
use super::tables::WeakTables;
use crate::address::ObjectReference;
use crate::binding::VMBinding;
use crate::memory::Arena;
use crate::os::{PageVec, Pages};
use crate::trace::{GreyPackets, PACKET, SnapshotTracer};
use protocols::shared_work::SharedWork;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The sift of a heap, for the thread that takes it.
pub(crate) type SharedSift = SharedWork<Sift, Pages>;

/// In fewer entries a pause looks itself: this takes it no longer than to stop all threads.
const FEW: usize = 4096;
/// Passes over ephemerons at most.
const MOST_PASSES: u32 = 4;
/// Entries for which the table's lock is held: some microseconds.
const BITE: usize = 64;

/// The table of a part.
enum Of {
    References(ReferenceKind),
    Finalizers,
    ByObject(Arc<Entries>),
}

impl Of {
    fn table<'a>(&'a self, tables: &'a WeakTables) -> &'a Table {
        match self {
            Of::References(kind) => tables.of(*kind),
            Of::Finalizers => &tables.finalizers,
            Of::ByObject(entries) => &entries.table,
        }
    }

    /// Whether its entries keep something.
    fn keeps(&self) -> bool {
        matches!(self, Of::References(ReferenceKind::Soft | ReferenceKind::Ephemeron))
    }
}

/// The sift of one table.
struct Part {
    of: Of,
    /// Numbers of the first pass that nobody has looked at.
    rest: Range<u32>,
    /// The same of the pass in progress, if it is a further one.
    again: PageVec<u32>,
    /// Entries that were not settled.
    unsettled: PageVec<u32>,
}

impl Part {
    fn new(of: Of, tables: &WeakTables) -> Part {
        let numbers = of.table(tables).numbers() as u32;
        Part { of, rest: 0..numbers, again: PageVec::new(), unsettled: PageVec::new() }
    }

    /// The numbers of the next few entries, `most` at most.
    fn take(&mut self, most: usize, numbers: &mut [u32; BITE]) -> usize {
        let again = std::iter::from_fn(|| self.again.pop().or_else(|| self.rest.next()));
        numbers.iter_mut().zip(again.take(most)).map(|(number, next)| *number = next).count()
    }
}

/// What is left of the tables for the pause that ends the marking: what is not settled of those entries that
/// the sift has looked at, and the rest.
pub(crate) struct Sift {
    parts: PageVec<Part>,
    /// The part in progress; behind the last one when the sift is over.
    at: usize,
    passes: u32,
    /// Objects that the pass in progress has made grey.
    kept: usize,
    softness: Softness,
    looked_at: usize,
}

/// Which soft references stay, as far as memory is not short.
#[derive(Copy, Clone)]
pub(crate) struct Softness {
    /// The number of this full collection (`WeakTables::fulls`).
    now: u32,
    /// For how many of them a soft reference stays that is not used.
    collections: u32,
}

impl Softness {
    pub fn new(now: u32, collections: u32) -> Softness {
        Softness { now, collections }
    }

    pub fn stays(self, soft: &Entry) -> bool {
        self.now.wrapping_sub(soft.last_used()) <= self.collections
    }
}

/// What becomes of an entry.
enum Fate {
    Settled,
    Unsettled,
    /// It keeps this object, and is settled then.
    Keeps(ObjectReference),
}

impl Sift {
    /// Of the entries that there are. In the pause that begins the marking.
    pub fn new(tables: &WeakTables, soft_collections: u32, arena: &Arena) -> Sift {
        let of = ReferenceKind::ALL.map(Of::References).into_iter().chain([Of::Finalizers]);
        let by_object = tables.addresses.in_use(arena).into_iter().map(Of::ByObject);
        Sift {
            parts: of.chain(by_object).map(|of| Part::new(of, tables)).collect(),
            at: 0,
            passes: 0,
            kept: 0,
            // The pause that ends the marking counts as one more.
            softness: Softness::new(tables.fulls.load(Relaxed) + 1, soft_collections),
            looked_at: 0,
        }
    }

    /// Whether there are many entries. Of a few, the pause takes a look itself.
    pub fn pays(&self) -> bool {
        self.parts.iter().map(|part| part.rest.len()).sum::<usize>() >= FEW
    }

    pub fn is_over(&self) -> bool {
        self.at == self.parts.len()
    }

    /// Entries that it has looked at.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// No pass goes on. The leader that ends the marking.
    pub fn end(&mut self) {
        for part in self.parts.iter_mut() {
            part.unsettled.extend(std::mem::take(&mut part.again));
        }
        self.at = self.parts.len();
    }

    /// Which entries of a table were not settled, and which nobody has looked at. Neither, if the table was
    /// made meanwhile. After [`Sift::end`].
    pub fn left_of(&self, table: &Table, tables: &WeakTables) -> (&[u32], Range<u32>) {
        let part = self.parts.iter().find(|part| ptr::eq(part.of.table(tables), table));
        part.map_or((&[], 0..0), |part| (&part.unsettled, part.rest.clone()))
    }

    /// The part in progress is done: the next one, or the next pass.
    fn go_on(&mut self) {
        self.at += 1;
        if self.at < self.parts.len() {
            return;
        }
        self.passes += 1;
        if std::mem::take(&mut self.kept) > 0 && self.passes < MOST_PASSES {
            for part in self.parts.iter_mut().filter(|part| part.of.keeps()) {
                part.again = std::mem::take(&mut part.unsettled);
            }
            self.at = 0;
        }
    }
}

/// Some of the sift, by a thread that has taken it.
pub struct SiftStep<'a, VM> {
    sift: Sift,
    tables: &'a WeakTables,
    grey: &'a GreyPackets,
    work: &'a SharedSift,
    /// Entries that it may still look at.
    left: usize,
    vm: PhantomData<&'a VM>,
}

impl<'a, VM: VMBinding> SiftStep<'a, VM> {
    /// A step of at most `entries` entries, by the thread that has taken the sift. What it makes grey goes to
    /// `grey`.
    pub(crate) fn new(
        sift: Sift,
        tables: &'a WeakTables,
        grey: &'a GreyPackets,
        work: &'a SharedSift,
        entries: usize,
    ) -> Self {
        SiftStep { sift, tables, grey, work, left: entries, vm: PhantomData }
    }

    pub(crate) fn into_sift(self) -> Sift {
        self.sift
    }

    /// Looks at entries until the step is over, or a pass.
    pub fn look(&mut self, tracer: impl SnapshotTracer<VM>) {
        let passes = self.sift.passes;
        while self.left > 0 && !self.sift.is_over() && self.sift.passes == passes && !self.work.should_yield() {
            let mut numbers = [0; BITE];
            let part = &mut self.sift.parts[self.sift.at];
            let count = part.take(self.left.min(BITE), &mut numbers);
            if count == 0 {
                self.sift.go_on();
                continue;
            }
            self.left -= count;
            self.sift.looked_at += count;
            let kept = look_at(part, self.tables, tracer, self.sift.softness, &numbers[..count]);
            if !kept.is_empty() {
                self.sift.kept += kept.len();
                self.grey.add(kept);
            }
        }
    }
}

/// Sorts out these entries of a table; returns what they keep.
fn look_at<VM: VMBinding>(
    part: &mut Part,
    tables: &WeakTables,
    tracer: impl SnapshotTracer<VM>,
    softness: Softness,
    numbers: &[u32],
) -> PageVec<ObjectReference> {
    const { assert!(BITE <= PACKET) };
    let (of, mut kept) = (&part.of, PageVec::new());
    of.table(tables).with_mutators_held_off(|entry| {
        for entry in numbers.iter().filter_map(|number| entry(*number)) {
            let value = entry.value().filter(|_| matches!(of, Of::References(ReferenceKind::Ephemeron)));
            entry.target().into_iter().chain(value).for_each(|object| tracer.prefetch(object));
        }
        for number in numbers {
            let Some(entry) = entry(*number) else { continue };
            match fate(entry, of, softness, |object| object.is_some_and(|object| tracer.is_white(object))) {
                Fate::Settled => (),
                Fate::Unsettled => part.unsettled.push(*number),
                Fate::Keeps(object) => kept.extend([object]),
            }
        }
    });
    kept
}

/// What the pause would do with an entry now, if anything.
fn fate(entry: &Entry, of: &Of, softness: Softness, is_white: impl Fn(Option<ObjectReference>) -> bool) -> Fate {
    // What is queued, or whose owner is, was a root of the snapshot.
    if entry.is_free() || entry.is_queued() {
        return Fate::Settled;
    }
    let (target, is_dead) = (entry.target(), is_white(entry.target()));
    if is_white(entry.owner()) {
        return Fate::Unsettled;
    }
    match of {
        Of::References(ReferenceKind::Soft) => match target {
            Some(target) if is_dead && softness.stays(entry) => Fate::Keeps(target),
            _ if is_dead => Fate::Unsettled,
            _ => Fate::Settled,
        },
        Of::References(ReferenceKind::Ephemeron) if target.is_some() && !is_dead => match entry.value() {
            Some(value) if is_white(Some(value)) => Fate::Keeps(value),
            _ => Fate::Settled,
        },
        _ if is_dead => Fate::Unsettled,
        _ => Fate::Settled,
    }
}
