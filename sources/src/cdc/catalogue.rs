//! What the server's catalogue says about the publication and its tables.

use changes::{Error, ErrorKind, Result};

use super::config::CdcConfig;
use super::kind::{Kind, Type};
use super::pgoutput::{Relation, RelationColumn};
use super::table::{Column, Table};
use crate::postgres::{Connection, Row, literal, quoted};

/// A table of the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) schema: String,
    pub(super) table: String,
    /// Condition that the publication puts on its rows, SQL.
    pub(super) filter: Option<String>,
    /// The only columns that are published.
    columns: Option<Vec<String>>,
}

impl Published {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    pub(super) fn regclass(&self) -> String {
        let name = format!("{}.{}", quoted(&self.schema), quoted(&self.table));
        format!("{}::regclass", literal(&name))
    }
}

/// Separates names in one text; no name that anybody types has it.
const SEPARATOR: char = '\u{1}';
/// Where columns may be left out of a publication.
const COLUMN_LISTS_FROM: u32 = 150_000;

/// Refuses a server that cannot replicate logically.
pub(super) async fn check_server(connection: &mut Connection) -> Result<()> {
    let level = connection
        .value("SHOW wal_level")
        .await?
        .unwrap_or_default();
    if level == "logical" {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "wal_level of PostgreSQL is \"{level}\", so that it does not log what changed"
    ))
    .hint(
        "Have an administrator run ALTER SYSTEM SET wal_level = 'logical'; and restart PostgreSQL.",
    ))
}

/// The tables of the publication, each with a key.
pub(super) async fn published(
    connection: &mut Connection,
    publication: &str,
) -> Result<Vec<Published>> {
    let name = literal(publication);
    let exists = connection
        .value(&format!(
            "SELECT 1 FROM pg_publication WHERE pubname = {name}"
        ))
        .await?;
    if exists.is_none() {
        return Err(Error::new(ErrorKind::NotFound, format!("PostgreSQL has no publication \"{publication}\""))
            .hint(format!(
                "Have the tables' owner run CREATE PUBLICATION {} FOR TABLE ..; or name another one in cdc.publication.",
                quoted(publication)
            )));
    }
    let version = connection.value("SHOW server_version_num").await?;
    let version: u32 = version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    let lists = if version >= COLUMN_LISTS_FROM {
        "array_to_string(attnames, E'\\x01'), rowfilter"
    } else {
        "NULL, NULL"
    };
    let sql = format!(
        "SELECT schemaname, tablename, {lists} FROM pg_publication_tables WHERE pubname = {name} ORDER BY 1, 2"
    );
    let tables: Vec<Published> = connection
        .query(&sql)
        .await?
        .into_iter()
        .filter_map(table)
        .collect();
    if tables.is_empty() {
        return Err(
            Error::invalid(format!("publication \"{publication}\" has no table")).hint(format!(
                "Have its owner run ALTER PUBLICATION {} ADD TABLE ..;",
                quoted(publication)
            )),
        );
    }
    Ok(tables)
}

fn table(row: Row) -> Option<Published> {
    let [schema, table, columns, filter] = <[Option<String>; 4]>::try_from(row).ok()?;
    Some(Published {
        schema: schema?,
        table: table?,
        columns: columns.map(|columns| columns.split(SEPARATOR).map(str::to_owned).collect()),
        filter,
    })
}

/// The table as it is, for its rows to be read.
pub(super) async fn current(
    connection: &mut Connection,
    published: &Published,
    prefix: &str,
    config: &CdcConfig,
) -> Result<Table> {
    let sql = format!(
        "SELECT attname, atttypid, atttypmod FROM pg_attribute WHERE attrelid = {} AND attnum > 0
            AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        published.regclass()
    );
    let rows = connection.query(&sql).await?;
    let columns = rows.into_iter().filter_map(|row| {
        let [name, oid, modifier] = <[Option<String>; 3]>::try_from(row).ok()?;
        Some(RelationColumn {
            name: name?,
            oid: oid?.parse().ok()?,
            modifier: modifier?.parse().ok()?,
        })
    });
    let is_published = |column: &RelationColumn| {
        let list = published.columns.as_ref();
        list.is_none_or(|list| list.contains(&column.name))
    };
    let relation = Relation {
        id: 0,
        schema: published.schema.clone(),
        table: published.table.clone(),
        columns: columns.filter(is_published).collect(),
    };
    described(connection, relation, prefix, config).await
}

