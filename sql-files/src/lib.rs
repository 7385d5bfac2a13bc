//! The texts of a SQL project: a file's SELECT, the directives and rules above it, and what is wrong with them, where.
//!
//! Pure, and without a query engine: texts go in, syntax trees and diagnostics come out. What needs types or tables
//! is checked in the engine.

mod column_notes;
pub mod cursor;
pub mod depth;
mod diagnostic;
pub mod directive;
pub mod expect;
pub mod file;
pub mod graph;
pub mod nearest;
mod piece;
pub mod policies;
mod suggest;
pub mod syntax;
pub mod table_name;

pub use diagnostic::{Diagnostic, DiagnosticKind, Source};
pub use directive::{Cdc, Column, Directives, MaxAge, RefreshPolicy, Trigger};
pub use expect::{Expect, OnViolation, Rule, quoted, statement};
pub use file::{SqlFile, ZONED};
pub use piece::Piece;
pub use suggest::suggest;
pub use table_name::{CATALOG, DEFAULT_SCHEMA, NameError, TableName};
