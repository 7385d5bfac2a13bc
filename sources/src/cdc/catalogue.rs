//! What the server's catalogue says about the publication and its tables.

use changes::{Error, ErrorKind, Result};

use super::config::CdcConfig;
use super::description;
use super::pgoutput::{Relation, RelationColumn};
use super::table::Table;
use crate::postgres::{Connection, Row, literal, quoted};

/// A table of the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    /// Another table has another one, whatever its name.
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) table: String,
    /// Condition that the publication puts on its rows, SQL.
    pub(super) filter: Option<String>,
    /// The only columns that are published.
    columns: Option<Vec<String>>,
    /// Whether those are all of the table.
    has_all: bool,
    /// Of its place in the publication: one that left and came back has another one.
    pub(super) member: u64,
    /// Oids of the partitions that hold rows, ascending, where the table is published in the name of all of them.
    pub(super) partitions: Vec<u32>,
}

impl Published {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    #[cfg(test)]
    pub(super) fn named(oid: u32, schema: &str, table: &str) -> Self {
        Self {
            oid,
            schema: schema.to_owned(),
            table: table.to_owned(),
            filter: None,
            columns: None,
            has_all: true,
            member: 0,
            partitions: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn filtered(oid: u32, schema: &str, table: &str, filter: &str) -> Self {
        Self {
            filter: Some(filter.to_owned()),
            ..Self::named(oid, schema, table)
        }
    }

    /// A fingerprint of which rows and columns are published. A column that is added to a table of which all are changes
    /// nothing: the log has its values from then on.
    pub(super) fn part(&self) -> u32 {
        let columns = self.columns.as_deref().filter(|_| !self.has_all);
        let columns =
            columns.map_or_else(String::new, |columns| columns.join(&SEPARATOR.to_string()));
        let filter = self.filter.as_deref().unwrap_or_default();
        crc32c::crc32c(format!("{columns}{SEPARATOR}{SEPARATOR}{filter}").as_bytes())
    }

    /// Its name in SQL.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// Separates names in one text; no name that anybody types has it.
pub(super) const SEPARATOR: char = '\u{1}';
/// The first with `wal_status`, which tells a slot that lost its log.
const OLDEST: u32 = 130_000;
/// Where columns may be left out of a publication.
const COLUMN_LISTS_FROM: u32 = 150_000;

/// Which rows are a table's own, as a condition: those of its partitions are, those of tables that inherit from it are
/// told as theirs.
pub(super) fn own_rows(oid: u32) -> String {
    format!(
        "(tableoid = {oid} OR EXISTS (SELECT FROM pg_class WHERE oid = {oid} AND relkind = 'p'))"
    )
}

/// Refuses a server that cannot replicate logically.
pub(super) async fn check_server(connection: &mut Connection) -> Result<()> {
    let version = connection.value("SHOW server_version").await?;
    if version_of(connection).await? < OLDEST {
        let version = version.unwrap_or_default();
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("PostgreSQL {version} is too old to be captured"),
        )
        .hint("Upgrade it to 13 or newer."));
    }
    let level = connection
        .value("SHOW wal_level")
        .await?
        .unwrap_or_default();
    if connection
        .value("SELECT pg_is_in_recovery()")
        .await?
        .as_deref()
        == Some("t")
    {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this PostgreSQL is a standby, which makes no slot to capture from",
        )
        .hint("Name the primary in source.postgres."));
    }
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

async fn version_of(connection: &mut Connection) -> Result<u32> {
    let version = connection.value("SHOW server_version_num").await?;
    Ok(version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0))
}

/// The tables of the publication, as they are now.
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
    let lists = if version_of(connection).await? >= COLUMN_LISTS_FROM {
        "array_to_string(p.attnames, E'\\x01'), p.rowfilter, (
            SELECT bool_and(a.attname = ANY (p.attnames)) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')"
    } else {
        "NULL, NULL, true"
    };
    let sql = format!(
        "SELECT c.oid, p.schemaname, p.tablename, {lists},
            b.oid::bigint << 32 | coalesce((
                SELECT r.oid::bigint FROM pg_publication_rel r WHERE r.prpubid = b.oid AND r.prrelid = c.oid), 0),
            (SELECT string_agg(t.relid::oid::text, ' ') FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.isleaf)
            FROM pg_publication_tables p
            JOIN pg_publication b ON b.pubname = p.pubname
            JOIN pg_namespace n ON n.nspname = p.schemaname
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
            WHERE p.pubname = {name} ORDER BY 2, 3"
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
    let [
        oid,
        schema,
        table,
        columns,
        filter,
        has_all,
        member,
        partitions,
    ] = <[Option<String>; 8]>::try_from(row).ok()?;
    let partitions = partitions.unwrap_or_default();
    let mut partitions: Vec<u32> = partitions
        .split_whitespace()
        .filter_map(|oid| oid.parse().ok())
        .collect();
    partitions.sort_unstable();
    Some(Published {
        oid: oid?.parse().ok()?,
        schema: schema?,
        table: table?,
        columns: columns.map(|columns| columns.split(SEPARATOR).map(str::to_owned).collect()),
        filter,
        has_all: has_all.as_deref() == Some("t"),
        member: member?.parse().ok()?,
        partitions,
    })
}

