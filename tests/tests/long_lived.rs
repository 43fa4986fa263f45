//! One small heap for a thousand collections, with everything in use that a heap offers: objects of every
//! kind and size, weak, soft and phantom references, ephemerons, finalizers, identity hashes, a table keyed
//! by objects, pins, regions, pools, and threads that come and go. After each full collection exactly what
//! the model holds is live; in the end the heap is no larger than it was at the beginning.
//!
//! What only shows after many collections of one heap: numbers that come round, tables that keep something,
//! blocks that are lost.

use mmtk_core::weak::{FinalizerOrder, Reference, ReferenceKind, Terms};
use mmtk_core::{Address, AddressTable, Heap, ObjectReference, Pool, References, Region, Semantics};
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit, collecting_plans, options, pool_in, region_in};
use policies::{PLANS, new_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle, object};

const COLLECTIONS: u64 = 1000;
/// Each object costs the system tens of microseconds.
const PAGE_PROTECT_COLLECTIONS: u64 = 100;

/// Entries that live, and how many of them are replaced in a round.
const RING: usize = 64;
const REPLACED: usize = 6;
const POOLED: usize = 8;
const IMMORTALS: u64 = 20;

/// Roots on the shadow stack.
const ROOT_RING: usize = 0;
const ROOT_REGION: usize = 1;
const ROOT_POOL: usize = 2;

const RING_CLASS: Class = Class { refs: RING, bytes: 0 };
const CHILD: Class = Class { refs: 0, bytes: 24 };
const POOL_ARRAY: Class = Class { refs: POOLED, bytes: 0 };
const POOL_CLASS: Class = Class { refs: 1, bytes: 16 };
const IN_REGION: Class = Class { refs: 5, bytes: 0 };

/// What the heap keeps for an entry beside its object.
enum Service {
    None,
    Weak(Reference),
    Soft(Reference),
    Phantom(Reference),
    /// With bytes of the value.
    Ephemeron(Reference, usize),
    Finalizer,
    /// The identity hash; the table has the entry's id.
    Hash(u64),
}

/// An object that refers to a child of its own.
struct Entry {
    id: u64,
    /// Of both.
    bytes: usize,
    service: Service,
}

struct Life<'h, VM: TestVM> {
    heap: &'h Heap<VM>,
    m: ThreadHandle<VM>,
    random: u64,
    made: u64,
    immortals: u64,
    /// By slot of the ring.
    entries: Vec<Entry>,
    /// Replaced, and the heap has not told the end of their service.
    gone: Vec<Entry>,
    table: AddressTable,
    pinned: Option<(usize, Ref)>,
    region: Option<Region<VM>>,
    pool: Pool<VM>,
    pooled: usize,
    /// The id of the object in the first global root.
    global: Option<u64>,
}

fn as_object(at: Ref) -> ObjectReference {
    at.object().expect("not null")
}

fn place(object: ObjectReference) -> Ref {
    Ref(object.address().as_usize())
}

fn bytes_of<VM: TestVM>(class: Class) -> usize {
    ThreadHandle::<VM>::words(class) * 8
}

/// A new object in memory from a region or a pool.
fn initialise<VM: TestVM>(at: Address, class: Class) -> Ref {
    // SAFETY: just returned by the allocator, of that many words.
    unsafe { object::write_header(at, class.refs, ThreadHandle::<VM>::words(class)) };
    Ref(at.as_usize())
}

