//! Groups: collectors that are compared with each other, on the same heaps, against one of them.
//!
//! Usually there is one. With `--base upstream` each plan of ours makes a group with the plan of the same
//! name of the crate `mmtk`, since the minimum heap depends on the plan.

use crate::collector::{Collector, Kind};
use crate::failure::Failure;

/// The word for "each with its namesake".
const NAMESAKES: &str = "upstream";

/// Collectors to compare. Not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In the order of the report.
    pub collectors: Vec<Collector>,
    base: usize,
}

impl Group {
    /// The collector that ratios refer to.
    pub fn base(&self) -> &Collector {
        &self.collectors[self.base]
    }
}

/// Groups the collectors of a command line.
///
/// # Errors
/// No collectors, a repeated one, a base that is none of them, one without a partner.
pub fn groups(collectors: Vec<Collector>, base: Option<&str>) -> Result<Vec<Group>, Failure> {
    if collectors.is_empty() {
        return Err(Failure::Usage("--plan: nothing to compare".to_owned()));
    }
    for (i, collector) in collectors.iter().enumerate() {
        if collectors[..i].iter().any(|earlier| earlier.name == collector.name) {
            return Err(Failure::Usage(format!("--plan: {} is there twice", collector.name)));
        }
    }
    match base {
        Some(NAMESAKES) => pairs(collectors),
        None => Ok(vec![Group { collectors, base: 0 }]),
        Some(name) => {
            let Some(base) = collectors.iter().position(|collector| collector.name == name) else {
                return Err(Failure::Usage(format!("--base {name}: must be one of those compared")));
            };
            Ok(vec![Group { collectors, base }])
        }
    }
}

/// Each plan of ours with its namesake, which need not be on the command line.
fn pairs(collectors: Vec<Collector>) -> Result<Vec<Group>, Failure> {
    let (ours, others): (Vec<_>, Vec<_>) = collectors.into_iter().partition(|collector| collector.kind == Kind::Ours);
    let mut groups = Vec::new();
    for plan in ours {
        let named = others.iter().find(|other| other.kind == upstream(&plan));
        let namesake = match named {
            Some(named) => named.clone(),
            None => Collector::parse(&format!("upstream:{}", plan.base))?,
        };
        groups.push(Group { collectors: vec![plan, namesake], base: 1 });
    }
    let lonely = |other: &&Collector| !groups.iter().any(|group| group.base() == *other);
    match others.iter().find(lonely) {
        Some(other) => {
            Err(Failure::Usage(format!("--base {NAMESAKES}: {} is no partner of a plan of ours", other.name)))
        }
        None => Ok(groups),
    }
}

fn upstream(plan: &Collector) -> Kind {
    let namesake = format!("upstream:{}", plan.base);
    Collector::parse(&namesake).map_or(Kind::Ours, |collector| collector.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], base: Option<&str>) -> Result<Vec<Group>, Failure> {
        groups(names.iter().map(|name| Collector::parse(name).unwrap()).collect(), base)
    }

    #[test]
    fn the_base_is_the_first_or_the_one_named() {
        assert_eq!(of(&["Immix", "bdwgc"], None).unwrap()[0].base().name, "Immix");
        assert_eq!(of(&["Immix", "bdwgc"], Some("bdwgc")).unwrap()[0].base().name, "bdwgc");
        assert!(of(&["Immix"], Some("SemiSpace")).is_err());
        assert!(of(&["Immix", "Immix"], None).is_err());
        assert!(of(&[], None).is_err());
    }

    #[test]
    fn plans_pair_with_their_namesakes() {
        let pairs = of(&["Immix", "SemiSpace", "upstream:Immix@threads=1"], Some("upstream")).unwrap();
        let names = |group: &Group| group.collectors.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&pairs[0]), ["Immix", "upstream:Immix@threads=1"]);
        assert_eq!(names(&pairs[1]), ["SemiSpace", "upstream:SemiSpace"]);
        assert_eq!(pairs[1].base().name, "upstream:SemiSpace");
        assert!(of(&["Immix", "bdwgc"], Some("upstream")).is_err());
    }
}
