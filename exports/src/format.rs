use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// What the rows become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, in UTF-8.
    Csv(CsvOptions),
    /// Compressed by Zstandard.
    Parquet,
    /// One sheet for Excel and the like.
    Xlsx,
}

/// How CSV is spelled. The default is what programs expect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// Whether it begins with the mark by which Excel knows UTF-8.
    pub bom: bool,
    pub separator: Separator,
    /// Whether numbers have `,` before their decimals, instead of `.`.
    pub decimal_comma: bool,
    /// Whether times are `2026-01-31 08:15:00`, which Excel takes for times, instead of `2026-01-31T08:15:00Z`.
    pub spaced_times: bool,
}

/// What stands between two cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Separator {
    #[default]
    Comma,
    Semicolon,
    Tab,
}

impl Format {
    /// The type that HTTP calls it by.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv(_) => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }

    /// How names of such files end, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv(_) => "csv",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
        }
    }
}

impl CsvOptions {
    /// What a French Excel opens with a double click.
    pub fn excel_fr() -> Self {
        Self {
            bom: true,
            separator: Separator::Semicolon,
            decimal_comma: true,
            spaced_times: true,
        }
    }
}

impl FromStr for Separator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "," => Ok(Self::Comma),
            ";" => Ok(Self::Semicolon),
            "tab" | "\t" | "\\t" => Ok(Self::Tab),
            _ => {
                let message = "a separator is `,`, `;` or `tab`";
                Err(Error::new(ErrorKind::InvalidRequest, message))
            }
        }
    }
}

impl Separator {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}
