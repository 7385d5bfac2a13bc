//! A table of a change, in the words of the catalogue, which may have moved on since.

use changes::{Error, Result};

use super::catalogue::SEPARATOR;
use super::config::CdcConfig;
use super::kind::{Kind, Type};
use super::pgoutput::Relation;
use super::table::{Column, Table};
use crate::postgres::{Connection, Row, literal, quoted};

/// The table, its columns as the change has them.
pub(super) async fn describe(
    connection: &mut Connection,
    relation: Relation,
    prefix: &str,
    config: &CdcConfig,
) -> Result<Table> {
    let name = format!("{}.{}", relation.schema, relation.table);
    let found = found(connection, &relation).await?;
    let mut columns = Vec::with_capacity(found.len());
    for (column, found) in relation.columns.iter().zip(&found) {
        let kind = match Kind::of(&found.of, config.decimals, config.times) {
            Ok(kind) => kind,
            // Gone from the table by now, or its type is; what the log has of it is a text.
            Err(_) if !found.is_there => Kind::Text(None),
            Err(error) => {
                return Err(Error::new(error.kind(), format!("column \"{}\" of \"{name}\": {error}", column.name))
                    .hint("Leave it out of the publication: ALTER PUBLICATION .. SET TABLE t (column, ..); or change its type."));
            }
        };
        columns.push(Column::new(
            &column.name,
            kind,
            found.not_null,
            found.default.as_deref(),
        ));
    }
    let primary = primary_key(connection, &relation).await?;
    let key = key(&relation, &primary).ok_or_else(|| {
        let whole = format!("{}.{}", quoted(&relation.schema), quoted(&relation.table));
        match primary.is_empty() {
            true => Error::invalid(format!("table \"{name}\" has no primary key")).hint(format!(
                "Add one: ALTER TABLE {whole} ADD PRIMARY KEY (..); or take the table out of the publication."
            )),
            false => Error::invalid(format!(
                "what is published of \"{name}\" does not hold its primary key, or did not when it was logged"
            ))
            .hint("Publish those columns as well: ALTER PUBLICATION .. SET TABLE t (column, ..)."),
        }
    })?;
    let database = connection.value("SELECT current_database()").await?;
    Ok(Table::new(
        relation,
        columns,
        key,
        prefix,
        &database.unwrap_or_default(),
        config.schemas,
    ))
}

/// What the catalogue has of a column of a change.
struct Found {
    of: Type,
    /// The table still has it, with this type.
    is_there: bool,
    not_null: bool,
    default: Option<String>,
}

/// One for each column of the relation, in its order, whatever was dropped since.
async fn found(connection: &mut Connection, relation: &Relation) -> Result<Vec<Found>> {
    if relation.columns.is_empty() {
        return Ok(Vec::new());
    }
    let listed: Vec<String> = relation
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            format!(
                "({at}, {}, {}::oid, {})",
                literal(&column.name),
                column.oid,
                column.modifier
            )
        })
        .collect();
    // A domain is written as its base type, an array by its elements.
    let sql = format!(
        "SELECT coalesce(e.typname, b.typname), b.typcategory = 'A' AND b.typelem <> 0,
            CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE v.modifier END,
            (SELECT string_agg(l.enumlabel, E'\\x01' ORDER BY l.enumsortorder)
                FROM pg_enum l WHERE l.enumtypid = coalesce(e.oid, b.oid)),
            a.atttypid = v.type, coalesce(a.attnotnull, false), pg_get_expr(d.adbin, d.adrelid)
        FROM (VALUES {}) v(at, name, type, modifier)
        LEFT JOIN pg_type t ON t.oid = v.type
        LEFT JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
        LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
        LEFT JOIN pg_attribute a ON a.attrelid = {} AND a.attname = v.name AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        ORDER BY v.at",
        listed.join(", "),
        relation.id,
    );
    Ok(connection.query(&sql).await?.into_iter().map(of).collect())
}

fn of(row: Row) -> Found {
    let field = |at: usize| row.get(at).cloned().flatten();
    let is_true = |at: usize| field(at).as_deref() == Some("t");
    Found {
        of: Type {
            name: field(0).unwrap_or_default(),
            array: is_true(1),
            modifier: field(2)
                .and_then(|modifier| modifier.parse().ok())
                .unwrap_or(-1),
            labels: field(3).map_or_else(Vec::new, |labels| {
                labels.split(SEPARATOR).map(str::to_owned).collect()
            }),
        },
        is_there: is_true(4),
        not_null: is_true(5),
        default: field(6),
    }
}

