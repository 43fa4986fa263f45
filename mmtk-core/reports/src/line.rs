//! An event as JSON: one flat object, whose field `event` names the event.
//!
//! The core's types know nothing of formats. Here each struct is taken apart by a pattern that names all its
//! fields, so a field that is added to an event and not written does not compile.

use mmtk_core::events::{
    Event, HeldUp, LateThread, MarkingReport, Paced, PauseReport, Phase, SpaceReport, Ticked, WorkedBeside,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::decision::{PacedFields, TickedFields};

/// The event as a line of JSON, without its end.
pub(crate) fn line(event: &Event) -> String {
    serde_json::to_string(&Line::from(event)).expect("events have string keys and finite numbers")
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    HeapCreated {
        plan: &'static str,
        limit_bytes: usize,
        workers: usize,
    },
    Pause(PauseLine<'a>),
    Paced(#[serde(with = "PacedFields")] &'a Paced),
    Ticked(#[serde(with = "TickedFields")] &'a Ticked),
    OutOfMemory {
        requested_bytes: usize,
        reserved_bytes: usize,
        limit_bytes: usize,
    },
    Waiting {
        wait: &'static str,
        at_ns: u64,
        waited_ns: u64,
        threads: Vec<ThreadLine<'a>>,
    },
    HeldUp(HeldUpLine<'a>),
    WorkedBeside(WorkedBesideLine<'a>),
    HeapDropped,
    /// An event that this crate does not know yet; its name is written, and nothing of it is.
    #[serde(untagged)]
    Other {
        event: &'static str,
    },
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            &Event::HeapCreated { plan, limit_bytes, workers } => Line::HeapCreated { plan, limit_bytes, workers },
            Event::Pause(report) => Line::Pause(PauseLine(report)),
            Event::Paced(paced) => Line::Paced(paced),
            Event::Ticked(ticked) => Line::Ticked(ticked),
            &Event::OutOfMemory { requested_bytes, reserved_bytes, limit_bytes } => {
                Line::OutOfMemory { requested_bytes, reserved_bytes, limit_bytes }
            }
            &Event::Waiting { wait, at_ns, waited_ns, ref threads } => {
                let threads = threads.iter().map(ThreadLine).collect();
                Line::Waiting { wait: wait.name(), at_ns, waited_ns, threads }
            }
            Event::HeldUp(held) => Line::HeldUp(HeldUpLine(held)),
            Event::WorkedBeside(worked) => Line::WorkedBeside(WorkedBesideLine(worked)),
            Event::HeapDropped => Line::HeapDropped,
            other => Line::Other { event: other.name() },
        }
    }
}

/// `Serialize` for a wrapper of a struct: each field under its own name, as it is or in the form given.
macro_rules! written {
    ($wrapper:ident of $type:ident { $($field:ident $(as $form:expr)?),* $(,)? }) => {
        pub(crate) struct $wrapper<'a>(pub &'a $type);
        impl Serialize for $wrapper<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $type { $($field),* } = self.0;
                let mut fields = serializer.serialize_map(None)?;
                $( fields.serialize_entry(stringify!($field), written!(@ $field $($form)?))?; )*
                fields.end()
            }
        }
    };
    (@ $field:ident) => { $field };
    (@ $field:ident $form:expr) => { &$form };
}

written!(PauseLine of PauseReport {
    sequence,
    cause as cause.name(),
    kind as kind.name(),
    start_ns,
    time_to_safepoint_ns,
    duration_ns,
    cpu_ns,
    worker_cpu_ns,
    phases as phases.iter().map(PhaseLine).collect::<Vec<_>>(),
    reserved_before_bytes,
    reserved_after_bytes,
    live_bytes,
    goal_bytes,
    resident_bytes,
    limit_bytes,
    allocated_bytes,
    spaces as spaces.iter().map(SpaceLine).collect::<Vec<_>>(),
    defrag,
    emergency,
    step as step.name(),
    marking as marking.as_ref().map(MarkingLine),
});
written!(MarkingLine of MarkingReport {
    duration_ns,
    cpu_ns,
    helped_cpu_ns,
    bytes_beside,
    entries_beside,
    entries_in_pause,
    allocated_bytes,
    barrier_calls,
    ticks,
    rested_ns,
});
written!(HeldUpLine of HeldUp {
    thread,
    start_ns,
    duration_ns,
    pause_ns,
    assist_ns,
    sweep_ns,
    wait_ns,
    barrier_ns,
});
written!(WorkedBesideLine of WorkedBeside { work as work.name(), start_ns, duration_ns, steps });
written!(PhaseLine of Phase { name, start_ns, duration_ns });
written!(SpaceLine of SpaceReport { name, reserved_bytes, live_bytes });
written!(ThreadLine of LateThread { name, id, ended });

#[cfg(test)]
mod tests {
    use mmtk_core::events::{BackgroundWork, Cause, CollectionKind, Wait};

    use super::*;
    use crate::samples;

    /// One of each event, and each name that a field may hold but the causes.
    fn one_of_each() -> Vec<Event> {
        let mut events = samples::life(1);
        events.insert(2, Event::Paced(Box::new(samples::paced(1))));
        for wait in [Wait::Mutators, Wait::Leader, Wait::Workers, Wait::Timer] {
            let threads = vec![
                LateThread { name: Some("main".into()), id: 7, ended: false },
                LateThread { name: None, id: 8, ended: true },
            ];
            events.insert(3, Event::Waiting { wait, at_ns: 5, waited_ns: 6, threads });
        }
        let (kind, cause) = (CollectionKind::Minor, Cause::Nursery);
        let minor = PauseReport { kind, cause, defrag: true, emergency: true, ..samples::pause(2) };
        events.insert(3, Event::Pause(Box::new(minor)));
        events
    }

    #[test]
    fn lines_are_those_that_earlier_versions_wrote() {
        // Written by the version in which the core's own types were serialised.
        let earlier = include_str!("../tests/data/events.jsonl");
        let now: String = one_of_each().iter().map(|event| line(event) + "\n").collect();
        // What came since stands behind the rest.
        assert_eq!(now.replace(r#","step":"whole","marking":null"#, ""), earlier);
    }

    #[test]
    fn what_lies_between_pauses_has_lines_of_its_own() {
        let held = samples::held_up(7, 5, 3);
        assert_eq!(
            line(&Event::HeldUp(held)),
            r#"{"event":"held_up","thread":7,"start_ns":5,"duration_ns":3,"pause_ns":0,"assist_ns":3,"sweep_ns":0,"wait_ns":0,"barrier_ns":0}"#
        );
        let worked = samples::worked(BackgroundWork::Sweep, 5, 6);
        assert_eq!(
            line(&Event::WorkedBeside(worked)),
            r#"{"event":"worked_beside","work":"sweep","start_ns":5,"duration_ns":6,"steps":4}"#
        );
    }

    #[test]
    fn each_event_is_a_flat_object_that_names_itself() {
        for event in one_of_each().into_iter().chain([Event::Ticked(Box::new(samples::ticked(1)))]) {
            let json: serde_json::Value = serde_json::from_str(&line(&event)).unwrap();
            assert_eq!(json["event"], event.name());
        }
        let unknown = serde_json::to_string(&Line::Other { event: "later" }).unwrap();
        assert_eq!(unknown, r#"{"event":"later"}"#);
    }

    #[test]
    fn each_cause_has_the_same_name_in_json_and_text() {
        for cause in Cause::ALL {
            let report = PauseReport { cause, ..samples::pause(1) };
            assert_eq!(serde_json::to_value(PauseLine(&report)).unwrap()["cause"], cause.to_string());
        }
    }
}
