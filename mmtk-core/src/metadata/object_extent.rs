//! Tables about the memory of objects: an entry for each piece of memory that an object lies in.

use crate::binding::VMBinding;
use crate::memory::ObjectIn;

/// Sets the entries of all regions that the object lies in to `value`; returns the object's size, for which
/// the VM is asked.
#[inline(always)]
pub fn set_regions_of<VM: VMBinding, const LOG: u32, K>(vm: &VM, object: ObjectIn<'_, LOG, K>, value: u8) -> usize {
    let bytes = vm.object_size(object.object());
    // SAFETY: so large is the object, as `VMBinding` promises.
    unsafe { object.set_all(bytes, value) };
    bytes
}
