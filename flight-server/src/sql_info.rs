//! The answers of `GetSqlInfo` and `GetXdbcTypeInfo`. ODBC and JDBC drivers decide by them which SQL
//! they push down: a missing or mistyped value turns that off, or ends the driver.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow_flight::sql::SqlInfo::*;
use arrow_flight::sql::metadata::{SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{
    Nullable, Searchable, SqlInfo, SqlSupportsConvert, XdbcDataType, XdbcDatetimeSubcode,
};
use engine::{Error, ErrorKind, Result};

use crate::metadata::internal;

/// The requested values, all of them for an empty request.
pub(crate) fn sql_info(requested: Vec<u32>) -> Result<RecordBatch> {
    let known = |id: &u32| {
        (0..=11)
            .chain(100..=101)
            .chain(500..=576)
            .any(|known| known == *id)
    };
    if let Some(unknown) = requested.iter().find(|id| !known(id)) {
        return Err(
            Error::new(ErrorKind::NotFound, format!("unknown SqlInfo {unknown}"))
                .hint("Ask for ids of the Flight SQL specification, or for none to get all."),
        );
    }
    let mut builder = SqlInfoDataBuilder::new();
    TEXTS
        .iter()
        .for_each(|(id, text)| builder.append(*id, *text));
    FLAGS
        .iter()
        .for_each(|(id, flag)| builder.append(*id, *flag));
    BITMASKS
        .iter()
        .for_each(|(id, mask)| builder.append(*id, *mask));
    NUMBERS
        .iter()
        .for_each(|(id, number)| builder.append(*id, *number));
    NO_LIMIT.iter().for_each(|id| builder.append(*id, 0_i64));
    ESCAPED_FUNCTIONS
        .iter()
        .for_each(|(id, names)| builder.append(*id, *names));
    builder.append(SqlKeywords, KEYWORDS);
    builder.append(SqlInfo::SqlSupportsConvert, conversions());
    let data = builder.build().map_err(internal)?;
    data.record_batch(requested).map_err(internal)
}

// Every id of the specification and no other: some drivers fail on either.

const TEXTS: &[(SqlInfo, &str)] = &[
    (FlightSqlServerName, "sportlake"),
    (FlightSqlServerVersion, env!("CARGO_PKG_VERSION")),
    (FlightSqlServerArrowVersion, arrow::ARROW_VERSION),
    (FlightSqlServerSubstraitMinVersion, ""),
    (FlightSqlServerSubstraitMaxVersion, ""),
    (SqlIdentifierQuoteChar, "\""),
    (SqlSearchStringEscape, "\\"),
    (SqlExtraNameCharacters, ""),
    (SqlSchemaTerm, "schema"),
    (SqlProcedureTerm, ""),
    (SqlCatalogTerm, "catalog"),
];

const FLAGS: &[(SqlInfo, bool)] = &[
    (FlightSqlServerReadOnly, true),
    (FlightSqlServerSql, true),
    (FlightSqlServerSubstrait, false),
    (FlightSqlServerCancel, true),
    (FlightSqlServerBulkIngestion, false),
    (FlightSqlServerIngestTransactionsSupported, false),
    (SqlDdlCatalog, false),
    (SqlDdlSchema, false),
    (SqlDdlTable, false),
    (SqlAllTablesAreSelectable, true),
    (SqlSupportsColumnAliasing, true),
    (SqlNullPlusNullIsNull, true),
    (SqlSupportsTableCorrelationNames, true),
    (SqlSupportsDifferentTableCorrelationNames, false),
    (SqlSupportsExpressionsInOrderBy, true),
    (SqlSupportsOrderByUnrelated, true),
    (SqlSupportsLikeEscapeClause, true),
    (SqlSupportsNonNullableColumns, true),
    (SqlSupportsIntegrityEnhancementFacility, false),
    (SqlCatalogAtStart, true),
    (SqlSelectForUpdateSupported, false),
    (SqlStoredProceduresSupported, false),
    (SqlCorrelatedSubqueriesSupported, true),
    (SqlMaxRowSizeIncludesBlobs, true),
    (SqlTransactionsSupported, false),
    (SqlDataDefinitionCausesTransactionCommit, false),
    (SqlDataDefinitionsInTransactionsIgnored, false),
    (SqlBatchUpdatesSupported, false),
    (SqlSavepointsSupported, false),
    (SqlNamedParametersSupported, false),
    (SqlLocatorsUpdateCopy, false),
    (SqlStoredFunctionsUsingCallSyntaxSupported, false),
];

/// What the specification calls a bitmask holds `1 << member`.
const BITMASKS: &[(SqlInfo, i32)] = &[
    (FlightSqlServerTransaction, 0),
    (FlightSqlServerStatementTimeout, 0),
    (FlightSqlServerTransactionTimeout, 0),
    (SqlSupportedGroupBy, 3),
    (SqlSupportedGrammar, 7),
    // FULL alone: drivers test the ENTRY bit first and stop there.
    (SqlAnsi92SupportedLevel, 4),
    (SqlOuterJoinsSupportLevel, 6),
    (SqlSchemasSupportedActions, 0),
    (SqlCatalogsSupportedActions, 0),
    (SqlSupportedPositionedCommands, 0),
    (SqlSupportedSubqueries, 15),
    (SqlSupportedUnions, 3),
    (SqlSupportedTransactionsIsolationLevels, 1),
    (SqlSupportedResultSetTypes, 2),
    (SqlSupportedConcurrenciesForResultSetUnspecified, 0),
    (SqlSupportedConcurrenciesForResultSetForwardOnly, 2),
    (SqlSupportedConcurrenciesForResultSetScrollSensitive, 0),
    (SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0),
];

/// 64-bit, although the specification says 32, because drivers read them so.
const NUMBERS: &[(SqlInfo, i64)] = &[
    (SqlIdentifierCase, 3),
    (SqlQuotedIdentifierCase, 0),
    (SqlNullOrdering, 0),
    (SqlDefaultTransactionIsolation, 0),
];

const NO_LIMIT: &[SqlInfo] = &[
    SqlMaxBinaryLiteralLength,
    SqlMaxCharLiteralLength,
    SqlMaxColumnNameLength,
    SqlMaxColumnsInGroupBy,
    SqlMaxColumnsInIndex,
    SqlMaxColumnsInOrderBy,
    SqlMaxColumnsInSelect,
    SqlMaxColumnsInTable,
    SqlMaxConnections,
    SqlMaxCursorNameLength,
    SqlMaxIndexLength,
    SqlDbSchemaNameLength,
    SqlMaxProcedureNameLength,
    SqlMaxCatalogNameLength,
    SqlMaxRowSize,
    SqlMaxStatementLength,
    SqlMaxStatements,
    SqlMaxTableNameLength,
    SqlMaxTablesInSelect,
    SqlMaxUsernameLength,
];

/// The functions that the `{fn ..}` escape takes, upper case: a test runs each. Left out, drivers assume many.
pub(crate) const ESCAPED_FUNCTIONS: &[(SqlInfo, &[&str])] = &[
    (
        SqlNumericFunctions,
        &[
            "ABS", "ACOS", "ASIN", "ATAN", "ATAN2", "CEILING", "COS", "COT", "DEGREES", "EXP",
            "FLOOR", "LOG", "LOG10", "MOD", "PI", "POWER", "RADIANS", "RAND", "ROUND", "SIGN",
            "SIN", "SQRT", "TAN", "TRUNCATE",
        ],
    ),
    (
        SqlStringFunctions,
        &[
            "ASCII",
            "BIT_LENGTH",
            "CHAR",
            "CHAR_LENGTH",
            "CONCAT",
            "INSERT",
            "LCASE",
            "LEFT",
            "LENGTH",
            "LOCATE",
            "LTRIM",
            "OCTET_LENGTH",
            "POSITION",
            "REPEAT",
            "REPLACE",
            "RIGHT",
            "RTRIM",
            "SPACE",
            "SUBSTRING",
            "UCASE",
        ],
    ),
    (SqlSystemFunctions, &["CONVERT", "DATABASE", "IFNULL"]),
    (
        SqlDatetimeFunctions,
        &[
            "CURDATE",
            "CURTIME",
            "DAYNAME",
            "DAYOFMONTH",
            "DAYOFWEEK",
            "DAYOFYEAR",
            "EXTRACT",
            "HOUR",
            "MINUTE",
            "MONTH",
            "MONTHNAME",
            "NOW",
            "QUARTER",
            "SECOND",
            "TIMESTAMPADD",
            "TIMESTAMPDIFF",
            "WEEK",
            "YEAR",
        ],
    ),
];

/// Words with a meaning here that SQL-92 does not reserve.
const KEYWORDS: &[&str] = &[
    "EXPLAIN",
    "ILIKE",
    "LATERAL",
    "LIMIT",
    "OFFSET",
    "QUALIFY",
    "RECURSIVE",
    "UNNEST",
];

/// Text and numbers convert into each other; dates, times and bytes to and from text.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert::*;
    let text = [SqlConvertChar, SqlConvertVarchar, SqlConvertLongvarchar];
    let numbers = [
        SqlConvertBit,
        SqlConvertTinyint,
        SqlConvertSmallint,
        SqlConvertInteger,
        SqlConvertBigint,
        SqlConvertDecimal,
        SqlConvertNumeric,
        SqlConvertReal,
        SqlConvertFloat,
    ];
    let bytes = [
        SqlConvertBinary,
        SqlConvertVarbinary,
        SqlConvertLongvarbinary,
    ];
    let moments = [SqlConvertDate, SqlConvertTimestamp];
    let codes = |sets: &[&[SqlSupportsConvert]]| -> Vec<i32> {
        sets.concat().into_iter().map(|to| to as i32).collect()
    };
    let mut map = BTreeMap::new();
    for from in text {
        let to = codes(&[&text, &numbers, &bytes, &moments, &[SqlConvertTime]]);
        map.insert(from as i32, to);
    }
    for from in numbers {
        map.insert(from as i32, codes(&[&text, &numbers]));
    }
    for from in bytes {
        map.insert(from as i32, codes(&[&text, &bytes]));
    }
    for from in moments {
        map.insert(from as i32, codes(&[&text, &moments]));
    }
    map.insert(SqlConvertTime as i32, codes(&[&text, &[SqlConvertTime]]));
    map
}

