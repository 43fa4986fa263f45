//! Plans: complete collectors, one file each. Read `semispace` first.

pub mod gencopy;
mod generational;
pub mod genimmix;
mod immix;
mod markcompact;
mod marksweep;
mod nogc;
mod pageprotect;
mod semispace;
pub mod stickyimmix;
pub mod stickymarksweep;

pub use generational::Generational;
pub use immix::Immix;
pub use markcompact::MarkCompact;
pub use marksweep::MarkSweep;
pub use nogc::NoGC;
pub use pageprotect::PageProtect;
pub use semispace::SemiSpace;
