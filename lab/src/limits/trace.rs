//! Marking 32-byte objects with two references and a side byte each: a binary tree of 8 million objects, laid
//! out in allocation (depth-first) order or at random, with and without a prefetch window in front of the
//! stack.

use super::measure::{Report, cpu_seconds, repeat};
use super::region::{Pages, Region, prefetch};
use crate::failure::Failure;
use workloads::rng::Rng;

const DEPTH: usize = 22;
const OBJECTS: usize = (1 << (DEPTH + 1)) - 1;
const OBJECT_BYTES: usize = 32;
const WINDOWS: [usize; 2] = [8, 32];
const WINDOW_MAX: usize = 32;

/// Builds the subtree of `size` objects that begins with number `first`, depth first. `place[k]` is where
/// number k lives.
fn build(region: &Region, place: &[u32], first: usize, size: usize) {
    let object = place[first] as usize * OBJECT_BYTES;
    region.write(object, 2);
    if size > 1 {
        let half = (size - 1) / 2;
        for (slot, child) in [(8, first + 1), (16, first + 1 + half)] {
            region.write(object + slot, region.start() + place[child] as usize * OBJECT_BYTES);
            build(region, place, child, half);
        }
    }
}

struct Marker<'a> {
    region: &'a Region,
    marks: &'a mut [u8],
    stack: Vec<usize>,
    marked: usize,
}

impl Marker<'_> {
    /// Marks an object, given by its offset, and pushes its children.
    #[inline(always)]
    fn visit(&mut self, object: usize) {
        let mark = &mut self.marks[object / OBJECT_BYTES];
        if *mark != 0 {
            return;
        }
        *mark = 1;
        self.marked += 1;
        for slot in 1..=self.region.read(object) {
            let child = self.region.read(object + slot * 8);
            if child != 0 {
                self.stack.push(child - self.region.start());
            }
        }
    }

    fn run(&mut self, root: usize) {
        self.stack.push(root);
        while let Some(object) = self.stack.pop() {
            self.visit(object);
        }
    }

    /// A first-in-first-out window in front of the stack: what enters is fetched, what leaves has arrived.
    fn run_with_window(&mut self, root: usize, window: usize) {
        let mut ring = [0usize; WINDOW_MAX];
        let (mut head, mut len) = (0usize, 0usize);
        self.stack.push(root);
        loop {
            while len < window {
                let Some(object) = self.stack.pop() else { break };
                self.region.prefetch(object);
                prefetch(&raw const self.marks[object / OBJECT_BYTES]);
                ring[(head + len) % WINDOW_MAX] = object;
                len += 1;
            }
            if len == 0 {
                return;
            }
            let object = ring[head % WINDOW_MAX];
            head += 1;
            len -= 1;
            self.visit(object);
        }
    }
}

/// Where objects lie, compared with the order in which they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Allocation,
    Random,
}

/// The tree, with its mark bytes.
pub(crate) struct MarkedTree {
    region: Region,
    root: usize,
    marks: Vec<u8>,
}

impl MarkedTree {
    pub(crate) const DEPTH: u32 = DEPTH as u32;
    pub(crate) const OBJECTS: usize = OBJECTS;

    pub(crate) fn new(order: Order) -> Self {
        let region = Region::new(OBJECTS * OBJECT_BYTES, Pages::Small);
        let place = match order {
            Order::Random => Rng::new(5).permutation(OBJECTS),
            Order::Allocation => (0..OBJECTS as u32).collect(),
        };
        build(&region, &place, 0, OBJECTS);
        let root = place[0] as usize * OBJECT_BYTES;
        Self { region, root, marks: vec![0; OBJECTS] }
    }

    /// Marks every object with a prefetch window, or with a plain stack for a window of 0. CPU seconds.
    pub(crate) fn mark(&mut self, window: usize) -> f64 {
        self.marks.fill(0);
        let stack = Vec::with_capacity(1 << 20);
        let mut marker = Marker { region: &self.region, marks: &mut self.marks, stack, marked: 0 };
        let seconds = cpu_seconds(|| match window {
            0 => marker.run(self.root),
            _ => marker.run_with_window(self.root, window),
        });
        assert_eq!(marker.marked, OBJECTS);
        seconds
    }

    /// The window with which marking is fastest here, by the best of three rounds.
    pub(crate) fn best_window(&mut self) -> usize {
        let mut best = WINDOWS.map(|window| (f64::INFINITY, window));
        for _ in 0..3 {
            for (seconds, window) in &mut best {
                *seconds = seconds.min(self.mark(*window));
            }
        }
        best.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are windows").1
    }
}

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    for (order, name) in [(Order::Allocation, "allocation order"), (Order::Random, "random placement")] {
        let mut tree = MarkedTree::new(order);
        for window in [0].into_iter().chain(WINDOWS) {
            let how = if window == 0 { "plain stack".to_owned() } else { format!("prefetch window {window}") };
            let times = repeat(3, || tree.mark(window));
            let what = format!("mark 8M objects of 32 B, {name}, {how}, 1 thread");
            report.rate(&what, "Mobj/s", OBJECTS as f64 / 1e6, times)?;
        }
    }
    Ok(())
}
