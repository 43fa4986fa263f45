//! Geometric means over workloads: what a collector costs against the base, per heap and over all heaps.

use super::Comparison;
use super::cell::Cell;
use super::metric::Metric;
use crate::stats::geomean;

/// The mean of some ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// The geometric mean of those that exist.
    pub mean: Option<f64>,
    /// The largest of them, with its workload and heap.
    pub worst: Option<(f64, String)>,
    /// How many exist.
    pub compared: usize,
    /// How many there would be had every run completed.
    pub of: usize,
}

/// The ratios of one collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the collector.
    pub plan: String,
    /// Name of its base.
    pub base: String,
    /// One for each of [`labels`], and one for all heaps.
    pub means: Vec<Mean>,
}

/// The heaps of a comparison by label, in their order.
pub fn labels(comparison: &Comparison) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for cell in &comparison.cells {
        if !labels.contains(&cell.heap.label) {
            labels.push(cell.heap.label.clone());
        }
    }
    labels
}

/// A row for each collector that is not a base.
pub fn rows(comparison: &Comparison, metric: &Metric) -> Vec<Row> {
    let labels = labels(comparison);
    let mut rows = Vec::new();
    for (g, group) in comparison.groups.iter().enumerate() {
        for collector in group.collectors.iter().filter(|collector| *collector != group.base()) {
            let pairs: Vec<(&Cell, &Cell)> = comparison
                .tables()
                .filter(|table| table[0].group == g)
                .filter_map(|table| {
                    let cell = table.iter().find(|cell| cell.plan == collector.name)?;
                    Some((cell, comparison.base(table)?))
                })
                .collect();
            let at = |label: &String| mean(pairs.iter().filter(|(cell, _)| cell.heap.label == *label), metric);
            let mut means: Vec<Mean> = labels.iter().map(at).collect();
            means.push(mean(pairs.iter(), metric));
            let (plan, base) = (collector.name.clone(), group.base().name.clone());
            rows.push(Row { plan, base, means });
        }
    }
    rows
}

fn mean<'a>(pairs: impl Iterator<Item = &'a (&'a Cell, &'a Cell)> + Clone, metric: &Metric) -> Mean {
    let of = pairs.clone().count();
    let ratios: Vec<(f64, String)> = pairs
        .filter_map(|(cell, base)| {
            let place = format!("{} {}", cell.workload, cell.heap.label);
            Some((cell.ratio(base, metric)?, place))
        })
        .collect();
    let mean = geomean(ratios.iter().map(|(ratio, _)| *ratio));
    let compared = ratios.len();
    let worst = ratios.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    Mean { mean, worst, compared, of }
}

#[cfg(test)]
mod tests {
    use super::super::metric::CPU;
    use super::super::tests::comparison;
    use super::*;

    #[test]
    fn a_missing_cell_is_counted_though_it_has_no_ratio() {
        let comparison = comparison();
        assert_eq!(labels(&comparison), ["1.5x", "3x"]);
        let rows = rows(&comparison, &CPU);
        assert_eq!(rows.len(), 2);
        let immix = &rows[0].means;
        assert_eq!((immix[0].mean, immix[1].mean), (Some(0.5), Some(0.8)));
        assert!((immix[2].mean.unwrap() - 0.4f64.sqrt()).abs() < 1e-12);
        assert_eq!(immix[2].worst, Some((0.8, "gcbench 3x".to_owned())));
        let bump = &rows[1].means;
        assert_eq!((bump[0].mean, bump[0].compared, bump[0].of), (None, 0, 1));
        assert_eq!((bump[2].compared, bump[2].of), (1, 2));
    }
}
