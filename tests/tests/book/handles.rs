//! The chapter "Handles and roots": handles that an embedder's code may keep over safepoints.

use plan_tests::{collecting_plans, panic_of, verified_heap};
use reference::{Class, Ref, ReferenceVM, Thread, ThreadHandle};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Mutex;

// ANCHOR: scope
/// A part of the thread's root stack. What was rooted in it is released at its end.
struct Scope<'t> {
    thread: &'t Thread,
    base: usize,
    /// Whether an inner scope is open. Only the innermost may root: an outer one would push above it.
    inner: Cell<bool>,
}

/// A root of a scope: the number of a slot that the collector updates, not an address. It may be kept over
/// safepoints, and the compiler keeps it from outliving its scope.
#[derive(Copy, Clone)]
struct Handle<'s> {
    root: usize,
    scope: PhantomData<&'s ()>,
}

impl<'t> Scope<'t> {
    fn new(thread: &'t Thread) -> Self {
        Scope { thread, base: thread.depth(), inner: Cell::new(false) }
    }

    /// Roots a reference. No safepoint lies between the one that returned it and this call.
    fn root(&self, reference: Ref) -> Handle<'_> {
        assert!(!self.inner.get(), "a scope inside this one is open: root there, or let `escaping` return it");
        Handle { root: self.thread.push(reference), scope: PhantomData }
    }

    /// The reference, for use until the next safepoint.
    fn get(&self, handle: Handle<'_>) -> Ref {
        self.thread.get(handle.root)
    }

    /// Runs `f` in a scope of its own. What it returns is rooted in this scope; all else is released.
    fn escaping(&self, f: impl FnOnce(&Scope<'_>) -> Ref) -> Handle<'_> {
        self.inner.set(true);
        let inner = Scope::new(self.thread);
        let result = f(&inner);
        drop(inner); // no safepoint: the result is still good
        self.inner.set(false);
        self.root(result)
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.thread.pop(self.thread.depth() - self.base);
    }
}
// ANCHOR_END: scope

// ANCHOR: global
/// Slots of the VM that `scan_vm` visits. They are lent to handles, each for as long as its owner wants.
struct Globals {
    free: Mutex<Vec<usize>>,
}

impl Globals {
    fn new(slots: usize) -> Self {
        Globals { free: Mutex::new((0..slots).collect()) }
    }

    /// The number of a slot that now holds the reference; none if all are lent.
    fn keep(&self, vm: &ReferenceVM, reference: Ref) -> Option<usize> {
        let slot = self.free.lock().unwrap().pop()?;
        vm.set_global(slot, reference);
        Some(slot)
    }

    /// Releases the slot. The calling thread is a running mutator: during a pause the collector may write the
    /// slot, too.
    fn release(&self, _thread: ThreadHandle, vm: &ReferenceVM, slot: usize) {
        vm.set_global(slot, Ref::NULL);
        self.free.lock().unwrap().push(slot);
    }
}
// ANCHOR_END: global

const NODE: Class = Class { refs: 1, bytes: 8 };

fn node(scope: &Scope<'_>, next: Option<Handle<'_>>, number: u64) -> Ref {
    let node = scope.thread.alloc_class(NODE);
    // After the allocation: the handle knows where the object is now.
    scope.thread.write_ref(node, 0, next.map_or(Ref::NULL, |next| scope.get(next)));
    scope.thread.write_word(node, 1, number);
    node
}

#[test]
fn what_escapes_a_scope_lives_and_moves_and_the_rest_is_let_go() {
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[("stress.every_bytes", "4K")]);
        let thread = Thread::attach(&heap);
        let scope = Scope::new(&thread);
        let list = scope.escaping(|inner| {
            let mut list = inner.root(node(inner, None, 0));
            for number in 1..100 {
                list = inner.root(node(inner, Some(list), number));
            }
            inner.get(list)
        });
        assert_eq!(thread.depth(), 1, "{plan}: one root is left");
        thread.collect();
        let mut at = scope.get(list);
        for number in (0..100).rev() {
            assert_eq!(thread.read_word(at, 1), number, "{plan}");
            at = thread.read_ref(at, 0);
        }
        drop(scope);
        thread.collect();
        assert_eq!(heap.statistics().live_bytes, 0, "{plan}");
    }
}

#[test]
fn a_scope_refuses_to_root_above_an_open_inner_one() {
    let heap = verified_heap("SemiSpace", 4 << 20, &[]);
    let thread = Thread::attach(&heap);
    let scope = Scope::new(&thread);
    let text = panic_of(|| {
        scope.escaping(|inner| {
            let node = node(inner, None, 0);
            scope.root(node);
            node
        })
    });
    assert!(text.contains("a scope inside this one is open"), "{text}");
}

#[test]
fn a_global_handle_keeps_its_object_until_it_is_released() {
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[]);
        let globals = Globals::new(2);
        let thread = Thread::attach(&heap);
        let scope = Scope::new(&thread);
        let slot = globals.keep(heap.vm(), node(&scope, None, 7)).unwrap();
        thread.collect();
        assert_eq!(thread.read_word(heap.vm().global(slot), 1), 7, "{plan}");
        let other = globals.keep(heap.vm(), node(&scope, None, 8)).unwrap();
        assert_eq!(globals.keep(heap.vm(), Ref::NULL), None, "{plan}: both are lent");
        globals.release(*thread, heap.vm(), slot);
        globals.release(*thread, heap.vm(), other);
        thread.collect();
        assert_eq!(heap.statistics().live_bytes, 0, "{plan}");
    }
}
