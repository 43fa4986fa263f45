//! Plans: complete collectors, one file each. Read `semispace` first.

mod immix;
mod marksweep;
mod nogc;
mod semispace;
mod stickyimmix;

pub use immix::Immix;
pub use marksweep::MarkSweep;
pub use nogc::NoGC;
pub use semispace::SemiSpace;
pub use stickyimmix::StickyImmix;
