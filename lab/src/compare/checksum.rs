//! Whether all collectors computed the same: a difference means that one of them lost or corrupted an object.

use std::collections::BTreeMap;

/// The checksums seen on each workload, and who computed them.
#[derive(Clone, Debug, Default)]
pub struct Checksums {
    seen: BTreeMap<&'static str, BTreeMap<String, Vec<String>>>,
}

impl Checksums {
    /// A collector computed this on a workload.
    pub fn add(&mut self, workload: &'static str, plan: &str, checksum: &str) {
        let by = self.seen.entry(workload).or_default().entry(checksum.to_owned()).or_default();
        if !by.iter().any(|known| known == plan) {
            by.push(plan.to_owned());
        }
    }

    /// The workloads with more than one checksum, in words.
    pub fn mismatches(&self) -> Vec<String> {
        let differ = self.seen.iter().filter(|(_, sums)| sums.len() > 1);
        let words = |(workload, sums): (&&str, &BTreeMap<String, Vec<String>>)| {
            let sums = sums.iter().map(|(sum, plans)| format!("{sum} by {}", plans.join(", ")));
            format!("{workload}: {}", sums.collect::<Vec<_>>().join("; "))
        };
        differ.map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_computes_something_else_is_named() {
        let mut sums = Checksums::default();
        sums.add("list", "Immix", "01");
        sums.add("list", "upstream:Immix", "01");
        sums.add("wide", "Immix", "02");
        assert!(sums.mismatches().is_empty());
        sums.add("list", "Broken", "03");
        sums.add("list", "Broken", "03");
        assert_eq!(sums.mismatches(), ["list: 01 by Immix, upstream:Immix; 03 by Broken"]);
    }

    #[test]
    fn a_collector_that_contradicts_itself_is_found() {
        let mut sums = Checksums::default();
        sums.add("list", "Immix", "01");
        sums.add("list", "Immix", "02");
        assert_eq!(sums.mismatches(), ["list: 01 by Immix; 02 by Immix"]);
    }
}
