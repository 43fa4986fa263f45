//! The binding: what the collector must know about this VM, and nothing else.

use crate::object::{self, Ref};
use crate::shadow_stack::ShadowStack;
use heapwright::references::WeakProcessor;
use heapwright::{Address, ObjectReference, OldToNew, OutOfMemory, SlotVisitor, StateLocation, VMBinding, WordSlot};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type OutOfMemoryHook = Box<dyn Fn(&OutOfMemory) + Send + Sync>;

/// The VM: global roots, weak references, and what to do when memory is exhausted.
#[derive(Default)]
pub struct ReferenceVM {
    globals: Vec<AtomicUsize>,
    weak: Mutex<Vec<Option<ObjectReference>>>,
    on_out_of_memory: Option<OutOfMemoryHook>,
}

// SAFETY: sizes come from the header that `Thread::alloc` writes before anything can stop it; the slots of an
// object are its first `refs` words behind the header, zeroed by the allocator; roots are the shadow stacks
// and the globals.
unsafe impl VMBinding for ReferenceVM {
    type Slot = WordSlot;
    type Local = ShadowStack;

    const STATE: StateLocation = StateLocation::HeaderTopByte(0);
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;
    const OBJECT_STARTS: bool = cfg!(feature = "conservative");
    const CONSERVATIVE_STACKS: bool = cfg!(feature = "conservative");

    #[inline(always)]
    fn object_size(&self, object: ObjectReference) -> usize {
        object::header(object).words() * 8
    }

    fn type_name(&self, object: ObjectReference) -> Cow<'static, str> {
        let header = object::header(object);
        format!("object with {} references and {} words in all", header.refs(), header.words()).into()
    }

    #[inline(always)]
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<WordSlot>) {
        self.scan_part(object, 0, object::header(object).refs(), visitor);
    }

    fn slots_of_large(&self, object: ObjectReference) -> Option<usize> {
        Some(object::header(object).refs())
    }

    #[inline(always)]
    fn scan_part(&self, object: ObjectReference, from: usize, to: usize, visitor: &mut impl SlotVisitor<WordSlot>) {
        for index in from..to {
            // SAFETY: below the header's count of references, so inside the object.
            visitor.visit(unsafe { WordSlot::at(object::slot(object, index)) });
        }
    }

    fn place_of_slots(&self, object: ObjectReference) -> Option<Range<Address>> {
        Some(object::slot(object, 0)..object::slot(object, object::header(object).refs()))
    }

    fn scan_thread(&self, stack: &mut ShadowStack, visitor: &mut impl SlotVisitor<WordSlot>) {
        if !Self::CONSERVATIVE_STACKS {
            stack.slots().for_each(|slot| visitor.visit(slot));
        }
    }

    fn scan_ambiguous(&self, stack: &mut ShadowStack, look: &mut dyn FnMut(Range<Address>)) {
        look(stack.range());
    }

    fn scan_vm(&self, visitor: &mut impl SlotVisitor<WordSlot>) {
        for global in &self.globals {
            // SAFETY: a word of this VM that holds zero or an object's address, and lives as long as the VM.
            visitor.visit(unsafe { WordSlot::at(Address::from_ptr(global.as_ptr())) });
        }
    }

    fn process_weak(&self, weak: &mut dyn WeakProcessor) {
        for entry in self.weak.lock().expect("not poisoned").iter_mut() {
            *entry = entry.and_then(|object| weak.live(object));
        }
    }

    fn out_of_memory(&self, error: &OutOfMemory) {
        match &self.on_out_of_memory {
            Some(hook) => hook(error),
            None => eprintln!("{error}"),
        }
    }
}

impl ReferenceVM {
    /// A VM with `globals` global roots, all null.
    pub fn with_globals(globals: usize) -> Self {
        ReferenceVM { globals: (0..globals).map(|_| AtomicUsize::new(0)).collect(), ..Self::default() }
    }

    /// Calls `hook` when memory is exhausted; if it returns, the process aborts.
    pub fn on_out_of_memory(mut self, hook: impl Fn(&OutOfMemory) + Send + Sync + 'static) -> Self {
        self.on_out_of_memory = Some(Box::new(hook));
        self
    }

    /// Reads a global root.
    pub fn global(&self, index: usize) -> Ref {
        Ref(self.globals[index].load(Relaxed))
    }

    /// Writes a global root.
    pub fn set_global(&self, index: usize, value: Ref) {
        self.globals[index].store(value.0, Relaxed);
    }

    /// Makes a weak reference; returns its number.
    pub fn new_weak(&self, target: Ref) -> usize {
        let mut weak = self.weak.lock().expect("not poisoned");
        weak.push(target.object());
        weak.len() - 1
    }

    /// The target of a weak reference, or null once it has died. Who goes on to use it calls
    /// [`ThreadHandle::keep`](crate::ThreadHandle::keep).
    pub fn weak(&self, number: usize) -> Ref {
        self.weak.lock().expect("not poisoned")[number].map_or(Ref::NULL, Ref::from)
    }
}
