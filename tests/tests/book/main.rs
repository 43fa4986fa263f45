//! The book's programs run, and its pages show them and what they print as they are.
//!
//! A page shows code below a line `<!-- from FILE: PART -->`, and what a program printed below a line
//! `<!-- said by: TEST -->`. `UPDATE_BOOK=1 cargo test -p plan-tests --test book` writes both into the pages;
//! without it these tests compare.

mod broken;
mod compiled;
mod handles;
mod interning;
mod pages;
mod publishing;
