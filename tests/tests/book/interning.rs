//! The chapter "Interning and weak tables": a table of texts that lets go of what dies.

use mmtk_core::weak::{Reference, ReferenceKind, Terms};
use mmtk_core::{ObjectReference, OutOfMemory, Semantics};
use plan_tests::{collecting_plans, verified_heap};
use reference::{Class, Ref, Thread, ThreadHandle};
use std::collections::HashMap;
use std::sync::Mutex;

// ANCHOR: table
/// One text object for each text, as long as the program uses it.
#[derive(Default)]
struct Interner(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// A weak reference to the object of each text.
    of_text: HashMap<String, Reference>,
    /// The other way: the text whose entry a reference was.
    of_reference: HashMap<Reference, String>,
}
// ANCHOR_END: table

impl Interner {
    // ANCHOR: intern
    /// Pushes the object of `text`, the same one as long as it lives. A safepoint.
    fn intern(&self, thread: ThreadHandle, text: &str) -> Result<(), OutOfMemory> {
        self.forget_what_died(thread);
        if let Some(object) = self.find(thread, text) {
            thread.push(Ref::from(object));
            return Ok(());
        }
        // No lock is held over a safepoint: another thread may intern the same text meanwhile.
        let new = new_text(thread, text)?;
        let root = thread.push(new);
        let interned = thread.with_mutator(|mutator| {
            mutator.or_collect(|| {
                // Each time it is called, objects may have moved: it reads what it needs from the root.
                let mut tables = self.0.lock().unwrap();
                let references = mutator.references();
                if let Some(object) = tables.of_text.get(text).and_then(|known| references.get(*known)) {
                    thread.set(root, Ref::from(object));
                    return Ok(());
                }
                let object = thread.get(root).object().expect("not null");
                let weak = references.create(ReferenceKind::Weak, object, Terms { owner: None, notify: true })?;
                // The entry of an object that died may still be there. It is replaced, and its reference goes
                // when `next_cleared` returns it.
                tables.of_text.insert(text.to_string(), weak);
                tables.of_reference.insert(weak, text.to_string());
                Ok(())
            })
        });
        interned.inspect_err(|_| thread.pop(1))
    }
    // ANCHOR_END: intern

    fn find(&self, thread: ThreadHandle, text: &str) -> Option<ObjectReference> {
        let tables = self.0.lock().unwrap();
        let known = *tables.of_text.get(text)?;
        thread.with_mutator(|mutator| mutator.references().get(known))
    }

    // ANCHOR: forget
    /// Removes the entries whose objects have died. Not a safepoint.
    fn forget_what_died(&self, thread: ThreadHandle) {
        thread.with_mutator(|mutator| {
            let references = mutator.references();
            while let Some(cleared) = references.next_cleared() {
                let mut tables = self.0.lock().unwrap();
                let text = tables.of_reference.remove(&cleared).expect("a reference of this table");
                // The text may have been interned anew since: then the entry is another's, and stays.
                if tables.of_text.get(&text) == Some(&cleared) {
                    tables.of_text.remove(&text);
                }
                references.free(cleared);
            }
        });
    }
    // ANCHOR_END: forget

    fn len(&self) -> (usize, usize) {
        let tables = self.0.lock().unwrap();
        (tables.of_text.len(), tables.of_reference.len())
    }
}

fn new_text(thread: ThreadHandle, text: &str) -> Result<Ref, OutOfMemory> {
    let object = thread.try_alloc(Class { refs: 0, bytes: 8 + text.len() }, Semantics::Default)?;
    thread.write_word(object, 0, text.len() as u64);
    Ok(object)
}

#[test]
fn a_text_is_one_object_as_long_as_it_lives_and_its_entry_goes_with_it() {
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[]);
        let (interner, thread) = (Interner::default(), Thread::attach(&heap));
        interner.intern(*thread, "one").unwrap();
        thread.collect();
        interner.intern(*thread, "one").unwrap();
        assert_eq!(thread.peek(0), thread.peek(1), "{plan}: the same object");
        interner.intern(*thread, "two").unwrap();
        assert_ne!(thread.peek(0), thread.peek(1), "{plan}");
        thread.pop(3);
        thread.collect();
        interner.forget_what_died(*thread);
        assert_eq!(interner.len(), (0, 0), "{plan}");
    }
}

/// The notice of the old entry comes when the text has a new one.
#[test]
fn a_text_that_is_interned_again_before_the_notice_of_its_death_keeps_its_new_entry() {
    for plan in collecting_plans() {
        let heap = verified_heap(plan, 8 << 20, &[]);
        let (interner, thread) = (Interner::default(), Thread::attach(&heap));
        interner.intern(*thread, "one").unwrap();
        thread.pop(1);
        thread.collect();
        // As `intern` does when another thread has not taken the notice yet.
        assert_eq!(interner.find(*thread, "one"), None, "{plan}");
        let old = interner.0.lock().unwrap().of_text["one"];
        let new = new_text(*thread, "one").unwrap();
        thread.push(new);
        thread.with_mutator(|mutator| {
            let terms = Terms { owner: None, notify: true };
            let weak = mutator.references().create(ReferenceKind::Weak, new.object().unwrap(), terms).unwrap();
            assert_ne!(weak, old, "{plan}: the number is in use until the notice was taken");
            let mut tables = interner.0.lock().unwrap();
            tables.of_text.insert("one".to_string(), weak);
            tables.of_reference.insert(weak, "one".to_string());
        });
        assert_eq!(interner.len(), (1, 2), "{plan}");
        interner.forget_what_died(*thread);
        assert_eq!(interner.len(), (1, 1), "{plan}: the old entry went, the new one stayed");
        interner.intern(*thread, "one").unwrap();
        assert_eq!(thread.peek(0), thread.peek(1), "{plan}: still one object");
    }
}

#[test]
fn threads_that_intern_the_same_texts_get_the_same_objects() {
    const TEXTS: usize = 50;
    for plan in ["SemiSpace", "Immix", "StickyImmix", "MarkCompact"] {
        let heap = verified_heap(plan, 8 << 20, &[("stress.every_bytes", "8K")]);
        let interner = Interner::default();
        let both = std::sync::Barrier::new(2);
        let check = || {
            let thread = Thread::attach(&heap);
            for round in 0..20 {
                (0..TEXTS).for_each(|n| interner.intern(*thread, &format!("{round} {n}")).unwrap());
                // Nobody lets go before both have interned.
                thread.native(|| both.wait());
                for n in 0..TEXTS {
                    let held = thread.get(thread.depth() - TEXTS + n);
                    let found = interner.find(*thread, &format!("{round} {n}"));
                    assert_eq!(found, held.object(), "{plan}, {round} {n}");
                }
                thread.native(|| both.wait());
                thread.pop(TEXTS);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(check);
            scope.spawn(check);
        });
        let thread = Thread::attach(&heap);
        thread.collect();
        interner.forget_what_died(*thread);
        assert_eq!(interner.len(), (0, 0), "{plan}");
    }
}
