use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Name of the one catalog that readers see.
pub const CATALOG: &str = "sportlake";

/// The default schema; it holds `parameters`.
pub const DEFAULT_SCHEMA: &str = "main";

/// The schema of what is known about the other tables.
const QUALITY: &str = "quality";

/// The schema of what a server tells of itself. Nothing of it is in the lake.
pub const SYSTEM: &str = "system";

/// The schemas that readers see: the layers of the lake, left to right, and what is told about them.
pub const LAYERS: [&str; 6] = ["bronze", "silver", "gold", DEFAULT_SCHEMA, QUALITY, SYSTEM];

/// Ends the name of the table that keeps the rows kept out of another one.
const QUARANTINE: &str = "__quarantine";

const LONGEST: usize = 128;

/// A text that names no table, and what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NameError {
    pub message: String,
    pub hint: String,
}

/// A table of the lake, such as `gold.eligibilites`; a bare name is in `main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: String,
    name: String,
}

impl TableName {
    /// A name in one of the lake's layers.
    ///
    /// # Errors
    /// Where the schema is none of them, or the name none of a table.
    pub fn new(schema: &str, name: &str) -> Result<Self, NameError> {
        if !LAYERS.contains(&schema) {
            return Err(NameError {
                message: format!("\"{schema}\" is not a schema of the lake"),
                hint: format!("Schemas are {}.", LAYERS.join(", ")),
            });
        }
        let head = name.chars().next();
        let legal_head = head.is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let legal_rest = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let length = name.strip_suffix(QUARANTINE).unwrap_or(name).len();
        if !legal_head || !legal_rest || length > LONGEST {
            return Err(NameError {
                message: format!("\"{name}\" is not a table name"),
                hint: format!(
                    "Table names are lower case letters, digits and _, at most {LONGEST} characters."
                ),
            });
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

    /// The table of the rows that the rules of this one keep out of it.
    #[must_use]
    pub fn quarantine(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            name: format!("{}{QUARANTINE}", self.name),
        }
    }

    /// The table whose rows this one keeps, when it is a quarantine.
    pub fn quarantine_of(&self) -> Option<Self> {
        let name = self.name.strip_suffix(QUARANTINE)?;
        Self::new(&self.schema, name).ok()
    }

    /// `bronze.dead_letters`: every message that is no envelope, over all topics.
    #[must_use]
    pub fn dead_letters() -> Self {
        Self {
            schema: "bronze".to_owned(),
            name: "dead_letters".to_owned(),
        }
    }

    /// A table of `system`.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self {
            schema: SYSTEM.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `quality.results`: every check made.
    #[must_use]
    pub fn quality_results() -> Self {
        Self {
            schema: QUALITY.to_owned(),
            name: "results".to_owned(),
        }
    }

    /// Whether it makes itself, without a file in the project.
    pub fn is_made_by_refresh(&self) -> bool {
        [QUALITY, SYSTEM].contains(&self.schema.as_str()) || self.quarantine_of().is_some()
    }
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
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
    fn a_quarantine_is_named_after_its_table() {
        let longest = format!("gold.{}", "x".repeat(LONGEST));
        for text in ["gold.eligibilites", "parameters", &longest] {
            let name: TableName = text.parse().expect("valid");
            let quarantine: TableName = name.quarantine().to_string().parse().expect("valid");
            assert_eq!(quarantine.quarantine_of(), Some(name.clone()));
            assert!(quarantine.is_made_by_refresh() && !name.is_made_by_refresh());
        }
        assert!(TableName::quality_results().is_made_by_refresh());
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
