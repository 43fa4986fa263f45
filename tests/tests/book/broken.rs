//! "My VM crashes: what now?": programs with one mistake each, and what the page says that they print.

use crate::pages::shows;
use mmtk_core::Address;
use plan_tests::{is_child, options, run_again};
use policies::new_heap;
use reference::{Class, Ref, ReferenceHeap, ReferenceVM, Thread, object};

/// Two references and a word.
const PAIR: Class = Class { refs: 2, bytes: 8 };

fn heap(plan: &str, settings: &[(&str, &str)]) -> ReferenceHeap {
    let all: Vec<_> = [("gc.workers", "1")].iter().chain(settings).copied().collect();
    new_heap(ReferenceVM::default(), options(plan, 16 << 20, &all)).unwrap()
}

fn verified(plan: &str) -> ReferenceHeap {
    heap(plan, &[("verify.trace", "true")])
}

/// Runs the program in a process of its own, which it must end unless `lives`, and compares what it printed
/// to standard error with the page.
fn page_shows(test: &str, lives: bool, program: impl FnOnce()) {
    let name = format!("broken::{test}");
    if is_child() {
        return program();
    }
    let output = run_again(&name);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), lives, "{error}");
    shows(test, &without_numbers_that_change(&error));
}

/// What is the same in each run: no addresses, no numbers of threads, no backtrace, no lines of the test's
/// own.
fn without_numbers_that_change(text: &str) -> String {
    let ours = |line: &&str| !line.is_empty() && !line.starts_with("thread '") && !line.starts_with("note: ");
    let mut out = String::new();
    for line in text.lines().take_while(|line| *line != "stack backtrace:").filter(ours) {
        let mut after = "";
        for word in line.split_inclusive([' ', ',', ')', ':']) {
            let digits = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
            match word.find("0x") {
                Some(at) if word.len() - at > 10 && !word.contains("0xdbdb") => {
                    let rest =
                        word[at + 2..].find(|c: char| !c.is_ascii_hexdigit()).map_or("", |end| &word[at + 2 + end..]);
                    out += &format!("{}0x7f..{rest}", &word[..at]);
                }
                _ if after == "thread " && digits(word) => out += "4711 ",
                _ => out += word,
            }
            after = word;
        }
        out.push('\n');
    }
    out
}

#[test]
fn a_reference_kept_in_a_local_variable() {
    page_shows("a_reference_kept_in_a_local_variable", false, || {
        let heap = verified("Immix");
        let thread = Thread::attach(&heap);
        // ANCHOR: local
        let pair = thread.alloc_class(PAIR);
        thread.collect(); // any allocation may collect
        thread.push(pair);
        // ANCHOR_END: local
        thread.collect();
    });
}

#[test]
fn a_store_without_its_barrier() {
    page_shows("a_store_without_its_barrier", false, || {
        let heap = heap("StickyImmix", &[("verify.trace", "true"), ("nursery.bytes", "64K")]);
        let thread = Thread::attach(&heap);
        thread.push(thread.alloc_class(PAIR));
        thread.collect();
        // ANCHOR: barrier
        let young = thread.alloc_class(PAIR);
        let slot = object::slot(thread.peek(0).object().unwrap(), 1);
        // SAFETY: a slot of a live object. What is missing is the barrier: `thread.write_ref(old, 1, young)`
        // has it.
        unsafe { slot.store(young.0) };
        // ANCHOR_END: barrier
        (0..10_000).for_each(|_| _ = thread.alloc_class(PAIR));
    });
}

#[test]
fn a_size_that_changed() {
    page_shows("a_size_that_changed", false, || {
        let heap = verified("MarkSweep");
        let thread = Thread::attach(&heap);
        // ANCHOR: size
        thread.push(thread.alloc_class(PAIR));
        let start = Address::from_usize(thread.peek(0).0);
        // SAFETY: the header of a live object, cut short on purpose: the VM lets the last word go.
        unsafe { object::write_header(start, PAIR.refs, PAIR.words() - 1) };
        // ANCHOR_END: size
        thread.collect();
    });
}

#[test]
fn a_header_that_was_written_whole() {
    page_shows("a_header_that_was_written_whole", false, || {
        let heap = verified("Immix");
        let thread = Thread::attach(&heap);
        // ANCHOR: state
        thread.push(thread.alloc_class(PAIR));
        thread.collect(); // leaves its mark in the top byte of the header
        let start = Address::from_usize(thread.peek(0).0);
        // SAFETY: the header of a live object, as it was when it was new: the mark is gone.
        unsafe { object::write_header(start, PAIR.refs, PAIR.words()) };
        // ANCHOR_END: state
        thread.collect();
    });
}

#[test]
fn a_pointer_into_an_object() {
    page_shows("a_pointer_into_an_object", false, || {
        let heap = verified("MarkCompact");
        let thread = Thread::attach(&heap);
        // ANCHOR: inside
        thread.push(thread.alloc_class(PAIR));
        let inside = Ref(object::slot(thread.peek(0).object().unwrap(), 1).as_usize());
        thread.push(inside);
        // ANCHOR_END: inside
        thread.collect();
    });
}

#[test]
fn memory_that_is_used_after_its_death() {
    page_shows("memory_that_is_used_after_its_death", true, || {
        let heap = heap("Immix", &[("verify.poison", "true"), ("stress.every_bytes", "16K")]);
        let thread = Thread::attach(&heap);
        // ANCHOR: poison
        let pair = thread.alloc_class(PAIR); // in no root
        thread.write_word(pair, 2, 42);
        thread.collect(); // any allocation may collect
        // SAFETY: memory of the heap, but not of an object any more.
        let word = unsafe { ((pair.0 + 24) as *const u64).read() };
        eprintln!("42 became {word:#x}");
        // ANCHOR_END: poison
    });
}

#[test]
fn an_access_to_a_dead_object() {
    page_shows("an_access_to_a_dead_object", false, || {
        let heap = heap("PageProtect", &[]);
        let thread = Thread::attach(&heap);
        // ANCHOR: protect
        let pair = thread.alloc_class(PAIR); // in no root
        thread.collect();
        // SAFETY: not at all: the object is dead, and the access ends the process.
        unsafe { ((pair.0 + 24) as *mut u64).write_volatile(42) };
        // ANCHOR_END: protect
    });
}
