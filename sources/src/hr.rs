//! HR workbooks: read strictly, compared with what the topics hold, published as changes.

mod cells;
mod config;
mod container;
mod database;
mod employee;
mod import;
mod sheet;
mod workbook;

pub use config::HrConfig;
pub use database::import_into;
pub use employee::{Cents, Employee};
pub use import::{ImportOptions, ImportReport, TableChanges, import};
pub use workbook::{Workbook, WorkbookFile, read};
