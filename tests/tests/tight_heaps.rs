//! Heaps that are nearly full of live objects: what is wasted between them is found before memory runs out.
//!
//! MarkCompact is the judge. It keeps nothing in reserve and leaves no gaps, so what it cannot do in a heap
//! smaller by the headroom of Immix, Immix need not do either. Where objects are larger than a line, the heap
//! of the judge is smaller by the ends of blocks, too: no object crosses a block.

use mmtk_core::memory::BLOCK_BYTES;
use mmtk_core::{Heap, Options, Semantics};
use plan_tests::{Watchdog, assert_within_limit, dense_plans, options};
use policies::new_heap;
use policies::spaces::LINE_BYTES;
use proptest::prelude::*;
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};

const MIB: usize = 1 << 20;

/// The plans that evacuate sparse blocks.
const EVACUATING: [&str; 3] = ["Immix", "StickyImmix", "GenImmix"];

fn heap(plan: &str, limit: usize, settings: &[(&str, &str)]) -> Heap<ReferenceVM> {
    new_heap(ReferenceVM::with_globals(0), options(plan, limit, settings)).unwrap()
}

/// A list of `length` nodes in root 0, with three times as much garbage in between; false if memory ran out.
fn builds_list(m: ThreadHandle<ReferenceVM>, length: usize) -> bool {
    m.set(0, Ref::NULL);
    for _ in 0..length {
        let Ok(node) = m.try_alloc(Class { refs: 1, bytes: 8 }, Semantics::Default) else { return false };
        m.write_ref(node, 0, m.get(0));
        m.set(0, node);
        if m.try_alloc(Class { refs: 0, bytes: 64 }, Semantics::Default).is_err() {
            return false;
        }
    }
    true
}

