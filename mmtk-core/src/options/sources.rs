//! Where text comes from: `MMTK_*` variables, `key=value` on a command line. The crate `reports` reads files.
//!
//! Each source works on a copy and keeps it only when everything in it was right (I3 of the module).

use std::ffi::{OsStr, OsString};

use super::error::OptionError;
use super::table::{OptionInfo, Options};
use crate::warnings::warn_of_text;

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
    /// As [`apply_env`](Options::apply_env); also when the value of an option is not UTF-8.
    pub fn apply_process_env(&mut self) -> Result<(), OptionError> {
        // Not `std::env::vars`: it panics when any variable of the process, ours or not, is not UTF-8.
        self.apply_os_env(std::env::vars_os())
    }

    /// Writes the `MMTK_*` variables among `vars` over these options: `MMTK_HEAP_LIMIT` sets `heap.limit`.
    ///
    /// # Errors
    /// Names the variable. A name that differs little from that of an option is an error, since a typo would
    /// otherwise pass unseen. Another name is a warning: other programs use the prefix too.
    pub fn apply_env(&mut self, vars: impl IntoIterator<Item = (String, String)>) -> Result<(), OptionError> {
        self.apply_os_env(vars.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn apply_os_env(&mut self, vars: impl Iterator<Item = (OsString, OsString)>) -> Result<(), OptionError> {
        self.all_or_nothing(|copy| {
            for (name, value) in vars {
                // A name that is not UTF-8 is none of ours, but may be a near miss of one.
                let name = name.to_string_lossy().into_owned();
                let Some(variable) = Variable::of(&name) else { continue };
                match variable {
                    Variable::Of(row) => {
                        let value = value.into_string().map_err(|value| not_utf8(name.clone(), &value))?;
                        copy.set(row.key, &value).map_err(|error| error.within(name))?;
                    }
                    Variable::NearMiss(meant) => {
                        let known = Options::table().iter().map(|row| row.env_name.clone()).collect();
                        return Err(OptionError::near_miss_of_variable(&name, &meant.env_name, known));
                    }
                    Variable::Foreign => {
                        warn_of_text(format!("the variable {name} is no option of this toolkit: it has no effect"));
                    }
                }
            }
            Ok(())
        })
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

    fn all_or_nothing(&mut self, change: impl FnOnce(&mut Self) -> Result<(), OptionError>) -> Result<(), OptionError> {
        let mut copy = self.clone();
        change(&mut copy)?;
        *self = copy;
        Ok(())
    }
}

/// What a variable whose name begins with `MMTK_` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    /// It sets an option.
    Of(&'static OptionInfo),
    /// It was probably meant to set this option.
    NearMiss(&'static OptionInfo),
    /// It belongs to another program.
    Foreign,
}

impl Variable {
    const PREFIX: &str = "MMTK_";

    /// `None` for a name without the prefix.
    fn of(name: &str) -> Option<Variable> {
        let rest = name.strip_prefix(Self::PREFIX)?;
        let table = Options::table();
        if let Some(row) = table.iter().find(|row| row.env_name == name) {
            return Some(Variable::Of(row));
        }
        // The last word alone (`MMTK_WORKERS`) means the option that ends with it; otherwise a quarter of the
        // letters behind the prefix may be wrong. A third, as elsewhere, would take in names of other
        // programs.
        let word = rest.to_lowercase();
        let mut by_last_word = table.iter().filter(|row| row.key.rsplit('.').next() == Some(&word));
        if let (Some(row), None) = (by_last_word.next(), by_last_word.next()) {
            return Some(Variable::NearMiss(row));
        }
        let letters = |row: &OptionInfo| row.env_name.len() - Self::PREFIX.len();
        let distance = |row: &OptionInfo| strsim::damerau_levenshtein(&name.to_uppercase(), &row.env_name);
        let closest = table.iter().min_by_key(|row| distance(row))?;
        let near = distance(closest) <= (letters(closest) / 4).max(1);
        Some(if near { Variable::NearMiss(closest) } else { Variable::Foreign })
    }
}

fn not_utf8(name: String, value: &OsStr) -> OptionError {
    OptionError::Unreadable { message: format!("{} is not UTF-8", value.display()) }.within(name)
}

#[cfg(test)]
mod tests {
    use super::super::Options;

    fn vars(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
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
    fn a_variable_of_another_program_is_no_error_and_a_near_miss_is() {
        let mut options = Options::default();
        let of_another_toolkit = [
            "THREADS",
            "NURSERY",
            "STRESS_FACTOR",
            "PRECISE_STRESS",
            "NO_FINALIZER",
            "NO_REFERENCE_TYPES",
            "GC_TRIGGER",
            "VM_SPACE_START",
            "VM_SPACE_SIZE",
            "FULL_HEAP_SYSTEM_GC",
            "IGNORE_SYSTEM_GC",
            "EAGER_COMPLETE_SWEEP",
            "THREAD_AFFINITY",
            "TRANSPARENT_HUGEPAGES",
            "COUNT_LIVE_BYTES_IN_GC",
            "IMMIX_ALWAYS_DEFRAG",
            "IMMIX_DEFRAG_EVERY_BLOCK",
            "IMMIX_DEFRAG_HEADROOM_PERCENT",
            "USE_RETURN_BARRIER",
            "PHASE_PERF_EVENTS",
            "WORK_PERF_EVENTS",
            "VERBOSE",
            "",
        ];
        for name in of_another_toolkit {
            let name = format!("MMTK_{name}");
            assert_eq!(options.apply_env(vars(&[(&name, "\u{1}?")])), Ok(()), "{name}");
        }
        assert_eq!(options, Options::default());
        for (name, meant) in [
            ("MMTK_HEAP_LIMT", "MMTK_HEAP_LIMIT"),
            ("MMTK_heap_limit", "MMTK_HEAP_LIMIT"),
            ("MMTK_HEAPLIMIT", "MMTK_HEAP_LIMIT"),
            ("MMTK_PLN", "MMTK_PLAN"),
            ("MMTK_WORKERS", "MMTK_GC_WORKERS"),
            ("MMTK_VERIFY_TRACES", "MMTK_VERIFY_TRACE"),
        ] {
            let error = options.apply_env(vars(&[(name, "1")])).unwrap_err().to_string();
            assert_eq!(error, format!("{name}: unknown option; did you mean {meant}?"));
        }
    }

    #[test]
    fn a_variable_that_is_not_utf8_matters_only_if_it_is_an_option() {
        use std::os::unix::ffi::OsStringExt;
        let mut options = Options::default();
        let mut apply = |name: &str| {
            let value = super::OsString::from_vec(vec![0xff]);
            options.apply_os_env(std::iter::once((name.into(), value)))
        };
        assert_eq!(apply("MMTK_ELSEWHERE"), Ok(()));
        assert!(apply("MMTK_PLAN").unwrap_err().to_string().contains("is not UTF-8"));
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
