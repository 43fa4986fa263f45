//! The figures of the book's chapter "Measured": what is measured, what the targets are, and how the chapter
//! is drawn.
//!
//! 1. [`catalogue`]: one table of all measurements, with their targets.
//! 2. [`results`]: the results of the runs, in a file of JSON lines. An interrupted call continues from it.
//! 3. [`figures`]: from results to rows: ratios, their spread, the worst cell, met or missed.
//! 4. [`chart`] and [`chapter`]: the pictures and the page.
//!
//! The runs themselves are made by [`crate::interleave`]; `commands::bench` puts the parts together. Nothing
//! here but [`results`] touches a file, and nothing starts a process.

pub mod catalogue;
pub mod chapter;
pub mod chart;
pub mod figures;
pub mod results;
