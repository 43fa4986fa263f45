//! Workers in code of the VM that does not come back, or panics: the process says so and does not hang.

use mmtk_core::events::{Event, Wait};
use mmtk_core::{Heap, ObjectReference, OldToNew, SlotVisitor, StateLocation, VMBinding, WordSlot};
use plan_tests::{TestVM, Watchdog, is_child, options, pass_again, run_again};
use policies::new_heap;
use reference::{ReferenceVM, ShadowStack, Thread};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What happens in the collection; one of them in a process at a time.
#[derive(Copy, Clone, PartialEq, Eq)]
#[repr(usize)]
enum Plot {
    /// The helper stays in `scan_object`, in a trace, until the leader has complained.
    StaysInObject,
    /// The helper stays in `scan_thread`, where references are updated, until the leader has complained.
    StaysInThread,
    HelperPanics,
    LeaderPanics,
}

static PLOT: AtomicUsize = AtomicUsize::new(0);
/// How often leader and helper came to a thread's roots.
static LEADER_CALLS: AtomicUsize = AtomicUsize::new(0);
static HELPER_CALLS: AtomicUsize = AtomicUsize::new(0);
static HELPER_IN_OBJECT: AtomicBool = AtomicBool::new(false);
static COMPLAINED: AtomicBool = AtomicBool::new(false);

fn plot_is(plot: Plot) -> bool {
    PLOT.load(SeqCst) == plot as usize
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

fn is_helper() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("gc-"))
}

/// The reference VM with two threads: leader and helper take the roots of one each.
struct PlottingVM(ReferenceVM);

// SAFETY: as for the reference binding, but where a test is about what it must not do.
unsafe impl VMBinding for PlottingVM {
    type Slot = WordSlot;
    type Local = ShadowStack;
    const STATE: StateLocation = ReferenceVM::STATE;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, object: ObjectReference) -> usize {
        self.0.object_size(object)
    }
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        match is_helper() {
            true => {
                HELPER_IN_OBJECT.store(true, SeqCst);
                assert!(!plot_is(Plot::HelperPanics), "a helper's scan came to nothing");
                let stays = plot_is(Plot::StaysInObject) || plot_is(Plot::LeaderPanics);
                wait_until(|| !stays || COMPLAINED.load(SeqCst));
            }
            false => {
                wait_until(|| HELPER_IN_OBJECT.load(SeqCst));
                assert!(!plot_is(Plot::LeaderPanics), "the leader's scan came to nothing");
            }
        }
        self.0.scan_object(object, visitor);
    }
    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        match is_helper() {
            true => {
                let calls = HELPER_CALLS.fetch_add(1, SeqCst) + 1;
                wait_until(|| LEADER_CALLS.load(SeqCst) >= calls);
                wait_until(|| !(plot_is(Plot::StaysInThread) && calls == 2) || COMPLAINED.load(SeqCst));
            }
            false => {
                let calls = LEADER_CALLS.fetch_add(1, SeqCst) + 1;
                wait_until(|| HELPER_CALLS.load(SeqCst) >= calls);
            }
        }
        self.0.scan_thread(stack, visitor);
    }
    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.0.scan_vm(visitor);
    }
}

impl TestVM for PlottingVM {
    fn new() -> Self {
        PlottingVM(ReferenceVM::new())
    }
    fn reference(&self) -> &ReferenceVM {
        &self.0
    }
}

/// Collects once with a leader and a helper, each of which has an object to scan.
fn collect(plot: Plot, plan: &str) -> Vec<(Vec<Option<String>>, u64)> {
    PLOT.store(plot as usize, SeqCst);
    [&LEADER_CALLS, &HELPER_CALLS].into_iter().for_each(|calls| calls.store(0, SeqCst));
    [&HELPER_IN_OBJECT, &COMPLAINED].into_iter().for_each(|flag| flag.store(false, SeqCst));
    let warnings = if is_child() { "stderr" } else { "never" };
    let settings =
        [("gc.workers", "2"), ("gc.wake_helpers", "always"), ("safepoint.warn_ms", "1"), ("warnings", warnings)];
    let heap: Heap<PlottingVM> = new_heap(PlottingVM::new(), options(plan, 8 << 20, &settings)).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    heap.listen(Box::new(move |event: &Event| {
        if let Event::Waiting { wait: Wait::Workers, threads, waited_ns, .. } = event {
            let names = threads.iter().map(|thread| thread.name.clone()).collect();
            hears.lock().unwrap().push((names, *waited_ns));
            COMPLAINED.store(true, SeqCst);
        }
    }));
    let ready = std::sync::Barrier::new(2);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let thread = Thread::attach(&heap);
            let m = thread.handle();
            m.push(m.alloc(1, 8));
            ready.wait();
            m.mutator().native(|| wait_until(|| over.load(SeqCst)));
        });
        ready.wait();
        let thread = Thread::attach(&heap);
        let m = thread.handle();
        m.push(m.alloc(1, 8));
        m.mutator().collect();
        over.store(true, SeqCst);
    });
    let heard = heard.lock().unwrap();
    heard.clone()
}

#[test]
fn a_leader_that_waits_long_for_a_helper_says_so_and_which_it_is() {
    let _watchdog = Watchdog::new();
    for (plot, plan) in [(Plot::StaysInObject, "Immix"), (Plot::StaysInThread, "MarkCompact")] {
        let heard = collect(plot, plan);
        let (names, waited_ns) = &heard[0];
        assert_eq!(*names, [Some("gc-1".to_owned())], "{plan}");
        assert!(*waited_ns >= 1_000_000, "{plan}: {waited_ns} ns");
    }
}

#[test]
fn the_warning_about_a_helper_says_what_may_hold_it_up() {
    let _watchdog = Watchdog::new();
    if is_child() {
        collect(Plot::StaysInObject, "Immix");
        return;
    }
    let text = pass_again("the_warning_about_a_helper_says_what_may_hold_it_up");
    let part =
        "A function of the VM that the helper called, `scan_object`, say, may not have returned (heap with plan Immix";
    assert!(text.contains("1 of its 1 helpers") && text.contains(part), "{text}");
}

/// The text of a panic is told although the program has a hook that is silent, and the process ends.
fn dies_of(test: &str, plot: Plot, parts: [&str; 2]) {
    if is_child() {
        std::panic::set_hook(Box::new(|_| ()));
        collect(plot, "Immix");
        return;
    }
    let output = run_again(test);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn a_helper_that_panics_ends_the_process_with_the_text_of_the_panic() {
    let parts = ["GC worker 1 panicked", "a helper's scan came to nothing"];
    dies_of("a_helper_that_panics_ends_the_process_with_the_text_of_the_panic", Plot::HelperPanics, parts);
}

#[test]
fn a_leader_that_panics_beside_a_helper_ends_the_process_with_the_text_of_the_panic() {
    let parts = ["the leader of a collection panicked", "the leader's scan came to nothing"];
    dies_of(
        "a_leader_that_panics_beside_a_helper_ends_the_process_with_the_text_of_the_panic",
        Plot::LeaderPanics,
        parts,
    );
}
