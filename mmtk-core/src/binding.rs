//! What a VM implements.
//!
//! One trait, [`VMBinding`]. Five items are required: the type of slots, the type of what the VM keeps for a
//! thread, an object's size, its slots, and the roots of a thread. The others have defaults that suit a new
//! VM: the collector copies objects byte by byte and keeps their state in side tables, threads poll, and a
//! heap that is out of memory prints an error and aborts the process.

use crate::address::{Address, ObjectReference};
use crate::error::OutOfMemory;
use crate::needs::{Need, Needs, OldToNew};
use crate::warnings;
use protocols::slot_word::SlotWord;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// A place that holds a reference.
///
/// If the slots of a VM have no stable address, its slot type can be the reference itself. Such a VM sets
/// [`VMBinding::CAN_MOVE`] to false.
///
/// Where objects may move, `load` must be an atomic acquire load, and `store` an atomic release store. The
/// reason: two workers may scan the same object, so one may load a reference that the other has just stored,
/// and read the moved object. Only the slot orders that read after the copy ([`SlotWord`]). [`WordSlot`] has
/// these orderings.
pub trait Slot: Copy + Send + fmt::Debug + 'static {
    /// The object that the slot refers to, if any. The collector ignores objects outside the heap.
    fn load(self) -> Option<ObjectReference>;
    /// Makes the slot refer to `object`, which has moved there. Called only inside a pause, and only if
    /// [`VMBinding::CAN_MOVE`] is true.
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
    /// address ([`ObjectReference::from_address`]). A slot inside an object counts as used for as long as a
    /// reference to that object may be used.
    #[inline(always)]
    pub const unsafe fn at(address: Address) -> WordSlot {
        WordSlot(address)
    }

    /// Where the slot is.
    pub const fn address(self) -> Address {
        self.0
    }

    /// Stores `object`, or null, from a mutator. There is no write barrier, unlike in
    /// [`Mutator::store`](crate::Mutator::store). The store is relaxed: a mutator that publishes an object to
    /// other threads must order its stores by other means.
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

    /// Visits words of an object that may be references or anything else. A word that is the address of an
    /// object, or an address inside one, keeps that object alive. Only for bindings with
    /// [`VMBinding::CONSERVATIVE_HEAP`].
    fn visit_ambiguous(&mut self, _words: Range<Address>) {
        panic!("visit_ambiguous: only for words inside objects, in bindings with CONSERVATIVE_HEAP");
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
    /// The VM lends the top byte of the 8-byte word at this offset from the object's start. The byte is zero
    /// in a new object. The VM never writes it, and masks it out when it reads the word; scans that run in
    /// parallel read the word by a relaxed atomic load. When an object moves, the collector overwrites the
    /// whole word in the old copy.
    HeaderTopByte(isize),
    /// A side table with one byte per granule. When an object moves, the collector overwrites the first word
    /// of the old copy.
    Side,
}

