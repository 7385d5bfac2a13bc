mod log;
mod overlay;
mod problem;
mod source;
mod traces;

use std::path::{Path, PathBuf};

use engine::{Error, ErrorKind, Result};
use serde::Deserialize;

pub(crate) use self::log::{LogConfig, LogFormat};
pub(crate) use self::traces::TracesConfig;

/// Where a project's configuration is looked for when `--config` does not say.
const FILE: &str = "sportlake.toml";

/// Everything that can be configured. Each section belongs to the crate that acts on it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) lake: engine::LakeConfig,
    pub(crate) sql: engine::ProjectConfig,
    pub(crate) refresh: engine::RefreshConfig,
    pub(crate) read: engine::ReaderConfig,
    /// What of `[source]` the engine reads.
    #[serde(skip)]
    pub(crate) source: engine::SourceConfig,
    #[serde(rename = "source")]
    pub(crate) database: source::SourceSection,
    pub(crate) upkeep: engine::UpkeepConfig,
    pub(crate) kafka: changes::KafkaConfig,
    pub(crate) topics: sources::topics::TopicsConfig,
    pub(crate) broker: sources::broker::BrokerConfig,
    pub(crate) cdc: sources::cdc::CdcConfig,
    pub(crate) generator: sources::generator::GeneratorConfig,
    pub(crate) hr: sources::hr::HrConfig,
    pub(crate) commute: sources::commute::CommuteConfig,
    pub(crate) ingest: ingest::IngestConfig,
    pub(crate) flight: flight_server::FlightConfig,
    pub(crate) http: console::HttpConfig,
    pub(crate) notify: notify::NotifyConfig,
    pub(crate) metrics: console::MetricsConfig,
    pub(crate) log: LogConfig,
    pub(crate) traces: TracesConfig,
}

/// Reads the file, then the environment (`SPORTLAKE__SECTION__KEY`), which wins.
///
/// Makes the file's folder the working directory: every path of a project, whichever crate reads it, is
/// relative to the project.
pub(crate) fn load(file: Option<&Path>) -> Result<Config> {
    let (path, text) = match file {
        Some(path) => (path.to_owned(), read(path)?),
        None if Path::new(FILE).exists() => (PathBuf::from(FILE), read(Path::new(FILE))?),
        None => (PathBuf::from(FILE), String::new()),
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = compose(&path.display().to_string(), &text, variables)?;
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::env::set_current_dir(folder).map_err(|error| {
            Error::new(
                ErrorKind::NotFound,
                format!("could not enter \"{}\"", folder.display()),
            )
            .caused_by(error)
        })?;
    }
    Ok(config)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::InvalidRequest,
        };
        Error::new(
            kind,
            format!("could not read the configuration \"{}\"", path.display()),
        )
        .hint("Name an existing file with --config, or run in the project's folder.")
        .caused_by(error)
    })
}

/// The configuration of a text, called `name` in errors, and of environment variables.
fn compose(
    name: &str,
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config> {
    let alone =
        toml::from_str::<Config>(text).map_err(|error| problem::in_file(name, text, &error))?;
    alone.kafka.check_file().map_err(of_kafka)?;
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| problem::in_file(name, text, &error))?;
    overlay::apply(&mut table, variables)?;
    let mut config: Config = table.try_into().map_err(|error: toml::de::Error| {
        Error::invalid("the configuration and its environment variables do not fit together")
            .caused_by(error)
    })?;
    config.kafka.validate().map_err(of_kafka)?;
    config.source = config.database.times();
    config.upkeep.validate()?;
    config.refresh.upkeep.clone_from(&config.upkeep);
    config.ingest.upkeep.clone_from(&config.upkeep);
    Ok(config)
}

fn of_kafka(error: changes::Error) -> Error {
    Error::invalid("the section [kafka] is not valid").caused_by(error)
}

#[cfg(test)]
mod tests;
