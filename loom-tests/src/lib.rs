//! Models of the protocols in `mmtk-core`, explored by loom: every schedule and every value that a weak
//! memory allows.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p loom-tests --release`; without the cfg the crate is empty.
//!
//! A model is a function that `check::holds`. For each ordering and step that carries a name in a protocol
//! file there is a test that `check::fails_without` it, so a model that checks nothing cannot pass for one
//! that does; the last test here compares the names on both sides.
//!
//! What loom does not see: load buffering (a load that takes its value from a store later in program order),
//! spurious failures of `compare_exchange_weak`, spurious wake-ups. The stress tests beside the protocols and
//! on the reference binding stay for that.

#![cfg(all(loom, test))]

mod barrier;
mod block_list;
mod budget;
mod check;
mod claim;
mod credit;
mod ephemerons;
mod evacuation;
mod forwarding;
mod handshake;
mod mark_bits;
mod mark_byte;
mod part_claims;
mod part_marks;
mod pin_count;
mod safepoint;
mod shared_work;
mod slot_word;
mod units;
mod weak_clearing;
mod work_stealing;

/// The names in `order!(Acquire, "name")` and `dropped!("name")`.
fn named_in(source: &str) -> Vec<&str> {
    let calls = source.match_indices("order!(").chain(source.match_indices("dropped!("));
    calls.filter_map(|(at, _)| source[at..].split(')').next()?.split('"').nth(1)).collect()
}

#[test]
fn each_named_step_is_shown_to_be_needed() {
    let protocols = [
        include_str!("../../mmtk-core/protocols/src/block_list.rs"),
        include_str!("../../mmtk-core/protocols/src/budget.rs"),
        include_str!("../../mmtk-core/protocols/src/credit.rs"),
        include_str!("../../mmtk-core/protocols/src/evacuation.rs"),
        include_str!("../../mmtk-core/protocols/src/forwarding.rs"),
        include_str!("../../mmtk-core/protocols/src/mark_bits.rs"),
        include_str!("../../mmtk-core/protocols/src/part_claims.rs"),
        include_str!("../../mmtk-core/protocols/src/part_marks.rs"),
        include_str!("../../mmtk-core/protocols/src/slot_word.rs"),
        include_str!("../../mmtk-core/protocols/src/safepoint.rs"),
        include_str!("../../mmtk-core/protocols/src/termination.rs"),
        include_str!("../../mmtk-core/protocols/src/conditions.rs"),
        include_str!("../../mmtk-core/protocols/src/index.rs"),
        include_str!("../../mmtk-core/protocols/src/units.rs"),
        include_str!("../../mmtk-core/protocols/src/shared_work.rs"),
    ];
    let models = [
        include_str!("barrier.rs"),
        include_str!("block_list.rs"),
        include_str!("budget.rs"),
        include_str!("claim.rs"),
        include_str!("credit.rs"),
        include_str!("ephemerons.rs"),
        include_str!("evacuation.rs"),
        include_str!("forwarding.rs"),
        include_str!("handshake.rs"),
        include_str!("mark_bits.rs"),
        include_str!("mark_byte.rs"),
        include_str!("part_claims.rs"),
        include_str!("part_marks.rs"),
        include_str!("safepoint.rs"),
        include_str!("shared_work.rs"),
        include_str!("slot_word.rs"),
        include_str!("units.rs"),
        include_str!("weak_clearing.rs"),
        include_str!("work_stealing.rs"),
    ];
    let names: Vec<&str> = protocols.iter().flat_map(|source| named_in(source)).collect();
    assert!(names.len() > 20, "the search for names is broken: {names:?}");
    for name in names {
        let quoted = format!("\"{name}\"");
        assert!(models.iter().any(|model| model.contains(&quoted)), "no model shows that {name} is needed");
    }
}