/// One row for each type that columns are sent as.
pub(crate) fn xdbc_types(requested: Option<i32>) -> Result<RecordBatch> {
    use XdbcDataType::*;
    let mut builder = XdbcTypeInfoDataBuilder::new();
    builder.append(row("BOOLEAN", XdbcBit, 1));
    builder.append(number("TINYINT", XdbcTinyint, 3, (0, 0)));
    builder.append(number("SMALLINT", XdbcSmallint, 5, (0, 0)));
    builder.append(number("INTEGER", XdbcInteger, 10, (0, 0)));
    builder.append(number("BIGINT", XdbcBigint, 19, (0, 0)));
    builder.append(number("REAL", XdbcReal, 7, (0, 0)));
    builder.append(number("DOUBLE", XdbcDouble, 15, (0, 0)));
    builder.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        ..number("DECIMAL", XdbcDecimal, 38, (0, 38))
    });
    builder.append(XdbcTypeInfo {
        case_sensitive: true,
        ..quoted("VARCHAR", XdbcVarchar, i32::MAX, "'")
    });
    builder.append(XdbcTypeInfo {
        literal_suffix: Some("'".to_owned()),
        ..quoted("VARBINARY", XdbcVarbinary, i32::MAX, "X'")
    });
    builder.append(moment(
        "DATE",
        XdbcDate,
        10,
        XdbcDatetimeSubcode::XdbcSubcodeYear,
    ));
    builder.append(moment(
        "TIME",
        XdbcTime,
        15,
        XdbcDatetimeSubcode::XdbcSubcodeTime,
    ));
    builder.append(moment(
        "TIMESTAMP",
        XdbcTimestamp,
        26,
        XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
    ));
    let data = builder.build().map_err(internal)?;
    data.record_batch(requested).map_err(internal)
}

