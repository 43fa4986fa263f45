//! What a heap refuses: to be created, and a request for memory.

use crate::needs::Need;
use crate::options::OptionError;
use std::fmt;
use std::io;

/// Why a heap could not be created, or cannot do what was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum HeapError {
    /// An option is wrong, or does not fit the binding; the text names it.
    Option(OptionError),
    /// There is no plan of this name.
    UnknownPlan {
        /// The name as written.
        name: String,
        /// The name that was probably meant.
        near: Option<&'static str>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// The binding does not meet a need of the plan.
    Unsuitable {
        /// The plan.
        plan: &'static str,
        /// What it needs.
        need: Need,
        /// Plans that serve this binding, where they are known.
        suits: Vec<&'static str>,
    },
    /// The plan has no space for regions, or for pools.
    NoSpace {
        /// The plan.
        plan: &'static str,
        /// What for.
        space: &'static str,
    },
    /// A pool of objects of a size that it cannot have.
    PoolSize {
        /// The size in bytes.
        bytes: usize,
        /// What sizes are multiples of, in bytes.
        granule: usize,
        /// The largest size, in bytes.
        max: usize,
    },
    /// The plan shares memory between processes, and cannot fork.
    CannotFork {
        /// The plan.
        plan: &'static str,
    },
    /// The system refused address space, tables, or other memory that the plan needs; the text says how much,
    /// and the limit behind it.
    System(io::Error),
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapError::Option(error) => write!(f, "{error}"),
            HeapError::UnknownPlan { name, near: Some(near), .. } => {
                write!(f, "plan={name}: no such plan; did you mean {near}?")
            }
            HeapError::UnknownPlan { name, near: None, known } => {
                write!(f, "plan={name}: no such plan; must be one of {}", known.join(", "))
            }
            HeapError::Unsuitable { plan, need, suits } if suits.is_empty() => {
                write!(f, "{plan} {need}: choose another plan")
            }
            HeapError::Unsuitable { plan, need, suits } => {
                write!(f, "{plan} {need}: choose one of {}", suits.join(", "))
            }
            HeapError::NoSpace { plan, space } => write!(f, "{plan} has no space for {space}: choose another plan"),
            HeapError::PoolSize { bytes, granule, max } => {
                write!(
                    f,
                    "a pool of objects of {bytes} bytes: they have whole granules of {granule} bytes, and at most {max} \
                     bytes"
                )
            }
            HeapError::CannotFork { plan } => {
                write!(f, "{plan} cannot fork: parent and child would share the memory of their objects")
            }
            HeapError::System(error) => write!(f, "the system refuses the heap what it needs: {error}"),
        }
    }
}

impl std::error::Error for HeapError {}

impl From<io::Error> for HeapError {
    fn from(error: io::Error) -> Self {
        HeapError::System(error)
    }
}

impl From<OptionError> for HeapError {
    fn from(error: OptionError) -> Self {
        HeapError::Option(error)
    }
}

/// The heap cannot serve a request within its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The bytes asked for.
    pub requested: usize,
    /// Bytes reserved at the last attempt.
    pub reserved: usize,
    /// The hard limit in bytes.
    pub limit: usize,
    /// What was tried before the request was refused.
    pub tried: Tried,
    /// The state of the heap, space by space.
    pub report: String,
}

/// What a heap tried before it refused a request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Every collection there is, up to an emergency collection.
    Collections,
    /// Nothing: the request is larger than the limit.
    TooLarge,
    /// Nothing: the plan never collects.
    PlanNeverCollects,
    /// Nothing: the caller holds references that a collection would make stale. [`Mutator::or_collect`]
    /// collects, and asks again.
    ///
    /// [`Mutator::or_collect`]: crate::Mutator::or_collect
    MayNotCollect,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requested, limit) = (self.requested, self.limit);
        write!(f, "out of memory: {requested} bytes requested, {} of {limit} bytes reserved", self.reserved)?;
        match self.tried {
            Tried::Collections => write!(f, " after an emergency collection; the program needs a larger heap.limit")?,
            Tried::TooLarge => write!(f, "; the request is more than the limit: it needs a larger heap.limit")?,
            Tried::PlanNeverCollects => {
                write!(f, "; this plan never collects: choose another one, or a larger heap.limit")?;
            }
            Tried::MayNotCollect => {
                write!(
                    f,
                    "; nothing was collected, since the caller may hold references: ask inside Mutator::or_collect, or choose a larger \
                     heap.limit"
                )?;
            }
        }
        write!(f, "\n{}", self.report)
    }
}

impl std::error::Error for OutOfMemory {}

/// An error that may say that memory has run out ([`Mutator::or_collect`]).
///
/// [`Mutator::or_collect`]: crate::Mutator::or_collect
pub trait MayBeOutOfMemory {
    /// The error as [`OutOfMemory`], if that is what it says.
    fn out_of_memory(&mut self) -> Option<&mut OutOfMemory>;
}

impl MayBeOutOfMemory for OutOfMemory {
    fn out_of_memory(&mut self) -> Option<&mut OutOfMemory> {
        Some(self)
    }
}
