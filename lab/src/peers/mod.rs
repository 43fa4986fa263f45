//! The collectors of others, for comparison on the same workloads.
//!
//! In this process behind the cargo feature `peers`: the crate `mmtk` 0.33 and libgc. As programs: Go and
//! Java.

pub mod external;

#[cfg(feature = "peers")]
pub mod bdwgc;
#[cfg(feature = "peers")]
pub mod upstream;
