//! The system calls of `os` as Miri can run them: an interpreter that has no address space, no page
//! protection and no processor clocks.
//!
//! `os` knows this module by the name `libc`, so nothing there is written twice. What is not defined here is
//! the C library's. Memory comes from the allocator and is never freed. A run under Miri shows nothing about
//! what a real system adds: faults, protection, residence, refusals, processor time.

pub use ::libc::*;

use std::alloc::{Layout, alloc_zeroed};
use std::sync::OnceLock;
use std::time::Instant;

/// A reservation above this is refused, as a real system refuses it.
const BYTES_MAX: usize = 1 << 34;

/// Zeroed memory at an address of the allocator's choice. Every other request is refused.
///
/// # Safety
/// None for an anonymous mapping at no particular address.
pub unsafe fn mmap(
    at: *mut c_void,
    bytes: usize,
    _protection: i32,
    _flags: i32,
    _file: i32,
    _from: i64,
) -> *mut c_void {
    match Layout::from_size_align(bytes, super::sizes::PAGE_BYTES) {
        // SAFETY: a mapping has at least one page.
        Ok(layout) if at.is_null() && bytes <= BYTES_MAX => unsafe { alloc_zeroed(layout) }.cast(),
        _ => MAP_FAILED,
    }
}

/// Keeps the memory.
///
/// # Safety
/// As the C library's.
pub unsafe fn munmap(_at: *mut c_void, _bytes: usize) -> i32 {
    0
}

/// Changes nothing: all memory can be read and written.
///
/// # Safety
/// As the C library's.
pub unsafe fn mprotect(_at: *mut c_void, _bytes: usize, _protection: i32) -> i32 {
    0
}

/// Memory that is given back reads as zero. Pages cannot be joined. All other advice is taken and changes
/// nothing.
///
/// # Safety
/// As the C library's.
pub unsafe fn madvise(at: *mut c_void, bytes: usize, advice: i32) -> i32 {
    match advice {
        // SAFETY: the caller's promise: nobody uses what the range holds.
        MADV_DONTNEED => unsafe { at.cast::<u8>().write_bytes(0, bytes) },
        MADV_COLLAPSE => return -1,
        _ => {}
    }
    0
}

/// The interpreter does not know which pages are resident.
///
/// # Safety
/// As the C library's.
pub unsafe fn mincore(_at: *mut c_void, _bytes: usize, _pages: *mut u8) -> i32 {
    -1
}

/// There are no limits.
///
/// # Safety
/// As the C library's.
pub unsafe fn getrlimit(_which: __rlimit_resource_t, limit: *mut rlimit) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { limit.write(rlimit { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY }) };
    0
}

/// Leaves the clock that the caller has chosen.
///
/// # Safety
/// As the C library's.
pub unsafe fn pthread_getcpuclockid(_thread: pthread_t, _clock: *mut clockid_t) -> i32 {
    0
}

/// One clock for everything, which counts from its first reading.
///
/// # Safety
/// As the C library's.
pub unsafe fn clock_gettime(_clock: clockid_t, time: *mut timespec) -> i32 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGAN.get_or_init(Instant::now).elapsed();
    // SAFETY: the caller's promise.
    unsafe { time.write(timespec { tv_sec: passed.as_secs() as time_t, tv_nsec: passed.subsec_nanos().into() }) };
    0
}
