//! The tables of `docker/postgres/` as the sources read and write them: each row as the topics have it.

use changes::{Error, ErrorKind, Op, Result};
use serde_json::{Value, json};

use crate::changelog::{Row, Rows};
use crate::diff::RowChange;
use crate::postgres::{Connection, sqlstate, without_tables};

/// A table, its columns as the topics have them, and how each is read and written.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Column, the expression that reads it as the topics have it, and the one that writes `$n`.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

pub(crate) const EMPLOYEES: Table = Table {
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

pub(crate) const DECLARED_SPORTS: Table = Table {
    name: "declared_sports",
    columns: &[
        ("employee_id", "employee_id", "$::bigint"),
        ("sport", "sport", "$::text"),
    ],
};

/// What decides how far somebody lives from the office, and nothing else of an employee; only to be read.
pub(crate) const HOMES: Table = Table {
    name: "employees",
    columns: &[
        ("id", "id", "$::bigint"),
        ("adresse", "adresse", "$::text"),
        ("moyen_deplacement", "moyen_deplacement", "$::text"),
    ],
};

pub(crate) const COMMUTE_DISTANCES: Table = Table {
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

/// Keeps everybody else from changing the tables until the transaction ends.
pub(crate) async fn lock(connection: &mut Connection, tables: &[Table]) -> Result<()> {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let lock = format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        names.join(", ")
    );
    connection.query(&lock).await.map_err(without_tables)?;
    Ok(())
}

impl Table {
    fn key(&self) -> &'static str {
        self.columns[0].0
    }

    pub(crate) async fn read(&self, connection: &mut Connection) -> Result<Rows> {
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

    /// `rows` says in errors which rows they are.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection,
        changes: &[RowChange],
        rows: &str,
    ) -> Result<()> {
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
            .map_err(|error| self.refused(error, rows))?;
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
            .map_err(|error| self.refused(error, rows))
    }

    /// PostgreSQL's own words may quote a row.
    fn refused(&self, error: Error, rows: &str) -> Error {
        match sqlstate(&error) {
            Some(code @ ("23514" | "23502" | "23503" | "22003" | "22P02")) => {
                Error::invalid(format!(
                    "table \"{}\" does not take {rows} (SQLSTATE {code})",
                    self.name
                ))
                .hint("Compare the table's checks with docker/postgres/01-sportsdb.sql; nothing was written.")
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
