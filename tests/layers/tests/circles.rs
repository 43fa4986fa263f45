//! No module of these crates uses another in a circle.

use layers::Modules;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn modules(krate: &str) -> Modules {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(krate).join("src/lib.rs");
    Modules::of_crate(&root).unwrap()
}

fn assert_no_circles(krate: &str) {
    let modules = modules(krate);
    assert!(modules.uses().len() > 5, "{krate}: its modules were not found");
    let circles = modules.circles();
    let text: Vec<String> = circles
        .iter()
        .map(|circle| circle.iter().map(|(from, to)| format!("  {from} uses {to}\n")).collect::<String>())
        .collect();
    assert!(circles.is_empty(), "{krate}: modules use each other in a circle:\n{}", text.join("and\n"));
}

#[test]
fn no_module_of_the_core_uses_another_in_a_circle() {
    assert_no_circles("mmtk-core");
}

/// The rows of the table in the header of the core's root, each with the modules that it names.
fn rows() -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mmtk-core/src/lib.rs");
    let text = fs::read_to_string(root).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")).map(|row| row.split('|').next().unwrap());
    rows.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

#[test]
fn no_module_of_the_list_at_the_root_of_the_core_uses_one_further_down() {
    let rows = rows();
    let row_of = |module: &str| rows.iter().position(|row| row.iter().any(|name| name == module));
    assert!(row_of("address") < row_of("memory") && row_of("cycle") < row_of("heap"), "{rows:?}");
    for (from, to) in modules("mmtk-core").uses() {
        let top = |name: &str| name.split("::").next().unwrap().to_owned();
        if let (Some(above), Some(below)) = (row_of(&top(&from)), row_of(&top(&to))) {
            assert!(below <= above, "{from} uses {to}, which stands further down");
        }
    }
}

#[test]
fn no_module_of_the_policies_uses_another_in_a_circle() {
    assert_no_circles("policies");
}

#[test]
fn no_module_of_the_reports_uses_another_in_a_circle() {
    assert_no_circles("mmtk-core/reports");
}

#[test]
fn no_module_of_the_workloads_uses_another_in_a_circle() {
    assert_no_circles("lab/workloads");
}

/// The names that others see at the root of a crate, and those behind which one does not see.
fn names_at_the_root(krate: &str) -> Vec<String> {
    fn names(tree: &syn::UseTree, found: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => names(&path.tree, found),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| names(tree, found)),
            syn::UseTree::Name(name) => found.push(name.ident.to_string()),
            syn::UseTree::Rename(name) => found.push(name.rename.to_string()),
            syn::UseTree::Glob(_) => panic!("a glob has any number of names"),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(krate).join("src/lib.rs");
    let mut found = Vec::new();
    for item in syn::parse_file(&fs::read_to_string(root).unwrap()).unwrap().items {
        match item {
            syn::Item::Use(item) if matches!(item.vis, syn::Visibility::Public(_)) => names(&item.tree, &mut found),
            syn::Item::Use(_) => {}
            syn::Item::Mod(module) => found.push(module.ident.to_string()),
            _ => panic!("what a virtual machine is shown is made elsewhere"),
        }
    }
    found
}

#[test]
fn a_virtual_machine_is_shown_about_25_names() {
    let names = names_at_the_root("bindings/heapwright");
    assert!((20..=28).contains(&names.len()), "{} names: {names:?}", names.len());
    for of_plans in ["Plan", "PlanContext", "Needs", "pause", "trace", "memory", "metadata", "space"] {
        assert!(!names.iter().any(|name| name == of_plans), "{of_plans} is for writers of plans");
    }
    for of_machines in ["VMBinding", "new_heap", "Heap", "Mutator", "Options"] {
        assert!(names.iter().any(|name| name == of_machines), "{of_machines} is missing");
    }
}

