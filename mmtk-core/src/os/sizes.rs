//! Sizes that the machine sets.

/// The size of a page, in bytes. Linux on x86-64 and the usual aarch64 configuration.
pub const PAGE_BYTES: usize = 4096;
/// The size of a huge page, in bytes.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;
/// The size of a cache line, in bytes.
pub const CACHE_LINE_BYTES: usize = 64;
