//! Which module of a crate uses which others, and whether any of them do so in a circle.
//!
//! A module is a file. It uses another if a path in its code, in a `use` or in a line, leads to an item of
//! the other: `crate::a::B`, `super::b::C`, or a name that a `use` has brought in. A path that leads to a
//! re-export leads to the module that the item comes from, and a re-export is no use of its own: else every
//! folder would use its files, and each file that names a neighbour through the folder would close a circle.
//!
//! Tests (`#[cfg(test)]`) do not count: they may look at anything. Paths inside macro calls are found by
//! their tokens, if they begin with `crate`.

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// The path of a module inside its crate; the root's is empty.
type Name = Vec<String>;

/// What is known of one module.
#[derive(Default)]
struct Module {
    /// Names that the module has from elsewhere: the path of each, from the root.
    imports: BTreeMap<String, Name>,
    /// Those of them that others may see.
    exports: BTreeSet<String>,
    /// Paths from the root that its code goes.
    paths: BTreeSet<Name>,
    /// Modules inside it.
    children: BTreeSet<String>,
}

/// The modules of a crate.
#[derive(Default)]
pub struct Modules(BTreeMap<Name, Module>);

impl Modules {
    /// Those of the crate whose root is `root`, `src/lib.rs` or `src/main.rs`.
    ///
    /// # Errors
    /// A file that cannot be read or parsed; the message names it.
    pub fn of_crate(root: &Path) -> io::Result<Modules> {
        let mut modules = Modules::default();
        modules.read(root, root.parent().expect("a file lies in a folder"), Vec::new())?;
        Ok(modules)
    }

    fn read(&mut self, file: &Path, folder: &Path, name: Name) -> io::Result<()> {
        let in_file = |error: String| io::Error::other(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| in_file(error.to_string()))?;
        let parsed = syn::parse_file(&text).map_err(|error| in_file(error.to_string()))?;
        self.add(&parsed.items, &name);
        for item in parsed.items {
            let Item::Mod(child) = item else { continue };
            if child.content.is_some() || is_for_tests(&child.attrs) {
                continue;
            }
            let mut child_name = name.clone();
            child_name.push(child.ident.to_string());
            let (beside, inside) = (folder.join(format!("{}.rs", child.ident)), folder.join(child.ident.to_string()));
            let file = if beside.exists() { beside } else { inside.join("mod.rs") };
            self.read(&file, &inside, child_name)?;
        }
        Ok(())
    }

    fn add(&mut self, items: &[Item], name: &Name) {
        let mut module = Module::default();
        module.children.extend(items.iter().filter_map(|item| match item {
            Item::Mod(child) => Some(child.ident.to_string()),
            _ => None,
        }));
        for item in items {
            if let Item::Use(item) = item
                && !is_for_tests(&item.attrs)
            {
                let is_export = !matches!(item.vis, Visibility::Inherited);
                module.import(&item.tree, &mut Vec::new(), name, is_export);
            }
        }
        let mut code = Code { module: &mut module, name };
        items.iter().filter(|item| !matches!(item, Item::Use(_))).for_each(|item| code.visit_item(item));
        self.0.insert(name.clone(), module);
    }

    /// The module to which a path from the root leads.
    fn target(&self, path: &[String]) -> Option<Name> {
        let mut path = path.to_vec();
        // A chain of re-exports is not longer than this.
        for _ in 0..16 {
            let depth = (0..=path.len()).rev().find(|depth| self.0.contains_key(&path[..*depth]))?;
            let (module, rest) = path.split_at(depth);
            let export = rest.first().and_then(|item| {
                let known = &self.0[module];
                known.exports.contains(item).then(|| known.imports[item].clone())
            });
            match export {
                Some(mut from) => {
                    from.extend_from_slice(&rest[1..]);
                    path = from;
                }
                None => return Some(module.to_vec()),
            }
        }
        None
    }

