//! Collections that mark while the program runs: what the program may do meanwhile, and what it may not leave
//! out.
//!
//! Most tests drive the marking themselves, object by object (`gc.driver=quanta`, `stress.step_objects`), so
//! each run is the same. Freed memory is poisoned: what is lost does not read as it was.
//!
//! `driving` and `places` are what the others share.

mod driving;
mod places;

mod arrays;
mod drivers;
mod left_out;
mod objects;
mod reports;
mod services;
mod shares;
mod tables;
mod threads;
