use std::path::{Path, PathBuf};

use changes::Secret;
use serde::Deserialize;
use sources::postgres::Address;

/// `[source]` of the configuration: the database that the rows come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourceSection {
    /// Zone of the naive times in source tables, an IANA name.
    pub(crate) timezone: String,
    /// Address of the PostgreSQL whose changes are captured; empty = none.
    postgres: Secret,
    /// File whose first line is the password; empty = the address has it.
    postgres_password_file: PathBuf,
}

impl Default for SourceSection {
    fn default() -> Self {
        Self {
            timezone: engine::SourceConfig::default().timezone,
            postgres: Secret::default(),
            postgres_password_file: PathBuf::new(),
        }
    }
}

impl SourceSection {
    /// What the engine reads times with.
    pub(crate) fn times(&self) -> engine::SourceConfig {
        engine::SourceConfig {
            timezone: self.timezone.clone(),
        }
    }

    /// The configured PostgreSQL, if there is one.
    pub(crate) fn postgres(&self) -> changes::Result<Option<Address>> {
        if self.postgres.is_empty() {
            return Ok(None);
        }
        let file =
            Some(self.postgres_password_file.as_path()).filter(|file| *file != Path::new(""));
        Address::parse(self.postgres.reveal(), file).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let section: SourceSection =
            toml::from_str("postgres = \"postgres://a:secret@b/c\"").expect("valid");
        assert!(!format!("{section:?}").contains("secret"));
        let address = section.postgres().expect("valid").expect("there");
        assert_eq!(address.shown(), "a@b:5432/c");
    }
}