    /// Which module uses which, by name.
    pub fn uses(&self) -> BTreeSet<(String, String)> {
        let mut uses = BTreeSet::new();
        for (name, module) in &self.0 {
            for path in &module.paths {
                if let Some(target) = self.target(path)
                    && target != *name
                {
                    uses.insert((shown(name), shown(&target)));
                }
            }
        }
        uses
    }

    /// The sets of modules that use each other in a circle, each with the uses inside it; none, one hopes.
    pub fn circles(&self) -> Vec<BTreeSet<(String, String)>> {
        let uses = self.uses();
        let graph: DiGraphMap<&str, ()> = uses.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let components = tarjan_scc(&graph).into_iter().filter(|component| component.len() > 1);
        components
            .map(|component| {
                let inside = |name: &String| component.contains(&name.as_str());
                uses.iter().filter(|(from, to)| inside(from) && inside(to)).cloned().collect()
            })
            .collect()
    }
}

impl Module {
    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>, name: &Name, is_export: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, name, is_export);
                before.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, before, name, is_export));
            }
            UseTree::Glob(_) => self.note_import(None, before, name, is_export),
            UseTree::Name(item) if item.ident == "self" => {
                self.note_import(before.last().cloned(), before, name, is_export);
            }
            UseTree::Name(item) => {
                before.push(item.ident.to_string());
                self.note_import(before.last().cloned(), before, name, is_export);
                before.pop();
            }
            UseTree::Rename(item) => {
                before.push(item.ident.to_string());
                self.note_import(Some(item.rename.to_string()), before, name, is_export);
                before.pop();
            }
        }
    }

    fn note_import(&mut self, known_as: Option<String>, path: &[String], name: &Name, is_export: bool) {
        // Below the root a path without `crate`, `self` or `super` names a module in this one, or another
        // crate.
        let Some(path) =
            from_root(path, name).or_else(|| (!name.is_empty() || is_export).then(|| in_module(path, name)))
        else {
            return;
        };
        if !is_export {
            self.paths.insert(path.clone());
        }
        if let Some(known_as) = known_as {
            if is_export {
                self.exports.insert(known_as.clone());
            }
            self.imports.insert(known_as, path);
        }
    }
}

fn in_module(path: &[String], name: &Name) -> Name {
    name.iter().chain(path).cloned().collect()
}

/// A path from the root, if it begins with `crate`, `self` or `super`.
fn from_root(path: &[String], name: &Name) -> Option<Name> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(in_module(&path[1..], name)),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let above = name[..name.len().checked_sub(ups)?].to_vec();
            Some(in_module(&path[ups..], &above))
        }
        _ => None,
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => attribute.path().is_ident("test"),
    })
}

fn shown(name: &[String]) -> String {
    if name.is_empty() { "the root".to_owned() } else { name.join("::") }
}

/// Finds the paths in a module's code.
struct Code<'a> {
    module: &'a mut Module,
    name: &'a Name,
}

impl Code<'_> {
    fn note(&mut self, path: Vec<String>) {
        let Some((first, rest)) = path.split_first() else { return };
        let from_root = match from_root(&path, self.name) {
            Some(path) => path,
            // A name of one part may be a variable's; a module's is followed by what is in it.
            None if !rest.is_empty() && self.module.children.contains(first) => in_module(&path, self.name),
            None => match self.module.imports.get(first) {
                Some(import) => import.iter().chain(rest).cloned().collect(),
                None => return,
            },
        };
        self.module.paths.insert(from_root);
    }

    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if path.is_empty() && ident != "crate" => (),
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => (),
                TokenTree::Group(group) => {
                    self.note(std::mem::take(&mut path));
                    self.note_tokens(group.stream());
                }
                _ => self.note(std::mem::take(&mut path)),
            }
        }
        self.note(path);
    }
}

impl<'ast> Visit<'ast> for Code<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.module.import(&item.tree, &mut Vec::new(), self.name, false);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.note_tokens(call.tokens.clone());
    }
}
