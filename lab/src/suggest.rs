//! Names that a user may mistype: the error names the one that was probably meant, or all that exist.

use crate::failure::Failure;

/// The known name closest to `name`, when it is close: case aside, a third of its letters may be wrong.
pub fn near_miss<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = |text: &str| text.to_lowercase();
    let distance = |k: &str| strsim::damerau_levenshtein(&lower(name), &lower(k));
    let closest = known.into_iter().min_by_key(|k| distance(k))?;
    (distance(closest) <= (closest.len() / 3).max(1)).then_some(closest)
}

/// "unknown KIND NAME", with a suggestion or with all known names.
pub fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Failure {
    let hint = match near_miss(name, known.clone()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            format!("must be one of {}", all.join(", "))
        }
    };
    Failure::Usage(format!("unknown {kind} {name}: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_answered_with_the_name_that_was_meant() {
        let known = ["gcbench", "splay", "list"];
        let text = |name| unknown("workload", name, known).to_string();
        assert_eq!(text("gcbnech"), "unknown workload gcbnech: did you mean gcbench?");
        assert_eq!(text("SPLAY"), "unknown workload SPLAY: did you mean splay?");
        assert_eq!(text("colour"), "unknown workload colour: must be one of gcbench, splay, list");
    }
}
