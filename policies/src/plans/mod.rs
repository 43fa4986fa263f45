//! Plans: complete collectors, one file each. Read `semispace` first.

pub mod concurrentimmix;
pub mod gencopy;
pub mod genimmix;
pub mod immix;
pub mod markcompact;
pub mod marksweep;
pub mod nogc;
pub mod pageprotect;
pub mod semispace;
pub mod stickyimmix;
pub mod stickymarksweep;

pub use immix::Immix;
pub use markcompact::MarkCompact;
pub use marksweep::MarkSweep;
pub use nogc::NoGC;
pub use pageprotect::PageProtect;
pub use semispace::SemiSpace;