/// The names of all libraries that a package is built of, itself included.
fn libraries(package: &str) -> BTreeSet<String> {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args("tree --offline --edges normal --prefix none --format {lib} --package".split(' '))
        .arg(package)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let text = String::from_utf8(cargo.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// What a virtual machine builds besides its own code. Formats, histograms and command lines are not in it.
#[test]
fn the_heap_needs_these_libraries_and_no_others() {
    let ours = ["heapwright", "mmtk_core", "pacer", "policies", "protocols"];
    let theirs =
        ["allocator_api2", "atomic", "bytemuck", "crossbeam_utils", "libc", "libm", "log", "rustc_hash", "strsim"];
    // Macros that derive, and what they are made of; nothing of it is in a program.
    let for_macros = ["bytemuck_derive", "derive_where", "proc_macro2", "quote", "syn", "unicode_ident"];
    let expected: BTreeSet<String> = ours.into_iter().chain(theirs).chain(for_macros).map(str::to_owned).collect();
    assert_eq!(libraries("heapwright"), expected);
}

#[test]
fn the_tests_of_collections_are_built_without_the_lab() {
    let libraries = libraries("plan-tests");
    assert!(libraries.contains("workloads") && libraries.contains("policies"), "{libraries:?}");
    for other in ["lab", "clap", "plotters", "indicatif", "serde", "serde_json"] {
        assert!(!libraries.contains(other), "plan-tests is built of {other}");
    }
}

#[test]
fn no_module_of_the_lab_uses_another_in_a_circle() {
    assert_no_circles("lab");
}

/// A folder of this test alone.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The circles of a crate with these files, as text: "a uses b" and so on.
fn circles_of(test: &str, files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(test);
    for (name, text) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let circles = Modules::of_crate(&folder.join("lib.rs")).unwrap().circles();
    circles.into_iter().flatten().map(|(from, to)| format!("{from} uses {to}")).collect()
}

const BELOW: &str = "pub struct Below;";
const ABOVE: &str = "use crate::below::Below; pub struct Above(Below);";

#[test]
fn one_upward_use_closes_a_circle() {
    let lib = ("lib.rs", "mod above; mod below;");
    assert!(circles_of("one_way", &[lib, ("above.rs", ABOVE), ("below.rs", BELOW)]).is_empty());
    let upward = format!("{BELOW} use crate::above::Above; fn f(_: Above) {{}}");
    let circles = circles_of("both_ways", &[lib, ("above.rs", ABOVE), ("below.rs", &upward)]);
    assert_eq!(circles, ["above uses below", "below uses above"]);
}

#[test]
fn paths_in_code_and_in_macro_calls_count_as_imports_do() {
    let lib = ("lib.rs", "mod above; mod below;");
    let code = [
        "fn f(_: crate::above::Above) {}",
        "fn f() { println!(\"{}\", crate::above::X) }",
        "fn f(_: super::above::Above) {}",
    ];
    for (n, code) in code.into_iter().enumerate() {
        let upward = format!("{BELOW} {code}");
        let circles = circles_of(&format!("inline{n}"), &[lib, ("above.rs", ABOVE), ("below.rs", &upward)]);
        assert_eq!(circles, ["above uses below", "below uses above"], "{code}");
    }
}

#[test]
fn a_re_export_leads_to_the_file_that_an_item_comes_from() {
    let files = [
        ("lib.rs", "mod folder;"),
        ("folder/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("folder/a.rs", "pub struct A;"),
        ("folder/b.rs", "use super::A; pub struct B(A);"),
    ];
    assert!(circles_of("one_way_in_a_folder", &files).is_empty());
    let both = [files[0], files[1], ("folder/a.rs", "use crate::folder::B; pub struct A(Box<B>);"), files[3]];
    assert_eq!(circles_of("both_ways_in_a_folder", &both), ["folder::a uses folder::b", "folder::b uses folder::a"]);
}

#[test]
fn a_path_that_begins_with_an_imported_module_leads_to_the_file_of_its_item() {
    let folder = [("lib.rs", "mod folder;"), ("folder/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;")];
    let a = ("folder/a.rs", "use crate::folder; pub struct A(Box<folder::B>);");
    let files = [folder[0], folder[1], a, ("folder/b.rs", "use super::A; pub struct B(A);")];
    assert_eq!(circles_of("by_module", &files), ["folder::a uses folder::b", "folder::b uses folder::a"]);
}

#[test]
fn a_folder_that_names_its_files_is_above_them() {
    let file = ("folder/a.rs", "use super::Item; pub fn f(_: Item) {}");
    let files = [("lib.rs", "mod folder;"), ("folder/mod.rs", "mod a; pub struct Item; fn g() { a::f(Item) }"), file];
    assert_eq!(circles_of("named_by_path", &files), ["folder uses folder::a", "folder::a uses folder"]);
    let exported = "mod a; pub use a::f; pub struct Item; fn g() { f(Item) }";
    assert_eq!(circles_of("named_by_export", &[files[0], ("folder/mod.rs", exported), file]).len(), 2);
}

#[test]
fn tests_may_look_at_anything() {
    let below = format!("{BELOW} #[cfg(test)] mod tests {{ use crate::above::Above; }}");
    let files = [("lib.rs", "mod above; mod below;"), ("above.rs", ABOVE), ("below.rs", &*below)];
    assert!(circles_of("tests", &files).is_empty());
}

/// Copies a folder of Rust files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { _ = fs::copy(from, to).unwrap() }
    }
}

#[test]
fn in_the_core_itself_an_upward_use_is_found() {
    let folder = folder("core");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mmtk-core/src"), &folder);
    let extent = folder.join("memory/extent.rs");
    fs::write(&extent, fs::read_to_string(&extent).unwrap() + "fn f<VM: crate::VMBinding>(_: crate::Heap<VM>) {}")
        .unwrap();
    let circles = Modules::of_crate(&folder.join("lib.rs")).unwrap().circles();
    let upward = ("memory::extent".to_owned(), "heap".to_owned());
    assert!(circles.iter().any(|circle| circle.contains(&upward)), "{circles:?}");
}
