//! Where text comes from: `MMTK_*` variables, TOML, `key=value` on a command line.
//!
//! Each source works on a copy and keeps it only when everything in it was right (I3 of the module).

use std::ffi::OsStr;
use std::path::Path;

use toml::{Table, Value};

use super::error::OptionError;
use super::table::Options;

impl Options {
    /// The defaults, with the `MMTK_*` variables of this process written over them.
    ///
    /// # Errors
    /// As [`apply_process_env`](Options::apply_process_env).
    pub fn from_env() -> Result<Self, OptionError> {
        let mut options = Self::default();
        options.apply_process_env()?;
        Ok(options)
    }

    /// Writes the `MMTK_*` variables of this process over these options, for instance after a TOML file.
    ///
    /// # Errors
    /// As [`apply_env`](Options::apply_env); also when a value is not UTF-8.
    pub fn apply_process_env(&mut self) -> Result<(), OptionError> {
        let mut vars = Vec::new();
        // Not `std::env::vars`: it panics when any variable of the process, ours or not, is not UTF-8.
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("MMTK_") {
                vars.push((name.clone(), value.into_string().map_err(|value| not_utf8(name, &value))?));
            }
        }
        self.apply_env(vars)
    }

    /// Writes the `MMTK_*` variables among `vars` over these options: `MMTK_HEAP_LIMIT` sets `heap.limit`.
    ///
    /// # Errors
    /// Names the variable. An `MMTK_` name that is no option is an error, since a typo would otherwise pass unseen.
    pub fn apply_env(&mut self, vars: impl IntoIterator<Item = (String, String)>) -> Result<(), OptionError> {
        self.all_or_nothing(|copy| {
            for (name, value) in vars.into_iter().filter(|(name, _)| name.starts_with("MMTK_")) {
                let row = Self::table().iter().find(|row| row.env_name == name).ok_or_else(|| {
                    OptionError::unknown(&name, Self::table().iter().map(|row| row.env_name.as_str()))
                })?;
                copy.set(row.key, &value).map_err(|error| error.within(name))?;
            }
            Ok(())
        })
    }

    /// Writes a TOML text over these options. Nested tables spell the dotted keys; numbers, bools and strings are values.
    ///
    /// `origin` is what errors call the text, usually its path.
    ///
    /// # Errors
    /// Names `origin`, and the key or the line.
    pub fn apply_toml_str(&mut self, text: &str, origin: &str) -> Result<(), OptionError> {
        let apply = |copy: &mut Self| {
            let table: Table = text.parse().map_err(|error: toml::de::Error| OptionError::Unreadable {
                message: error.to_string().trim_end().to_owned(),
            })?;
            copy.apply_table("", &table)
        };
        self.all_or_nothing(apply).map_err(|error| error.within(origin))
    }

    /// Writes a TOML file over these options, as [`apply_toml_str`](Options::apply_toml_str) does.
    ///
    /// # Errors
    /// Names the file; also when it cannot be read.
    pub fn apply_toml_file(&mut self, path: impl AsRef<Path>) -> Result<(), OptionError> {
        let origin = path.as_ref().display().to_string();
        let text = std::fs::read_to_string(path.as_ref())
            .map_err(|error| OptionError::Unreadable { message: error.to_string() }.within(origin.as_str()))?;
        self.apply_toml_str(&text, &origin)
    }

    /// Sets one option from `key=value`, as given to `--set`.
    ///
    /// # Errors
    /// As [`set`](Options::set); also when there is no `=`.
    pub fn apply_assignment(&mut self, text: &str) -> Result<(), OptionError> {
        let (key, value) = text.split_once('=').ok_or_else(|| OptionError::Unreadable {
            message: format!("{text}: must be key=value, for example heap.limit=128M"),
        })?;
        self.set(key.trim(), value)
    }

    fn apply_table(&mut self, prefix: &str, table: &Table) -> Result<(), OptionError> {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(inner) => self.apply_table(&key, inner)?,
                Value::String(text) => self.set(&key, text)?,
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => self.set(&key, &value.to_string())?,
                Value::Array(_) | Value::Datetime(_) => {
                    let message = format!("{key}={value}: must be a number, a bool or a string");
                    return Err(OptionError::Unreadable { message });
                }
            }
        }
        Ok(())
    }

    fn all_or_nothing(&mut self, change: impl FnOnce(&mut Self) -> Result<(), OptionError>) -> Result<(), OptionError> {
        let mut copy = self.clone();
        change(&mut copy)?;
        *self = copy;
        Ok(())
    }
}

fn not_utf8(name: String, value: &OsStr) -> OptionError {
    OptionError::Unreadable { message: format!("{} is not UTF-8", value.display()) }.within(name)
}

#[cfg(test)]
mod tests {
    use super::super::{HeapMode, OptionError, Options};

    fn vars(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn toml(text: &str) -> Result<Options, OptionError> {
        let mut options = Options::default();
        options.apply_toml_str(text, "mmtk.toml").map(|()| options)
    }

    #[test]
    fn each_option_has_its_own_variable() {
        let mut options = Options::default();
        for row in Options::table() {
            options.apply_env(vars(&[(&row.env_name, &row.default)])).unwrap();
        }
        let given = [("MMTK_GC_WAKE_HELPERS", "always"), ("MMTK_HEAP_LIMIT", "64M"), ("PATH", "/bin")];
        options.apply_env(vars(&given)).unwrap();
        assert_eq!(options.heap_limit, 64 << 20);
        assert_eq!(options.get("gc.wake_helpers").as_deref(), Some("always"));
    }

    #[test]
    fn one_bad_variable_refuses_them_all() {
        let mut options = Options::default();
        let error = options.apply_env(vars(&[("MMTK_PLAN", "NoGC"), ("MMTK_GC_WORKERS", "0")])).unwrap_err();
        assert_eq!(error.to_string(), "MMTK_GC_WORKERS: gc.workers=0: must be 1..=256 or auto");
        let error = options.apply_env(vars(&[("MMTK_PLAN", "NoGC"), ("MMTK_HEAP_LIMT", "1G")])).unwrap_err();
        assert_eq!(error.to_string(), "MMTK_HEAP_LIMT: unknown option; did you mean MMTK_HEAP_LIMIT?");
        assert_eq!(options, Options::default());
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
        options.apply_toml_str("plan = 'NoGC'\n[verify]\ntrace = 3\n", "x").unwrap_err();
        assert_eq!(options, Options::default());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Options::default().apply_toml_file("/no/such.toml").unwrap_err().to_string();
        assert!(error.starts_with("/no/such.toml: "), "{error}");
    }

    #[test]
    fn an_assignment_needs_an_equals_sign() {
        let mut options = Options::default();
        options.apply_assignment("heap.limit = 2M").unwrap();
        assert_eq!(options.heap_limit, 2 << 20);
        let error = options.apply_assignment("heap.limit").unwrap_err().to_string();
        assert_eq!(error, "heap.limit: must be key=value, for example heap.limit=128M");
    }
}
