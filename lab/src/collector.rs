//! Collectors by name: our plans, the peers in this process, and programs of other languages.
//!
//! | name | what |
//! |---|---|
//! | `Immix` | a plan of ours |
//! | `upstream:Immix` | a plan of the crate `mmtk` 0.33 (cargo feature `peers`) |
//! | `bdwgc`, `bdwgc:inline` | libgc, by `GC_malloc` or with inlined free lists (cargo feature `peers`) |
//! | `malloc`, `malloc:bump`, `malloc:bump-thp` | never free: the floor of the mutator |
//! | `go`, `java17:G1`, ... | an external program, see `peers-external/run.sh` |
//!
//! A name may carry settings of its own: `Immix@immix.defrag=false`, `upstream:GenImmix@threads=1`,
//! `bdwgc@grow=1`.

use crate::failure::Failure;
use crate::suggest;
use workloads::{Spec, Workload};

/// Plans of the crate `mmtk` 0.33.
pub const UPSTREAM_PLANS: &[&str] = &[
    "NoGC",
    "SemiSpace",
    "MarkSweep",
    "MarkCompact",
    "Compressor",
    "Immix",
    "GenCopy",
    "GenImmix",
    "StickyImmix",
    "ConcurrentImmix",
];

const PEERS: &[(&str, Kind)] = &[
    ("bdwgc", Kind::Bdwgc { inline: false }),
    ("bdwgc:inline", Kind::Bdwgc { inline: true }),
    ("malloc", Kind::NeverFree(NeverFree::Malloc)),
    ("malloc:bump", Kind::NeverFree(NeverFree::Bump)),
    ("malloc:bump-thp", Kind::NeverFree(NeverFree::BumpHugePages)),
];

const GO: &[&str] = &["go", "go:gogc100", "go:both"];
const JAVA_VERSIONS: &[&str] = &["java17", "java25", "java25c"];
const JAVA_COLLECTORS: &[&str] = &["G1", "Parallel", "Serial", "Z", "Shenandoah", "GenShen"];

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plan of ours.
    Ours,
    /// A plan of the crate `mmtk`.
    Upstream(&'static str),
    /// libgc.
    Bdwgc {
        /// Whether free lists are popped inline instead of by a call per object.
        inline: bool,
    },
    /// An allocator that never frees.
    NeverFree(NeverFree),
    /// A program of another language.
    External,
}

/// An allocator that never frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverFree {
    /// `calloc` per object.
    Malloc,
    /// A bump pointer in fresh zero pages.
    Bump,
    /// The same with huge pages.
    BumpHugePages,
}

/// A collector that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The name as given, settings included.
    pub name: String,
    /// The name without settings.
    pub base: String,
    /// What it stands for.
    pub kind: Kind,
    /// The settings in the name, `key=value`.
    pub settings: Vec<String>,
}

impl Collector {
    /// Reads a name.
    ///
    /// # Errors
    /// An unknown name, with the one that was probably meant; a setting without `=`.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        let mut parts = name.split('@');
        let base = parts.next().unwrap_or_default();
        let settings: Vec<String> = parts.map(str::to_owned).collect();
        if let Some(bad) = settings.iter().find(|setting| !setting.contains('=')) {
            return Err(Failure::Usage(format!("{name}: {bad} must be key=value")));
        }
        let known = all();
        let Some((_, kind)) = known.iter().find(|(known, _)| known == base) else {
            let names = known.iter().map(|(known, _)| known.as_str());
            if suggest::near_miss(base, names.clone()).is_none() {
                let ours: Vec<&str> = heapwright::PLANS.iter().map(|plan| plan.name).collect();
                let ours = ours.join(", ");
                return Err(Failure::Usage(format!(
                    "unknown plan {base}: must be one of {ours}, or a collector of others (`mmtk list plans` has them all)"
                )));
            }
            return Err(suggest::unknown("plan", base, names));
        };
        Ok(Self { name: name.to_owned(), base: base.to_owned(), kind: *kind, settings })
    }

    /// Whether this program was built with what the collector needs.
    pub fn is_built_in(&self) -> bool {
        cfg!(feature = "peers") || !matches!(self.kind, Kind::Upstream(_) | Kind::Bdwgc { .. })
    }

    /// Whether a heap limit means the same to it as to the others, so that it has a minimum heap to compare.
    pub fn has_minimum_heap(&self) -> bool {
        match self.kind {
            Kind::Ours => self.base != "NoGC",
            Kind::Upstream(plan) => plan != "NoGC",
            Kind::Bdwgc { .. } => true,
            Kind::NeverFree(_) | Kind::External => false,
        }
    }

    /// Why it cannot run a workload at all, if so.
    pub fn refuses(&self, spec: &Spec, mutators: usize) -> Option<&'static str> {
        let ported = match spec.workload {
            Workload::GcBench | Workload::BinaryTrees => true,
            Workload::Splay | Workload::LruCache | Workload::Phases => self.base.starts_with("go"),
            _ => false,
        };
        match self.kind {
            Kind::External if !ported => Some("not ported"),
            Kind::External if mutators != 1 => Some("one mutator only"),
            _ => None,
        }
    }
}

/// All names, in the order of `mmtk list`.
pub fn all() -> Vec<(String, Kind)> {
    let ours = heapwright::PLANS.iter().map(|plan| (plan.name.to_owned(), Kind::Ours));
    let upstream = UPSTREAM_PLANS.iter().map(|plan| (format!("upstream:{plan}"), Kind::Upstream(plan)));
    let peers = PEERS.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
    let go = GO.iter().map(|name| ((*name).to_owned(), Kind::External));
    let java = JAVA_VERSIONS
        .iter()
        .flat_map(|version| JAVA_COLLECTORS.iter().map(move |gc| (format!("{version}:{gc}"), Kind::External)));
    ours.chain(upstream).chain(peers).chain(go).chain(java).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_settings() {
        let collector = Collector::parse("upstream:GenImmix@threads=1@nursery=Fixed:4194304").unwrap();
        assert_eq!(collector.kind, Kind::Upstream("GenImmix"));
        assert_eq!(collector.settings, ["threads=1", "nursery=Fixed:4194304"]);
        assert_eq!(Collector::parse("Immix").unwrap().kind, Kind::Ours);
        assert!(Collector::parse("Immix@defrag").unwrap_err().to_string().contains("key=value"));
    }

    #[test]
    fn a_mistyped_plan_is_answered_with_the_plan_that_was_meant() {
        let error = |name| Collector::parse(name).unwrap_err().to_string();
        assert_eq!(error("immix"), "unknown plan immix: did you mean Immix?");
        assert_eq!(error("upstream:Imix"), "unknown plan upstream:Imix: did you mean upstream:Immix?");
        assert_eq!(error("java17:G2"), "unknown plan java17:G2: did you mean java17:G1?");
        assert!(error("?").starts_with("unknown plan ?: must be one of "));
    }

    #[test]
    fn programs_of_other_languages_run_two_workloads() {
        let java = Collector::parse("java17:G1").unwrap();
        let spec = |name| workloads::find(name).unwrap();
        assert_eq!(java.refuses(spec("gcbench"), 1), None);
        assert_eq!(java.refuses(spec("gcbench"), 2), Some("one mutator only"));
        assert_eq!(java.refuses(spec("splay"), 1), Some("not ported"));
    }
}
