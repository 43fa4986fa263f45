//! Plans: complete collectors, one file each. Read `semispace` first.

mod immix;
mod marksweep;
mod nogc;
mod semispace;

pub use immix::Immix;
pub use marksweep::MarkSweep;
pub use nogc::NoGC;
pub use semispace::SemiSpace;
