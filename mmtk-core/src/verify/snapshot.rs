//! What a marking beside mutators has to reach: noted when it begins, compared when it ends.
//!
//! 1. When it begins, the verifier walks from the roots and notes each object with what its slots hold.
//! 2. When it ends, before the rest is marked, an object that nobody has claimed must hold the same still: a
//!    store into it would have claimed it first. Of a large array, the parts must that nobody has claimed.
//! 3. When all is marked, each object that was noted is claimed, but those that the VM has freed meanwhile.
//!    If one is not, somebody took it out of an object that was not claimed yet: that one is named.
//!
//! So a barrier that was left out is found in the cycle in which it mattered, and by the object that was
//! stored into, also if the program does not use what it took out.

use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::events::CollectionKind;
use crate::metadata::EPOCH_MASK;
use crate::pause::Pause;
use crate::pause::roots::{RootVisitor, Roots};
use crate::plan::Plan;
use crate::weak::QueuedRoot;
use rustc_hash::FxBuildHasher;
use std::collections::HashSet;
use std::ops::Range;

/// What was there when the marking began.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    objects: Vec<Noted>,
}

/// An object and what its slots held.
#[derive(Debug)]
struct Noted {
    object: ObjectReference,
    slots: Vec<Held>,
}

/// A slot: where it is, if it has a place, and what it held.
type Held = (Option<Address>, Option<ObjectReference>);

/// Notes what is there. In the pause that begins the marking.
pub(crate) fn note_snapshot<VM: VMBinding>(pause: &Pause<'_, VM>, plan: &dyn Plan<VM>) -> Snapshot {
    let (vm, spaces) = (pause.vm(), plan.spaces());
    let mut roots = FoundRoots { vm, found: Slots::default() };
    Roots::of(pause, CollectionKind::Full).visit(true, &mut roots);
    let mut references: Vec<_> = roots.found.targets().collect();
    let (mut seen, mut objects) = (HashSet::with_hasher(FxBuildHasher), Vec::new());
    while let Some(object) = references.pop() {
        if spaces.of(object).is_none() || !seen.insert(object) {
            continue;
        }
        let mut slots = Slots::default();
        vm.scan_object(object, &mut slots);
        references.extend(slots.targets());
        objects.push(Noted { object, slots: slots.0 });
    }
    Snapshot { objects }
}

impl Snapshot {
    /// Who is not claimed has not changed. In the pause that ends the marking, before the rest is marked.
    ///
    /// # Panics
    /// When one has.
    pub(crate) fn check_unclaimed<VM: VMBinding>(&self, pause: &Pause<'_, VM>, plan: &dyn Plan<VM>) {
        for noted in self.objects.iter().filter(|noted| !is_claimed(pause, plan, noted.object)) {
            // A store into a large array claims a part of it.
            let claims = pause.marking.as_ref().expect("a marking ends").claims;
            let is_of_part =
                |at: Option<Address>| at.is_some_and(|at| claims.is_claimed_at(pause.vm(), noted.object, at));
            if let Some(what) = noted.change(pause.vm(), |(at, _)| !is_of_part(*at)) {
                noted.fail(pause.vm(), &what);
            }
        }
    }

    /// All are claimed, unless the VM has freed them. In the pause that ends the marking, behind all that
    /// marks.
    ///
    /// # Panics
    /// When one is not.
    pub(crate) fn check_reached<VM: VMBinding>(&self, pause: &Pause<'_, VM>, plan: &dyn Plan<VM>) {
        let spaces = plan.spaces();
        let is_there =
            |object| spaces.of(object).is_some_and(|space| space.check_object(object, 1 << VM::LOG_GRANULE).is_ok());
        let was_lost = |noted: &&Noted| is_there(noted.object) && !is_claimed(pause, plan, noted.object);
        let Some(lost) = self.objects.iter().find(was_lost).map(|noted| noted.object) else { return };
        // The object that held it was claimed only when it held it no more.
        let holders =
            self.objects.iter().filter(|noted| is_there(noted.object) && is_claimed(pause, plan, noted.object));
        for noted in holders {
            if let Some(what) = noted.change(pause.vm(), |(_, held)| *held == Some(lost)) {
                noted.fail(pause.vm(), &what);
            }
        }
        panic!(
            "after the collection: {lost} was reachable when the marking began, and was not marked\n  likely causes: an overwritten state \
             byte; a plan that leaves a space out of its tracers"
        );
    }
}

