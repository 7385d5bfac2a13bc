//! Distances of the employees of a PostgreSQL: what differs is written there, and its capture tells the topics.

use std::collections::BTreeMap;

use changes::{Clock, Result};
use serde_json::Value;
use tracing::info;

use super::config::{CommuteConfig, Key};
use super::measure::{MeasureOptions, MeasureReport, Progress, nobody, prepared, told};
use super::survey::Survey;
use crate::changelog::{Row, Rows};
use crate::database::{COMMUTE_DISTANCES, HOMES, lock};
use crate::diff::diff;
use crate::postgres::{Address, Connection};

/// Measures what is not known yet, and writes what differs from the table.
///
/// Nothing is locked while a provider is asked. So what is written, in one transaction that nobody else's change comes
/// between, is compared once more with who is there: whoever moved or came meanwhile is left for the next time.
pub async fn measure_into(
    address: &Address,
    config: &CommuteConfig,
    key: Option<Key>,
    options: MeasureOptions,
    clock: Clock,
    tell: impl Fn(Progress),
) -> Result<MeasureReport> {
    let provider = prepared(config, key, options)?;
    let (homes, known) = {
        let mut connection = Connection::connect(address).await?;
        connection
            .query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        read(&mut connection).await?
    };
    if homes.rows.is_empty() {
        return Err(nobody());
    }
    let survey = Survey::made(
        config,
        provider.as_ref(),
        options,
        &homes,
        &known.rows,
        &clock,
        tell,
    )
    .await?;
    let now = clock();
    if options.dry_run {
        let after = survey.rows(&known.rows, now);
        return Ok(told(survey.report, &diff(&known.rows, &after), after.len()));
    }
    let mut connection = Connection::connect(address).await?;
    connection.query("BEGIN").await?;
    lock(&mut connection, &[HOMES, COMMUTE_DISTANCES]).await?;
    let (homes_now, known) = read(&mut connection).await?;
    let measured = survey.rows(&known.rows, now);
    let after = of_those_who_stayed(measured, &homes.rows, &homes_now.rows, &known.rows);
    let changes = diff(&known.rows, &after);
    COMMUTE_DISTANCES
        .write(&mut connection, &changes, "a distance that was measured")
        .await?;
    connection.query("COMMIT").await?;
    info!(
        changes = changes.len(),
        "wrote commute distances to PostgreSQL"
    );
    Ok(told(survey.report, &changes, after.len()))
}

async fn read(connection: &mut Connection) -> Result<(Rows, Rows)> {
    let homes = HOMES.read(connection).await?;
    Ok((homes, COMMUTE_DISTANCES.read(connection).await?))
}

/// The rows of everybody who is there now: as measured for who lives as they did when they were asked about, as they are
/// for the others.
fn of_those_who_stayed(
    mut measured: BTreeMap<i64, Row>,
    before: &BTreeMap<i64, Row>,
    now: &BTreeMap<i64, Row>,
    known: &BTreeMap<i64, Row>,
) -> BTreeMap<i64, Row> {
    let lives = |row: &Row| {
        ["adresse", "moyen_deplacement"]
            .map(|column| row.get(column).cloned().unwrap_or(Value::Null))
    };
    let rows = now.iter().filter_map(|(id, row)| {
        let stayed = before.get(id).map(lives) == Some(lives(row));
        let row = match stayed {
            true => measured.remove(id),
            false => known.get(id).cloned(),
        };
        Some((*id, row?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(rows: &[(i64, &str, &str)]) -> BTreeMap<i64, Row> {
        let row = |(id, column, value): &(i64, &str, &str)| {
            (*id, Row::from_iter([((*column).to_owned(), json!(value))]))
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn whoever_moved_left_or_came_meanwhile_keeps_what_is_known() {
        let before = rows(&[
            (1, "adresse", "a"),
            (2, "adresse", "b"),
            (3, "adresse", "c"),
        ]);
        let now = rows(&[
            (1, "adresse", "a"),
            (2, "adresse", "B"),
            (4, "adresse", "d"),
        ]);
        let known = rows(&[
            (2, "source", "old"),
            (4, "source", "new"),
            (3, "source", "x"),
        ]);
        let measured = rows(&[(1, "source", "m"), (2, "source", "m"), (3, "source", "m")]);
        let after = of_those_who_stayed(measured, &before, &now, &known);
        let expected = rows(&[
            (1, "source", "m"),
            (2, "source", "old"),
            (4, "source", "new"),
        ]);
        assert_eq!(after, expected);
    }
}