/// The table of a change, whose columns may have changed since.
pub(super) async fn described(
    connection: &mut Connection,
    relation: Relation,
    prefix: &str,
    config: &CdcConfig,
) -> Result<Table> {
    let name = format!("{}.{}", relation.schema, relation.table);
    let whole = format!("{}.{}", quoted(&relation.schema), quoted(&relation.table));
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
            coalesce(a.attnotnull, false), pg_get_expr(d.adbin, d.adrelid),
            array_position(p.indkey::int2[], a.attnum)
        FROM (VALUES {}) v(at, name, type, modifier)
        JOIN pg_type t ON t.oid = v.type
        JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
        LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
        LEFT JOIN pg_attribute a ON a.attrelid = to_regclass({relid}) AND a.attname = v.name AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_index p ON p.indrelid = a.attrelid AND p.indisprimary
        ORDER BY v.at",
        listed.join(", "),
        relid = literal(&whole),
    );
    let rows = connection.query(&sql).await?;
    let mut columns = Vec::new();
    let mut key = Vec::new();
    for (at, (row, column)) in rows.into_iter().zip(&relation.columns).enumerate() {
        let Ok(
            [
                type_name,
                is_array,
                modifier,
                labels,
                not_null,
                default,
                key_at,
            ],
        ) = <[Option<String>; 7]>::try_from(row)
        else {
            continue;
        };
        let is_true = |text: &Option<String>| text.as_deref() == Some("t");
        let of = Type {
            name: type_name.unwrap_or_default(),
            array: is_true(&is_array),
            modifier: modifier
                .and_then(|modifier| modifier.parse().ok())
                .unwrap_or(-1),
            labels: labels.map_or_else(Vec::new, |labels| {
                labels.split(SEPARATOR).map(str::to_owned).collect()
            }),
        };
        let kind = Kind::of(&of, config.decimals, config.times).map_err(|error| {
            Error::new(error.kind(), format!("column \"{}\" of \"{name}\": {error}", column.name))
                .hint("Leave it out of the publication: ALTER PUBLICATION .. SET TABLE t (column, ..); or change its type.")
        })?;
        key.extend(key_at.and_then(|key_at| Some((key_at.parse::<u32>().ok()?, at))));
        columns.push(Column::new(
            &column.name,
            kind,
            is_true(&not_null),
            default.as_deref(),
        ));
    }
    if key.is_empty() {
        return Err(Error::invalid(format!("table \"{name}\" has no primary key"))
            .hint(format!("Add one: ALTER TABLE {whole} ADD PRIMARY KEY (..); or take the table out of the publication.")));
    }
    key.sort_unstable();
    let key = key.into_iter().map(|(_, at)| at).collect();
    Ok(Table::new(
        relation,
        columns,
        key,
        prefix,
        &connection_database(connection).await?,
        config.schemas,
    ))
}

async fn connection_database(connection: &mut Connection) -> Result<String> {
    Ok(connection
        .value("SELECT current_database()")
        .await?
        .unwrap_or_default())
}

/// Refuses tables whose deletes would not say which row is gone.
pub(super) async fn check_identity(
    connection: &mut Connection,
    tables: &[Published],
) -> Result<()> {
    for table in tables {
        let sql = format!(
            "SELECT c.relreplident, NOT EXISTS (
                SELECT 1 FROM pg_index p, unnest(p.indkey::int2[]) k WHERE p.indrelid = c.oid AND p.indisprimary
                AND k NOT IN (SELECT unnest(r.indkey::int2[]) FROM pg_index r WHERE r.indrelid = c.oid AND r.indisreplident))
            FROM pg_class c WHERE c.oid = {}",
            table.regclass()
        );
        let row = connection.query(&sql).await?.pop().unwrap_or_default();
        let identity = row.first().and_then(Option::as_deref).unwrap_or_default();
        let holds_key = row.get(1).and_then(Option::as_deref) == Some("t");
        if identity == "n" || (identity == "i" && !holds_key) {
            let message = format!(
                "REPLICA IDENTITY of \"{}\" does not hold its primary key",
                table.name()
            );
            return Err(Error::invalid(message).hint(format!(
                "Have its owner run ALTER TABLE {}.{} REPLICA IDENTITY DEFAULT;",
                quoted(&table.schema),
                quoted(&table.table)
            )));
        }
    }
    Ok(())
}
