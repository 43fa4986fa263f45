//! A file tree that looks like `/`, for tests; removed on drop.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Root(PathBuf);

impl Root {
    /// `name`: another one for each test.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Root {
        let root = Root(std::env::temp_dir().join(format!("mmtk-machine-{}-{name}", std::process::id())));
        root.write(files);
        root
    }

    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
