//! Finalizers in a pause. Finalizers of unreachable objects that are due are queued; these objects live
//! again, with all that they refer to.
//!
//! Finalizers without an order are queued first, and what they keep alive is traced. Of the ordered ones all
//! objects are kept, due or not:
//!
//! 1. Each is claimed, and moved if the plan moves it. Nobody has visited its slots.
//! 2. Their slots are visited, and what they lead to is traced. An edge that arrives at one of them shows
//!    that it is referred to; objects reached for the first time are noted. Values of ephemerons have to
//!    wait: an ephemeron does not refer to its value.
//! 3. If none is referred to, all are due. Otherwise the objects of steps 1 and 2 are a graph, and `order`
//!    says which are due.
//!
//! I1. The slots of an object are visited where it is after its claim. Before that another worker may move
//!     it, and leaves a forwarding word in the place of its first word.
//! I2. Objects that a step has reached do not move in later steps.
//! Callers: the leader of a pause, after weak references were cleared; workers share the steps.

use super::order::{self, Graph, Waiting};
use super::process::Process;
use super::watching::{Aim, Claimed};
use crate::address::{Address, ObjectReference};
use crate::binding::{Slot, SlotVisitor, VMBinding};
use crate::memory::{Arena, List};
use crate::stack::each_word;
use crate::trace::Policy;
use crate::weak::{TOPOLOGICAL, Table, key};
use protocols::index::Index;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

impl<'a, VM: VMBinding, T: Policy<VM>> Process<'_, 'a, VM, T> {
    /// Queues what is to be finalized, and keeps it. Whether there was any.
    pub fn finalize(&mut self) -> bool {
        let (tracer, table) = (self.tracer, &self.tables.finalizers);
        self.each(table, false, |found, number, entry| {
            let Some(target) = entry.target().filter(|_| !entry.is_queued()) else { return };
            match tracer.resolve(target) {
                Some(place) => entry.set_target(Some(place)),
                None => found.dead.push(number),
            }
        });
        let mut dead = self.take(|found| &mut found.dead);
        if dead.is_empty() {
            return false;
        }
        if self.pause.found.rounds() > 0 {
            // What is due was queued in the first round, and these are not.
            self.keep_targets(table, &dead);
            return true;
        }
        // Workers found them in any order.
        dead.sort_unstable();
        let entry = |number: u32| table.any(number as usize);
        let arena = self.pause.arena;
        let due = arena.collect(dead.iter().copied().filter(|number| entry(*number).bits() == 0));
        table.enqueue(due.iter().copied());
        self.keep_targets(table, &due);
        // What those refer to lives, and has no turn in this collection.
        let mut waiting = arena.collect(dead.iter().copied().filter(|number| entry(*number).bits() != 0));
        waiting.retain(|number| !self.update_target(table, *number));
        let in_turn = self.keep_in_order(table, &waiting, due.is_empty());
        table.enqueue(in_turn.into_iter());
        true
    }

    /// Whether the target was reached; then the entry says where it is now.
    fn update_target(&self, table: &Table, number: u32) -> bool {
        let entry = table.any(number as usize);
        let place = entry.target().and_then(|target| self.tracer.resolve(target));
        place.is_some_and(|place| {
            entry.set_target(Some(place));
            true
        })
    }

    fn keep_targets(&mut self, table: &Table, numbers: &[u32]) {
        let entry = |n: usize| table.any(numbers[n] as usize);
        let target = |n: usize| entry(n).target();
        self.keep(Aim::Keep, numbers.len(), target, |tracing, n, worker| {
            entry(n).set_target(target(n).map(|target| tracing.keep(target, worker)));
        });
    }

    /// Keeps the objects of these finalizers; returns those that are due, in the order of their turns. If
    /// nothing is due without these (`cycles`), cycles are.
    fn keep_in_order(&mut self, table: &Table, waiting: &[u32], cycles: bool) -> List<'a, u32> {
        let arena = self.pause.arena;
        let all = || arena.collect(waiting.iter().copied());
        if waiting.len() < 2 {
            self.keep_targets(table, waiting);
            return all();
        }
        let entry = |n: usize| table.any(waiting[n] as usize);
        let place = |n: usize| entry(n).target().expect("it waits for its target's finalizer");
        self.keep(
            Aim::Claim,
            waiting.len(),
            |n| entry(n).target(),
            |tracing, n, worker| {
                entry(n).set_target(Some(tracing.claim(place(n), worker)));
            },
        );
        // Values of ephemerons whose keys were claimed; none is followed before the order is known.
        let mut values = self.take_held();
        let claimed = Claimed {
            index: Index::new_in(waiting.len(), arena),
            places: arena.collect((0..waiting.len()).map(place)),
            referred: arena.collect(waiting.iter().map(|_| AtomicBool::new(false))),
        };
        claimed.places.iter().enumerate().for_each(|(n, place)| claimed.index.insert(key(*place), n));
        self.keep(
            Aim::Order(&claimed),
            waiting.len(),
            |n| Some(claimed.places[n]),
            |tracing, n, _| {
                tracing.visit_again(claimed.places[n]);
            },
        );
        values.append(&mut self.take_held());
        let mut reached = arena.list();
        self.pause.for_each_worker(|worker| reached.extend(worker.noted.drain(..)));
        self.keep(
            Aim::Keep,
            values.len(),
            |n| Some(values[n]),
            |tracing, n, worker| {
                tracing.keep(values[n], worker);
            },
        );
        if !claimed.referred.iter().any(|referred| referred.load(Relaxed)) {
            return all();
        }
        let behind = |n: usize| entry(n).bits() == TOPOLOGICAL;
        let due = self.turns(&claimed.places, reached, behind, cycles);
        arena.collect(due.iter().map(|n| waiting[*n]))
    }

    /// What ephemerons hold for keys that were reached, and nobody has followed.
    fn take_held(&mut self) -> List<'a, ObjectReference> {
        let mut held = self.pause.arena.list();
        self.pause.for_each_worker(|worker| held.extend(worker.held.drain(..)));
        held
    }

    /// Which of the objects that wait are due, in the order of their turns, by the graph of these objects and
    /// of those reached from them.
    fn turns(
        &self,
        places: &[ObjectReference],
        reached: List<'a, ObjectReference>,
        behind: impl Fn(usize) -> bool,
        cycles: bool,
    ) -> List<'a, usize> {
        let arena = self.pause.arena;
        let index = Index::new_in(places.len() + reached.len(), arena);
        let mut nodes = Nodes { index, objects: arena.list() };
        let waiting = places.iter().enumerate();
        let waiting = waiting.map(|(n, place)| Waiting { node: nodes.number_or_new(*place), behind: behind(n) });
        let waiting = arena.collect(waiting);
        for object in reached {
            nodes.number_or_new(object);
        }
        let mut graph = Graph::new(arena);
        for object in &nodes.objects {
            graph.begin_node();
            let edges = Edges { nodes: &nodes, graph: &mut graph, tracer: self.tracer, vm: self.pause.vm };
            self.pause.vm.scan_object(*object, &mut { edges });
        }
        order::due(&graph, &waiting, cycles, arena)
    }
}

