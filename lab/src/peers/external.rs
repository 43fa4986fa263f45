//! Programs of other languages: `peers-external/run.sh` builds and runs them, and prints the same JSON lines.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, NOT_INSTALLED_STATUS};
use crate::request::Request;

/// Where the programs are; the variable is for an installed `mmtk` whose sources have moved.
fn folder() -> PathBuf {
    std::env::var_os("LAB_PEERS_EXTERNAL")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers-external"), PathBuf::from)
}

/// Becomes the program: returns only when that fails.
///
/// # Errors
/// When the program does not know the workload, or cannot be started. A missing tool is the script's own exit
/// status.
pub fn run(request: &Request) -> Result<(), Failure> {
    let name = &request.collector.base;
    if let Some(why) = request.collector.refuses(request.spec, request.mutators) {
        return Err(Failure::Usage(format!("{} on {name}: {why}", request.spec.name)));
    }
    if let Some((key, value)) = request.peer_settings.first() {
        return Err(Failure::Usage(format!("{key}={value}: {name} has no settings")));
    }
    if !request.json {
        return Err(Failure::Usage(format!("{name} is an external program: it needs --json")));
    }
    let error = Command::new("bash")
        .arg(folder().join("run.sh"))
        .args([name, request.spec.name])
        .args([request.heap_bytes(), request.iters, request.size, request.gc_threads()].map(|n| n.to_string()))
        .exec();
    Err(Failure::NotInstalled(format!("bash: {error} (status {NOT_INSTALLED_STATUS})")))
}
