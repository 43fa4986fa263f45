//! What a heap refuses: to be created, and a request for memory.

use crate::options::OptionError;
use std::fmt;
use std::io;

/// Why a heap could not be created.
#[derive(Debug)]
pub enum HeapError {
    /// An option is wrong, or does not fit the binding; the text names it.
    Option(OptionError),
    /// The plan needs what the binding cannot give, or there is no such plan; the text says which and what to
    /// choose.
    Plan(String),
    /// The system refused address space, tables, or what else the plan asks of it; the text says how much,
    /// and the limit behind it.
    System(io::Error),
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeapError::Option(error) => write!(f, "{error}"),
            HeapError::Plan(text) => write!(f, "{text}"),
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
    /// What it says of memory, if that is what it says.
    fn out_of_memory(&mut self) -> Option<&mut OutOfMemory>;
}

impl MayBeOutOfMemory for OutOfMemory {
    fn out_of_memory(&mut self) -> Option<&mut OutOfMemory> {
        Some(self)
    }
}
