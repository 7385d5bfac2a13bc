//! Types by the names of ODBC, JDBC and Spark, and CONVERT as CAST.

use sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, TimezoneInfo};

use crate::error::Result;

use super::calls::unsupported;

pub(super) fn rewrite(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Cast { data_type, .. } => {
            if let Some(known) = known(data_type) {
                *data_type = known;
            }
        }
        Expr::Convert {
            is_try,
            expr: value,
            data_type: Some(data_type),
            charset: None,
            ..
        } => {
            *expr = Expr::Cast {
                kind: if *is_try {
                    CastKind::TryCast
                } else {
                    CastKind::Cast
                },
                expr: value.clone(),
                data_type: known(data_type).unwrap_or_else(|| data_type.clone()),
                array: false,
                format: None,
            };
        }
        Expr::Convert { .. } => {
            return Err(unsupported(
                "CONVERT with a character set",
                "Write CAST(x AS VARCHAR).",
            ));
        }
        _ => {}
    }
    Ok(())
}

fn known(data_type: &DataType) -> Option<DataType> {
    let name = match data_type {
        DataType::Nvarchar(_) => return Some(DataType::Varchar(None)),
        DataType::Datetime(_) => return Some(DataType::Timestamp(None, TimezoneInfo::None)),
        DataType::Bit(_) => return Some(DataType::Boolean),
        DataType::Custom(name, _) => name.to_string().to_ascii_uppercase(),
        _ => return None,
    };
    let bare = name.strip_prefix("SQL_").unwrap_or(&name);
    Some(match bare.strip_prefix("TYPE_").unwrap_or(bare) {
        "CHAR" | "VARCHAR" | "LONGVARCHAR" | "WCHAR" | "WVARCHAR" | "WLONGVARCHAR"
        | "LONGNVARCHAR" | "NCHAR" => DataType::Varchar(None),
        "BIT" => DataType::Boolean,
        "TINYINT" | "BYTE" => DataType::TinyInt(None),
        "SMALLINT" | "SHORT" => DataType::SmallInt(None),
        "INTEGER" => DataType::Integer(None),
        "BIGINT" | "LONG" => DataType::BigInt(None),
        "REAL" => DataType::Real,
        "FLOAT" | "DOUBLE" => DataType::Double(ExactNumberInfo::None),
        "DECIMAL" | "NUMERIC" => DataType::Decimal(ExactNumberInfo::None),
        "DATE" => DataType::Date,
        "TIME" => DataType::Time(None, TimezoneInfo::None),
        "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" => {
            DataType::Timestamp(None, TimezoneInfo::None)
        }
        "BINARY" | "VARBINARY" | "LONGVARBINARY" => DataType::Bytea,
        _ => return None,
    })
}
