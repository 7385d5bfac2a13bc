//! The audit log: who asked what, when, from where and with which outcome. Never data: no row, no value of a
//! statement, no parameter.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Clock, Error, ErrorKind, Result, without_values};
use parking_lot::Mutex;
use serde::Serialize;

/// A file grows to this size; then it is renamed, and the oldest of those kept goes.
const FILE_BYTES: u64 = 64 << 20;
const FILES_KEPT: u32 = 8;

/// Longest text of a statement that is logged.
const LONGEST: usize = 4096;

/// Appends one line of JSON for each sign-in and each statement. Cheap to clone; without a file it writes nothing.
#[derive(Clone)]
pub(crate) struct Audit {
    log: Option<Arc<Log>>,
    clock: Clock,
}

struct Log {
    path: PathBuf,
    file: Mutex<(File, u64)>,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    at: String,
    event: &'a str,
    user: &'a str,
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    outcome: &'a str,
}

/// A statement that is about to end one way or another.
pub(crate) struct Asked {
    pub(crate) user: String,
    pub(crate) from: std::net::IpAddr,
    pub(crate) sql: String,
    pub(crate) epoch: Option<u64>,
}

impl Audit {
    /// Goes on with the file at `path`, or begins it; an empty path keeps no log.
    pub(crate) fn open(path: &Path, clock: Clock) -> Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self { log: None, clock });
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| unwritable(path, error))?;
        }
        let file = append_to(path).map_err(|error| unwritable(path, error))?;
        let log = Log {
            path: path.to_owned(),
            file: Mutex::new(file),
        };
        Ok(Self {
            log: Some(Arc::new(log)),
            clock,
        })
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let clock: Clock = Arc::new(|| chrono::DateTime::UNIX_EPOCH);
        Self { log: None, clock }
    }

    pub(crate) fn signed_in(&self, user: &str, from: std::net::IpAddr, outcome: &str) {
        self.append(&Line {
            at: self.now(),
            event: "sign_in",
            user,
            from: from.to_string(),
            statement: None,
            epoch: None,
            rows: None,
            milliseconds: None,
            outcome,
        });
    }

    pub(crate) fn ended(&self, asked: &Asked, rows: Option<u64>, took: Duration, outcome: &str) {
        if self.log.is_none() {
            return;
        }
        let mut statement = without_values(&asked.sql);
        if statement.len() > LONGEST {
            let cut = (0..=LONGEST)
                .rev()
                .find(|at| statement.is_char_boundary(*at));
            statement.truncate(cut.unwrap_or(0));
        }
        self.append(&Line {
            at: self.now(),
            event: "statement",
            user: &asked.user,
            from: asked.from.to_string(),
            statement: Some(statement),
            epoch: asked.epoch,
            rows,
            milliseconds: u64::try_from(took.as_millis()).ok(),
            outcome,
        });
    }

    fn now(&self) -> String {
        let now = (self.clock)();
        now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    fn append(&self, line: &Line<'_>) {
        let Some(log) = &self.log else {
            return;
        };
        let Ok(mut text) = serde_json::to_vec(line) else {
            return;
        };
        text.push(b'\n');
        if let Err(error) = log.append(&text) {
            tracing::error!(error = %error, "the audit log cannot be written");
        }
    }
}

impl Log {
    fn append(&self, line: &[u8]) -> std::io::Result<()> {
        let mut open = self.file.lock();
        let length = line.len() as u64;
        if open.1 > 0 && open.1 + length > FILE_BYTES {
            self.rotate()?;
            *open = append_to(&self.path)?;
        }
        open.0.write_all(line)?;
        open.1 += length;
        Ok(())
    }

    /// `audit.jsonl` becomes `audit.jsonl.1`, and so on.
    fn rotate(&self) -> std::io::Result<()> {
        let numbered = |number: u32| match number {
            0 => self.path.clone(),
            number => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        for number in (0..FILES_KEPT).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> std::io::Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the audit log \"{}\" cannot be written", path.display()),
    )
    .hint("Set flight.audit to a file that this user may write, or to \"\" for none.")
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn a_line_says_who_and_what_and_no_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/audit.jsonl");
        let clock: Clock =
            Arc::new(|| chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time"));
        let audit = Audit::open(&path, clock).expect("opened");
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        audit.signed_in("anne", from, "ok");
        let asked = Asked {
            user: "anne".to_owned(),
            from,
            sql: "SELECT nom FROM silver.employees /* Dupont */ WHERE nom = 'Dupont' AND id = 31"
                .to_owned(),
            epoch: Some(7),
        };
        audit.ended(&asked, Some(2), Duration::from_millis(5), "ok");
        let text = fs::read_to_string(&path).expect("written");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines[0]["event"], "sign_in");
        assert_eq!(lines[1]["at"], "2023-11-14T22:13:20.000000Z");
        assert_eq!(lines[1]["rows"], 2);
        assert_eq!(
            lines[1]["statement"],
            "SELECT nom FROM silver.employees WHERE nom = ? AND id = ?"
        );
    }
}
