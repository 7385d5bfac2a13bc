//! Large values of a row whose key changed. The log does not have them, and what came before is told of another key, so
//! that nobody behind Kafka could find them: they are read under the new key, as Debezium's reselect post processor does.

use bytes::Bytes;
use changes::Result;
use tracing::warn;

use super::capture::may_pass;
use super::catalogue::own_rows;
use super::pgoutput::{Field, Tuple};
use super::table::Table;
use crate::postgres::{Connection, literal, quoted};

/// The new row with the large values that its change left as they were, as they are by now: what changes later is told
/// later. None where it has them all, or there is no such row any more, which is told later too.
pub(super) async fn reread(
    control: &mut Connection,
    table: &Table,
    new: &Tuple,
) -> Result<Option<Tuple>> {
    let left: Vec<usize> = (0..new.len())
        .filter(|at| new[*at] == Field::Unchanged)
        .collect();
    let Some(sql) = statement(table, new, &left) else {
        return Ok(None);
    };
    let rows = match control.query(&sql).await {
        Ok(rows) => rows,
        Err(error) if may_pass(&error) => return Err(error),
        Err(error) => {
            let table = table.name();
            warn!(table, error = %error, "large values of a row whose key changed cannot be read");
            return Ok(None);
        }
    };
    Ok(rows.into_iter().next().map(|values| {
        let mut filled = new.clone();
        for (at, value) in left.into_iter().zip(values) {
            filled[at] = value.map_or(Field::Null, |text| Field::Text(Bytes::from(text)));
        }
        filled
    }))
}

fn statement(table: &Table, new: &Tuple, left: &[usize]) -> Option<String> {
    if left.is_empty() {
        return None;
    }
    let name = |at: &usize| quoted(table.columns[*at].name());
    let columns: Vec<String> = left.iter().map(name).collect();
    let mut conditions = Vec::new();
    for at in &table.key {
        let Field::Text(text) = new.get(*at)? else {
            return None;
        };
        let text = std::str::from_utf8(text).ok()?;
        conditions.push(format!("{} = {}", name(at), literal(text)));
    }
    if conditions.is_empty() {
        return None;
    }
    let relation = &table.relation;
    conditions.push(own_rows(relation.id));
    Some(format!(
        "SELECT {} FROM {}.{} WHERE {}",
        columns.join(", "),
        quoted(&relation.schema),
        quoted(&relation.table),
        conditions.join(" AND ")
    ))
}
