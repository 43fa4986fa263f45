//! `mmtk list`: the names and values that the other commands understand.

use heapwright::options::Options;
use serde_json::{Value, json};

use crate::cli::Part;
use crate::collector::{self, Kind};
use crate::failure::Failure;
use crate::output;
use crate::table::Table;
use workloads::SPECS;

/// A part, its name in JSON, and its two forms.
type Section = (Part, &'static str, fn() -> Value, fn() -> String);

/// Prints the list, or one part of it.
pub(super) fn list(part: Option<Part>, as_json: bool) -> Result<(), Failure> {
    let wanted = |this: Part| part.is_none_or(|part| part == this);
    let parts: [Section; 3] = [
        (Part::Plans, "plans", plans_json, plans_text),
        (Part::Workloads, "workloads", workloads_json, workloads_text),
        (Part::Options, "options", options_json, options_text),
    ];
    let parts = parts.into_iter().filter(|(part, ..)| wanted(*part));
    if as_json {
        let parts = parts.map(|(_, name, value, _)| (name.to_owned(), value()));
        output::line(Value::Object(parts.collect()))?;
    } else {
        let texts: Vec<String> = parts.map(|(.., text)| text()).collect();
        output::text(&texts.join("\n"))?;
    }
    Ok(())
}

fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours => "ours",
        Kind::Upstream(_) if cfg!(feature = "peers") => "crate mmtk 0.33",
        Kind::Upstream(_) => "crate mmtk 0.33 (build with --features peers)",
        Kind::Bdwgc { .. } if cfg!(feature = "peers") => "libgc",
        Kind::Bdwgc { .. } => "libgc (build with --features peers; needs libgc-dev)",
        Kind::NeverFree(_) => "never frees: the floor of the mutator",
        Kind::External => "external program; gcbench and binary-trees",
    }
}

fn plans_json() -> Value {
    let ours =
        heapwright::PLANS.iter().map(|plan| json!({"name": plan.name, "kind": what(Kind::Ours), "what": plan.what}));
    let peers = collector::all().into_iter().filter(|(_, kind)| *kind != Kind::Ours);
    ours.chain(peers.map(|(name, kind)| json!({"name": name, "kind": what(kind)}))).collect()
}

/// A line a plan of ours; of peers a line a kind, since their names are many and alike.
fn plans_text() -> String {
    let mut text = String::from("Plans (--plan)\n");
    let width = heapwright::PLANS.iter().map(|plan| plan.name.len()).max().unwrap_or(0);
    for plan in heapwright::PLANS {
        text += &format!("  {:width$} {}\n", plan.name, plan.what);
    }
    let mut all = collector::all();
    all.retain(|(_, kind)| *kind != Kind::Ours);
    for group in all.chunk_by(|(_, a), (_, b)| what(*a) == what(*b)) {
        let names: Vec<&str> = group.iter().map(|(name, _)| name.as_str()).collect();
        text += &format!("  {}:\n    {}\n", what(group[0].1), names.join(" "));
    }
    text
}

fn workloads_json() -> Value {
    let spec = |spec: &workloads::Spec| {
        json!({
            "name": spec.name, "alias": spec.alias, "size": spec.size, "ops": spec.ops,
            "what": spec.what, "stresses": spec.stresses,
        })
    };
    SPECS.iter().map(spec).collect()
}

fn workloads_text() -> String {
    let mut table = Table::new(["Workload", "--size", "--ops", "counts", "stresses"]);
    for spec in SPECS {
        let name = spec.alias.map_or(spec.name.to_owned(), |alias| format!("{} ({alias})", spec.name));
        let ops = if spec.ops == 0 { "-".to_owned() } else { spec.ops.to_string() };
        table.row([&name, &spec.size.to_string(), &ops, spec.what, spec.stresses]);
    }
    table.plain_left()
}

fn options_json() -> Value {
    let row = |row: &heapwright::options::OptionInfo| {
        json!({
            "key": row.key, "env": row.env_name, "type": row.type_name, "default": row.default,
            "allowed": row.allowed, "why": row.why, "needs": row.needs,
        })
    };
    Options::table().iter().map(row).collect()
}

fn options_text() -> String {
    let mut table = Table::new(["Option (--set)", "variable", "type", "default", "allowed"]);
    for row in Options::table() {
        table.row([row.key, &row.env_name, row.type_name, &row.default, &row.allowed]);
    }
    let mut text = table.plain_left();
    text.push('\n');
    for row in Options::table() {
        text += &format!("{}: {}\n", row.key, row.why_and_needs());
    }
    text
}