/// All blocks were a quarter live, and evacuation took all blocks that are live to the same degree or none of
/// them.
#[test]
fn a_heap_of_equally_live_blocks_is_evacuated_before_memory_runs_out() {
    let _watchdog = Watchdog::new();
    for plan in dense_plans() {
        let heap = heap(plan, 8 * MIB, &[("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(Ref::NULL);
        for _ in 0..2 {
            assert!(builds_list(m, 100_000), "{plan}: {:?}", heap.statistics());
        }
        assert_within_limit(&heap);
    }
}

/// To which degree memory is live that was allocated at one time, in percent.
#[derive(Clone, Debug)]
enum Shape {
    /// Each window to a degree of its own.
    Uniform,
    /// Every window to about this degree.
    Equal(usize),
    /// Each window to one degree or the other.
    Bimodal(usize, usize),
    /// Every block to the same degree exactly.
    OneClass(usize),
}

/// What is allocated, and what of it lives.
#[derive(Clone, Debug)]
struct Program {
    shape: Shape,
    /// Live bytes in the end, in percent of the limit.
    live: usize,
    /// Bytes of objects; they take turns.
    sizes: Vec<usize>,
    workers: &'static str,
    seed: u64,
}

/// Bytes that are live to one degree.
const WINDOW: usize = BLOCK_BYTES;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

impl Program {
    /// Allocates, and keeps objects as the shape says until `live` bytes are; lets every other one die, and
    /// does so again; then makes garbage for a while. Returns whether there was memory for all of it.
    fn completes(&self, plan: &str, limit: usize, live: usize) -> bool {
        self.lost(plan, limit, live).is_some()
    }

    /// As [`Program::completes`]; returns the most bytes that blocks would have lost ([`lost_in_blocks`])
    /// when `live` bytes were, if there was memory for all of it.
    fn lost(&self, plan: &str, limit: usize, live: usize) -> Option<usize> {
        let heap = heap(plan, limit, &[("gc.workers", self.workers)]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let smallest = *self.sizes.iter().min().unwrap();
        let slots = live / smallest;
        let live = live - slots * 8;
        let table = m.try_alloc(Class { refs: slots, bytes: 0 }, Semantics::Default).ok()?;
        m.push(table);
        let mut random = Random(self.seed);
        // The identity and size of what each slot refers to.
        let (mut kept, mut live_bytes) = (vec![(0u64, 0usize); slots], 0);
        let (mut window, mut degree, mut garbage, mut lost) = (0, 0, 0, 0);
        for round in 0..2 {
            for slot in (0..slots).filter(|_| random.below(2) == 0) {
                m.write_ref(m.get(0), slot, Ref::NULL);
                live_bytes -= std::mem::take(&mut kept[slot]).1;
            }
            let mut free: Vec<usize> = (0..slots).filter(|slot| kept[*slot].1 == 0).collect();
            for n in 0.. {
                let bytes = self.sizes[n % self.sizes.len()];
                if window < bytes {
                    window = WINDOW;
                    degree = match self.shape {
                        Shape::Uniform => 5 + random.below(95),
                        Shape::Equal(degree) | Shape::OneClass(degree) => degree,
                        Shape::Bimodal(one, other) => [one, other][random.below(2)],
                    };
                }
                window -= bytes;
                let new = m.try_alloc(Class { refs: 0, bytes: bytes - 8 }, Semantics::Default).ok()?;
                let keeps = match self.shape {
                    Shape::OneClass(_) => n * 37 % 100 < degree,
                    _ => random.below(100) < degree,
                };
                if live_bytes + bytes > live {
                    garbage += bytes;
                    if garbage > (round + 1) * limit / 2 {
                        break;
                    }
                } else if keeps && let Some(slot) = free.pop() {
                    m.write_word(new, 0, n as u64);
                    m.write_ref(m.get(0), slot, new);
                    kept[slot] = (n as u64, bytes);
                    live_bytes += bytes;
                }
            }
            lost = lost.max(lost_in_blocks(kept.iter().map(|(_, bytes)| *bytes)));
        }
        for (slot, (id, _)) in kept.iter().enumerate().filter(|(_, (_, bytes))| *bytes > 0) {
            assert_eq!(m.read_word(m.read_ref(m.get(0), slot), 0), *id, "{plan}: slot {slot}");
        }
        assert_within_limit(&heap);
        Some(lost)
    }
}

/// Bytes that no object is in when these lie in blocks one after the other: the ends of blocks, and of lines,
/// since an object of more than a line that moves to a hole begins with a line there.
fn lost_in_blocks(sizes: impl Iterator<Item = usize>) -> usize {
    let (mut lost, mut free) = (0, 0);
    for bytes in sizes {
        let room = if bytes > LINE_BYTES { bytes.next_multiple_of(LINE_BYTES) } else { bytes };
        if free < room {
            lost += free;
            free = BLOCK_BYTES;
        }
        free -= room;
        lost += room - bytes;
    }
    lost + free
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Uniform),
        (10usize..100).prop_map(Shape::Equal),
        (10usize..50, 50usize..100).prop_map(|(one, other)| Shape::Bimodal(one, other)),
        (10usize..100).prop_map(Shape::OneClass),
    ]
}

/// Programs with objects of `words` words that live to `live` percent of the limit.
fn programs(words: Range<usize>, live: RangeInclusive<usize>) -> impl Strategy<Value = Program> {
    let sizes = prop::collection::vec(words.prop_map(|words| words * 8), 1..4);
    let workers = prop_oneof![Just("1"), Just("2")];
    (shapes(), live, sizes, workers, any::<u64>()).prop_map(|(shape, live, sizes, workers, seed)| Program {
        shape,
        live,
        sizes,
        workers,
        seed,
    })
}

/// The headroom of Immix in percent.
fn headroom() -> usize {
    Options::default().immix_headroom_percent as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn memory_does_not_run_out_where_a_compacted_heap_would_do(program in programs(2..64, 20..=90)) {
        let _watchdog = Watchdog::new();
        let limit = 4 * MIB;
        let live = limit / 100 * program.live;
        if program.completes("MarkCompact", limit / 100 * (100 - headroom()), live) {
            for plan in EVACUATING {
                prop_assert!(program.completes(plan, limit, live), "{plan}");
            }
        }
    }

    #[test]
    fn objects_larger_than_a_line_cost_a_heap_the_ends_of_blocks_and_no_more(program in programs(64..1000, 75..=90)) {
        let _watchdog = Watchdog::new();
        let limit = 4 * MIB;
        let live = limit / 100 * program.live;
        let compacted = limit / 100 * (100 - headroom());
        if let Some(lost) = program.lost("MarkCompact", compacted, live)
            && program.completes("MarkCompact", compacted - lost, live)
        {
            for plan in EVACUATING {
                prop_assert!(program.completes(plan, limit, live), "{plan}");
            }
        }
    }
}

/// Copies went to free blocks, which they left as loosely packed as the blocks that they came from, while
/// smaller ones would have fitted the holes of others.
#[test]
fn copies_of_several_lines_fill_holes_before_memory_runs_out() {
    let _watchdog = Watchdog::new();
    for plan in EVACUATING {
        let sizes = vec![1616, 5560, 2192];
        let program = Program { shape: Shape::Equal(89), live: 90, sizes, workers: "1", seed: 104_171_658 };
        assert!(program.completes(plan, 4 * MIB, 4 * MIB / 100 * 90), "{plan}");
    }
}

/// A few large objects, of the size of the larger holes, passed over the blocks with smaller ones. They
/// stayed on the list for objects of at most a line.
#[test]
fn objects_larger_than_a_line_find_the_holes_that_larger_ones_passed_over() {
    const BYTES: usize = 4 * LINE_BYTES;
    const A_BLOCK: usize = BLOCK_BYTES / BYTES;
    let _watchdog = Watchdog::new();
    for plan in EVACUATING {
        // What moves would close the holes. A nursery that is never full: no collection comes before memory
        // is.
        let settings = [("gc.workers", "1"), ("immix.defrag", "false"), ("verify.trace", "true")];
        let nursery = [("nursery.bytes", "64M")];
        let settings = [&settings[..], if plan == "Immix" { &[] } else { &nursery }].concat();
        let heap = heap(plan, 4 * MIB, &settings);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let new = |bytes: usize, id: usize| {
            let new = m.try_alloc(Class { refs: 0, bytes: bytes - 8 }, Semantics::Default).ok()?;
            m.write_word(new, 0, id as u64);
            Some(new)
        };
        let mut ids = vec![0; 4 * MIB / BYTES];
        m.push(m.alloc(ids.len(), 0));
        let mut put = |slot: usize, object: Ref, id: usize| {
            m.write_ref(m.get(0), slot, object);
            ids[slot] = id;
        };
        let filled = (0..).take_while(|&id| new(BYTES, id).map(|object| put(id, object, id)).is_some()).count();
        // In each block two holes of one object, in each eighth block one of eight as well.
        let mut by_address: Vec<(usize, usize)> =
            (0..filled).map(|slot| (m.read_ref(m.get(0), slot).0, slot)).collect();
        by_address.sort_unstable();
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let full = by_address.chunk_by(|a, b| a.0 / BLOCK_BYTES == b.0 / BLOCK_BYTES).filter(|b| b.len() == A_BLOCK);
        for (n, block) in full.enumerate() {
            small.extend([block[4].1, block[12].1]);
            if n % 8 == 0 {
                large.push(block[16].1);
                block[16..24].iter().for_each(|&(_, slot)| put(slot, Ref::NULL, 0));
            }
        }
        small.iter().for_each(|&slot| put(slot, Ref::NULL, 0));
        m.mutator().collect();
        let collections = heap.statistics().collections;
        for slot in &large {
            put(*slot, new(8 * BYTES, *slot).unwrap(), *slot);
        }
        assert_eq!(heap.statistics().collections, collections, "{plan}: the large objects fit the large holes");
        for slot in &small {
            put(*slot, new(BYTES, *slot).unwrap(), *slot);
        }
        assert_eq!(heap.statistics().collections, collections, "{plan}: the small objects fit the small holes");
        // The next collections, minor ones too, find all blocks again, each once.
        (0..filled).step_by(4).for_each(|slot| put(slot, Ref::NULL, 0));
        for n in 0..8000 {
            let slot = n * 7 % filled;
            if !m.read_ref(m.get(0), slot).is_null() {
                put(slot, new(BYTES, n).unwrap(), n);
                new(32, n).unwrap();
            }
        }
        for (slot, id) in ids.iter().enumerate() {
            let object = m.read_ref(m.get(0), slot);
            assert!(object.is_null() || m.read_word(object, 0) == *id as u64, "{plan}: slot {slot}");
        }
    }
}

/// What the heap keeps for copies was taken for room that mutators had not used. So full collections, each of
/// which found the heap full, seemed to come early, and minor ones were never tried.
#[test]
fn minor_collections_are_tried_in_a_heap_that_is_nearly_full() {
    let _watchdog = Watchdog::new();
    for plan in ["StickyImmix", "GenImmix"] {
        let limit = 32 * MIB;
        let heap = heap(plan, limit, &[("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let list = m.push(Ref::NULL);
        for _ in 0..limit / 1000 * 945 / 64 {
            let node = m.try_alloc(Class { refs: 1, bytes: 48 }, Semantics::Default).unwrap();
            m.write_ref(node, 0, m.get(list));
            m.set(list, node);
        }
        let before = heap.statistics();
        for _ in 0..20 * MIB / 32 {
            m.try_alloc(Class { refs: 0, bytes: 24 }, Semantics::Default).unwrap();
        }
        let after = heap.statistics();
        let full = after.full_collections - before.full_collections;
        let all = after.collections - before.collections;
        assert!(full * 2 < all, "{plan}: {full} of {all} collections were full ones");
    }
}

/// The objects fill blocks in the order in which they were made, and not in the order in which they are
/// reached. A collection has paid for the copies of as many blocks as there are; what does not fit stays.
#[test]
fn copies_that_fill_blocks_worse_than_before_take_no_more_blocks_than_were_paid_for() {
    const BLOCKS: usize = 32;
    const EIGHTHS: [usize; 5] = [2, 2, 2, 1, 1];
    let blocks = |objects: &[Ref]| objects.iter().map(|object| object.0 / BLOCK_BYTES).collect::<HashSet<_>>().len();
    let _watchdog = Watchdog::new();
    for plan in ["SemiSpace", "GenCopy"] {
        let heap = heap(plan, 64 * MIB, &[("gc.workers", "1")]);
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        let (mut quarters, mut eighths) = (Vec::new(), Vec::new());
        for size in [EIGHTHS; BLOCKS].concat() {
            let bytes = size * BLOCK_BYTES / 8;
            let class = Class { refs: 1, bytes: bytes - 16 };
            assert_eq!(ThreadHandle::<ReferenceVM>::words(class) * 8, bytes);
            let object = m.try_alloc(class, Semantics::Default).unwrap();
            if size == 1 { &mut eighths } else { &mut quarters }.push(object);
        }
        // Nothing was collected yet, so the addresses are right.
        assert_eq!(heap.statistics().collections, 0);
        let (between, last) = eighths.split_at(BLOCKS);
        let groups = quarters.chunks(3).zip(between).flat_map(|(three, one)| three.iter().chain([one]));
        let before: Vec<Ref> = groups.chain(last).copied().collect();
        before.windows(2).for_each(|pair| m.write_ref(pair[0], 0, pair[1]));
        m.push(before[0]);
        m.mutator().collect();
        let there = |object: &Ref| Some(m.read_ref(*object, 0)).filter(|next| !next.is_null());
        let after: Vec<Ref> = std::iter::successors(Some(m.get(0)), there).collect();
        assert_eq!(after.len(), before.len());
        let (stayed, moved): (Vec<_>, Vec<_>) = after.into_iter().partition(|object| before.contains(object));
        assert_eq!((blocks(&before), blocks(&moved)), (BLOCKS, BLOCKS), "{plan}: {} stayed", stayed.len());
    }
}