/// The nodes of the graph, by their addresses.
struct Nodes<'a> {
    index: Index<&'a Arena>,
    objects: List<'a, ObjectReference>,
}

impl Nodes<'_> {
    fn number(&self, object: ObjectReference) -> Option<u32> {
        self.index.candidates(key(object)).find(|n| self.objects[*n] == object).map(|n| n as u32)
    }

    /// Two workers may both have marked an object.
    fn number_or_new(&mut self, object: ObjectReference) -> u32 {
        self.number(object).unwrap_or_else(|| {
            let number = self.objects.len();
            self.index.insert(key(object), number);
            self.objects.push(object);
            number as u32
        })
    }
}

/// Adds the slots of an object to the graph, as far as they lead to its nodes.
struct Edges<'a, 'n, VM, T> {
    nodes: &'a Nodes<'n>,
    graph: &'a mut Graph<'n>,
    tracer: T,
    vm: &'a VM,
}

impl<VM, T> Edges<'_, '_, VM, T> {
    fn add(&mut self, object: ObjectReference) {
        self.nodes.number(object).into_iter().for_each(|number| self.graph.add_edge(number));
    }
}

impl<VM: VMBinding, T: Policy<VM>> SlotVisitor<VM::Slot> for Edges<'_, '_, VM, T> {
    fn visit(&mut self, slot: VM::Slot) {
        slot.load().into_iter().for_each(|object| self.add(object));
    }

    fn visit_ambiguous(&mut self, words: Range<Address>) {
        each_word(words, |word| {
            self.tracer.find_object(self.vm.address_in(word)).into_iter().for_each(|object| self.add(object));
        });
    }
}
