//! The steps of every commit by name, and watchers that stop at one of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use disk::{Step, Watcher};
use parking_lot::Mutex;

/// What a file below the lake's root is.
fn kind(relative: &str) -> String {
    let (relative, staged) = match relative.split_once('#') {
        Some((relative, _)) => (relative, "staged "),
        None => (relative, ""),
    };
    let file = relative.rsplit('/').next().unwrap_or_default();
    let kind = match relative.split('/').next().unwrap_or_default() {
        "" => "lake",
        "_format" => "format",
        "_leases" if file == "_leases" => "leases",
        "_leases" => "lease",
        "_epochs" if file == "_epochs" => "epochs",
        "_epochs" if file == "_hint" => "hint",
        "_epochs" if file.ends_with(".intent.json") => "intent",
        "_epochs" => "manifest",
        "_project" if file == "_project" => "project texts",
        "_requests" if file == "_requests" || relative.matches('/').count() < 2 => "requests",
        "_requests" if file.ends_with(".taken") => "taken mark",
        "_requests" if file.ends_with(".answer.json") => "answer",
        "_requests" => "request",
        "_project" if file == "_problems" => "project problems",
        "_project" => "project text",
        "bronze" | "silver" | "gold" => return format!("{staged}{}", of_table(relative, file)),
        other => other,
    };
    format!("{staged}{kind}")
}

fn of_table(relative: &str, file: &str) -> String {
    let layer = relative.split('/').next().unwrap_or_default();
    let owner = if layer == "bronze" { "bronze" } else { "table" };
    let what = match file {
        "_last_checkpoint" => "checkpoint hint",
        _ if file.ends_with(".checkpoint.parquet") => "checkpoint",
        _ if relative.contains("/_delta_log/") => "log entry",
        "_delta_log" => "log",
        _ if file.ends_with(".parquet") => "data file",
        _ => "directory",
    };
    format!("{owner} {what}")
}

/// The name of a step: what it is done to and what is done.
pub(super) fn name(root: &Path, step: &Step<'_>) -> String {
    let relative = step.path.strip_prefix(root).unwrap_or(step.path);
    format!("{}: {step}", kind(&relative.to_string_lossy()))
}

/// Counts the steps of a lake, and fails some of them or ends the process at one.
pub(super) struct Steps {
    root: PathBuf,
    taken: AtomicUsize,
    names: Mutex<Vec<String>>,
    stop: Stop,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    Never,
    /// The disk fails this many steps from the given one on.
    Fail {
        from: usize,
        count: usize,
    },
    /// The process ends before the given step.
    Abort(usize),
}

impl Steps {
    pub(super) fn new(root: &Path, stop: Stop) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
            taken: AtomicUsize::new(0),
            names: Mutex::default(),
            stop,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().clone()
    }
}

impl Watcher for Steps {
    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.names.lock().push(name(&self.root, step));
        match self.stop {
            Stop::Abort(at) if at == number => std::process::abort(),
            Stop::Fail { from, count } if (from..from.saturating_add(count)).contains(&number) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn after(&self, _step: &Step<'_>) {}
}
