//! What the book takes from the code.

use mmtk_core::Options;

#[test]
fn the_books_table_of_options_is_the_tables_own() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/options.md");
    let expect = format!("{}\n{}", HEAD, Options::markdown());
    if std::env::var_os("UPDATE_BOOK").is_some() {
        std::fs::write(page, &expect).unwrap();
    }
    let found = std::fs::read_to_string(page).unwrap();
    assert_eq!(found, expect, "docs/src/options.md is out of date: run this test with UPDATE_BOOK=1");
}

const HEAD: &str = "# Options

One table feeds the API (`Options::set`, or the typed fields), the environment (`MMTK_HEAP_LIMIT` for `heap.limit`), TOML files, `--set
key=value`, `--help`, and this page. Later sources win over earlier ones: file, environment, command line.
Sizes take the suffixes K, M, G and T (binary).
";
