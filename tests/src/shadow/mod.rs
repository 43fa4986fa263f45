//! The shadow heap: random programs run on a heap and on a plain model side by side.
//!
//! Each thread has a graph of its own, reached from its shadow stack and from two global roots; ids and
//! patterns in the raw words tell its objects apart. Whenever a collection came by, the thread walks heap and
//! model in step: the same shapes, the same sharing, every word as it was written, no two objects on the same
//! bytes, objects that must not move where they were, weak references cleared exactly where the model reaches
//! nothing; and whatever `natives` says of the heap's own references. And nothing is kept: where one thread
//! is alone with a full collection, that has found as many bytes alive as the model has.
//!
//! Threads run either one operation at a time, in turns (who waits for the turn is in a native region), or
//! all at once.

mod natives;

use crate::bindings::GLOBALS;
use crate::{Extent, MakeHeap, TestVM, Watchdog, assert_within_limit, is_marked, marks_beside, options};
use mmtk_core::{Heap, HeapStatistics, PinError, Semantics};
use natives::{NativeOp, Natives, native_op};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestError, TestRunner};
use reference::{Class, Ref, Thread, ThreadHandle, object};
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Roots on a shadow stack beyond which new objects replace old ones.
const MAX_ROOTS: usize = 24;
const MAX_THREADS: usize = 3;
/// Objects that are allocated at most for a marking to begin.
const GARBAGE_MOST: usize = 16;
const GLOBALS_EACH: usize = GLOBALS / (MAX_THREADS + 1);

/// A step of a program. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    /// A new object, pushed or put into a root.
    New { root: usize, refs: usize, words: usize, semantics: Semantics },
    /// Slot of the object at root `from` := the object at root `to`.
    Link { from: usize, slot: usize, to: usize },
    /// Slot := null.
    Unlink { from: usize, slot: usize },
    /// The slot and a root exchange what they refer to.
    Swap { root: usize, from: usize, slot: usize },
    /// The first slots of one object := those of another.
    Copy { from: usize, into: usize, count: usize },
    /// Slots from one on := null.
    Clear { from: usize, slot: usize, count: usize },
    /// A root := what a slot refers to.
    Load { root: usize, from: usize, slot: usize },
    /// Pushes a copy of a root.
    Push { root: usize },
    /// Drops the last roots.
    Pop { count: usize },
    /// A global root := a root, or null.
    Global { which: usize, root: Option<usize> },
    /// A weak reference to the object at a root.
    Weak { root: usize },
    /// The object at a root must stay where it is.
    Pin { root: usize },
    /// One pin is taken back.
    Unpin { which: usize },
    /// Something with the heap's own references.
    Native(NativeOp),
    /// Objects that nobody keeps.
    Garbage { count: usize, words: usize },
    /// A collection now.
    Collect,
    /// A safepoint.
    Poll,
    /// Garbage, until a marking begins.
    Begin,
    /// Steps of a marking in progress.
    Step { count: usize },
    /// Steps to its end.
    End,
    /// A native region.
    Region,
    /// The thread goes and comes back; what only its stack held is dead.
    Reattach,
}

/// A program for one to three threads, and the heap it runs on.
#[derive(Clone, Debug)]
struct Program {
    threads: Vec<Vec<Op>>,
    /// One operation at a time, in turns.
    in_turns: bool,
    workers: usize,
    every_bytes: usize,
    /// Of a generational plan; 0 leaves it to the heap.
    nursery_bytes: usize,
    /// While a heap is verified, every allocation takes the slow path: some programs take the fast one.
    verified: bool,
    /// Objects of a step, where the heap is marked beside the program; 0 leaves it to the heap.
    step_objects: usize,
    flags: [bool; 6],
}