impl<'h, VM: TestVM> Life<'h, VM> {
    fn new(heap: &'h Heap<VM>, m: ThreadHandle<VM>) -> Self {
        for class in [RING_CLASS, Class { refs: 0, bytes: 8 }, POOL_ARRAY] {
            m.push(m.try_alloc(class, Semantics::Default).unwrap());
        }
        m.set(ROOT_REGION, Ref::NULL);
        let mut life = Life {
            heap,
            m,
            random: 1,
            made: 0,
            immortals: 0,
            entries: Vec::new(),
            gone: Vec::new(),
            table: AddressTable::new(&m.mutator()),
            pinned: None,
            region: None,
            pool: pool_in(heap, bytes_of::<VM>(POOL_CLASS)),
            pooled: 0,
            global: None,
        };
        for slot in 0..RING {
            let entry = life.make(slot);
            life.entries.push(entry);
        }
        life
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) as usize % below
    }

    fn alloc(&self, class: Class, semantics: Semantics, id: u64) -> Ref {
        let object = self.m.try_alloc(class, semantics).unwrap();
        self.m.write_word(object, class.refs, id);
        object
    }

    fn references<R>(&self, f: impl FnOnce(&References<'_, VM>) -> R) -> R {
        f(&self.m.mutator().references())
    }

    /// A new entry, in a slot of the ring.
    fn make(&mut self, slot: usize) -> Entry {
        let (m, id) = (self.m, self.made);
        self.made += 1;
        m.push(self.alloc(CHILD, Semantics::Default, !id));
        let class = |bytes| Class { refs: 1, bytes };
        let (class, semantics) = match id % 16 {
            0 => (class(20_000), Semantics::Default),
            1 => (class(1000), Semantics::Default),
            2 | 3 => (class(40), Semantics::NonMoving),
            4 if self.immortals < IMMORTALS => {
                self.immortals += 1;
                (class(16), Semantics::Immortal)
            }
            _ => (class(8 + id as usize * 8 % 200), Semantics::Default),
        };
        let object = self.alloc(class, semantics, id);
        m.write_ref(object, 0, m.peek(0));
        m.set(3, object);
        let service = self.serve(id);
        m.write_ref(m.get(ROOT_RING), slot, m.peek(0));
        m.pop(1);
        Entry { id, bytes: bytes_of::<VM>(class) + bytes_of::<VM>(CHILD), service }
    }

    /// A service for the object on top of the stack.
    fn serve(&mut self, id: u64) -> Service {
        let m = self.m;
        let create = |kind, notify| {
            let terms = Terms { owner: None, notify };
            self.references(|references| references.create(kind, as_object(m.peek(0)), terms)).unwrap()
        };
        let finalizer = |order| {
            self.references(|references| references.add_finalizer(as_object(m.peek(0)), order)).unwrap();
            Service::Finalizer
        };
        match (id / 16 + id) % 8 {
            0 => Service::Weak(create(ReferenceKind::Weak, false)),
            1 => Service::Soft(create(ReferenceKind::Soft, false)),
            2 => Service::Phantom(create(ReferenceKind::Phantom, true)),
            3 => {
                let value = self.alloc(CHILD, Semantics::Default, id);
                let ephemeron = create(ReferenceKind::Ephemeron, false);
                assert!(self.references(|references| references.set_value(ephemeron, Some(as_object(value)))));
                Service::Ephemeron(ephemeron, bytes_of::<VM>(CHILD))
            }
            4 => finalizer(FinalizerOrder::Any),
            5 => finalizer(FinalizerOrder::ReferrersFirst),
            6 => {
                let object = as_object(m.peek(0));
                self.table.insert(&m.mutator(), object, id).unwrap();
                Service::Hash(self.references(|references| references.identity_hash(object)).unwrap())
            }
            _ => Service::None,
        }
    }

    fn entry_at(&self, slot: usize) -> Ref {
        self.m.read_ref(self.m.get(ROOT_RING), slot)
    }

    /// What the program does between two collections.
    fn round(&mut self, round: u64) {
        let m = self.m;
        if let Some((slot, at)) = self.pinned.filter(|_| round % 10 == 5) {
            assert_eq!(self.entry_at(slot), at, "a pinned object moved");
            m.mutator().unpin(as_object(at));
            self.pinned = None;
        }
        for _ in 0..REPLACED {
            let slot = self.random(RING);
            if self.pinned.is_none_or(|(pinned, _)| pinned != slot) {
                let new = self.make(slot);
                self.gone.push(std::mem::replace(&mut self.entries[slot], new));
            }
        }
        if round.is_multiple_of(10) {
            let slot = self.random(RING);
            let at = self.entry_at(slot);
            self.pinned = m.mutator().pin(as_object(at)).ok().map(|()| (slot, at));
        }
        match round % 20 {
            3 => self.open_region(),
            13 => {
                m.set(ROOT_REGION, Ref::NULL);
                self.region.take().into_iter().for_each(|region| region.release(&m.mutator()));
            }
            _ => (),
        }
        self.change_pool();
        if round % 50 == 25 {
            self.come_and_go(round);
        }
        (0..40).for_each(|_| _ = m.alloc(1, 100));
    }

    fn open_region(&mut self) {
        let m = self.m;
        let region = region_in(self.heap);
        let at = region.alloc(&m.mutator(), bytes_of::<VM>(IN_REGION)).address();
        m.set(ROOT_REGION, initialise::<VM>(at, IN_REGION));
        for slot in 0..IN_REGION.refs {
            let held = self.alloc(CHILD, Semantics::Default, slot as u64);
            m.write_ref(m.get(ROOT_REGION), slot, held);
        }
        self.region = Some(region);
    }

    /// Frees an object of the pool, and makes another.
    fn change_pool(&mut self) {
        let (m, slot) = (self.m, self.random(POOLED));
        let old = m.read_ref(m.get(ROOT_POOL), slot);
        if !old.is_null() {
            m.write_ref(m.get(ROOT_POOL), slot, Ref::NULL);
            self.pool.free(&m.mutator(), as_object(old));
            self.pooled -= 1;
        }
        let new = initialise::<VM>(self.pool.alloc(&m.mutator()).address(), POOL_CLASS);
        m.write_word(new, 1, slot as u64);
        m.write_ref(m.get(ROOT_POOL), slot, new);
        self.pooled += 1;
    }

    /// Another thread allocates, leaves an object behind, and ends.
    fn come_and_go(&mut self, id: u64) {
        let heap = self.heap;
        let visitor = || {
            let thread = Thread::attach(heap);
            let m = thread.handle();
            (0..50).for_each(|_| _ = m.alloc(1, 100));
            let object = m.alloc(0, 24);
            m.write_word(object, 0, id);
            heap.vm().reference().set_global(0, object);
        };
        self.m.mutator().native(|| std::thread::scope(|scope| scope.spawn(visitor).join().unwrap()));
        self.global = Some(id);
    }

    /// Bytes that a full collection must have found: no less, and no more.
    fn live_bytes(&self) -> usize {
        let [ring, array, child, pooled, in_region] =
            [RING_CLASS, POOL_ARRAY, CHILD, POOL_CLASS, IN_REGION].map(bytes_of::<VM>);
        let of = |entry: &Entry| match entry.service {
            Service::Ephemeron(_, value) => entry.bytes + value,
            _ => entry.bytes,
        };
        let kept = |entry: &&Entry| match entry.service {
            // Its finalizer has not come: nobody has asked for it yet.
            Service::Finalizer => true,
            Service::Soft(reference) => !self.references(|references| references.is_cleared(reference)),
            _ => false,
        };
        let region = if self.region.is_some() { in_region + IN_REGION.refs * child } else { 0 };
        ring + array
            + self.pooled * pooled
            + region
            + if self.global.is_some() { child } else { 0 }
            + self.entries.iter().map(of).sum::<usize>()
            + self.gone.iter().filter(kept).map(|entry| entry.bytes).sum::<usize>()
    }

    /// After a collection, which was a full one if `full`.
    fn check(&mut self, full: bool) {
        let m = self.m;
        for (slot, entry) in self.entries.iter().enumerate() {
            let (at, id) = (self.entry_at(slot), entry.id);
            assert_eq!((m.read_word(at, 1), m.read_word(m.read_ref(at, 0), 0)), (id, !id), "entry {id}");
            self.references(|references| match entry.service {
                Service::Weak(reference) | Service::Soft(reference) => {
                    assert_eq!(references.get(reference).map(place), Some(at));
                }
                Service::Phantom(reference) => assert!(!references.is_cleared(reference)),
                Service::Ephemeron(reference, _) => {
                    let value = references.value(reference).expect("its key is alive");
                    assert_eq!(m.read_word(place(value), 0), id);
                }
                Service::Hash(hash) => {
                    assert_eq!(references.identity_hash(as_object(at)).unwrap(), hash);
                    assert_eq!(self.table.get(&m.mutator(), as_object(at)), Some(id));
                }
                Service::Finalizer | Service::None => (),
            });
        }
        let hashes = self.entries.iter().filter(|entry| matches!(entry.service, Service::Hash(_))).count();
        assert!(!full || self.table.len() == hashes, "{} keys of {hashes} are in the table", self.table.len());
        if let Some(id) = self.global {
            assert_eq!(m.read_word(self.heap.vm().reference().global(0), 0), id);
        }
        self.take_what_is_due(full);
    }

    /// The end of the services of entries that are gone.
    fn take_what_is_due(&mut self, full: bool) {
        let m = self.m;
        while let Some(object) = self.references(|references| references.next_finalizable()) {
            let id = m.read_word(place(object), 1);
            let due = |entry: &Entry| entry.id == id && matches!(entry.service, Service::Finalizer);
            let at = self.gone.iter().position(due);
            self.gone.swap_remove(at.unwrap_or_else(|| panic!("the finalizer of {id}, which is alive or had it")));
        }
        let mut told = Vec::new();
        while let Some(reference) = self.references(|references| references.next_cleared()) {
            told.push(reference);
        }
        let gone = std::mem::take(&mut self.gone);
        self.gone = gone
            .into_iter()
            .filter(|Entry { id, service, .. }| match *service {
                Service::None | Service::Hash(_) => false,
                Service::Finalizer => {
                    assert!(!full, "{id} died, and its finalizer did not come");
                    true
                }
                Service::Weak(reference)
                | Service::Soft(reference)
                | Service::Phantom(reference)
                | Service::Ephemeron(reference, _) => {
                    let (cleared, kind) = (self.references(|r| r.is_cleared(reference)), reference.kind());
                    assert!(cleared || !full || kind == ReferenceKind::Soft, "{id} died, but not a {kind:?} reference");
                    assert_eq!(cleared && kind == ReferenceKind::Phantom, told.contains(&reference), "{id}");
                    if cleared {
                        self.references(|references| references.free(reference));
                    }
                    !cleared
                }
            })
            .collect();
    }
}

