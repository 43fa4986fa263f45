//! Standard output and standard error: what is printed reaches its reader, or the command ends with a reason.
//!
//! `println!` panics when the reader has left (`mmtk list | head`) and when a disk is full. Here a reader
//! that has left ends the command without a word and with success, and any other error is said on standard
//! error. Notes on standard error are for people: a note that cannot be written is dropped.

use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes text to standard output.
///
/// # Errors
/// [`Failure::NoReader`], or what the system says.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::NoReader,
        _ => Failure::Failed(format!("standard output: {error}")),
    })
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`text`].
pub fn line(line: impl std::fmt::Display) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Writes a line to standard error, if anybody can read it.
pub fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
