//! Plans and spaces that are wrong. They are safe code, so what they do wrong may upset the objects of their
//! heap, but leads to no memory that is not the heap's.

use mmtk_core::alloc::{Allocators, Request};
use mmtk_core::memory::Extent;
use mmtk_core::metadata::Ages;
use mmtk_core::pause::Pause;
use mmtk_core::plan::Spaces;
use mmtk_core::space::Space;
use mmtk_core::{Address, Heap, HeapError, Needs, ObjectReference, Plan, PlanContext, PlanInfo, Semantics};
use plan_tests::{TestVM, options, panic_of};
use policies::spaces::{CommonSpaces, CopySpace, MarkSweepSpace};
use reference::{Class, ReferenceVM, ShadowStack, Thread};
use std::panic::{AssertUnwindSafe, catch_unwind};

const LIMIT: usize = 2 << 20;

/// A plan that hands out one address, whatever lies there.
struct Wild(Address);

impl Plan<ReferenceVM> for Wild {
    fn info(&self) -> &'static PlanInfo {
        &PlanInfo { name: "Wild", what: "one address for all objects", needs: Needs::NONE }
    }
    fn spaces(&self) -> Spaces<'_> {
        Spaces::new([])
    }
    fn allocate(&self, _: &mut Allocators, _: Request) -> Option<Address> {
        Some(self.0)
    }
    fn collect(&self, _: &mut Pause<'_, ReferenceVM>) {}
}

/// What becomes of a request for `bytes` bytes in a heap whose plan gives the address that `address` chooses.
fn answer(bytes: usize, address: impl FnOnce(&PlanContext<'_, ReferenceVM>) -> Address) -> Result<Address, String> {
    let plan = |context: &PlanContext<'_, ReferenceVM>| -> Result<Box<dyn Plan<ReferenceVM>>, HeapError> {
        Ok(Box::new(Wild(address(context))))
    };
    let heap = Heap::new(<ReferenceVM as TestVM>::new(), options("Wild", LIMIT, &[]), plan).unwrap();
    let mutator = heap.attach(ShadowStack::default());
    let result = catch_unwind(AssertUnwindSafe(|| mutator.try_alloc(bytes).unwrap().address()));
    result.map_err(|panic| *panic.downcast::<String>().unwrap())
}

#[test]
fn an_address_that_is_not_the_heaps_is_never_handed_out() {
    let word = Box::new([0u64; 8]);
    let at = Address::from_ptr(word.as_ptr());
    assert!(answer(64, |_| at).unwrap_err().contains("is no memory of this heap"));
    let whole =
        |context: &PlanContext<'_, ReferenceVM>| (context.memory.whole().start(), context.memory.whole().bytes());
    let last = |context: &PlanContext<'_, ReferenceVM>| {
        let (start, bytes) = whole(context);
        start.plus(bytes - 64)
    };
    assert!(answer(64, last).is_ok());
    assert!(answer(72, last).is_err(), "its end lies behind the heap");
    assert!(answer(64, |context| whole(context).0.minus(8)).is_err());
}

/// MarkSweep, which says that it has the common spaces alone.
struct Unlisted {
    cells: MarkSweepSpace<ReferenceVM>,
    common: CommonSpaces<ReferenceVM>,
}

impl Plan<ReferenceVM> for Unlisted {
    fn info(&self) -> &'static PlanInfo {
        &PlanInfo { name: "Unlisted", what: "a space that nobody is told of", needs: Needs::NONE }
    }
    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[])
    }
    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        self.cells.allocate(allocators, request.bytes)
    }
    fn collect(&self, pause: &mut Pause<'_, ReferenceVM>) {
        pause.prepare(|kind| {
            self.cells.prepare(kind);
            self.common.prepare(kind);
        });
        pause.trace((self.cells.tracer(), self.common.tracer()));
        self.cells.sweep(pause);
        self.common.sweep(pause);
    }
}

/// A copy space that says that nothing moves in it.
struct Still(CopySpace<ReferenceVM>);

impl Space for Still {
    fn name(&self) -> &'static str {
        "still"
    }
    fn extent(&self) -> Extent {
        self.0.extent()
    }
    fn moves(&self) -> bool {
        false
    }
    fn ages(&self) -> Ages {
        self.0.ages()
    }
    fn reserved_bytes(&self) -> usize {
        self.0.reserved_bytes()
    }
    fn check_object(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        self.0.check_object(object, bytes)
    }
    fn check_live(&self, object: ObjectReference, bytes: usize) -> Result<(), String> {
        self.0.check_live(object, bytes)
    }
}

/// SemiSpace, with that space.
struct Restless {
    copy: Still,
    common: CommonSpaces<ReferenceVM>,
}

impl Plan<ReferenceVM> for Restless {
    fn info(&self) -> &'static PlanInfo {
        &PlanInfo { name: "Restless", what: "moves objects and says that it does not", needs: Needs::NONE }
    }
    fn spaces(&self) -> Spaces<'_> {
        self.common.spaces_with(&[&self.copy])
    }
    fn allocate(&self, allocators: &mut Allocators, request: Request) -> Option<Address> {
        self.copy.0.allocate(allocators, request.bytes)
    }
    fn collect(&self, pause: &mut Pause<'_, ReferenceVM>) {
        pause.prepare(|kind| {
            self.copy.0.prepare(kind);
            self.common.prepare(kind);
        });
        let common = self.common.tracer();
        pause.evacuate((self.copy.0.tracer(), common), (self.copy.0.in_place(), common));
        self.copy.0.sweep(pause);
        self.common.sweep(pause);
    }
}

/// What the verifier says of a collection of one object.
fn verdict(
    name: &str,
    plan: impl FnOnce(&PlanContext<'_, ReferenceVM>) -> Result<Box<dyn Plan<ReferenceVM>>, HeapError>,
) -> String {
    let options = options(name, LIMIT, &[("verify.trace", "true"), ("gc.workers", "1")]);
    let heap = Heap::new(<ReferenceVM as TestVM>::new(), options, plan).unwrap();
    panic_of(|| {
        let thread = Thread::attach(&heap);
        let object = thread.try_alloc(Class { refs: 1, bytes: 8 }, Semantics::Default).unwrap();
        thread.push(object);
        thread.collect();
    })
}

#[test]
fn the_verifier_reports_objects_that_moved_where_the_space_says_that_nothing_moves() {
    let message = verdict("Restless", |context| {
        let copy = Still(CopySpace::new(context, Ages::One)?);
        Ok(Box::new(Restless { copy, common: CommonSpaces::new(context, Ages::One)? }))
    });
    assert!(message.contains("it was moved there") && message.contains("Space::moves"), "{message}");
}

#[test]
fn the_verifier_reports_objects_of_a_space_that_the_plan_does_not_list() {
    let message = verdict("Unlisted", |context| {
        let cells = MarkSweepSpace::new(context, "unlisted", Ages::One)?;
        Ok(Box::new(Unlisted { cells, common: CommonSpaces::new(context, Ages::One)? }))
    });
    assert!(message.contains("in no space of the plan") && message.contains("Plan::spaces"), "{message}");
}
