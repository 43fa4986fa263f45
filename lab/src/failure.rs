//! Why a command did not succeed, and the exit status that says so.

use std::fmt;

/// A failure with a text made for users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A wrong argument or option. Exit status 2, as `clap` uses.
    Usage(String),
    /// The command was right and did not work. Exit status 1.
    Failed(String),
    /// Collectors disagree about what a workload computes. Exit status 4.
    Mismatch(String),
    /// An external program is not installed. Exit status 127, as a shell uses.
    NotInstalled(String),
    /// The reader of standard output has left, as `head` does once it has seen enough: nothing is wrong. Exit
    /// status 0, without a word.
    NoReader,
}

/// Exit status of a run that ran out of memory; see [`crate::oom`].
pub const OUT_OF_MEMORY_STATUS: i32 = 3;

/// Exit status of a run whose external program is not installed.
pub const NOT_INSTALLED_STATUS: i32 = 127;

impl Failure {
    /// The exit status of the process.
    pub fn status(&self) -> i32 {
        match self {
            Self::NoReader => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Mismatch(_) => 4,
            Self::NotInstalled(_) => NOT_INSTALLED_STATUS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::Mismatch(text) | Self::NotInstalled(text) => {
                f.write_str(text)
            }
            Self::NoReader => f.write_str("the reader of standard output has left"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<heapwright::options::OptionError> for Failure {
    fn from(error: heapwright::options::OptionError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<workloads::threads::TooFewThreads> for Failure {
    fn from(error: workloads::threads::TooFewThreads) -> Self {
        Self::Failed(error.to_string())
    }
}
