use std::fmt;

use serde::Serialize;

use super::difference::Difference;
use crate::project::Diagnostic;

/// What a run of trials found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What is wrong with the project or its tests, so that none ran.
    pub problems: Vec<Diagnostic>,
    pub cases: Vec<CaseReport>,
    /// Tables that no test is about.
    pub untested: Vec<String>,
    pub seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct CaseReport {
    pub table: String,
    /// Empty where a file is one case.
    pub case: String,
    pub file: String,
    pub line: u64,
    pub seconds: f64,
    /// The first step that failed; those behind it were not taken.
    pub failure: Option<Failure>,
}

/// A step whose outcome is not what the test says.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub line: u64,
    pub message: String,
    pub hint: Option<String>,
    pub difference: Option<Difference>,
}

impl Report {
    pub fn failed(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.failure.is_some())
            .count()
    }

    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.failed() == 0
    }
}

impl Failure {
    pub(super) fn new(line: u64, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
            hint: None,
            difference: None,
        }
    }
}

impl CaseReport {
    /// `gold.eligibilites: a distance exactly at the limit`
    pub fn title(&self) -> String {
        match self.case.as_str() {
            "" => self.table.clone(),
            case => format!("{}: {case}", self.table),
        }
    }
}

/// The failure as a person reads it, with its place; nothing for a case that passed.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(failure) = &self.failure else {
            return Ok(());
        };
        writeln!(f, "failed: {}", self.title())?;
        write!(
            f,
            " --> {}:{}: {}",
            self.file, failure.line, failure.message
        )?;
        if let Some(difference) = &failure.difference {
            write!(f, "\n{difference}")?;
        }
        match &failure.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
