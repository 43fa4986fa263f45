//! An object in the heap: a 16-byte header, then the value.
//!
//! ```text
//!  0          4          8              15  16
//!  [ handles ][ number  ][ vtable     |S ]  [ value ... ]       S: the byte lent to the collector
//! ```
//! I1. The value begins at byte 16 for every type aligned to at most 16: the engine casts handles between
//!     such types.
//! I2. `handles` is the number of `Gc`s and `Ephemeron`s of this object, wherever they are: in other objects,
//!     dead ones included, on the stack, in the Rust heap.
//! I3. `number` of an old object is its place in the list of old objects. That of a new one, and of a dead
//!     one while the collector looks whether a finalizer stored it (`COUNTS`), is how many handles were found
//!     inside objects; 0 between collections.
//! I4. Handles belong to one thread, so the counts are plain cells; the collector runs on that thread too.
//! I5. An object without handles is dead, unless it is `KEPT`: an ephemeron or the collector has its address
//!     without a handle, so only marking finds out. Nobody is told when the last handle goes: minor
//!     collections look for such objects. (To tell made the drop of a value too large for the compiler to
//!     inline, which cost the engine 5 %.)

use crate::{Trace, Tracer};
use heapwright::{Address, ObjectReference};
use std::any::TypeId;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Objects are multiples of this.
pub(crate) const GRANULE: usize = 16;
/// Where the word is whose top byte the collector may use.
pub(crate) const STATE_OFFSET: isize = 8;
/// An object of this size is a large one in every plan.
const LARGE: usize = 16 << 10;
/// In `number`: it is a count.
const COUNTS: u32 = 1 << 31;
/// In `number`: the object is left to full collections.
const KEPT: u32 = 1 << 30;
/// `number` of an object that is buried, or about to be. It has the bit `KEPT`, so it is not buried twice.
const GONE: u32 = u32::MAX;
const ADDRESS_BITS: usize = (1 << 56) - 1;

/// An object in the heap.
#[repr(C)]
pub struct GcBox<T: ?Sized + 'static> {
    header: Header,
    value: T,
}

/// What precedes every value.
#[repr(C)]
pub(crate) struct Header {
    handles: Cell<u32>,
    number: Cell<u32>,
    /// Top byte: the collector's.
    vtable: AtomicPtr<VTable>,
}

/// What the collector knows about a type.
pub(crate) struct VTable {
    pub trace: unsafe fn(Object, &mut Tracer),
    pub finalize: unsafe fn(Object),
    /// None if dropping the value does nothing.
    pub drop: Option<unsafe fn(Object)>,
    pub type_id: TypeId,
    /// Header and value, in whole granules.
    pub bytes: usize,
}

/// An object of which only the header is known.
#[derive(Copy, Clone, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Object(NonNull<Header>);

const _: () = {
    assert!(size_of::<Header>() == GRANULE, "the engine's casts need the value at byte 16 (I1)");
    assert!(std::mem::offset_of!(Header, vtable) as isize == STATE_OFFSET);
};

impl VTable {
    /// For an ordinary object with a value of type `T`.
    pub const fn of<T: Trace + 'static>() -> VTable {
        unsafe fn trace<T: Trace + 'static>(object: Object, tracer: &mut Tracer) {
            // SAFETY: this function is in the vtable of an object with a `T`, which is alive: the collector's
            // promise.
            unsafe { object.value_of::<T>().as_ref().trace(tracer) }
        }
        unsafe fn finalize<T: Trace + 'static>(object: Object) {
            // SAFETY: as above.
            unsafe { object.value_of::<T>().as_ref().run_finalizer() }
        }
        unsafe fn drop<T: Trace + 'static>(object: Object) {
            // SAFETY: as above, and the collector drops a value once.
            unsafe { object.value_of::<T>().drop_in_place() }
        }
        VTable {
            trace: trace::<T>,
            finalize: finalize::<T>,
            drop: if std::mem::needs_drop::<T>() { Some(drop::<T>) } else { None },
            type_id: TypeId::of::<T>(),
            bytes: bytes_of::<GcBox<T>>(),
        }
    }
}

/// What to ask of the allocator. It aligns objects to a granule, and large ones to a page: so a type that
/// wants more than the one is given the other.
const fn bytes_of<B>() -> usize {
    let bytes = size_of::<B>().next_multiple_of(GRANULE);
    if align_of::<B>() > GRANULE && bytes < LARGE { LARGE } else { bytes }
}

/// The vtable of each type, promoted to a static.
pub(crate) trait HasVTable {
    const VTABLE: &'static VTable;
}

impl<T: Trace + 'static> HasVTable for T {
    const VTABLE: &'static VTable = &VTable::of::<T>();
}

