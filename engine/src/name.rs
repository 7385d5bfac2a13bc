use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Name of the one catalog that readers see.
pub const CATALOG: &str = "sportlake";

/// The default schema; it holds `parameters`.
pub const DEFAULT_SCHEMA: &str = "main";

/// Ends the names of the tables that hold what a table's rules keep out.
const QUARANTINE: &str = "__quarantine";

/// The layers of the lake, left to right.
pub(crate) const LAYERS: [&str; 4] = ["bronze", "silver", "gold", DEFAULT_SCHEMA];

/// A table of the lake, such as `gold.eligibilites`; a bare name is in `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: String,
    name: String,
}

impl TableName {
    /// A name in one of the lake's layers.
    pub fn new(schema: &str, name: &str) -> Result<Self> {
        if !LAYERS.contains(&schema) {
            return Err(
                Error::invalid(format!("\"{schema}\" is not a schema of the lake"))
                    .hint(format!("Schemas are {}.", LAYERS.join(", "))),
            );
        }
        let head = name.chars().next();
        let legal_head = head.is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let legal_rest = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !legal_head || !legal_rest || name.len() > 128 {
            return Err(
                Error::invalid(format!("\"{name}\" is not a table name")).hint(
                    "Table names are lower case letters, digits and _, at most 128 characters.",
                ),
            );
        }
        Ok(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
        })
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_bronze(&self) -> bool {
        self.schema == "bronze"
    }

    /// Where the rows stand that the rules of this table keep out.
    pub fn quarantine(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            name: format!("{}{QUARANTINE}", self.name),
        }
    }

    /// The table whose kept-out rows this one holds, when its name says that it holds such.
    pub fn quarantine_of(&self) -> Option<Self> {
        let name = self.name.strip_suffix(QUARANTINE)?;
        Self::new(&self.schema, name).ok()
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::new(DEFAULT_SCHEMA, text),
        }
    }
}

/// As a person writes it: tables of `main` without their schema.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == DEFAULT_SCHEMA {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.schema, self.name)
        }
    }
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["gold.eligibilites", "parameters", "bronze.sport_activities"] {
            let name: TableName = text.parse().expect("valid");
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "", "gold.", "gold.A", "copper.x", "gold.x.y", "1x", "gold.é",
        ] {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
    }
}