fn row(name: &str, data_type: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        column_size: Some(size),
        literal_prefix: None,
        literal_suffix: None,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: false,
        searchable: Searchable::Full,
        unsigned_attribute: None,
        fixed_prec_scale: false,
        auto_increment: Some(false),
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: data_type,
        datetime_subcode: None,
        num_prec_radix: None,
        interval_precision: None,
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32, scale: (i32, i32)) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        minimum_scale: Some(scale.0),
        maximum_scale: Some(scale.1),
        num_prec_radix: Some(10),
        ..row(name, data_type, digits)
    }
}

fn quoted(name: &str, data_type: XdbcDataType, size: i32, prefix: &str) -> XdbcTypeInfo {
    XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..row(name, data_type, size)
    }
}

fn moment(
    name: &str,
    data_type: XdbcDataType,
    size: i32,
    subcode: XdbcDatetimeSubcode,
) -> XdbcTypeInfo {
    XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(subcode),
        ..quoted(name, data_type, size, &format!("{name} '"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int32Array, Int64Array, StringArray, UInt32Array, UnionArray};

    use super::*;

    fn one(id: SqlInfo) -> Arc<dyn Array> {
        let batch = sql_info(vec![id as u32]).expect("known");
        assert_eq!(batch.num_rows(), 1);
        let union = batch.column(1).as_any().downcast_ref::<UnionArray>();
        union.expect("a dense union").value(0)
    }

    #[track_caller]
    fn bitmask(id: SqlInfo, expected: i32) {
        let value = one(id);
        let value = value.as_any().downcast_ref::<Int32Array>().expect("int32");
        assert_eq!(value.value(0), expected);
    }

    #[track_caller]
    fn bigint(id: SqlInfo, expected: i64) {
        let value = one(id);
        let value = value.as_any().downcast_ref::<Int64Array>().expect("int64");
        assert_eq!(value.value(0), expected);
    }

    #[test]
    fn what_decides_pushdown_is_a_bitmask() {
        bitmask(SqlInfo::SqlAnsi92SupportedLevel, 4);
        bitmask(SqlInfo::SqlOuterJoinsSupportLevel, 6);
        bitmask(SqlInfo::SqlSupportedGroupBy, 3);
        bitmask(SqlInfo::SqlSchemasSupportedActions, 0);
        bitmask(SqlInfo::SqlCatalogsSupportedActions, 0);
        bitmask(SqlInfo::SqlSupportedSubqueries, 15);
        bitmask(SqlInfo::SqlSupportedUnions, 3);
        bitmask(SqlInfo::FlightSqlServerTransaction, 0);
    }

    #[test]
    fn what_drivers_read_as_64_bits_has_64() {
        bigint(SqlInfo::SqlIdentifierCase, 3);
        bigint(SqlInfo::SqlQuotedIdentifierCase, 0);
        bigint(SqlInfo::SqlNullOrdering, 0);
        bigint(SqlInfo::SqlDefaultTransactionIsolation, 0);
        bigint(SqlInfo::SqlMaxStatements, 0);
    }

    #[test]
    fn functions_of_escapes_are_upper_case() {
        let names = ESCAPED_FUNCTIONS.iter().flat_map(|(_, names)| *names);
        assert!(names.clone().count() > 60);
        for name in names {
            assert_eq!(*name, name.to_ascii_uppercase());
        }
    }

    #[test]
    fn every_id_of_the_specification_and_no_other() {
        let batch = sql_info(Vec::new()).expect("all");
        let ids = batch.column(0).as_any().downcast_ref::<UInt32Array>();
        let ids: Vec<u32> = ids.expect("uint32").values().to_vec();
        let expected: Vec<u32> = (0..=11).chain(100..=101).chain(500..=576).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn an_unknown_id_is_refused() {
        let error = sql_info(vec![3, 9999]).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "unknown SqlInfo 9999");
    }

    #[test]
    fn types_are_listed_by_code() {
        let all = xdbc_types(None).expect("all");
        assert_eq!(all.num_rows(), 13);
        let one = xdbc_types(Some(XdbcDataType::XdbcVarchar as i32)).expect("one");
        let name = one.column(0).as_any().downcast_ref::<StringArray>();
        assert_eq!(name.expect("text").value(0), "VARCHAR");
    }
}