impl<T: ?Sized + 'static> GcBox<T> {
    pub(crate) fn value(&self) -> &T {
        &self.value
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

impl<T: Trace + 'static> GcBox<T> {
    /// A new object with one handle.
    pub(crate) fn new(value: T) -> GcBox<T> {
        let vtable = AtomicPtr::new(std::ptr::from_ref(T::VTABLE).cast_mut());
        GcBox { header: Header { handles: Cell::new(1), number: Cell::new(COUNTS), vtable }, value }
    }
}

impl Header {
    /// One handle more. The limit cannot be reached by handles that exist, only by forgotten ones.
    #[inline(always)]
    pub fn add_handle(&self) {
        let handles = self.handles.get().wrapping_add(1);
        if handles == 0 {
            too_many_handles();
        }
        self.handles.set(handles);
    }

    #[inline(always)]
    pub fn remove_handle(&self) {
        self.handles.set(self.handles.get().wrapping_sub(1));
    }

    #[inline(always)]
    pub fn handles(&self) -> u32 {
        self.handles.get()
    }

    /// Whether there is no handle, and nothing else keeps the object.
    #[inline(always)]
    pub fn is_unreferenced(&self) -> bool {
        self.handles() == 0 && self.number.get() & KEPT == 0
    }

    /// Something other than handles knows the object: full collections alone find out when it dies.
    pub fn keep(&self) {
        self.number.set(self.number.get() | KEPT);
    }

    /// That is over.
    pub fn keep_no_longer(&self) {
        self.number.set(self.number.get() & !KEPT);
    }

    #[inline(always)]
    pub fn vtable(&self) -> &'static VTable {
        let pointer = self.vtable.load(Relaxed).map_addr(|bits| bits & ADDRESS_BITS);
        // SAFETY: written in `GcBox::new` from a static; the collector changes the top byte only, which is
        // masked out.
        unsafe { &*pointer }
    }

    /// From now on, handles of this object are counted when they are found inside objects.
    #[inline(always)]
    pub fn begin_count(&self) {
        self.number.set(self.number.get() & KEPT | COUNTS);
    }

    /// A handle was found inside an object.
    #[inline(always)]
    pub fn count(&self) {
        let number = self.number.get();
        if number & COUNTS != 0 {
            self.number.set(number + 1);
        }
    }

    /// How many handles were found.
    #[inline(always)]
    pub fn counted(&self) -> u32 {
        self.number.get() & !(COUNTS | KEPT)
    }

    /// The object is old and at this place of the list.
    #[inline(always)]
    pub fn set_place(&self, place: usize) {
        debug_assert!(place < KEPT as usize);
        self.number.set(self.number.get() & KEPT | place as u32);
    }

    /// The place of an old object; none of a new one.
    #[inline(always)]
    pub fn place(&self) -> Option<usize> {
        let number = self.number.get();
        (number & COUNTS == 0).then_some((number & !KEPT) as usize)
    }

    /// The object is buried, or about to be.
    #[inline(always)]
    pub fn set_gone(&self) {
        self.number.set(GONE);
    }

    #[inline(always)]
    pub fn is_gone(&self) -> bool {
        self.number.get() == GONE
    }
}

#[cold]
#[inline(never)]
fn too_many_handles() -> ! {
    panic!("2^32 handles of one object")
}

impl Object {
    /// The object of a box.
    #[inline(always)]
    pub fn of<T: ?Sized + 'static>(gc_box: NonNull<GcBox<T>>) -> Object {
        Object(gc_box.cast())
    }

    /// The object that the toolkit calls so.
    #[inline(always)]
    pub fn from_reference(reference: ObjectReference) -> Object {
        Object(NonNull::new(reference.address().as_mut_ptr()).expect("a reference is not null"))
    }

    /// The object as the toolkit calls it.
    #[inline(always)]
    pub fn reference(self) -> ObjectReference {
        // SAFETY: an object begins there (`Object`'s contract).
        unsafe { ObjectReference::from_address(self.address()) }.expect("not null")
    }

    #[inline(always)]
    pub fn address(self) -> Address {
        Address::from_ptr(self.0.as_ptr())
    }

    /// # Safety
    /// The object's memory has not been swept.
    #[inline(always)]
    pub unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: the caller's promise; headers stay intact until the sweep, also those of dropped values.
        unsafe { self.0.as_ref() }
    }

    /// The box, if the value is a `T`.
    #[inline(always)]
    pub fn as_box<T: 'static>(self) -> NonNull<GcBox<T>> {
        self.0.cast()
    }

    /// # Safety
    /// The object holds a `T`.
    unsafe fn value_of<T: 'static>(self) -> NonNull<T> {
        // SAFETY: the field of a box in memory, made without a reference to the rest of it.
        unsafe { NonNull::new_unchecked(&raw mut (*self.as_box::<T>().as_ptr()).value) }
    }
}
