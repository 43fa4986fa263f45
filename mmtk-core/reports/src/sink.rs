//! A sink: a writer that may fail without harm.
//!
//! Each piece goes out whole and is flushed, so that a process that dies leaves whole pieces. After the first
//! error the sink is shut: half a line may be out already, and more behind it would be unreadable.

use std::io::{BufWriter, Write};

use mmtk_core::warnings;

pub(crate) struct Sink<W: Write> {
    /// `None` once a write failed or the sink was closed.
    out: Option<BufWriter<W>>,
    /// What the warning calls it.
    name: &'static str,
}

impl<W: Write> Sink<W> {
    pub fn new(name: &'static str, out: W) -> Self {
        Self { out: Some(BufWriter::new(out)), name }
    }

    pub fn write(&mut self, piece: &str) {
        let Some(out) = &mut self.out else { return };
        if let Err(reason) = out.write_all(piece.as_bytes()).and_then(|()| out.flush()) {
            warnings::warn(format_args!("{}: {reason}; nothing more is written", self.name));
            self.shut();
        }
    }

    pub fn is_open(&self) -> bool {
        self.out.is_some()
    }

    /// Everything written is flushed already.
    pub fn shut(&mut self) {
        // `into_parts` drops what is left in the buffer; dropping a `BufWriter` would try the failed bytes
        // once more.
        self.out.take().map(BufWriter::into_parts);
    }
}
