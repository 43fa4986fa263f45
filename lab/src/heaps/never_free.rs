//! Requests for allocators that never free: the floor of what a mutator costs.

use workloads::never_free::NeverFreeHeap;

use crate::collector::NeverFree;
use crate::driver::drive;
use crate::failure::Failure;
use crate::oom;
use crate::request::Request;

/// Runs a request on one of the allocators.
///
/// # Errors
/// As [`drive`]; also when settings are given, since there are none.
pub fn run(request: &Request, allocator: NeverFree) -> Result<(), Failure> {
    if let Some((key, value)) = request.peer_settings.first() {
        let name = &request.collector.base;
        return Err(Failure::Usage(format!("{key}={value}: {name} has no settings")));
    }
    let limit_bytes = request.heap_bytes();
    match allocator {
        NeverFree::Malloc => drive(&NeverFreeHeap::<false>::new(false, limit_bytes, oom::exit), request),
        NeverFree::Bump => drive(&NeverFreeHeap::<true>::new(false, limit_bytes, oom::exit), request),
        NeverFree::BumpHugePages => drive(&NeverFreeHeap::<true>::new(true, limit_bytes, oom::exit), request),
    }
}