/// A column of the primary key as it is now.
struct Part {
    name: String,
    /// Which column of the change it is by its place, where names alone have changed since.
    place: Option<usize>,
}

/// The primary key as it is now, in its order.
async fn primary_key(connection: &mut Connection, relation: &Relation) -> Result<Vec<Part>> {
    let sql = format!(
        "SELECT a.attname, a.atttypid, array_position(p.indkey::int2[], a.attnum) FROM pg_attribute a
            LEFT JOIN pg_index p ON p.indrelid = a.attrelid AND p.indisprimary
            WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum",
        relation.id
    );
    let columns: Vec<(String, u32, Option<i32>)> = connection
        .query(&sql)
        .await?
        .into_iter()
        .filter_map(|row| {
            let [name, kind, place] = <[Option<String>; 3]>::try_from(row).ok()?;
            Some((
                name?,
                kind?.parse().ok()?,
                place.and_then(|place| place.parse().ok()),
            ))
        })
        .collect();
    let then = relation.columns.iter().map(|column| column.oid);
    let same_shape = then.eq(columns.iter().map(|(_, kind, _)| *kind));
    let mut parts: Vec<(i32, Part)> = columns
        .into_iter()
        .enumerate()
        .filter_map(|(at, (name, _, place))| {
            let place_now = same_shape.then_some(at);
            Some((
                place?,
                Part {
                    name,
                    place: place_now,
                },
            ))
        })
        .collect();
    parts.sort_by_key(|(place, _)| *place);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// Which columns are the key of the change's rows; none where nothing tells.
///
/// The key as it is now, where it was the key then. Where it was another one, the log says which, unless it has whole rows.
fn key(relation: &Relation, primary: &[Part]) -> Option<Vec<usize>> {
    let columns = &relation.columns;
    let named = |part: &Part| columns.iter().position(|column| column.name == part.name);
    let is_told = |at: &usize| relation.whole || columns[*at].key;
    let now: Option<Vec<usize>> = primary
        .iter()
        .map(|part| named(part).or(part.place).filter(is_told))
        .collect();
    now.filter(|now| !now.is_empty()).or_else(|| {
        let told: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].key).collect();
        let is_key = !relation.whole && !relation.by_index;
        (!told.is_empty() && is_key).then_some(told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdc::pgoutput::RelationColumn;

    fn relation(columns: &[(&str, bool)], whole: bool) -> Relation {
        let columns = columns.iter().map(|(name, key)| RelationColumn {
            name: (*name).to_owned(),
            oid: 23,
            modifier: -1,
            key: *key,
        });
        Relation {
            id: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            whole,
            by_index: false,
            columns: columns.collect(),
        }
    }

    #[track_caller]
    fn check(relation: &Relation, primary: &[(&str, Option<usize>)], expected: Option<&[usize]>) {
        let parts = primary.iter().map(|(name, place)| Part {
            name: (*name).to_owned(),
            place: *place,
        });
        let parts: Vec<Part> = parts.collect();
        assert_eq!(key(relation, &parts).as_deref(), expected);
    }

    #[test]
    fn a_key_is_what_it_was_at_the_change() {
        let both = relation(&[("a", true), ("b", true), ("c", false)], false);
        check(&both, &[("b", None), ("a", None)], Some(&[1, 0]));
        // One was renamed since.
        check(&both, &[("b", Some(1)), ("z", Some(0))], Some(&[1, 0]));
        check(&both, &[("b", None), ("z", None)], Some(&[0, 1]));
        // Another key altogether, or none.
        check(&both, &[("c", Some(2))], Some(&[0, 1]));
        check(&both, &[], Some(&[0, 1]));
    }

    #[test]
    fn an_identity_may_hold_more_than_the_key() {
        let more = relation(&[("a", true), ("b", true)], false);
        check(&more, &[("b", None)], Some(&[1]));
    }

    #[test]
    fn an_index_tells_no_key_that_it_does_not_hold() {
        let mut index = relation(&[("a", false), ("b", true)], false);
        index.by_index = true;
        check(&index, &[("a", None)], None);
        check(&index, &[("b", None)], Some(&[1]));
    }

    #[test]
    fn whole_rows_do_not_tell_their_key() {
        let whole = relation(&[("a", true), ("b", true)], true);
        check(&whole, &[("b", None)], Some(&[1]));
        check(&whole, &[("z", Some(0))], Some(&[0]));
        check(&whole, &[("z", None)], None);
        check(&relation(&[("a", false)], false), &[], None);
    }
}
