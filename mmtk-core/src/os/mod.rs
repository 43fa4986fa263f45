//! The system calls below the heap: address space, commitment, huge pages, processor time. None panics when
//! the system refuses. What the caller needs is refused to the caller (`refusals`); what would only save time
//! or memory is left out.
//!
//! This is one of the homes of `unsafe`: each function states what it needs of its arguments. Nothing here
//! knows what the memory is used for.

#[cfg(miri)]
mod in_miri;
mod mapping;
mod pages;
mod sizes;
mod sparse;

pub use mapping::Mapping;
pub(crate) use pages::memory_at;
pub use pages::{PageVec, Pages};
pub use sizes::{CACHE_LINE_BYTES, HUGE_PAGE_BYTES, PAGE_BYTES};

#[cfg(miri)]
use self::in_miri as libc;
use crate::address::Address;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Maps a range somewhere, aligned to `align`, a power of two: its start, and its bytes, whole pages.
pub(super) fn map_anywhere(bytes: usize, align: usize, protection: i32) -> io::Result<(Address, usize)> {
    let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
    let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or_else(too_large)?;
    let padded = if align > PAGE_BYTES { bytes.checked_add(align).ok_or_else(too_large)? } else { bytes };
    // SAFETY: an anonymous mapping at an address of the system's choice disturbs nothing that exists.
    let raw = unsafe { libc::mmap(std::ptr::null_mut(), padded, protection, ANONYMOUS, -1, 0) };
    if raw == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let raw = Address::from_ptr(raw);
    let start = raw.align_up(align.max(PAGE_BYTES));
    let (before, after) = (start.bytes_from(raw), padded - bytes - start.bytes_from(raw));
    for (at, extra) in [(raw, before), (start.plus(bytes), after)] {
        if extra > 0 {
            // SAFETY: the two trimmings are parts of the mapping made above, which nobody has seen yet.
            // If the system refuses, they stay reserved: address space without memory.
            unsafe { libc::munmap(at.as_mut_ptr(), extra) };
        }
    }
    Ok((start, bytes))
}

/// Maps a range, all of which must be free: whole pages, for reading and writing or for nothing.
///
/// # Errors
/// Something is mapped there, or the system refuses.
pub(super) fn map_free(at: Address, bytes: usize, accessible: bool) -> io::Result<()> {
    let protection = if accessible { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    let flags = ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: with this flag the call disturbs nothing that exists.
    let raw = unsafe { libc::mmap(at.as_mut_ptr(), bytes, protection, flags, -1, 0) };
    if raw == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if Address::from_ptr(raw) != at {
        // A system before Linux 4.17 takes the address for a hint.
        // SAFETY: made above, and nobody has seen it.
        unsafe { libc::munmap(raw, bytes) };
        return Err(io::Error::from_raw_os_error(libc::EEXIST));
    }
    Ok(())
}

/// Releases whole pages; whether the system did so.
///
/// # Safety
/// They are the caller's, and nobody uses them any more.
pub(super) unsafe fn unmap(at: Address, bytes: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(at.as_mut_ptr(), bytes) == 0 }
}

fn limit(read: impl FnOnce(&mut libc::rlimit) -> i32) -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    (read(&mut limit) == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur as usize)
}

/// Bytes of address space that this process may use; none if there is no limit.
pub(super) fn address_space_limit() -> Option<usize> {
    // SAFETY: the call writes one limit, which is the caller's.
    limit(|to| unsafe { libc::getrlimit(libc::RLIMIT_AS, to) })
}

/// Bytes that this process may lock in memory; none if there is no limit.
pub(super) fn locked_memory_limit() -> Option<usize> {
    // SAFETY: as above.
    limit(|to| unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, to) })
}

/// Bytes that a file of this process may have; none if there is no limit.
pub(super) fn file_size_limit() -> Option<usize> {
    // SAFETY: as above.
    limit(|to| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, to) })
}

/// Writes zeroes.
///
/// # Safety
/// The range is committed and nobody else accesses it.
#[inline]
pub unsafe fn zero(at: Address, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    if ZERO_BY_STORES.contains(&bytes) {
        // SAFETY: the caller's promise.
        return unsafe { zero_by_stores(at, at.plus(bytes)) };
    }
    // SAFETY: the caller's promise.
    unsafe { at.as_mut_ptr::<u8>().write_bytes(0, bytes) };
}

/// From 2 KiB on the C library has the processor's string instruction, which runs alone: what comes behind it
/// waits, cache misses too. For more than this it is the fastest; for 1 KiB the loop is as good as the
/// library. Measured on binary-trees: a tenth of mutators' time.
#[cfg(target_arch = "x86_64")]
const ZERO_BY_STORES: std::ops::RangeInclusive<usize> = 1 << 10..=32 << 10;

