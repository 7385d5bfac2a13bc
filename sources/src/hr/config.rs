use std::path::Path;

use changes::Result;
use serde::Deserialize;

use super::workbook::{Workbook, WorkbookFile, read};

/// `[hr]` of the configuration: what `up` imports at its first start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HrConfig {
    /// Workbook of the employees; empty = the invented sample, with its sports.
    pub workbook: String,
    /// Workbook of the declared sports; empty = none.
    pub sports: String,
}

impl HrConfig {
    /// Reads the configured workbooks, or the sample.
    pub fn load(&self) -> Result<Workbook> {
        if self.workbook.is_empty() {
            return Workbook::sample();
        }
        let employees = WorkbookFile::open(Path::new(&self.workbook))?;
        let sports = match self.sports.as_str() {
            "" => None,
            path => Some(WorkbookFile::open(Path::new(path))?),
        };
        read(&employees, sports.as_ref())
    }
}
