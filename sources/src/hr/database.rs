//! The import into a PostgreSQL: what differs is written there, and its capture tells the topics.

use changes::{Clock, Result};
use tracing::info;

use super::import::{ImportOptions, ImportReport, Known, plan, refuse_mass_deletion};
use super::workbook::Workbook;
use crate::database::{COMMUTE_DISTANCES, DECLARED_SPORTS, EMPLOYEES, Table, lock};
use crate::postgres::{Address, Connection};

const TABLES: [Table; 3] = [EMPLOYEES, DECLARED_SPORTS, COMMUTE_DISTANCES];

/// Writes what differs between the workbook and the database, in one transaction that nobody else's change comes between.
pub async fn import_into(
    address: &Address,
    workbook: Workbook,
    options: ImportOptions,
    clock: Clock,
) -> Result<ImportReport> {
    let mut connection = Connection::connect(address).await?;
    connection.query("BEGIN").await?;
    if !options.dry_run {
        lock(&mut connection, &TABLES).await?;
    }
    let [employees, declared_sports, commute_distances] = &TABLES;
    let known = Known {
        employees: employees.read(&mut connection).await?,
        declared_sports: declared_sports.read(&mut connection).await?,
        commute_distances: commute_distances.read(&mut connection).await?,
    };
    let plan = plan(&known, &workbook, clock());
    let mut report = plan.report;
    if options.dry_run {
        return Ok(report);
    }
    if !options.yes {
        refuse_mass_deletion(&report, &known)?;
    }
    for (table, changes) in TABLES.iter().zip(&plan.changes) {
        table
            .write(&mut connection, changes, "a row of the workbook")
            .await?;
        report.published += changes.len();
    }
    connection.query("COMMIT").await?;
    info!(
        changes = report.published,
        "imported the HR workbook into PostgreSQL"
    );
    Ok(report)
}