impl Noted {
    /// What is different in the first of these slots that is. A slot that was not there held nothing.
    fn change<VM: VMBinding>(&self, vm: &VM, looks_at: impl Fn(&Held) -> bool) -> Option<String> {
        let mut slots = Slots::default();
        vm.scan_object(self.object, &mut slots);
        let (begun, ended) = (self.slots.len(), slots.0.len());
        let held = |before: Option<&Held>, now: Option<&Held>| {
            before.copied().unwrap_or((now.and_then(|(place, _)| *place), None))
        };
        let mut all = (0..begun.max(ended)).map(|n| (self.slots.get(n), slots.0.get(n)));
        let (before, now) = all.find(|(before, now)| before != now && looks_at(&held(*before, *now)))?;
        let name = |held: &Option<ObjectReference>| held.map_or("nothing".to_string(), |object| object.to_string());
        let place = before.or(now).and_then(|(place, _)| *place).map_or("a slot".to_string(), |at| {
            format!("the slot at {:+}", at.as_usize().wrapping_sub(self.object.address().as_usize()) as isize)
        });
        let before = before.map_or("was none".to_string(), |(_, held)| format!("held {}", name(held)));
        let now = now.map_or("is none".to_string(), |(_, held)| format!("holds {}", name(held)));
        let layout = match begun == ended {
            true => String::new(),
            false => format!("it had {begun} slots when the marking began, and has {ended}: "),
        };
        Some(format!("{layout}{place} {before} when the marking began, and {now}"))
    }

    fn fail<VM: VMBinding>(&self, vm: &VM, what: &str) -> ! {
        panic!(
            "while the heap was marked: {} ({}, {} bytes) was changed, and was not claimed before: {what}\n  likely causes: a store \
             without write_barrier before it, or with a safepoint between the two; a copy without array_copy_barrier before it; \
             another size or layout without before_reshape",
            vm.type_name(self.object),
            self.object,
            vm.object_size(self.object)
        );
    }
}

fn is_claimed<VM: VMBinding>(pause: &Pause<'_, VM>, plan: &dyn Plan<VM>, object: ObjectReference) -> bool {
    let epoch = plan.beside().expect("a marking ends").epoch();
    pause.states.state(object) & EPOCH_MASK == epoch
}

/// Slots and what they hold.
#[derive(Default)]
struct Slots(Vec<Held>);

impl Slots {
    fn targets(&self) -> impl Iterator<Item = ObjectReference> {
        self.0.iter().filter_map(|(_, held)| *held)
    }
}

impl<S: Slot> SlotVisitor<S> for Slots {
    fn visit(&mut self, slot: S) {
        self.0.push((slot.place().map(|place| place.start), slot.load()));
    }
    fn visit_ambiguous(&mut self, _words: Range<Address>) {}
}

struct FoundRoots<'a, VM> {
    vm: &'a VM,
    found: Slots,
}

impl<VM: VMBinding> RootVisitor<VM> for FoundRoots<'_, VM> {
    fn slots(&mut self) -> impl SlotVisitor<VM::Slot> {
        &mut self.found
    }
    fn object_outside(&mut self, object: ObjectReference) {
        self.vm.scan_object(object, &mut self.found);
    }
    fn ambiguous(&mut self, object: ObjectReference) {
        self.found.0.push((None, Some(object)));
    }
    fn queued(&mut self, root: QueuedRoot<'_>) {
        self.found.0.push((None, root.load()));
    }
}
