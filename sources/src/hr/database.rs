//! The import into a PostgreSQL: what differs is written there, and its capture tells the topics.

use changes::{Clock, Error, ErrorKind, Op, Result};
use serde_json::{Value, json};
use tracing::info;

use super::import::{ImportOptions, ImportReport, Known, plan, refuse_mass_deletion};
use super::workbook::Workbook;
use crate::changelog::{Row, Rows};
use crate::diff::RowChange;
use crate::postgres::{Address, Connection, sqlstate, without_tables};

/// A table, its columns as the topics have them, and how each is read and written.
struct Table {
    name: &'static str,
    /// Column, the expression that reads it as the topics have it, and the one that writes `$n`.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

const EMPLOYEES: Table = Table {
    name: "employees",
    columns: &[
        ("id", "id", "$::bigint"),
        ("nom", "nom", "$::text"),
        ("prenom", "prenom", "$::text"),
        (
            "date_naissance",
            "date_naissance - date '1970-01-01'",
            "date '1970-01-01' + $::int",
        ),
        ("bu", "bu", "$::text"),
        (
            "date_embauche",
            "date_embauche - date '1970-01-01'",
            "date '1970-01-01' + $::int",
        ),
        ("salaire_brut", "salaire_brut::text", "$::numeric"),
        ("type_contrat", "type_contrat", "$::text"),
        ("jours_cp", "jours_cp", "$::bigint"),
        ("adresse", "adresse", "$::text"),
        ("moyen_deplacement", "moyen_deplacement", "$::text"),
    ],
};

const DECLARED_SPORTS: Table = Table {
    name: "declared_sports",
    columns: &[
        ("employee_id", "employee_id", "$::bigint"),
        ("sport", "sport", "$::text"),
    ],
};

const COMMUTE_DISTANCES: Table = Table {
    name: "commute_distances",
    columns: &[
        ("employee_id", "employee_id", "$::bigint"),
        ("moyen_deplacement", "moyen_deplacement", "$::text"),
        ("distance_m", "distance_m", "$::float8"),
        ("source", "source", "$::text"),
        ("flag", "flag", "$::text"),
        (
            "computed_at",
            "to_char(computed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            "$::timestamptz",
        ),
    ],
};

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
        let names = TABLES.map(|table| table.name).join(", ");
        let lock = format!("LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE");
        connection.query(&lock).await.map_err(without_tables)?;
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
        refuse_mass_deletion(report.deleted_employees.len(), known.employees.rows.len())?;
    }
    for (table, changes) in TABLES.iter().zip(&plan.changes) {
        table.write(&mut connection, changes).await?;
        report.published += changes.len();
    }
    connection.query("COMMIT").await?;
    info!(
        changes = report.published,
        "imported the HR workbook into PostgreSQL"
    );
    Ok(report)
}

impl Table {
    fn key(&self) -> &'static str {
        self.columns[0].0
    }

    async fn read(&self, connection: &mut Connection) -> Result<Rows> {
        let fields: Vec<String> = self
            .columns
            .iter()
            .map(|(column, read, _)| format!("'{column}', {read}"))
            .collect();
        let sql = format!(
            "SELECT json_build_object({}) FROM {}",
            fields.join(", "),
            self.name
        );
        let mut read = Rows::default();
        for line in connection.query(&sql).await.map_err(without_tables)? {
            let text = line.into_iter().next().flatten().unwrap_or_default();
            // The text of an error would quote the row.
            let mut row: Row = serde_json::from_str(&text).map_err(|_| {
                Error::new(
                    ErrorKind::Internal,
                    format!("a row of \"{}\" is no JSON", self.name),
                )
            })?;
            if let Some(distance) = row.get_mut("distance_m") {
                *distance = json!(distance.as_f64());
            }
            let key = row.get(self.key()).and_then(Value::as_i64);
            read.rows.extend(key.map(|key| (key, row)));
        }
        Ok(read)
    }

    async fn write(&self, connection: &mut Connection, changes: &[RowChange]) -> Result<()> {
        let (gone, current): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| change.op() == Op::Delete);
        let columns: Vec<&str> = self.columns.iter().map(|(column, ..)| *column).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .zip(1..)
            .map(|((_, _, write), at): (_, usize)| write.replace('$', &format!("${at}")))
            .collect();
        let sets: Vec<String> = columns[1..]
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let upsert = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            self.name,
            columns.join(", "),
            values.join(", "),
            self.key(),
            sets.join(", ")
        );
        let lists: Vec<Vec<Option<String>>> = current
            .iter()
            .filter_map(|change| change.after.as_ref())
            .map(|row| {
                columns
                    .iter()
                    .map(|column| text(row.get(*column)))
                    .collect()
            })
            .collect();
        connection
            .execute(&upsert, &lists)
            .await
            .map_err(|error| self.refused(error))?;
        let delete = format!(
            "DELETE FROM {} WHERE {} = $1::bigint",
            self.name,
            self.key()
        );
        let keys: Vec<_> = gone
            .iter()
            .map(|change| vec![Some(change.key.to_string())])
            .collect();
        connection
            .execute(&delete, &keys)
            .await
            .map_err(|error| self.refused(error))
    }

    /// PostgreSQL's own words may quote a row.
    fn refused(&self, error: Error) -> Error {
        match sqlstate(&error) {
            Some(code @ ("23514" | "23502" | "23503" | "22003" | "22P02")) => {
                Error::invalid(format!(
                    "table \"{}\" does not take a row of the workbook (SQLSTATE {code})",
                    self.name
                ))
                .hint("Compare the table's checks with the workbook; nothing was written.")
            }
            _ => error,
        }
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
