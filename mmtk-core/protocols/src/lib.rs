//! What two threads of a heap share, in the files that the models in `loom-tests` explore: on std's atomics
//! and locks, or on loom's under `--cfg loom`.
//!
//! No raw memory, no clock, no VM: a protocol works on words that its caller lends it. Each file says which
//! threads call it, its invariants, and which of its orderings and steps carry names. For each name, a test
//! requires that a model fails without it ([`sync`]). The tests in the files themselves are for std: under
//! loom only models run.
//!
//! | file | what is shared | by |
//! |---|---|---|
//! | [`sync`] | atomics and locks, `order!` and `dropped!` | all |
//! | [`safepoint`] | the word that stops the world | mutators and the leader |
//! | [`forwarding`] | an object's state: marks, claims, new place, pin, log bit | workers, mutators |
//! | [`slot_word`] | a slot that two workers visit | workers |
//! | [`part_marks`] | which parts of a large array were stored into | mutators |
//! | [`part_claims`] | which parts of a large array are claimed in a marking beside mutators | markers, mutators |
//! | [`mark_bits`] | marks of neighbours in a word | workers |
//! | [`pin_count`] | the pin bit beside the count of pins | mutators |
//! | [`evacuation`] | blocks that are slid in order | workers |
//! | [`termination`] | whether any work is left | workers |
//! | [`conditions`], [`index`] | what an ephemeron waits for | workers |
//! | [`units`] | work of which threads take one unit after the other | mutators, workers, the leader |
//! | [`shared_work`] | packets of work, which a leader closes for a pause | background workers, mutators, the leader |
//! | [`block_list`] | blocks that any thread may take | mutators, workers |
//! | [`budget`], [`credit`] | bytes that may be reserved, and allocated | mutators |

#![forbid(unsafe_code)]

pub mod block_list;
pub mod budget;
pub mod conditions;
pub mod credit;
pub mod evacuation;
pub mod forwarding;
pub mod index;
pub mod mark_bits;
pub mod part_claims;
pub mod part_marks;
pub mod pin_count;
pub mod safepoint;
pub mod shared_work;
pub mod slot_word;
pub mod sync;
pub mod termination;
pub mod units;