/// A virtual machine, as a value: what it knows about objects may be in its fields, and each heap in a
/// process may have a VM value of its own. The heap and its spaces share that value.
///
/// # Safety
/// A wrong answer of the binding corrupts memory. An implementation promises:
/// - `object_size` returns the size that was allocated, for every object, until the object is found dead;
/// - `scan_object` visits every slot of the object that may hold a reference into the heap, each once, and
///   nothing else; called again for the same object, it visits the same slots until a mutator runs;
/// - `scan_thread`, `scan_vm`, `scan_pinned_roots` and `scan_transitively_pinned_roots` together visit every
///   root, each once: a root is a reference into the heap that a mutator could still follow and that is not
///   inside an object;
/// - where `place_of_slots` gives a range, `scan_part` visits slot number N at the Nth place of that range;
/// - `object_size` and the scans read no other object that may move: it may have moved already, or not;
/// - none of these functions waits for a mutator, allocates in this heap, or unwinds: they run in a pause, on
///   any thread (with `gc.workers` 1 and `heap.idle_gc_s` 0, on the thread that asked for the collection);
/// - the ranges of words that `scan_ambiguous` and `scan_object` pass on as ambiguous are mapped, and nothing
///   writes to them while they are read;
/// - with `CAN_MOVE`, every reference to an object is in a slot that the scans visit, or is updated in
///   `process_weak`; nothing else keeps an address across a safepoint;
/// - if an [`ObjectReference`] or a slot was kept in any other place across a safepoint, no code uses it
///   afterwards: neither the VM, nor safe code to which the VM gives a heap or a mutator;
/// - with [`OldToNew::Barrier`], the VM calls the barrier before every store of a reference into an object
///   that is not new, and no safepoint lies between the two; with [`OldToNew::Found`], `scan_vm_minor` visits
///   every new object that an old one refers to;
/// - without `PINS_ROOTS`, every root is in a slot that can be updated; without `CONSERVATIVE_STACKS`,
///   `scan_thread` visits every reference on a stack; without `CONSERVATIVE_HEAP`, the VM knows of every word
///   of an object whether it is a reference;
/// - a new object is ready to be scanned (its header written, its slots null or valid) before the mutator's
///   next safepoint.
pub unsafe trait VMBinding: Sized + Send + Sync + 'static {
    /// A place that holds a reference.
    type Slot: Slot;
    /// What the VM keeps for each mutator thread: its shadow stack, for example.
    type Local: Send + 'static;

    /// The logarithm to base 2 of the granule, which is 8 or 16 bytes. Object sizes are multiples of the
    /// granule, and objects begin at multiples of it.
    const LOG_GRANULE: u32 = 3;
    /// Where the collector's state byte lives.
    const STATE: StateLocation = StateLocation::Side;
    /// Whether slots can be updated, so that objects may move. Plans that move objects refuse a binding where
    /// this is false.
    const CAN_MOVE: bool = true;

    /// How a minor collection learns of references from old objects to new ones. Generational plans refuse a
    /// binding where this is `Unknown`.
    const OLD_TO_NEW: OldToNew = OldToNew::Unknown;

    /// Whether objects may be scanned while mutators use them, for plans that mark beside mutators; others
    /// ask for nothing here. It promises that
    /// - [`VMBinding::scan_object`], `scan_part` and `object_size` may be called for an object into which a
    ///   mutator stores at that moment, and change nothing (no count, for example);
    /// - a slot is one word, aligned, that both sides read and write whole
    ///   ([`WordSlot`] does; compiled code does with plain moves);
    /// - the size of an object, and what its words mean, change only after [`Mutator::before_reshape`] of
    ///   this mutator was called for it, and no safepoint lies between; it does not grow beyond what was
    ///   asked for; `scan_part` may still be called for slots that it had before;
    /// - a reference to an object that the VM took from anywhere but a slot, a root or a function of this
    ///   crate (a weak table of its own, say) is told to [`Mutator::keep`] before the next safepoint.
    ///
    /// [`Mutator::before_reshape`]: crate::Mutator::before_reshape
    /// [`Mutator::keep`]: crate::Mutator::keep
    const SCAN_BESIDE: bool = false;

    /// Whether the heap notes where each object begins, so that it can say what lies at an address
    /// ([`Heap::find_object`](crate::Heap::find_object)). This costs a bit per granule, and a store per new
    /// object. Compiled code that allocates without a call sets the bit itself
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
    /// address of an object, or an address inside one, keeps that object alive and in place. For VMs whose
    /// compiler does not say where references are. This needs [`VMBinding::OBJECT_STARTS`]. Plans that move
    /// every object refuse such a binding.
    const CONSERVATIVE_STACKS: bool = false;

    /// Whether objects have words of which the VM does not know if they are references.
    /// [`VMBinding::scan_object`] passes such words to [`SlotVisitor::visit_ambiguous`]. If the slots of an
    /// object are known (by a bitmap, or by a procedure), it may visit these slots instead; for an object
    /// without references it visits nothing. This needs [`VMBinding::OBJECT_STARTS`], and a plan that moves
    /// nothing and can find objects while it traces. Other plans refuse such a binding.
    const CONSERVATIVE_HEAP: bool = false;

    /// With [`VMBinding::CONSERVATIVE_STACKS`]: calls `look` with further ranges whose words may be
    /// references, such as the stacks of coroutines. If the thread now runs on such a stack, that one is
    /// passed too: the heap knows only the stack on which the thread was attached.
    fn scan_ambiguous(&self, _local: &mut Self::Local, _look: &mut dyn FnMut(Range<Address>)) {}

    /// The address in an ambiguous word, for VMs that tag references.
    fn address_in(&self, word: usize) -> Address {
        Address::from_usize(word)
    }

    /// Visits roots that belong to no thread.
    fn scan_vm(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// Called in a minor collection in place of [`VMBinding::scan_vm`]. Visits the same roots, but may leave
    /// out those that refer to old objects. A binding with [`OldToNew::Found`] also visits here each new
    /// object that an old one refers to. The verifier does not call this function.
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

    /// As [`VMBinding::scan_pinned_roots`], for roots whose targets must stay where they are, and so must all
    /// objects that are reachable from those targets.
    fn scan_transitively_pinned_roots(&self, _visitor: &mut impl SlotVisitor<Self::Slot>) {}

    /// If the object has many consecutive slots (a large array): the number of slots. The collector then
    /// visits them piece by piece with [`VMBinding::scan_part`], so that workers can share the object. Called
    /// only for objects of more than 8 KiB.
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

    /// The range that holds all slots of an object for which [`VMBinding::slots_of_large`] gave a number. In
    /// this range the slots lie in the order of their numbers, equally far apart. The barrier of a
    /// generational plan then remembers which pages of the object were stored into (512 slots of one word are
    /// a page), and a minor collection visits only the slots in these pages. If this returns `None`, or if
    /// slots have no [`Slot::place`], the minor collection visits all slots of the object. The barrier of a
    /// plan that marks beside mutators reads only the 1024 slots among which the store is; otherwise it reads
    /// all. Called in pauses, and by the barrier of such a plan while mutators run.
    fn place_of_slots(&self, _object: ObjectReference) -> Option<Range<Address>> {
        None
    }

    /// For a VM that keeps its own ephemerons instead of those of the heap ([`crate::weak`]). Keeps alive the
    /// values of ephemerons whose keys are live, and clears nothing. Returns whether it kept anything alive.
    /// The collector calls it until it returns false, and again in the same way after finalizers have brought
    /// objects back. Runs on the thread that leads the pause.
    fn trace_weak(&self, _weak: &mut dyn WeakProcessor) -> bool {
        false
    }

    /// For a VM that keeps its own weak references. Called when the live objects are known and nothing has
    /// been freed. Clears the VM's weak references to dead objects, and may keep objects alive. Runs on the
    /// thread that leads the pause. A plan that collects in several rounds calls it in each round.
    ///
    /// A plan that moves objects only after all live ones are known (MarkCompact) calls it twice in a pause.
    /// In the first call the VM decides what to clear and what to keep alive; no object has moved yet. In the
    /// second call objects have moved, and every object that the VM still refers to is live:
    /// [`WeakProcessor::live`] and [`WeakProcessor::keep_alive`] only turn its old address into the new one.
    /// So in each call the VM must pass every weak reference that it keeps to one of these two functions,
    /// once, and store the result in its place.
    fn process_weak(&self, _weak: &mut dyn WeakProcessor) {}

    /// Called at the end of a pause, before mutators resume.
    fn pause_ends(&self) {}

    /// Called when collections took more than `pacer.gc_cpu_cap` of the processor time for two seconds and
    /// left less than a twentieth of the heap free, so that the program hardly advances. A VM may drop
    /// caches, tell its user, or raise an error at the next safepoint. Called at the end of a pause, before
    /// mutators resume, so it must not allocate or unwind. Called again each time that this state has lasted
    /// two seconds more.
    fn limit_exceeded(&self, report: &str) {
        warnings::warn(format_args!("the heap is all but full, and collections take most of the time\n{report}"));
    }

    /// Called when an allocation finds no memory even after the last emergency collection. May unwind or
    /// exit; if it returns, the process aborts. `try_alloc` returns the error and does not call this.
    fn out_of_memory(&self, error: &OutOfMemory) {
        eprintln!("{error}");
    }
}

