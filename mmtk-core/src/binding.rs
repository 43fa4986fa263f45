//! What a VM implements.
//!
//! One trait. Five items are required: the slot type, what a thread keeps, an object's size, its slots, and
//! the roots of a thread. The rest has defaults that suit a new VM: objects are copied with a byte copy,
//! collector state lives in side tables, threads poll, out of memory reports and aborts.

use crate::address::{Address, ObjectReference};
use crate::error::OutOfMemory;
use crate::needs::{Need, Needs, OldToNew};
use crate::warnings;
use protocols::slot_word::SlotWord;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// A place that holds a reference, or stands for one.
///
/// A VM whose slots have no stable address can let the slot be the reference itself, and set
/// [`VMBinding::CAN_MOVE`] to false.
///
/// Where objects may move, `load` and `store` are atomic, `load` acquires and `store` releases: two workers
/// may scan the same object, and the second may read in the slot what the first has stored there. It then
/// reads the moved object with nothing but the slot between them ([`SlotWord`]). [`WordSlot`] does so.
pub trait Slot: Copy + Send + fmt::Debug + 'static {
    /// The object it refers to, if any. References out of the heap are allowed; the collector ignores them.
    fn load(self) -> Option<ObjectReference>;
    /// Makes it refer to the new place of a moved object. Called only inside a pause, and only if
    /// [`VMBinding::CAN_MOVE`].
    fn store(self, object: ObjectReference);
    /// The bytes that it occupies in memory, aligned to their number; none if it stands for the reference
    /// itself. The verifier asks: it tells slots that are visited twice, lie outside their object or are not
    /// aligned.
    fn place(self) -> Option<Range<Address>> {
        None
    }
}

/// A word in memory that holds the address of an object, or zero.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct WordSlot(Address);

impl WordSlot {
    /// The slot at `address`.
    ///
    /// # Safety
    /// As long as the slot is used, the address is mapped, aligned to a word, and holds zero or an object's
    /// address ([`ObjectReference::from_address`]). A slot of an object is used as long as a reference to
    /// that object may be.
    #[inline(always)]
    pub const unsafe fn at(address: Address) -> WordSlot {
        WordSlot(address)
    }

    /// Where the slot is.
    pub const fn address(self) -> Address {
        self.0
    }

    /// Makes it refer to `object`, or to none: a mutator's store, without a barrier
    /// ([`Mutator::store`](crate::Mutator::store)). It orders nothing: who publishes an object to other
    /// mutators sees to that itself.
    #[inline(always)]
    pub fn write(self, object: Option<ObjectReference>) {
        // SAFETY: `at`'s contract.
        let word = unsafe { self.0.as_atomic_u64() };
        word.store(object.map_or(0, |object| object.address().as_usize() as u64), Relaxed);
    }
}

impl Slot for WordSlot {
    #[inline(always)]
    fn load(self) -> Option<ObjectReference> {
        // SAFETY: `at`'s contract. Two workers may update a slot of an object they both scan, hence an
        // atomic.
        let word = unsafe { self.0.as_atomic_u64() };
        // SAFETY: `at`'s contract: it holds an object's address or zero.
        unsafe { ObjectReference::from_address(Address::from_usize(SlotWord(word).load() as usize)) }
    }
    #[inline(always)]
    fn store(self, object: ObjectReference) {
        // SAFETY: as for `load`.
        let word = unsafe { self.0.as_atomic_u64() };
        SlotWord(word).store(object.address().as_usize() as u64);
    }
    fn place(self) -> Option<Range<Address>> {
        Some(self.0..self.0.plus(size_of::<usize>()))
    }
}

impl fmt::Debug for WordSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// Receives the slots of an object or of a root set.
pub trait SlotVisitor<S: Slot> {
    /// Visits one slot.
    fn visit(&mut self, slot: S);

