//! What a VM implements.
//!
//! One trait. Five items are required: the slot type, what a thread keeps, an object's size, its slots, and
//! the roots of a thread. The rest has defaults that suit a new VM: the collector copies objects byte by
//! byte, its state lives in side tables, threads poll, and a heap that is out of memory says so and aborts.

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
/// Where objects may move, `load` and `store` are atomic: `load` acquires and `store` releases. Two workers
/// may scan the same object. The second may then load a reference that the first has just stored, and read
/// the moved object: only the slot orders the two ([`SlotWord`]). [`WordSlot`] does so.
pub trait Slot: Copy + Send + fmt::Debug + 'static {
    /// The object it refers to, if any. References out of the heap are allowed; the collector ignores them.
    fn load(self) -> Option<ObjectReference>;
    /// Makes it refer to the new place of a moved object. Called only inside a pause, and only if
    /// [`VMBinding::CAN_MOVE`].
    fn store(self, object: ObjectReference);
    /// The range of memory that the slot occupies, aligned to its length; `None` if the slot stands for the
    /// reference itself. The verifier uses it to find slots that are visited twice, lie outside their object
    /// or are not aligned.
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

    /// Stores `object`, or null, as a mutator, without a barrier (with one:
    /// [`Mutator::store`](crate::Mutator::store)). The store orders nothing: a mutator that publishes an
    /// object to others needs other means.
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
    #[inline(always)]
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
/// - where `place_of_slots` gives a range, `scan_part` visits those slots, each where its number says;
/// - `object_size` and the scans read no other object that may move: it may be elsewhere already, or not yet;
/// - none of these functions waits for a mutator, allocates in this heap, or unwinds: they run in a pause, on
///   any thread (with `gc.workers` 1 and `heap.idle_gc_s` 0, on the thread that asked for the collection);
/// - the ranges of words that `scan_ambiguous` and `scan_object` pass on as ambiguous are mapped, and nothing
///   writes to them while they are read;
/// - with `CAN_MOVE`, every reference to an object is in a slot that the scans visit, or is updated in
///   `process_weak`; nothing else keeps an address over a safepoint;
/// - no code uses an [`ObjectReference`] or a slot that it has kept over a safepoint anywhere else: neither
///   the VM, nor safe code to which the VM gives a heap or a mutator;
/// - with [`OldToNew::Barrier`], the VM calls the barrier before every store of a reference into an object
///   that is not new, and no safepoint lies between the two; with [`OldToNew::Found`], `scan_vm_minor` visits
///   every new object that an old one refers to;
/// - without `PINS_ROOTS`, every root is in a slot that can be updated; without `CONSERVATIVE_STACKS`,
///   `scan_thread` visits every reference on a stack; without `CONSERVATIVE_HEAP`, it is known of every word
///   of an object whether it is a reference;
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
    /// Whether slots can be updated, so that objects may move. Plans that move objects refuse a binding where
    /// this is false.
    const CAN_MOVE: bool = true;

    /// How a minor collection learns of references from old objects to new ones. Generational plans refuse a
    /// binding where it is unknown.
    const OLD_TO_NEW: OldToNew = OldToNew::Unknown;

    /// Whether the heap notes where each object begins, so that it can say what lies at an address
    /// ([`Heap::find_object`](crate::Heap::find_object)). This costs a bit for each granule, and a store for
    /// each new object. Compiled code that allocates sets the bit itself
    /// ([`Mutator::start_parts`](crate::Mutator::start_parts)).
    const OBJECT_STARTS: bool = false;

    /// The object's size in bytes, a multiple of the granule.
    fn object_size(&self, object: ObjectReference) -> usize;

    /// What kind of object this is, in a few words, for reports. The object may be dead. Its own memory is
    /// then as it was when it was last used, but what it refers to may be gone: do not read that.
    fn type_name(&self, _object: ObjectReference) -> Cow<'static, str> {
        "object".into()
    }

    /// Visits the object's slots.
    fn scan_object(&self, object: ObjectReference, visitor: &mut impl SlotVisitor<Self::Slot>);

    /// Visits the roots of a stopped thread.
    fn scan_thread(&self, local: &mut Self::Local, visitor: &mut impl SlotVisitor<Self::Slot>);

    /// Whether the native stacks and registers of mutators are searched for references: any word that is the
    /// address of an object, or one inside it, keeps it alive and in place. For VMs whose compiler does not
    /// say where references are. It needs [`VMBinding::OBJECT_STARTS`]; plans that move every object refuse
    /// such a binding.
    const CONSERVATIVE_STACKS: bool = false;

    /// Whether objects have words that may be references or not. [`VMBinding::scan_object`] passes such words
    /// to [`SlotVisitor::visit_ambiguous`]. An object whose slots it knows (by a bitmap, or by a procedure)
    /// it may visit by slots, as ever; an object without references it leaves alone. It needs
    /// [`VMBinding::OBJECT_STARTS`], and a plan that moves nothing and can find objects while it traces; the
    /// other plans refuse such a binding.
    const CONSERVATIVE_HEAP: bool = false;

    /// With [`VMBinding::CONSERVATIVE_STACKS`]: calls `look` with further ranges whose words may be
    /// references, such as the stacks of coroutines. It passes all of them, also the one on which the thread
    /// runs now: the heap knows only the stack on which the thread was attached.
    fn scan_ambiguous(&self, _local: &mut Self::Local, _look: &mut dyn FnMut(Range<Address>)) {}

    /// The address in an ambiguous word, for VMs that tag references.
    fn address_in(&self, word: usize) -> Address {
        Address::from_usize(word)
    }

    /// Visits roots that belong to no thread.
    fn scan_vm(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// In a minor collection, in place of [`VMBinding::scan_vm`]: the same roots, except that it may leave
    /// out roots that refer to old objects. A binding with [`OldToNew::Found`] also visits here each new
    /// object that an old one refers to. The verifier does not call it.
    fn scan_vm_minor(&self, visitor: &mut impl SlotVisitor<Self::Slot>) {
        self.scan_vm(visitor);
    }

    /// Whether there are roots whose targets must not move: [`VMBinding::scan_pinned_roots`] and
    /// [`VMBinding::scan_transitively_pinned_roots`]. Plans that move every object refuse a binding where
    /// this is true.
    const PINS_ROOTS: bool = false;

    /// Visits roots whose targets must stay where they are in this collection: code outside the heap knows
    /// their addresses. The other scans do not visit these roots. Called several times in a pause; it visits
    /// the same slots each time.
    fn scan_pinned_roots(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// As [`VMBinding::scan_pinned_roots`], for roots whose targets must stay with all that is reachable from
    /// them.
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

    /// Where the slots are of an object for which [`VMBinding::slots_of_large`] gave a number: in one range
    /// of the object, one behind the other and equally far apart, in the order of their numbers. The barrier
    /// of a generational plan then remembers the pages of such an object that were stored into (512 slots of
    /// a word each), and a minor collection visits their slots alone. Without it, and where slots have no
    /// [`Slot::place`], it visits them all. Asked for in pauses.
    fn place_of_slots(&self, _object: ObjectReference) -> Option<Range<Address>> {
        None
    }

    /// For a VM with ephemerons of its own, instead of those of the heap ([`crate::weak`]): keeps alive the
    /// values of ephemerons whose keys are live, and clears nothing. Returns whether it kept anything alive;
    /// if so, it is called again, until it returns false. After finalizers have brought objects back, that is
    /// done once more. Runs on the thread that leads the pause.
    fn trace_weak(&self, _weak: &mut dyn WeakProcessor) -> bool {
        false
    }

    /// For a VM with weak references of its own: called when the live objects are known and nothing has been
    /// freed. It clears what refers to dead objects, and may keep objects alive. Runs on the thread that
    /// leads the pause. A plan that collects in several rounds calls it in each.
    ///
    /// A plan that moves objects only after all live ones are known (MarkCompact) calls it twice in a pause.
    /// The first call decides: [`WeakProcessor::live`] returns objects where they still are. The second comes
    /// when they have moved: every object that the VM still refers to is live then, and `live` and
    /// `keep_alive` turn its old address into the new one. So each call must pass every reference that the VM
    /// keeps to one of the two, once, and keep the result.
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
/// objects move after they were found live (MarkCompact), the binding uses it a second time in a pause, to
/// update what it holds: all of that is live then.
pub trait WeakProcessor {
    /// Where the object is now, if it is live; none if it is dead.
    fn live(&self, object: ObjectReference) -> Option<ObjectReference>;
    /// Makes the object live, with all that is reachable from it and with the values of the heap's ephemerons
    /// whose keys are among those; returns where the object is. If objects have moved since they were found
    /// live, it only returns that.
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference;
    /// Says in a minor collection, where old objects count as live, that this old object is dead. The binding
    /// knows so by other means, and uses no reference to the object any more; the heap's own references,
    /// finalizers, pins and tables must not refer to it either. Spaces that can do so free its memory now,
    /// the others in the next full collection; until then the object keeps its size. In a full collection the
    /// trace finds it dead by itself, and this does nothing.
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
