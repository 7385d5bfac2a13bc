//! A user's project in a folder of its own, driven with the real binary.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use changes::KafkaConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::ports::free_port;

/// Generous: an unoptimised program beside other tests on two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Project {
    folder: TempDir,
    broker: String,
    variables: Vec<(String, String)>,
}

impl Project {
    /// The repository's `sportlake.toml` and `sql/`, on free ports.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(
            root.join("sportlake.toml"),
            folder.path().join("sportlake.toml"),
        )
        .expect("copied");
        copy(&root.join("sql"), &folder.path().join("sql"));
        Self {
            folder,
            broker: free_address(),
            variables: Vec::new(),
        }
    }

    /// The topics, as a client outside the program reaches them.
    pub(crate) fn kafka(&self) -> KafkaConfig {
        KafkaConfig::default().with_brokers(&self.broker)
    }

    /// Sets a key for every command that follows, as `generator.days`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.variables.push((variable(key), value.to_owned()));
        self
    }

    /// Sets a variable for every command that follows.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).expect("a text file")
    }

    /// Saves a file as editors do: a new one takes the old one's name.
    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        let beside = path.with_extension("saving");
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(&beside, &path).expect("renamed");
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sportlake"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("SPORTLAKE_LOG")
            .env(variable("broker.listen"), &self.broker)
            .env(variable("flight.listen"), "127.0.0.1:0")
            .env(variable("http.listen"), "127.0.0.1:0")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// The rows of a query as CSV, without the header.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let output = self.run(&["query", "--output", "csv", sql]);
        assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
        text(&output.stdout)
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect()
    }

    /// Starts a role and listens to both of its streams.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::of(&mut self.command(arguments))
    }
}

/// A role in a process of its own; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    transcript: Vec<String>,
}

impl Running {
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, lines) = channel();
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("piped"));
        for stream in [out, err] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            child,
            lines,
            transcript: Vec::new(),
        }
    }

    /// Waits for the next line that holds the text, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, wanted: &str) -> String {
        let found = self.next_with(wanted);
        assert!(
            found.is_some(),
            "no line with \"{wanted}\" in:\n{}",
            self.transcript()
        );
        found.unwrap_or_default()
    }

    /// Waits for the next line with an address, and returns the address.
    #[track_caller]
    pub(crate) fn address(&mut self, scheme: &str) -> String {
        let line = self.wait_for(scheme);
        let word = line
            .split_whitespace()
            .find(|word| word.starts_with(scheme));
        word.expect("an address").to_owned()
    }

    fn next_with(&mut self, wanted: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            self.transcript.push(line.clone());
            if line.contains(wanted) {
                return Some(line);
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
    }

    /// Whether it has not ended yet, by itself or by a signal.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// As a power loss of the process: no handler runs.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Waits for the end after a signal.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // Both readers hang up when the process has closed its streams.
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.transcript.push(line);
        }
        if let Some(status) = self.child.try_wait().expect("a child") {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "still running:\n{}",
            self.transcript.join("\n")
        );
        self.child.wait().expect("reaped")
    }

    pub(crate) fn transcript(&self) -> String {
        self.transcript.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn variable(key: &str) -> String {
    format!("SPORTLAKE__{}", key.to_uppercase().replace('.', "__"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An address for a server that may be down between two starts.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry").path();
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copied");
        }
    }
}
