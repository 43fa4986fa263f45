//! What a pause gets of a marking beside mutators that it begins or ends.

use crate::address::ObjectReference;
use crate::memory::List;
use crate::metadata::{ArrayClaims, Tally};
use crate::trace::GreyPackets;
use crate::weak::Sift;

/// The marking.
pub(crate) struct OfMarking<'a> {
    /// The grey objects. No thread takes any now.
    pub grey: &'a GreyPackets,
    /// Which parts of large arrays are claimed.
    pub claims: &'a ArrayClaims,
    /// What was counted beside mutators, to be added to what this pause finds.
    pub counted: Tally,
    /// What logs of mutators hold.
    pub logged: List<'a, ObjectReference>,
    /// What is left of the tables of native references; none in the pause that begins.
    pub sift: Option<Sift>,
    /// Entries of these tables that the pause has looked at.
    pub entries: usize,
}