/// # Safety
/// As for [`zero`]; the range is longer than two cache lines.
#[cfg(target_arch = "x86_64")]
unsafe fn zero_by_stores(start: Address, end: Address) {
    use std::arch::x86_64::{__m128i, _mm_setzero_si128};
    let (first, last) = (start.align_up(CACHE_LINE_BYTES), end.align_down(CACHE_LINE_BYTES));
    // SAFETY: all in the range, the caller's promise; lines are aligned to all that is stored. Volatile: the
    // compiler would put the library's call in place of the loop.
    unsafe {
        start.as_mut_ptr::<u8>().write_bytes(0, first.bytes_from(start));
        let zero = _mm_setzero_si128();
        let mut line = first;
        while line < last {
            let words = line.as_mut_ptr::<__m128i>();
            words.write_volatile(zero);
            words.add(1).write_volatile(zero);
            words.add(2).write_volatile(zero);
            words.add(3).write_volatile(zero);
            line = line.plus(CACHE_LINE_BYTES);
        }
        last.as_mut_ptr::<u8>().write_bytes(0, end.bytes_from(last));
    }
}

/// Copies whole words upwards: a target that overlaps the source lies below it. For objects, most of which
/// are small.
///
/// # Safety
/// Both ranges are mapped and aligned to a word, nobody else writes to the source or accesses the target, and
/// the target does not begin inside the source.
#[inline(always)]
pub unsafe fn copy_words(source: Address, target: Address, words: usize) {
    let (source, target) = (source.as_ptr::<u64>(), target.as_mut_ptr::<u64>());
    // SAFETY: the caller's promise. Upwards, each step reads before it writes what lies at or below what it
    // read.
    unsafe {
        if words <= 16 {
            // Word by word the compiler makes a loop of fours with a loop for the rest: a tenth of a
            // collection.
            let mut i = 0;
            while i + 2 <= words {
                target.add(i).cast::<[u64; 2]>().write_unaligned(source.add(i).cast::<[u64; 2]>().read_unaligned());
                i += 2;
            }
            if i < words {
                target.add(i).write(source.add(i).read());
            }
        } else {
            std::ptr::copy(source, target, words);
        }
    }
}

/// Writes a pattern over freed memory.
///
/// # Safety
/// The range is committed and nobody uses what it holds.
pub unsafe fn poison(at: Address, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { at.as_mut_ptr::<u8>().write_bytes(POISON, bytes) };
}

/// The byte that poisoned memory is filled with.
pub const POISON: u8 = 0xdb;

/// Processor time of the calling thread, in nanoseconds; 0 where the system does not say.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

/// Processor time of all threads of the process, in nanoseconds.
pub fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

/// The system's number of this thread.
pub fn thread_id() -> u32 {
    // SAFETY: takes nothing and changes nothing.
    unsafe { libc::gettid() as u32 }
}

/// Whether this process has a thread of that number. True if the system does not say.
pub fn has_thread(id: u32) -> bool {
    let threads = std::path::Path::new("/proc/self/task");
    !threads.exists() || threads.join(id.to_string()).exists()
}

/// Writes to standard error without a lock, and without a word if that fails.
pub fn write_to_standard_error(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: reads no more than the slice has.
        let written = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => (),
            _ => return,
        }
    }
}

/// Whether the settings of the machine let programs have huge pages.
pub fn huge_pages_allowed() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").is_ok_and(|modes| !modes.contains("[never]"))
}

/// What a thread uses of the processor, for others to read while it lives.
pub struct CpuMeter {
    clock: AtomicI32,
    /// Where the clock stood when it was last read, in ns. The owner reads it, or the leader of a pause while
    /// the owner is stopped.
    seen: AtomicU64,
}

impl CpuMeter {
    /// Of the calling thread, from now on.
    pub fn of_this_thread() -> CpuMeter {
        let meter = CpuMeter { clock: AtomicI32::new(0), seen: AtomicU64::new(0) };
        meter.begin();
        meter
    }

    /// Starts anew, for the calling thread: after a fork it is another one.
    pub fn begin(&self) {
        let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: the call writes one clock's number, which is ours.
        unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        self.clock.store(clock, Relaxed);
        self.seen.store(clock_ns(clock).unwrap_or(0), Relaxed);
    }

    /// Processor time since the last call, in ns; 0 of a thread that has ended.
    pub fn take(&self) -> u64 {
        let Some(now) = clock_ns(self.clock.load(Relaxed)) else { return 0 };
        now.saturating_sub(self.seen.swap(now, Relaxed))
    }

    /// Processor time since the last call of [`CpuMeter::take`], in ns; 0 of a thread that has ended.
    pub fn elapsed(&self) -> u64 {
        clock_ns(self.clock.load(Relaxed)).map_or(0, |now| now.saturating_sub(self.seen.load(Relaxed)))
    }

    /// So much of it is not the mutator's.
    pub fn skip(&self, ns: u64) {
        self.seen.fetch_add(ns, Relaxed);
    }
}

fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which is ours; a clock that is gone is an error.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_written_to_all_of_a_range_and_to_nothing_else() {
        let mut memory = vec![0u8; 48 << 10];
        for (start, bytes) in [(0, 0), (3, 5), (1, 1023), (0, 1024), (63, 1025), (65, 4000), (7, 32 << 10), (9, 40_000)]
        {
            memory.fill(1);
            // SAFETY: the range lies in the vector, which is this test's alone.
            unsafe { zero(Address::from_ptr(memory.as_mut_ptr()).plus(start), bytes) };
            let zeroes = memory.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
            assert!(zeroes.eq(start..start + bytes), "{bytes} from {start}");
        }
    }
}