fn live_long<VM: TestVM>(workers: &str) {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        let settings = [
            ("verify.trace", "true"),
            ("verify.every", "16"),
            ("gc.workers", workers),
            ("gc.wake_helpers", if workers == "1" { "auto" } else { "always" }),
            ("nursery.bytes", "8K"),
        ];
        let heap = new_heap(VM::new(), options(plan, 4 << 20, &settings)).unwrap();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let generational = PLANS.iter().any(|known| known.name == plan && known.needs.old_to_new);
        let collections = if plan == "PageProtect" { PAGE_PROTECT_COLLECTIONS } else { COLLECTIONS };
        let mut life = Life::new(&heap, m);
        let (mut round, mut early, mut late) = (0, 0, 0);
        while heap.statistics().collections < collections {
            life.round(round);
            let full = !generational || round % 4 == 3;
            if full {
                m.mutator().collect();
                let (found, live) = (heap.statistics().live_bytes, life.live_bytes());
                // Of several workers two may both count an object.
                let right = if workers == "1" { found == live } else { found >= live };
                assert!(right, "{plan}, round {round}: {found} bytes were found alive, where {live} are");
                let statistics = heap.statistics();
                let most = if statistics.collections < collections / 2 { &mut early } else { &mut late };
                *most = statistics.reserved_bytes.max(*most);
            }
            life.check(full);
            round += 1;
        }
        // PageProtect remembers what died.
        let same = late <= early + early / 8 || plan == "PageProtect";
        assert!(same, "{plan}: {early} bytes were reserved at most, and later {late}");
        assert!(!generational || heap.statistics().full_collections < collections / 2, "{plan}: no minor collections");
        assert_within_limit(&heap);
    }
}

#[test]
fn a_heap_is_after_a_thousand_collections_what_it_was_at_the_beginning() {
    live_long::<ReferenceVM>("1");
}

#[test]
fn a_heap_of_several_workers_is_after_a_thousand_collections_what_it_was_at_the_beginning() {
    live_long::<SideVM<4>>("2");
}