    /// Visits words of an object that may be references, and may be anything else: each that is the address
    /// of an object or one inside it keeps that object alive. For bindings with
    /// [`VMBinding::CONSERVATIVE_HEAP`].
    fn visit_ambiguous(&mut self, _words: Range<Address>) {
        panic!("ambiguous words are visited in objects alone, by bindings with CONSERVATIVE_HEAP");
    }
}

impl<S: Slot, V: SlotVisitor<S>> SlotVisitor<S> for &mut V {
    fn visit(&mut self, slot: S) {
        (**self).visit(slot);
    }
    fn visit_ambiguous(&mut self, words: Range<Address>) {
        (**self).visit_ambiguous(words);
    }
}

/// Where the collector keeps an object's state byte (mark epoch and forwarding).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum StateLocation {
    /// The VM lends the top byte of the 8-byte word at this offset from the object's start. A new object has
    /// zero there; the VM masks the byte out when it reads the word (relaxed atomically, if it scans in
    /// parallel), and never writes it. A moved object's old word is overwritten whole.
    HeaderTopByte(isize),
    /// A side table, one byte a granule. A moved object's first word is overwritten in the old copy.
    Side,
}

/// A virtual machine. It is a value: what it knows of objects may be in its fields, and two heaps in one
/// process may have two of them. The heap and its spaces share it.
///
/// # Safety
/// The collector trusts the binding with memory. An implementation promises:
/// - `object_size` returns the size that was allocated, for every object, until it is found dead;
/// - `scan_object` visits every slot of the object that may hold a reference into the heap, each once, and
///   nothing else; with the same object it visits the same slots until a mutator runs;
/// - `scan_thread`, `scan_vm` and the two for pinned roots together visit every reference into the heap that
///   a mutator could still follow, each once, apart from those inside objects;
/// - `object_size` and the scans read no other object that may move: it may be elsewhere already, or not yet;
/// - neither blocks on a mutator, allocates in this heap, or unwinds: they run in a pause, on any thread
///   (with `gc.workers` 1 and `heap.idle_gc_s` 0 on the one that asked for the collection);
/// - ranges of words that `scan_ambiguous` looks at and that `scan_object` passes to `visit_ambiguous` are
///   mapped, and nobody writes to them while they are read;
/// - `CAN_MOVE`: all that refers to objects is a slot that the scans visit, or asks for the new place in
///   `process_weak`; nothing else keeps an address over a safepoint;
/// - nobody uses an [`ObjectReference`] or a slot that it has held over a safepoint outside all that: not the
///   VM, nor safe code to which it gives a heap or a mutator;
/// - `OLD_TO_NEW`: with [`OldToNew::Barrier`] every store of a reference into an object that is not new is
///   told to the barrier, with no safepoint between; with [`OldToNew::Found`] `scan_vm_minor` visits every
///   new object that an old one refers to;
/// - `PINS_ROOTS`, `CONSERVATIVE_STACKS`, `CONSERVATIVE_HEAP`: where they are false, every root is in a slot
///   that can be updated, every reference from a stack is visited by `scan_thread`, and every word of an
///   object is known to be a reference or none;
/// - a new object is ready to be scanned (its header written, its slots null or valid) before the mutator's
///   next safepoint.
pub unsafe trait VMBinding: Sized + Send + Sync + 'static {
    /// A place that holds a reference.
    type Slot: Slot;
    /// What the VM keeps for each mutator thread beside the allocator: its shadow stack, for example.
    type Local: Send + 'static;

    /// Object sizes are multiples of the granule and objects begin at multiples of it: 8 or 16 bytes.
    const LOG_GRANULE: u32 = 3;
    /// Where the collector's state byte lives.
    const STATE: StateLocation = StateLocation::Side;
    /// Whether slots can be updated, so that objects may move. Plans that move refuse a binding that says no.
    const CAN_MOVE: bool = true;

    /// How a minor collection learns of references from old objects to new ones. Generational plans refuse a
    /// binding where it is unknown.
    const OLD_TO_NEW: OldToNew = OldToNew::Unknown;

    /// Whether the heap notes where each object begins, so that it can say what lies at an address
    /// ([`Heap::find_object`](crate::Heap::find_object)). A bit a granule, and a store for each object that
    /// is made. Compiled code that allocates sets the bit itself
    /// ([`Mutator::start_parts`](crate::Mutator::start_parts)).
    const OBJECT_STARTS: bool = false;

    /// The object's size in bytes, a multiple of the granule.
    fn object_size(&self, object: ObjectReference) -> usize;

    /// What kind of object this is, in a few words, for reports. It may be dead: then it is as it was when it
    /// was last used, but nothing that it refers to may be looked at.
    fn type_name(&self, _object: ObjectReference) -> Cow<'static, str> {
        "object".into()
    }

    /// Visits the object's slots.
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<Self::Slot>);

    /// Visits the roots of a stopped thread.
    fn scan_thread(&self, local: &mut Self::Local, visitor: &mut impl SlotVisitor<Self::Slot>);

    /// Whether the native stacks and registers of mutators are searched for references: any word that is the
    /// address of an object, or one inside it, keeps it alive and in place. For VMs whose compiler does not
    /// say where references are. Asks for [`VMBinding::OBJECT_STARTS`]; plans that move every object refuse
    /// such a binding.
    const CONSERVATIVE_STACKS: bool = false;

    /// Whether objects have words that may be references or not: [`VMBinding::scan_object`] passes these to
    /// [`SlotVisitor::visit_ambiguous`], and for each object whichever it knows: slots, if it has a bitmap or
    /// a procedure that says where they are; all words; or nothing. Asks for [`VMBinding::OBJECT_STARTS`],
    /// and for a plan that moves nothing and can find objects while it traces; the others refuse such a
    /// binding.
    const CONSERVATIVE_HEAP: bool = false;

    /// With [`VMBinding::CONSERVATIVE_STACKS`]: calls `look` with further ranges whose words may be
    /// references, such as the stacks of coroutines: all of them, also of one on which the thread runs now.
    /// The heap knows the stack alone on which the thread was attached.
    fn scan_ambiguous(&self, _local: &mut Self::Local, _look: &mut dyn FnMut(Range<Address>)) {}

    /// The address in an ambiguous word, for VMs that tag references.
    fn address_in(&self, word: usize) -> Address {
        Address::from_usize(word)
    }

    /// Visits roots that belong to no thread.
    fn scan_vm(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// In a minor collection, in place of [`VMBinding::scan_vm`]: the same roots, of which those of old
    /// objects may be left out. A binding without barrier also visits here each new object that an old one
    /// refers to. The verifier does not call it.
    fn scan_vm_minor(&self, visitor: &mut impl SlotVisitor<Self::Slot>) {
        self.scan_vm(visitor);
    }

    /// Whether there are roots whose targets must not move: [`VMBinding::scan_pinned_roots`] and
    /// [`VMBinding::scan_transitively_pinned_roots`]. Plans that move every object refuse a binding that says
    /// yes.
    const PINS_ROOTS: bool = false;

    /// Visits roots whose targets must stay where they are in this collection: somebody outside the heap
    /// knows their addresses. Beside the other roots, not among them. Called several times in a pause; it
    /// visits the same slots each time.
    fn scan_pinned_roots(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// As [`VMBinding::scan_pinned_roots`], where all that the targets lead to must stay, too.
    fn scan_transitively_pinned_roots(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// If the object consists of many consecutive slots (a large array): how many there are. The collector
    /// then visits them piece by piece with [`VMBinding::scan_part`], so that workers can share it. Asked for
    /// objects of more than 8 KiB only.
    fn slots_of_large(&self, _object: ObjectReference) -> Option<usize> {
        None
    }

    /// Visits the slots `from..to` of an object for which [`VMBinding::slots_of_large`] gave a number.
    fn scan_part(
        &self,
        _object: ObjectReference,
        _from: usize,
        _to: usize,
        _visitor: &mut impl SlotVisitor<Self::Slot>,
    ) {
        unreachable!("slots_of_large returned a number, so scan_part must be implemented")
    }

    /// For a VM with ephemerons of its own, instead of those of the heap ([`crate::weak`]): keeps alive what
    /// they hold whose keys are live, and clears nothing. Returns whether it kept anything; then it is called
    /// again, until nothing changes. Once more so after finalizers have brought objects back. Runs on the
    /// thread that leads the pause.
    fn trace_weak(&self, _weak: &mut dyn WeakProcessor) -> bool {
        false
    }

    /// For a VM with weak references of its own: called when the live objects are known and nothing has been
    /// freed. It clears what refers to dead objects, and may keep objects alive. Runs on the thread that
    /// leads the pause. A plan that collects in several rounds calls it in each.
    ///
    /// A plan that moves objects only after all live ones are known (MarkCompact) calls it twice in a pause.
    /// The first call decides: [`WeakProcessor::live`] returns objects where they still are. The second comes
    /// when they have moved: what the VM still holds is live, and `live` and `keep_alive` turn its old place
    /// into the new one. So each call must pass every reference that the VM keeps through either of them,
    /// once, and keep what comes back.
    fn process_weak(&self, _weak: &mut dyn WeakProcessor) {}

    /// Called at the end of a pause, before mutators resume.
    fn pause_ends(&self) {}

    /// Collections took more than `pacer.gc_cpu_cap` of the processor time for two seconds, and left less
    /// than a twentieth of the heap free: the program crawls. A VM may raise an error, drop caches, or tell
    /// its user. Called at the end of a pause, before mutators resume: it must not allocate or unwind; it may
    /// note what is to be done at the next safepoint. Called again when that lasts for two seconds more.
    fn limit_exceeded(&self, report: &str) {
        warnings::warn(format_args!("the heap is all but full, and collections take most of the time\n{report}"));
    }

    /// No memory, even after the last emergency collection. May unwind, exit, or free something; if it
    /// returns, the process aborts. `try_alloc` returns the error instead and does not come here.
    fn out_of_memory(&self, error: &OutOfMemory) {
        eprintln!("{error}");
    }
}

/// The live objects of the pause in progress, for a binding that keeps weak references of its own. Where
/// objects move after they were found live (MarkCompact), it is asked once more, to update what the binding
/// holds: then all of that is live.
pub trait WeakProcessor {
    /// Where the object is now, if it is live; none if it is dead.
    fn live(&self, object: ObjectReference) -> Option<ObjectReference>;
    /// Makes the object and all it refers to live, and the values of ephemerons of the heap whose keys are
    /// among them; returns its place. If objects have moved since they were found live, only that.
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference;
    /// In a minor collection: an old object, which counts as live, is dead. The binding knows it by other
    /// means, and follows no reference to it any more; the heap's own references, finalizers, pins and tables
    /// must not know it either. Spaces that can do so free its memory now, the others in the next full
    /// collection; until then it keeps its size. In a full collection the trace has told, and this does
    /// nothing.
    fn release(&mut self, object: ObjectReference);
}

impl Needs {
    /// The first need that this binding does not meet.
    pub const fn unmet<VM: VMBinding>(self) -> Option<Need> {
        if self.moves && !VM::CAN_MOVE {
            return Some(Need::Move);
        }
        if self.old_to_new && matches!(VM::OLD_TO_NEW, OldToNew::Unknown) {
            return Some(Need::OldToNew);
        }
        if !self.pins && VM::PINS_ROOTS {
            return Some(Need::PinnedRoots);
        }
        if !self.pins && VM::CONSERVATIVE_STACKS {
            return Some(Need::ConservativeStacks);
        }
        if !self.conservative && VM::CONSERVATIVE_HEAP {
            return Some(Need::ConservativeHeap);
        }
        None
    }

    /// Whether it can serve this binding.
    pub const fn are_met<VM: VMBinding>(self) -> bool {
        self.unmet::<VM>().is_none()
    }
}
