//! What a block is, in its byte.

use super::lines::LINE_BYTES;

/// Objects of this size and more leave a hole that they do not fit to smaller ones.
pub(super) const MEDIUM_BYTES: usize = LINE_BYTES + 1;

pub(super) const FREE: u8 = 0;
pub(super) const USED: u8 = 1;
pub(super) const SOURCE: u8 = 2;
pub(super) const FRESH: u8 = 3;
pub(super) const NURSERY: u8 = 4;
