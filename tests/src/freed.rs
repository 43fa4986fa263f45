//! Regions and pools of tests.

use mmtk_core::{Heap, Pool, Region, VMBinding};

/// A region of the heap.
///
/// # Panics
/// When the plan has no regions.
pub fn region_in<VM: VMBinding>(heap: &Heap<VM>) -> Region<VM> {
    // SAFETY: tests use no object of a region that was released, but for those that show how the verifier
    // finds a reference to one; they do it with objects that nothing else takes the memory of.
    unsafe { heap.region() }.unwrap()
}

/// A pool of objects of `bytes` bytes.
///
/// # Panics
/// When the plan has no pools, or none of such objects.
pub fn pool_in<VM: VMBinding>(heap: &Heap<VM>, bytes: usize) -> Pool<VM> {
    // SAFETY: as for `region_in`.
    unsafe { heap.pool(bytes) }.unwrap()
}
