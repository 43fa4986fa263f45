//! Objects in every space, and tables of objects that hold others.

use mmtk_core::{Heap, Pool, Region, Semantics};
use plan_tests::{TestVM, pool_in, region_in};
use reference::{Class, Ref, ThreadHandle, object};

/// Where an object lies: each is told in another way that it existed when the marking began.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Small,
    Lines,
    Large,
    NonMoving,
    Immortal,
    Region,
    Pool,
}

pub const PLACES: [Place; 7] =
    [Place::Small, Place::Lines, Place::Large, Place::NonMoving, Place::Immortal, Place::Region, Place::Pool];

pub struct Places<VM: TestVM> {
    pub region: Region<VM>,
    pub pool: Pool<VM>,
}

impl<VM: TestVM> Places<VM> {
    pub fn of(heap: &Heap<VM>) -> Self {
        Places { region: region_in(heap), pool: pool_in(heap, Self::words(0) * 8) }
    }

    pub fn words(bytes: usize) -> usize {
        ThreadHandle::<VM>::words(Class { refs: 2, bytes: 8 + bytes })
    }

    /// An object there with two references, and a number.
    pub fn make(&self, m: ThreadHandle<VM>, place: Place, number: u64) -> Ref {
        let alloc = |bytes: usize, semantics| m.try_alloc(Class { refs: 2, bytes: 8 + bytes }, semantics).unwrap();
        let write = |at: mmtk_core::Address| {
            // SAFETY: just returned by the allocator, of that many words.
            unsafe { object::write_header(at, 2, Self::words(0)) };
            Ref(at.as_usize())
        };
        let new = match place {
            Place::Small => alloc(0, Semantics::Default),
            Place::Lines => alloc(700, Semantics::Default),
            Place::Large => alloc(40_000, Semantics::Default),
            Place::NonMoving => alloc(0, Semantics::NonMoving),
            Place::Immortal => alloc(0, Semantics::Immortal),
            Place::Region => write(self.region.alloc(&m.mutator(), Self::words(0) * 8).address()),
            Place::Pool => write(self.pool.alloc(&m.mutator()).address()),
        };
        m.write_word(new, 2, number);
        new
    }
}

/// A table of objects as a root: those of `make`, which is asked in order.
pub fn table<VM: TestVM>(m: ThreadHandle<VM>, length: usize, make: impl Fn(usize) -> Ref) -> usize {
    let table = m.push(m.alloc(length, 0));
    for n in 0..length {
        let new = make(n);
        m.write_ref(m.get(table), n, new);
    }
    table
}

/// Each place with each other.
pub fn pairs() -> Vec<(Place, Place)> {
    PLACES.iter().flat_map(|one| PLACES.map(|other| (*one, other))).collect()
}

/// A table of holders, each of which refers to an object that nothing else refers to.
pub fn holders<VM: TestVM>(m: ThreadHandle<VM>, places: &Places<VM>) -> usize {
    let pairs = pairs();
    table(m, pairs.len(), |n| {
        let held = m.push(places.make(m, pairs[n].1, n as u64));
        let holder = places.make(m, pairs[n].0, 1000 + n as u64);
        m.write_ref(holder, 0, m.get(held));
        m.pop(1);
        holder
    })
}

pub fn check_holders<VM: TestVM>(m: ThreadHandle<VM>, table: usize, what: &str) {
    for (n, pair) in pairs().into_iter().enumerate() {
        let holder = m.read_ref(m.get(table), n);
        assert_eq!(m.read_word(holder, 2), 1000 + n as u64, "{what}: holder of {pair:?}");
        assert_eq!(m.read_word(m.read_ref(holder, 0), 2), n as u64, "{what}: held of {pair:?}");
    }
}