fn op() -> impl Strategy<Value = Op> {
    let any = || 0..64usize;
    let semantics = prop_oneof![
        8 => Just(Semantics::Default),
        1 => Just(Semantics::NonMoving),
        1 => Just(Semantics::Immortal),
    ];
    // Small, medium, larger than any cell or line block, a large array that is scanned in parts.
    let shape = prop_oneof![
        10 => (0..6usize, 0..8usize),
        4 => (0..40usize, 0..200usize),
        2 => (0..8usize, 200..1500usize),
        1 => (0..8usize, 3000..9000usize),
        1 => (1000..5000usize, 0..4usize),
    ];
    prop_oneof![
        10 => (any(), shape, semantics).prop_map(|(root, (refs, words), semantics)| Op::New { root, refs, words, semantics }),
        10 => (any(), 0..6000usize, any()).prop_map(|(from, slot, to)| Op::Link { from, slot, to }),
        3 => (any(), 0..6000usize).prop_map(|(from, slot)| Op::Unlink { from, slot }),
        2 => (any(), any(), 0..6000usize).prop_map(|(root, from, slot)| Op::Swap { root, from, slot }),
        2 => (any(), any(), 0..6000usize).prop_map(|(from, into, count)| Op::Copy { from, into, count }),
        1 => (any(), 0..6000usize, 0..6000usize).prop_map(|(from, slot, count)| Op::Clear { from, slot, count }),
        3 => (any(), any(), 0..6000usize).prop_map(|(root, from, slot)| Op::Load { root, from, slot }),
        2 => any().prop_map(|root| Op::Push { root }),
        2 => (1..4usize).prop_map(|count| Op::Pop { count }),
        1 => (any(), proptest::option::of(any())).prop_map(|(which, root)| Op::Global { which, root }),
        2 => any().prop_map(|root| Op::Weak { root }),
        2 => any().prop_map(|root| Op::Pin { root }),
        1 => any().prop_map(|which| Op::Unpin { which }),
        8 => native_op().prop_map(Op::Native),
        3 => (1..60usize, 0..300usize).prop_map(|(count, words)| Op::Garbage { count, words }),
        2 => Just(Op::Collect),
        1 => Just(Op::Poll),
        1 => Just(Op::Begin),
        3 => (1..8usize).prop_map(|count| Op::Step { count }),
        1 => Just(Op::End),
        1 => Just(Op::Region),
        1 => Just(Op::Reattach),
    ]
}

fn program() -> impl Strategy<Value = Program> {
    let thread = || proptest::collection::vec(op(), 1..80);
    // What the heap keeps as a whole is known where one thread is alone.
    let threads = prop_oneof![
        1 => proptest::collection::vec(thread(), 1),
        1 => proptest::collection::vec(thread(), 2..=MAX_THREADS),
    ];
    let every_bytes = prop_oneof![Just(0), Just(2 << 10), Just(16 << 10), Just(100 << 10)];
    // Minor collections must not depend on what the heap measures: a program that fails is to fail again.
    let nursery_bytes = prop_oneof![1 => Just(0), 2 => Just(4 << 10), 1 => Just(64 << 10)];
    let verified = proptest::bool::weighted(0.75);
    let step_objects = prop_oneof![Just(0), Just(1), Just(7), Just(1000)];
    let numbers = (every_bytes, nursery_bytes, step_objects);
    (threads, any::<bool>(), 1..4usize, numbers, verified, any::<[bool; 6]>()).prop_map(
        |(threads, in_turns, workers, (every_bytes, nursery_bytes, step_objects), verified, flags)| Program {
            threads,
            in_turns,
            workers,
            every_bytes,
            nursery_bytes,
            verified,
            step_objects,
            flags,
        },
    )
}

/// Runs random programs on a plan. Not with a binding whose words are ambiguous: the model knows exactly what
/// is dead.
///
/// # Panics
/// With the smallest program found that fails; its seed is kept in `proptest-regressions/`.
pub fn random_programs_match_a_plain_model<VM: TestVM>(make: MakeHeap<VM>, plan: &'static str, cases: u32) {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/shadow_heap.txt"))),
        source_file: Some(file!()),
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = Extent::chosen().pick(cases.div_ceil(4), cases);
    }
    let result = TestRunner::new(config).run(&program(), |program| {
        run(make, plan, &program);
        Ok(())
    });
    match result {
        Ok(()) => (),
        Err(TestError::Fail(reason, program)) => {
            panic!("on {plan}: {reason}\nsmallest program that fails: {program:#?}")
        }
        Err(TestError::Abort(reason)) => panic!("on {plan}: {reason}"),
    }
}

