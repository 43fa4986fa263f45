//! Options from TOML: nested tables spell the dotted keys; numbers, bools and strings are values.
//!
//! A text is applied to a copy of the options, which is kept only when everything in the text was right.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mmtk_core::options::{OptionError, Options};
use toml::{Table, Value};

/// Writes a TOML text over the options.
///
/// `origin` is what errors call the text, usually its path. After an error the options are as they were.
///
/// # Errors
/// Names `origin`, and the key or the line.
pub fn apply_toml_str(options: &mut Options, text: &str, origin: &str) -> Result<(), OptionError> {
    let mut copy = options.clone();
    let table: Result<Table, toml::de::Error> = text.parse();
    table
        .map_err(|error| OptionError::Unreadable { message: error.to_string().trim_end().to_owned() })
        .and_then(|table| apply_table(&mut copy, "", &table))
        .map_err(|error| error.within(origin))?;
    *options = copy;
    Ok(())
}

/// Writes a TOML file over the options, as [`apply_toml_str`] does.
///
/// # Errors
/// Names the file; also when it cannot be read, is not UTF-8, or is larger than any file of options (1 MiB).
pub fn apply_toml_file(options: &mut Options, path: impl AsRef<Path>) -> Result<(), OptionError> {
    let origin = path.as_ref().display().to_string();
    let text =
        read_bounded(path.as_ref()).map_err(|message| OptionError::Unreadable { message }.within(origin.as_str()))?;
    apply_toml_str(options, &text, &origin)
}

fn apply_table(options: &mut Options, prefix: &str, table: &Table) -> Result<(), OptionError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => apply_table(options, &key, inner)?,
            Value::String(text) => options.set(&key, text)?,
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => options.set(&key, &value.to_string())?,
            Value::Array(_) | Value::Datetime(_) => {
                let message = format!("{key}={value}: must be a number, a bool or a string");
                return Err(OptionError::Unreadable { message });
            }
        }
    }
    Ok(())
}

/// The most that a file of options may hold. The whole table with comments is a fiftieth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of a file, which may be a pipe or a device without an end.
fn read_bounded(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("larger than 1 MiB: not a file of options".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8: not a file of options".to_owned())
}

#[cfg(test)]
mod tests {
    use mmtk_core::options::HeapMode;

    use super::*;

    fn toml(text: &str) -> Result<Options, OptionError> {
        let mut options = Options::default();
        apply_toml_str(&mut options, text, "mmtk.toml").map(|()| options)
    }

    #[test]
    fn nested_tables_spell_dotted_keys() {
        let options = toml(
            "plan = 'MarkSweep'\ngc.workers = 2\n'os.huge_pages' = 'never'\n\
             [heap]\nlimit = '1.5G'\nmin = 1048576\nmode = 'proportional'\n[verify]\ntrace = true\n",
        );
        let options = options.unwrap();
        assert_eq!((options.plan.as_str(), options.gc_workers, options.verify), ("MarkSweep", 2, true));
        assert_eq!((options.heap_limit, options.heap_min), (3 << 29, 1 << 20));
        assert_eq!(options.heap_mode, HeapMode::Proportional);
        assert_eq!(options.get("os.huge_pages").as_deref(), Some("never"));
    }

    #[test]
    fn toml_errors_name_the_file_and_the_key() {
        let error = |text| toml(text).unwrap_err().to_string();
        assert_eq!(error("[gc]\nworkers = 0"), "mmtk.toml: gc.workers=0: must be 1..=256 or auto");
        assert_eq!(error("[heap]\nlimt = '1G'"), "mmtk.toml: heap.limt: unknown option; did you mean heap.limit?");
        assert_eq!(error("plan = ['A']"), "mmtk.toml: plan=[\"A\"]: must be a number, a bool or a string");
        assert!(error("[heap]\nlimit = -1").starts_with("mmtk.toml: heap.limit=-1: negative; must be"));
        assert!(error("[heap]\nlimit = nan").starts_with("mmtk.toml: heap.limit=nan: not a number"));
        assert!(error("heap = 5").starts_with("mmtk.toml: heap: unknown option"));
        let broken = error("[heap\nlimit = 1");
        assert!(broken.starts_with("mmtk.toml: ") && broken.contains("line 1"), "{broken}");
    }

    #[test]
    fn a_toml_text_applies_wholly_or_not_at_all() {
        let mut options = Options::default();
        apply_toml_str(&mut options, "plan = 'NoGC'\n[verify]\ntrace = 3\n", "x").unwrap_err();
        assert_eq!(options, Options::default());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = apply_toml_file(&mut Options::default(), "/no/such.toml").unwrap_err().to_string();
        assert!(error.starts_with("/no/such.toml: "), "{error}");
    }

    #[test]
    fn an_endless_file_is_refused_and_so_is_one_that_is_no_text() {
        let error = |path| apply_toml_file(&mut Options::default(), path).unwrap_err().to_string();
        assert_eq!(error("/dev/zero"), "/dev/zero: larger than 1 MiB: not a file of options");
        assert!(error("/proc/self/exe").starts_with("/proc/self/exe: larger than 1 MiB"));
        assert!(error("/").starts_with("/: Is a directory"));
        apply_toml_file(&mut Options::default(), "/dev/null").expect("an empty file sets nothing");
        let path = std::env::temp_dir().join(format!("mmtk-{}-latin1.toml", std::process::id()));
        std::fs::write(&path, b"plan = '\xe9'").unwrap();
        let said = error(path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(said.ends_with(": not UTF-8: not a file of options"), "{said}");
    }
}
