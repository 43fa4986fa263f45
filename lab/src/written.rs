//! Files that listeners write while a heap runs. A listener cannot report that the disk is full: its file
//! keeps the reason, and the command asks for it at the end.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::failure::Failure;

/// A file that a listener writes.
pub struct Output {
    file: File,
    failed: Arc<OnceLock<String>>,
}

/// Tells whether all that was written to an [`Output`] arrived.
pub struct Receipt {
    path: PathBuf,
    what: &'static str,
    failed: Arc<OnceLock<String>>,
}

/// A new file for `what`.
///
/// # Errors
/// It cannot be created.
pub fn create(path: &Path, what: &'static str) -> Result<(Output, Receipt), Failure> {
    let failed = Arc::<OnceLock<String>>::default();
    let receipt = Receipt { path: path.to_owned(), what, failed: failed.clone() };
    match File::create(path) {
        Ok(file) => Ok((Output { file, failed }, receipt)),
        Err(error) => Err(receipt.failure(&error.to_string())),
    }
}

impl Receipt {
    /// Whether all has arrived so far.
    ///
    /// # Errors
    /// Why it has not.
    pub fn check(&self) -> Result<(), Failure> {
        self.failed.get().map_or(Ok(()), |error| Err(self.failure(error)))
    }

    fn failure(&self, error: &str) -> Failure {
        Failure::Failed(format!("{}: cannot write {}: {error}", self.path.display(), self.what))
    }
}

impl Output {
    fn keep<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed.get_or_init(|| error.to_string());
            }
        })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.keep(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.keep(flushed)
    }
}