/// Returns what the heap did.
fn run<VM: TestVM>(make: MakeHeap<VM>, plan: &str, program: &Program) -> HeapStatistics {
    let _watchdog = Watchdog::new();
    let [defrag, helpers, poison, proportional, quanta, yields] = program.flags;
    let limit = if plan == "NoGC" { 256 << 20 } else { 24 << 20 };
    let (workers, every_bytes) = (program.workers.to_string(), program.every_bytes.to_string());
    let (nursery_bytes, step_objects) = (program.nursery_bytes.to_string(), program.step_objects.to_string());
    let options = options(
        plan,
        limit,
        &[
            ("verify.trace", if program.verified { "true" } else { "false" }),
            ("gc.workers", &workers),
            ("stress.every_bytes", &every_bytes),
            ("nursery.bytes", &nursery_bytes),
            ("stress.always_defrag", if defrag { "true" } else { "false" }),
            ("gc.wake_helpers", if helpers { "always" } else { "auto" }),
            ("verify.poison", if poison { "true" } else { "false" }),
            ("heap.return_memory", if poison { "always" } else { "auto" }),
            ("heap.mode", if proportional { "proportional" } else { "fixed" }),
            ("heap.min", "64K"),
            ("gc.driver", if quanta { "quanta" } else { "background" }),
            ("stress.step_objects", &step_objects),
            ("stress.random_yield", if yields { "true" } else { "false" }),
        ],
    );
    let heap = make(VM::new(), options).unwrap_or_else(|error| panic!("{error}"));
    let turns = program.in_turns.then(|| Turns::new(program.threads.len()));
    std::thread::scope(|scope| {
        let start = |me| {
            let (heap, turns) = (&heap, turns.as_ref());
            scope.spawn(move || Actor::new(heap, me, program.threads.len() == 1).play(&program.threads[me], turns))
        };
        let actors: Vec<_> = (0..program.threads.len()).map(start).collect();
        for actor in actors {
            if let Err(panic) = actor.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    heap.collect();
    assert_within_limit(&heap);
    heap.statistics()
}

/// Whose turn it is.
struct Turns {
    state: Mutex<TurnState>,
    changed: Condvar,
}

struct TurnState {
    turn: usize,
    playing: Vec<bool>,
    /// Somebody panicked: nobody waits any longer.
    over: bool,
}

impl Turns {
    fn new(players: usize) -> Turns {
        Turns {
            state: Mutex::new(TurnState { turn: 0, playing: vec![true; players], over: false }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the turn; false if the game is over.
    fn wait(&self, me: usize) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |s: &mut TurnState| !s.over && s.turn != me;
        let state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        !state.over
    }

    fn pass(&self, me: usize, still_playing: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.playing[me] = still_playing;
        state.over |= std::thread::panicking();
        let players = state.playing.len();
        let next = (1..=players).map(|n| (me + n) % players).find(|n| state.playing[*n]);
        state.turn = next.unwrap_or(me);
        self.changed.notify_all();
    }
}

/// Leaves the game, also by a panic.
struct Player<'a>(Option<&'a Turns>, usize);

impl Drop for Player<'_> {
    fn drop(&mut self) {
        if let Some(turns) = self.0 {
            turns.pass(self.1, false);
        }
    }
}

/// An object of the model.
struct Node {
    refs: Vec<Option<usize>>,
    /// Words of raw data that were written.
    words: usize,
    id: u64,
    /// Where it is if it may not move.
    pinned: Option<Ref>,
}

/// Where nodes are.
#[derive(Default)]
struct Found {
    places: HashMap<usize, Ref>,
    ranges: Vec<(usize, usize)>,
}

/// A thread with its part of the model.
struct Actor<'h, VM: TestVM> {
    heap: &'h Heap<VM>,
    /// None only on the way from one attachment to the next.
    thread: Option<Thread<VM>>,
    me: usize,
    nodes: Vec<Node>,
    roots: Vec<Option<usize>>,
    globals: [Option<usize>; GLOBALS_EACH],
    /// Number of the weak reference in the VM, and its target.
    weak: Vec<(usize, usize)>,
    /// Objects that are pinned, and where they are, once for each pin.
    pins: Vec<(usize, Ref)>,
    natives: Natives,
    /// Whether there are no other threads.
    alone: bool,
    collections: u64,
    full_collections: u64,
    concurrent_collections: u64,
}

impl<'h, VM: TestVM> Actor<'h, VM> {
    fn new(heap: &'h Heap<VM>, me: usize, alone: bool) -> Self {
        Actor {
            heap,
            thread: Some(Thread::attach(heap)),
            me,
            nodes: Vec::new(),
            roots: Vec::new(),
            globals: [None; GLOBALS_EACH],
            weak: Vec::new(),
            pins: Vec::new(),
            natives: Natives::default(),
            alone,
            collections: 0,
            full_collections: 0,
            concurrent_collections: 0,
        }
    }

    fn m(&self) -> ThreadHandle<VM> {
        self.thread.as_ref().expect("attached").handle()
    }

    fn play(mut self, ops: &[Op], turns: Option<&Turns>) {
        let player = Player(turns, self.me);
        for op in ops {
            if let Some(turns) = turns {
                let go_on = self.m().mutator().native(|| turns.wait(self.me));
                if !go_on {
                    return;
                }
                // Others may have collected in the meantime, with this thread's graph as it was.
                self.check_if_collected();
            }
            self.perform(op);
            self.check_if_collected();
            if let Some(turns) = turns {
                turns.pass(self.me, true);
            }
        }
        // Of the others' turns nothing shows any more; the globals stay behind for whoever collects last.
        drop(self);
        drop(player);
    }

    /// Whether a marking beside the program is in progress. Where none ever is, a barrier may be armed too.
    fn is_marked(&self) -> bool {
        marks_beside(self.heap.plan_name()) && is_marked(self.m())
    }

    fn root(&self, index: usize) -> Option<(usize, Option<usize>)> {
        let at = index % self.roots.len().max(1);
        self.roots.get(at).map(|node| (at, *node))
    }

    /// The object at a root: its node and where it is.
    fn object(&self, root: usize) -> Option<(usize, Ref)> {
        let (at, node) = self.root(root)?;
        Some((node?, self.m().get(at)))
    }

    fn perform(&mut self, op: &Op) {
        let m = self.m();
        match *op {
            Op::New { root, refs, words, semantics } => self.new_object(root, refs, words, semantics),
            Op::Link { from, slot, to } => {
                let (Some((from, object)), Some((at, to))) = (self.object(from), self.root(to)) else { return };
                if self.nodes[from].refs.is_empty() {
                    return;
                }
                let slot = slot % self.nodes[from].refs.len();
                m.write_ref(object, slot, m.get(at));
                self.nodes[from].refs[slot] = to;
            }
            Op::Unlink { from, slot } => {
                let Some((from, object)) = self.object(from) else { return };
                if self.nodes[from].refs.is_empty() {
                    return;
                }
                let slot = slot % self.nodes[from].refs.len();
                m.write_ref(object, slot, Ref::NULL);
                self.nodes[from].refs[slot] = None;
            }
            Op::Swap { root, from, slot } => {
                let (Some((at, node)), Some((from, object))) = (self.root(root), self.object(from)) else { return };
                if self.nodes[from].refs.is_empty() {
                    return;
                }
                let slot = slot % self.nodes[from].refs.len();
                m.set(at, m.swap_ref(object, slot, m.get(at)));
                self.roots[at] = std::mem::replace(&mut self.nodes[from].refs[slot], node);
            }
            Op::Copy { from, into, count } => {
                let (Some((from, source)), Some((into, object))) = (self.object(from), self.object(into)) else {
                    return;
                };
                let most = self.nodes[from].refs.len().min(self.nodes[into].refs.len());
                let copied = self.nodes[from].refs[..count.min(most)].to_vec();
                m.copy_refs(source, 0..copied.len(), object, 0);
                self.nodes[into].refs[..copied.len()].copy_from_slice(&copied);
            }
            Op::Clear { from, slot, count } => {
                let Some((from, object)) = self.object(from) else { return };
                let length = self.nodes[from].refs.len();
                let start = slot % length.max(1);
                let slots = start..length.min(start + count);
                m.clear_refs(object, slots.clone());
                self.nodes[from].refs[slots].fill(None);
            }
            Op::Load { root, from, slot } => {
                let (Some((at, _)), Some((from, object))) = (self.root(root), self.object(from)) else { return };
                if self.nodes[from].refs.is_empty() {
                    return;
                }
                let slot = slot % self.nodes[from].refs.len();
                m.set(at, m.read_ref(object, slot));
                self.roots[at] = self.nodes[from].refs[slot];
            }
            Op::Push { root } => {
                let Some((at, node)) = self.root(root) else { return };
                if self.roots.len() < MAX_ROOTS {
                    m.push(m.get(at));
                    self.roots.push(node);
                }
            }
            Op::Pop { count } => {
                let count = count.min(self.roots.len());
                m.pop(count);
                self.roots.truncate(self.roots.len() - count);
            }
            Op::Global { which, root } => {
                let which = which % GLOBALS_EACH;
                let chosen = root.and_then(|root| self.object(root));
                self.globals[which] = chosen.map(|(node, _)| node);
                let value = chosen.map_or(Ref::NULL, |(_, at)| at);
                self.heap.vm().reference().set_global(self.me * GLOBALS_EACH + which, value);
            }
            Op::Weak { root } => {
                let Some((node, at)) = self.object(root) else { return };
                self.weak.push((self.heap.vm().reference().new_weak(at), node));
            }
            Op::Garbage { count, words } => {
                for _ in 0..count {
                    self.allocate(3, words, Semantics::Default);
                    self.check_if_collected();
                }
            }
            Op::Collect => {
                let before = self.collections;
                m.mutator().collect();
                self.check_if_collected();
                assert!(self.collections > before || self.heap.plan_name() == "NoGC", "nothing was collected");
            }
            Op::Poll => m.poll(),
            Op::Begin => {
                // None begins where nothing asks for one so soon.
                if !marks_beside(self.heap.plan_name()) {
                    return;
                }
                for _ in 0..GARBAGE_MOST {
                    if self.is_marked() {
                        break;
                    }
                    self.allocate(1, 1000, Semantics::Default);
                    self.check_if_collected();
                }
            }
            Op::Step { count } => {
                for _ in 0..count {
                    m.mutator().step(Duration::ZERO);
                }
            }
            Op::End => {
                while self.is_marked() {
                    m.mutator().step(Duration::ZERO);
                }
            }
            Op::Pin { root } => {
                let Some((node, at)) = self.object(root) else { return };
                match m.mutator().pin(at.object().expect("not null")) {
                    Ok(()) => self.pins.push((node, at)),
                    Err(PinError::Moves { .. }) => (),
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Unpin { which } => {
                if which < self.pins.len() {
                    let (_, at) = self.pins.swap_remove(which);
                    m.mutator().unpin(at.object().expect("not null"));
                }
            }
            Op::Native(ref op) => self.perform_native(op),
            Op::Region => m.mutator().native(std::thread::yield_now),
            Op::Reattach => {
                self.give_up_natives();
                for (_, at) in std::mem::take(&mut self.pins) {
                    m.mutator().unpin(at.object().expect("not null"));
                }
                // Away before it is back: a pause would wait for both.
                self.thread = None;
                self.thread = Some(Thread::attach(self.heap));
                self.roots.clear();
                // A pause just before saw the stack, one just after did not: weak references may have gone
                // either way.
                let vm = self.heap.vm().reference();
                self.weak.retain(|(number, _)| !vm.weak(*number).is_null());
                let statistics = self.heap.statistics();
                self.note_collections(statistics);
                self.check_graph();
            }
        }
    }

    fn allocate(&self, refs: usize, words: usize, semantics: Semantics) -> Ref {
        let object = self.m().try_alloc(Class { refs, bytes: words * 8 }, semantics);
        object.unwrap_or_else(|error| panic!("{error}"))
    }

    fn new_object(&mut self, root: usize, refs: usize, words: usize, semantics: Semantics) {
        let (refs, words) = (refs, words.max(1));
        let object = self.allocate(refs, words, semantics);
        let m = self.m();
        for word in 0..ThreadHandle::<VM>::words(Class { refs, bytes: words * 8 }) - 1 {
            assert_eq!(m.read_word(object, word), 0, "word {word} of a new object is not zero");
        }
        let id = (self.me as u64) << 32 | self.nodes.len() as u64;
        for word in 0..words {
            m.write_word(object, refs + word, pattern(id, word));
        }
        // Kept by a root of its own until the rest was compared: the collection saw the roots as they were.
        m.push(object);
        self.roots.push(Some(self.nodes.len()));
        let large = refs + words > 4096;
        self.nodes.push(Node {
            refs: vec![None; refs],
            words,
            id,
            pinned: (large || semantics != Semantics::Default).then_some(object),
        });
        self.check_if_collected_before(Some(self.nodes.len() - 1));
        if self.roots.len() > MAX_ROOTS {
            let object = m.peek(0);
            m.pop(1);
            let node = self.roots.pop().expect("just pushed");
            let at = root % MAX_ROOTS;
            m.set(at, object);
            self.roots[at] = node;
        }
    }

    fn check_if_collected(&mut self) {
        self.check_if_collected_before(None);
    }

    fn note_collections(&mut self, statistics: HeapStatistics) {
        let HeapStatistics { collections, full_collections, concurrent_collections, .. } = statistics;
        (self.collections, self.full_collections) = (collections, full_collections);
        self.concurrent_collections = concurrent_collections;
    }

    /// If there was a collection, it was before `new` was made.
    fn check_if_collected_before(&mut self, new: Option<usize>) {
        let statistics = self.heap.statistics();
        let since = statistics.collections - self.collections;
        if since == 0 {
            return;
        }
        // A minor collection takes old objects for live, and what dead ones refer to; one that marks while
        // mutators run those that die meanwhile.
        let all_full = statistics.full_collections - self.full_collections == since
            && statistics.concurrent_collections == self.concurrent_collections;
        let found_bytes = (since == 1 && all_full && self.alone).then_some(statistics.live_bytes);
        self.note_collections(statistics);
        let mut found = self.check_graph();
        self.reach_held(&mut found);
        let vm = self.heap.vm().reference();
        self.weak.retain(|&(number, node)| {
            let target = vm.weak(number);
            match found.places.get(&node) {
                Some(at) => assert_eq!(target, *at, "a weak reference to a live object"),
                None => assert!(target.is_null() || !all_full, "a weak reference to an object that died: {target:?}"),
            }
            !target.is_null()
        });
        // Of an object that is not reached, nobody knows whether its pin went with it.
        self.pins.retain(|(node, at)| match found.places.get(node) {
            Some(now) => {
                assert_eq!(now, at, "object {node} is pinned, and moved");
                true
            }
            None => false,
        });
        let alive = self.check_natives(found, all_full);
        let bytes_of = |node: &usize| {
            let Node { refs, words, .. } = &self.nodes[*node];
            ThreadHandle::<VM>::words(Class { refs: refs.len(), bytes: words * 8 }) * 8
        };
        // The object that was being allocated came after the collection.
        let live: usize = alive.iter().filter(|node| Some(**node) != new).map(bytes_of).sum();
        if let Some(found) = found_bytes {
            // Of several workers two may both count an object.
            let right = if self.heap.options().gc_workers == 1 { found == live } else { found >= live };
            assert!(right, "the collection found {found} bytes alive, where the model has {live}");
        }
    }

    /// Walks heap and model in step from the roots; where each node is that they reach.
    fn check_graph(&self) -> Found {
        let m = self.m();
        assert_eq!(m.push(Ref::NULL), self.roots.len(), "the roots were counted");
        m.pop(1);
        let roots = self.roots.iter().enumerate().map(|(index, node)| (*node, m.get(index)));
        let globals = self.globals.iter().enumerate().map(|(index, node)| {
            let at = self.heap.vm().reference().global(self.me * GLOBALS_EACH + index);
            (*node, at)
        });
        let mut found = Found::default();
        self.walk(roots.chain(globals).collect(), &mut found);
        found
    }

    /// Walks heap and model in step from these nodes.
    fn walk(&self, from: Vec<(Option<usize>, Ref)>, found: &mut Found) {
        let m = self.m();
        let mut todo = Vec::new();
        let visit = |node: Option<usize>, at: Ref, todo: &mut Vec<usize>, places: &mut HashMap<usize, Ref>| {
            let Some(node) = node else { return assert!(at.is_null(), "{at:?} where there is none") };
            assert!(!at.is_null(), "object {node} was lost");
            match places.insert(node, at) {
                None => todo.push(node),
                Some(before) => assert_eq!(before, at, "object {node} is in two places"),
            }
        };
        let Found { places, ranges } = found;
        for (node, at) in from {
            visit(node, at, &mut todo, places);
        }
        while let Some(index) = todo.pop() {
            let (node, at) = (&self.nodes[index], places[&index]);
            let header = object::header(at.object().expect("not null"));
            let bytes = node.refs.len() * 8 + node.words * 8;
            let words = ThreadHandle::<VM>::words(Class { refs: node.refs.len(), bytes: node.words * 8 });
            assert_eq!(
                (header.refs(), header.words()),
                (node.refs.len(), words),
                "the shape of {index}, {bytes} bytes"
            );
            if let Some(pinned) = node.pinned {
                assert_eq!(pinned, at, "object {index} moved");
            }
            for word in 0..node.words {
                let (is, was) = (m.read_word(at, node.refs.len() + word), pattern(node.id, word));
                assert_eq!(is, was, "word {word} of object {index} at {at:?}");
            }
            for (slot, target) in node.refs.iter().enumerate() {
                visit(*target, m.read_ref(at, slot), &mut todo, places);
            }
            ranges.push((at.0, at.0 + words * 8));
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "two objects overlap: {pair:x?}");
        }
    }
}

fn pattern(id: u64, word: usize) -> u64 {
    if word == 0 { id } else { (id ^ (word as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmtk_core::weak::ReferenceKind;

    /// While one thread waits for its turn the other collects so often that a soft reference, which was not
    /// used for so long, is cleared; its target was the owner of another reference.
    #[test]
    fn what_a_cleared_soft_reference_held_owns_nothing_any_more() {
        let new = Op::New { root: 0, refs: 1, words: 1, semantics: Semantics::Default };
        let create = |kind, root, owner| Op::Native(NativeOp::Create { kind, root, owner: Some(owner), notify: false });
        let (owner, target) = (0, 1);
        let waits = vec![
            new.clone(),
            new,
            create(ReferenceKind::Soft, target, owner),
            create(ReferenceKind::Weak, owner, target),
            Op::Pop { count: 1 },
            Op::Poll,
        ];
        let collects = (0..waits.len()).map(|_| Op::Garbage { count: 30, words: 300 }).collect();
        let program = Program {
            threads: vec![waits, collects],
            in_turns: true,
            workers: 1,
            every_bytes: 2 << 10,
            nursery_bytes: 0,
            verified: true,
            step_objects: 0,
            flags: [false; 6],
        };
        for plan in policies::PLANS {
            run::<reference::ReferenceVM>(policies::new_heap, plan.name, &program);
        }
    }

    #[test]
    fn programs_begin_markings_and_end_them() {
        for quanta in [false, true] {
            let program = Program {
                threads: vec![vec![[Op::Begin, Op::Step { count: 2 }, Op::End]; 5].concat()],
                in_turns: false,
                workers: 1,
                every_bytes: 16 << 10,
                nursery_bytes: 0,
                verified: true,
                step_objects: 1,
                flags: [false, false, false, false, quanta, true],
            };
            for plan in policies::PLANS {
                let done = run::<reference::ReferenceVM>(policies::new_heap, plan.name, &program);
                assert_eq!(done.concurrent_collections >= 5, plan.needs.snapshot, "{}: {done:?}", plan.name);
            }
        }
    }

    #[test]
    fn programs_with_a_nursery_have_minor_collections_on_every_generational_plan() {
        let program = Program {
            threads: vec![vec![Op::Garbage { count: 60, words: 300 }; 4]],
            in_turns: false,
            workers: 1,
            every_bytes: 0,
            nursery_bytes: 4 << 10,
            verified: true,
            step_objects: 0,
            flags: [false; 6],
        };
        for plan in policies::PLANS {
            let done = run::<reference::ReferenceVM>(policies::new_heap, plan.name, &program);
            let minors = done.collections - done.full_collections;
            assert_eq!(minors > 3, plan.needs.old_to_new, "{}: {minors} minor collections", plan.name);
        }
    }
}
