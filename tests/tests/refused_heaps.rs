//! Heaps that are not made: plans and options that do not fit.

use mmtk_core::metadata::Ages;
use mmtk_core::plan::{Address, Allocators, Pause, Request, Spaces};
use mmtk_core::{
    Heap, HeapError, Need, ObjectReference, OldToNew, Plan, PlanContext, PlanInfo, SlotVisitor, VMBinding, WordSlot,
};
use plan_tests::{TestVM, options};
use policies::spaces::{CommonSpaces, CopySpace};
use policies::{PLANS, new_heap, plans};
use reference::ReferenceVM;

const LIMIT: usize = 2 << 20;

/// A binding whose slots cannot be updated.
struct Fixed;

// SAFETY: there are no objects.
unsafe impl VMBinding for Fixed {
    type Slot = WordSlot;
    type Local = ();
    const CAN_MOVE: bool = false;
    const OLD_TO_NEW: OldToNew = OldToNew::Barrier;
    const SCAN_BESIDE: bool = true;

    fn object_size(&self, _: ObjectReference) -> usize {
        unreachable!("there are no objects")
    }
    fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
    fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
}

/// A binding that does not tell what old objects refer to.
struct Silent;

// SAFETY: there are no objects.
unsafe impl VMBinding for Silent {
    type Slot = WordSlot;
    type Local = ();

    fn object_size(&self, _: ObjectReference) -> usize {
        unreachable!("there are no objects")
    }
    fn scan_object(&self, _: ObjectReference, _: &mut impl SlotVisitor<WordSlot>) {}
    fn scan_thread(&self, (): &mut (), _: &mut impl SlotVisitor<WordSlot>) {}
}

/// A heap whose plan is made by its constructor: the table of plans has no say.
fn made<VM: VMBinding>(vm: VM, plan: Constructor<VM>) -> Result<Heap<VM>, HeapError> {
    Heap::new(vm, options("Immix", LIMIT, &[]), plan)
}

type Made<VM> = Result<Box<dyn Plan<VM>>, HeapError>;
type Constructor<VM> = fn(&PlanContext<'_, VM>) -> Made<VM>;

fn refused<VM: VMBinding>(vm: VM, plan: &str, settings: &[(&str, &str)]) -> String {
    match new_heap(vm, options(plan, LIMIT, settings)) {
        Ok(_) => panic!("{plan} with {settings:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_plan_that_does_not_exist_is_answered_with_the_one_that_was_meant() {
    let text = refused(ReferenceVM::new(), "Imix", &[]);
    assert!(text.starts_with("plan=Imix: no such plan; did you mean Immix?"), "{text}");
    let text = refused(ReferenceVM::new(), "Boehm", &[]);
    assert!(PLANS.iter().all(|plan| text.contains(plan.name)) && !text.contains("did you mean"), "{text}");
    assert!(new_heap(ReferenceVM::new(), options("semispace", LIMIT, &[])).is_ok(), "case does not matter");
}

#[test]
fn a_plan_that_moves_is_refused_for_a_binding_that_cannot_and_the_others_are_named() {
    for plan in PLANS {
        if plan.needs.moves {
            let text = refused(Fixed, plan.name, &[]);
            assert!(text.starts_with(&format!("{} moves objects", plan.name)), "{text}");
            for other in PLANS {
                let choices = text.split("choose one of").nth(1).unwrap();
                assert_eq!(choices.contains(other.name), !other.needs.moves, "{text}");
            }
        } else {
            let heap = new_heap(Fixed, options(plan.name, LIMIT, &[])).unwrap();
            heap.collect();
        }
    }
}

#[test]
fn options_that_contradict_each_other_are_refused_by_the_heap_too() {
    let settings = [("stress.always_defrag", "true"), ("immix.defrag", "false")];
    let text = refused(ReferenceVM::new(), "Immix", &settings);
    assert!(text.contains("stress.always_defrag=true"), "{text}");
}

#[test]
fn a_plan_made_by_its_constructor_is_refused_as_by_name() {
    let generational: [Constructor<Silent>; 4] = [
        |context| Ok(Box::new(plans::gencopy::new(context)?)),
        |context| Ok(Box::new(plans::genimmix::new(context)?)),
        |context| Ok(Box::new(plans::stickyimmix::new(context)?)),
        |context| Ok(Box::new(plans::stickymarksweep::new(context)?)),
    ];
    for plan in generational {
        // Its minor collections would free what old objects refer to.
        assert!(matches!(made(Silent, plan), Err(HeapError::Unsuitable { need: Need::OldToNew, .. })));
    }
    let moving: [Constructor<Fixed>; 4] = [
        |context| Ok(Box::new(plans::gencopy::new(context)?)),
        |context| Ok(Box::new(plans::genimmix::new(context)?)),
        |context| Ok(Box::new(plans::SemiSpace::new(context)?)),
        |context| Ok(Box::new(plans::MarkCompact::new(context)?)),
    ];
    for plan in moving {
        // Slots that cannot be updated would refer to where objects were.
        assert!(matches!(made(Fixed, plan), Err(HeapError::Unsuitable { need: Need::Move, .. })));
    }
}

/// A plan that says it has minor collections, of whose spaces one keeps old objects apart and the others do
/// not.
struct HalfOld(CopySpace<ReferenceVM>, CommonSpaces<ReferenceVM>);

impl Plan<ReferenceVM> for HalfOld {
    fn info(&self) -> &'static PlanInfo {
        &plans::gencopy::INFO
    }
    fn spaces(&self) -> Spaces<'_> {
        self.1.spaces_with(&[&self.0])
    }
    fn allocate(&self, _: &mut Allocators, _: Request) -> Option<Address> {
        None
    }
    fn collect(&self, _: &mut Pause<'_, ReferenceVM>) {}
}

#[test]
fn a_plan_whose_spaces_do_not_all_have_its_ages_is_refused() {
    let half: [Constructor<ReferenceVM>; 2] = [
        |context| {
            let (copy, common) = (CopySpace::new(context, Ages::NewAndOld)?, CommonSpaces::new(context, Ages::One)?);
            Ok(Box::new(HalfOld(copy, common)))
        },
        |context| {
            let (copy, common) = (CopySpace::new(context, Ages::One)?, CommonSpaces::new(context, Ages::NewAndOld)?);
            Ok(Box::new(HalfOld(copy, common)))
        },
    ];
    for (plan, space) in half.into_iter().zip(["large", "copy"]) {
        // A minor collection would not trace what an old object of that space was made to refer to.
        let panic = std::panic::catch_unwind(|| made(ReferenceVM::new(), plan)).err().expect("it is refused");
        let text = *panic.downcast::<String>().unwrap();
        let expected =
            format!("GenCopy: its space {space:?} was made with Ages::One, and its info() says Ages::NewAndOld");
        assert!(text.starts_with(&expected), "{text}");
    }
}