/// Tells a binding that keeps its own weak references which objects are live in this pause. In MarkCompact
/// objects move only after all live ones are known, so the binding gets a second `WeakProcessor` in the same
/// pause, to update the references that it holds; all of them are live then ([`VMBinding::process_weak`]).
pub trait WeakProcessor {
    /// Where the object is now, if it is live; `None` if it is dead.
    fn live(&self, object: ObjectReference) -> Option<ObjectReference>;
    /// Keeps the object alive, with all that is reachable from it, and with the values of those of the heap's
    /// ephemerons whose keys this reaches. Returns where the object is now. In the second call of
    /// [`VMBinding::process_weak`] it only returns that.
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference;
    /// Tells a minor collection, in which all old objects count as live, that this old object is dead. The
    /// binding knows this by other means. It must not use any reference to the object again, and the heap's
    /// own references, finalizers, pins and tables must not refer to the object either. Some spaces free its
    /// memory now, the others in the next full collection; until then `object_size` must still answer for it.
    /// In a full collection the trace finds the object dead by itself, and a call does nothing.
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
        if self.snapshot && !matches!(VM::OLD_TO_NEW, OldToNew::Barrier) {
            return Some(Need::Barrier);
        }
        if self.snapshot && !VM::SCAN_BESIDE {
            return Some(Need::ScanBeside);
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
