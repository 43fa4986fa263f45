//! The mappings that the system has for a range of pages (`AliasedPages`), counted without asking the system.
//!
//! Neighbouring pages are one mapping if none of them is accessible, or if their homes are neighbours in the
//! same order. A mapping is kept under the number of its first page; it ends where the next begins.
//!
//! I1. The first mapping begins at page 0, and no two neighbours are alike.
//! Callers: one space, under its lock.

use std::collections::BTreeMap;

/// Mappings by their first pages, with the home of the first page; none if they are inaccessible.
pub(super) struct Mappings {
    firsts: BTreeMap<u32, Option<u32>>,
    pages: u32,
}

impl Mappings {
    /// So many pages, all inaccessible.
    pub fn new(pages: u32) -> Mappings {
        Mappings { firsts: BTreeMap::from([(0, None)]), pages }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.firsts.len()
    }

    /// What a page shows.
    fn home(&self, page: u32) -> Option<u32> {
        let (first, home) = self.firsts.range(..=page).next_back()?;
        home.map(|home| home + (page - first))
    }

    /// Whether a mapping would begin at `page`, if this page and the one before it showed these homes.
    fn begins(page: u32, before: Option<u32>, home: Option<u32>) -> bool {
        page == 0 || before.map(|before| before + 1) != home
    }

    /// The difference at the beginning of `page`, if this page and the one before it will show these homes.
    fn boundary(&self, page: u32, before: Option<u32>, home: Option<u32>) -> isize {
        isize::from(Mappings::begins(page, before, home)) - isize::from(self.firsts.contains_key(&page))
    }

    /// How many more mappings there will be once `pages` pages from `page` on show as many homes from `home`
    /// on, or nothing.
    pub fn change(&self, page: u32, pages: u32, home: Option<u32>) -> isize {
        let end = page + pages;
        let before = page.checked_sub(1).and_then(|before| self.home(before));
        let inside = if pages > 1 { self.firsts.range(page + 1..end).count() } else { 0 };
        let behind = match end < self.pages {
            true => self.boundary(end, home.map(|home| home + pages - 1), self.home(end)),
            false => 0,
        };
        self.boundary(page, before, home) + behind - inside as isize
    }

    /// So many pages from `page` on show as many homes from `home` on, or nothing.
    pub fn set(&mut self, page: u32, pages: u32, home: Option<u32>) {
        let end = page + pages;
        let before = page.checked_sub(1).and_then(|before| self.home(before));
        if end < self.pages {
            let behind = self.home(end);
            match Mappings::begins(end, home.map(|home| home + pages - 1), behind) {
                true => self.firsts.insert(end, behind),
                false => self.firsts.remove(&end),
            };
        }
        if pages > 1 {
            let inside: Vec<u32> = self.firsts.range(page + 1..end).map(|(first, _)| *first).collect();
            inside.iter().for_each(|first| _ = self.firsts.remove(first));
        }
        match Mappings::begins(page, before, home) {
            true => self.firsts.insert(page, home),
            false => self.firsts.remove(&page),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counted page by page.
    fn count(homes: &[Option<u32>]) -> usize {
        1 + homes.windows(2).filter(|pair| pair[0].map(|home| home + 1) != pair[1]).count()
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_a_plain_model(ops in prop::collection::vec((0u32..20, 1u32..4, 0u32..3), 1..60)) {
            const PAGES: u32 = 23;
            let mut model = [None; PAGES as usize];
            let mut mappings = Mappings::new(PAGES);
            for (page, pages, what) in ops {
                let home = [None, Some(page), Some(page / 2)][what as usize];
                let (before, change) = (mappings.count() as isize, mappings.change(page, pages, home));
                mappings.set(page, pages, home);
                (0..pages).for_each(|n| model[(page + n) as usize] = home.map(|home| home + n));
                prop_assert_eq!(mappings.count(), count(&model));
                prop_assert_eq!(before + change, mappings.count() as isize);
            }
        }
    }
}