/// The table as it is, or why it cannot be captured; what is to be loaded must be readable as well.
pub(super) async fn usable(
    connection: &mut Connection,
    published: &Published,
    prefix: &str,
    config: &CdcConfig,
    to_load: bool,
) -> Result<Table> {
    let table = current(connection, published, prefix, config).await?;
    check_identity(connection, published).await?;
    if to_load {
        check_rights(connection, published).await?;
    }
    Ok(table)
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
        published.oid
    );
    let rows = connection.query(&sql).await?;
    let columns = rows.into_iter().filter_map(|row| {
        let [name, oid, modifier] = <[Option<String>; 3]>::try_from(row).ok()?;
        Some(RelationColumn {
            name: name?,
            oid: oid?.parse().ok()?,
            modifier: modifier?.parse().ok()?,
            key: false,
        })
    });
    let is_published = |column: &RelationColumn| {
        let list = published.columns.as_ref();
        list.is_none_or(|list| list.contains(&column.name))
    };
    let relation = Relation {
        id: published.oid,
        schema: published.schema.clone(),
        table: published.table.clone(),
        whole: true,
        by_index: false,
        columns: columns.filter(is_published).collect(),
    };
    description::describe(connection, relation, prefix, config).await
}

/// About how much there is of a table; below 0 where PostgreSQL has not counted its rows yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: i64,
    pub(super) bytes: i64,
}

pub(super) async fn size(connection: &mut Connection, published: &Published) -> Result<Size> {
    let sql = format!(
        "SELECT reltuples::bigint, pg_table_size(oid) FROM pg_class WHERE oid = {}",
        published.oid
    );
    let row = connection.query(&sql).await?.pop().unwrap_or_default();
    let field = |at: usize| row.get(at).and_then(Option::as_deref)?.parse().ok();
    Ok(Size {
        rows: field(0).unwrap_or(-1),
        bytes: field(1).unwrap_or(-1),
    })
}

/// Refuses a table whose deletes would not say which row is gone.
async fn check_identity(connection: &mut Connection, table: &Published) -> Result<()> {
    let sql = format!(
        "SELECT c.relreplident, NOT EXISTS (
            SELECT 1 FROM pg_index p, unnest(p.indkey::int2[]) k WHERE p.indrelid = c.oid AND p.indisprimary
            AND k NOT IN (SELECT unnest(r.indkey::int2[]) FROM pg_index r WHERE r.indrelid = c.oid AND r.indisreplident))
        FROM pg_class c WHERE c.oid = {}",
        table.oid
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
            "Have its owner run ALTER TABLE {} REPLICA IDENTITY DEFAULT;",
            table.quoted()
        )));
    }
    Ok(())
}

/// Refuses a table whose rows may not be read, each one of them.
async fn check_rights(connection: &mut Connection, table: &Published) -> Result<()> {
    let only = table.columns.as_ref().map_or_else(String::new, |columns| {
        let names: Vec<String> = columns.iter().map(|column| literal(column)).collect();
        format!("AND a.attname IN ({})", names.join(", "))
    });
    let sql = format!(
        "SELECT has_schema_privilege(c.relnamespace, 'USAGE') AND (
                SELECT bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT')) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' {only}),
            row_security_active(c.oid), current_user
        FROM pg_class c WHERE c.oid = {}",
        table.oid
    );
    let row = connection.query(&sql).await?.pop().unwrap_or_default();
    let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    let user = field(2);
    if field(0) != "t" {
        let message = format!("\"{user}\" may not read \"{}\"", table.name());
        return Err(
            Error::new(ErrorKind::PermissionDenied, message).hint(format!(
                "Have its owner run GRANT SELECT ON {} TO {}; and GRANT USAGE ON SCHEMA {} TO {};",
                table.quoted(),
                quoted(user),
                quoted(&table.schema),
                quoted(user)
            )),
        );
    }
    if field(1) == "t" {
        let message = format!(
            "row security hides rows of \"{}\" from \"{user}\"",
            table.name()
        );
        return Err(
            Error::new(ErrorKind::PermissionDenied, message).hint(format!(
                "Have an administrator run ALTER ROLE {} BYPASSRLS; or take the table out of the publication.",
                quoted(user)
            )),
        );
    }
    Ok(())
}
