//! Epochs: one consistent version of every table, published by one put-if-absent.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sql_files::TableName;
use tracing::warn;

use crate::age::AgeLimit;
use crate::delta;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::nearest;

const DIRECTORY: &str = "_epochs";
const HINT: &str = "_epochs/_hint";

/// What one refresh of the graph published: every table at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub epoch: u64,
    /// Term of the lease that published it.
    pub term: u64,
    /// The one value of `now()` in all its tables.
    pub now: DateTime<Utc>,
    /// Fingerprint of the project texts in force.
    pub project: String,
    pub tables: BTreeMap<TableName, TableState>,
    /// Tables of the project that have no good version yet, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unbuilt: BTreeMap<TableName, Unbuilt>,
    /// Last epoch of the project that was in force before this one: what a rollback returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Fingerprint of the texts on disk that a rollback put out of force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Why a table could not be made for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbuilt {
    pub reason: String,
    /// What was tried, so that the same is not tried again.
    pub attempt: String,
    /// Rules that its first version breaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<Broken>,
}

/// One table in an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableState {
    /// Directory of the Delta table below the lake's root.
    pub path: String,
    /// Delta version of the table.
    pub version: u64,
    /// Schema as stored, hidden columns included.
    #[serde(with = "stored_schema")]
    pub schema: SchemaRef,
    pub state: Freshness,
    /// First epoch with this version.
    pub since: u64,
    /// Fingerprint of the commit that made this version, of bronze: one that is brought back from a copy has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why the table is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rules that hold it, as the version says that is not committed for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<Broken>,
    /// Rows that readers see; unknown for bronze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Descriptions of columns, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_notes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Fingerprint of the query that made it; empty for bronze.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// What was last tried: query, rules and input versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub attempt: String,
    /// Whether its rows depend on `now()`.
    #[serde(default)]
    pub reads_clock: bool,
    /// Versions of the inputs it was made from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<TableName, u64>,
    /// The `now` it was computed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_at: Option<DateTime<Utc>>,
    /// Order-independent digest of its rows, for tables computed in whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Rows that break a WARN rule, by rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, u64>,
    /// What each rule counted over this version, by rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RuleState>,
    /// Where a table that folds change events stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldState>,
    /// Versions of the bronze tables, those behind its inputs too, that it shows everything of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shows: BTreeMap<TableName, u64>,
    /// When bronze got the oldest message that it does not show, as far as was known when the epoch was made: bronze's log
    /// does not keep its commits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<DateTime<Utc>>,
    /// How old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<AgeLimit>,
    /// What making this version took; unknown for bronze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// What a fold must know beside the rows that it made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldState {
    /// The rules that its rows were judged by.
    pub rules: String,
    /// Place of the last event that emptied the table: whatever sorts before it loses, whenever it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emptied: Option<Vec<Option<i64>>>,
}

/// A rule that keeps a version of its table from being committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    pub rule: String,
    pub violations: u64,
    /// Rows of that version, those kept out included.
    pub rows: u64,
    pub key_columns: Vec<String>,
    /// Some of the keys whose rows break it.
    pub keys: Vec<Vec<String>>,
}

/// What one rule counted over a version of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// The condition as its author wrote it.
    pub definition: String,
    /// What happens on a violation, as its author wrote it.
    pub action: String,
    pub violations: u64,
    /// Rows that are no rows of the table because of this rule.
    #[serde(default)]
    pub kept_out: u64,
}

/// What one version of a table took to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    pub milliseconds: u64,
    /// Rows written, those that were only moved to another file included.
    pub rows: u64,
    /// Bytes of data files written.
    pub bytes: u64,
    pub files: u64,
}

impl TableState {
    /// A fresh table of which no more is known.
    pub fn new(path: String, version: u64, schema: SchemaRef, since: u64) -> Self {
        Self {
            path,
            version,
            schema,
            state: Freshness::Fresh,
            since,
            commit: None,
            reason: None,
            broken: Vec::new(),
            rows: None,
            description: None,
            column_notes: BTreeMap::new(),
            key: Vec::new(),
            query: String::new(),
            attempt: String::new(),
            reads_clock: false,
            inputs: BTreeMap::new(),
            computed_at: None,
            digest: None,
            warnings: BTreeMap::new(),
            rules: BTreeMap::new(),
            fold: None,
            shows: BTreeMap::new(),
            behind_since: None,
            limit: None,
            work: None,
        }
    }

    /// Rows that the table's rules keep out of it.
    pub fn kept_out(&self) -> u64 {
        self.rules.values().map(|rule| rule.kept_out).sum()
    }
}

/// Whether a table is at its newest or kept at its last good version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    Fresh,
    Held,
}

/// What an epoch is going to be computed from. A crash between intent and manifest is resumed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) epoch: u64,
    pub(crate) term: u64,
    pub(crate) now: DateTime<Utc>,
    pub(crate) project: String,
    /// Versions of the bronze tables it reads.
    pub(crate) inputs: BTreeMap<TableName, u64>,
    /// See `TableState::commit`, of those versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) commits: BTreeMap<TableName, String>,
    /// The epoch whose definitions and data it brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restores: Option<u64>,
    /// See `Manifest::refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

/// The epochs of a lake.
#[derive(Debug, Clone)]
pub(crate) struct EpochLog {
    lake: Lake,
}

impl EpochLog {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// The newest epoch: from the hint, then forward one name at a time.
    pub(crate) async fn newest(&self) -> Result<Option<Manifest>> {
        let hinted = match self.hint().await? {
            0 => None,
            hinted => self.manifest(hinted).await?,
        };
        match hinted {
            Some(hinted) => self.forward(hinted).await.map(Some),
            None => self.newest_listed().await,
        }
    }

    /// The newest epoch when it is later than `known`.
    pub(crate) async fn after(&self, known: &Manifest) -> Result<Option<Manifest>> {
        let hinted = self.hint().await?;
        // Epochs between the two may be thinned.
        let next = match self.manifest(hinted.max(known.epoch + 1)).await? {
            None if hinted > known.epoch => self.newest_listed().await?,
            next => next,
        };
        match next.filter(|next| next.epoch > known.epoch) {
            Some(next) => self.forward(next).await.map(Some),
            None => Ok(None),
        }
    }

    /// The newest epoch by its name in the directory: for who must be certain, and where the hint is lost.
    pub(crate) async fn newest_listed(&self) -> Result<Option<Manifest>> {
        let epochs = self.listed().await?;
        match epochs.last() {
            Some(newest) => match self.manifest(*newest).await? {
                Some(newest) => self.forward(newest).await.map(Some),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Every epoch that is kept, oldest first.
    pub(crate) async fn listed(&self) -> Result<BTreeSet<u64>> {
        let files = self.lake.list(DIRECTORY, usize::MAX).await?;
        Ok(files
            .iter()
            .filter_map(|file| epoch_of(&file.name))
            .collect())
    }

    /// Whether an epoch is still there. One look at one name.
    pub(crate) fn is_kept(&self, epoch: u64) -> bool {
        self.lake.has_file(&manifest_path(epoch))
    }

    async fn forward(&self, known: Manifest) -> Result<Manifest> {
        let mut newest = known;
        while let Some(next) = self.manifest(newest.epoch + 1).await? {
            newest = next;
        }
        Ok(newest)
    }

    pub(crate) async fn manifest(&self, epoch: u64) -> Result<Option<Manifest>> {
        self.lake
            .read(&manifest_path(epoch))
            .await?
            .map(|bytes| parse(&manifest_path(epoch), &bytes))
            .transpose()
    }

    pub(crate) async fn intent(&self, epoch: u64) -> Result<Option<Intent>> {
        self.lake
            .read(&intent_path(epoch))
            .await?
            .map(|bytes| parse(&intent_path(epoch), &bytes))
            .transpose()
    }

    /// Declares an epoch; when one is declared already, that one is to be finished and is returned.
    ///
    /// # Errors
    /// `Conflict` when the declared intent has a higher term: another process took the lease since.
    pub(crate) async fn declare(&self, intent: Intent) -> Result<Intent> {
        let created = self
            .lake
            .create(&intent_path(intent.epoch), json(&intent)?)
            .await?;
        if created {
            return Ok(intent);
        }
        let found = self.intent(intent.epoch).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "an epoch's intent vanished while it was read",
            )
        })?;
        if found.term > intent.term {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "epoch {} was declared in term {}, this process holds term {}",
                    found.epoch, found.term, intent.term
                ),
            ));
        }
        Ok(found)
    }

    /// Publishes an epoch, once.
    ///
    /// # Errors
    /// `Conflict` when the epoch is published already.
    pub(crate) async fn publish(&self, manifest: &Manifest) -> Result<()> {
        let path = manifest_path(manifest.epoch);
        let created = self.lake.create(&path, json(manifest)?).await?;
        if !created && self.manifest(manifest.epoch).await?.as_ref() != Some(manifest) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("epoch {} was published by somebody else", manifest.epoch),
            ));
        }
        if let Err(error) = self.point_to(manifest.epoch).await {
            // Readers probe forward from an old hint too.
            warn!(error = %error, "the newest epoch's hint was not written");
        }
        Ok(())
    }

    /// Writes the hint.
    pub(crate) async fn point_to(&self, epoch: u64) -> Result<()> {
        self.lake
            .replace(HINT, epoch.to_string().into_bytes())
            .await
    }

    /// Removes an epoch that is no longer kept, its manifest first: with it goes the promise.
    pub(crate) async fn thin(&self, epoch: u64) -> Result<()> {
        self.lake.remove(&manifest_path(epoch)).await?;
        self.lake.remove(&intent_path(epoch)).await
    }

    /// The manifest of an epoch that the holder of `term` declared, where an attempt to publish it failed after the
    /// manifest had its name. It survives power loss once it is returned.
    pub(crate) async fn published_by(&self, term: u64, epoch: u64) -> Result<Option<Manifest>> {
        let found = self.manifest(epoch).await?;
        let Some(found) = found.filter(|found| found.term == term) else {
            return Ok(None);
        };
        // It syncs the directory that both are in.
        self.point_to(epoch).await?;
        Ok(Some(found))
    }

    /// Takes back a declared epoch under which nothing was committed.
    pub(crate) async fn withdraw(&self, epoch: u64) -> Result<()> {
        self.lake.remove(&intent_path(epoch)).await
    }

    pub(crate) async fn hint(&self) -> Result<u64> {
        let Some(bytes) = self.lake.read(HINT).await? else {
            return Ok(0);
        };
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(text.trim().parse().unwrap_or(0))
    }
}

/// The epoch that a manifest's name names.
fn epoch_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let is_epoch = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_epoch.then(|| digits.parse().ok()).flatten()
}

pub(crate) fn manifest_path(epoch: u64) -> String {
    format!("{DIRECTORY}/{epoch:020}.json")
}

fn intent_path(epoch: u64) -> String {
    format!("{DIRECTORY}/{epoch:020}.intent.json")
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|source| {
        Error::new(ErrorKind::Internal, "could not write an epoch").caused_by(source)
    })
}

fn parse<T: for<'de> Deserialize<'de>>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| {
        Error::new(ErrorKind::Corrupt, format!("\"{path}\" cannot be read")).caused_by(source)
    })
}

impl Manifest {
    /// The state of a table.
    ///
    /// # Errors
    /// `NotFound` when the epoch does not hold it.
    pub fn table(&self, name: &TableName) -> Result<&TableState> {
        self.tables.get(name).ok_or_else(|| {
            let tables: Vec<String> = self.tables.keys().map(TableName::to_string).collect();
            let near = nearest::name(&name.to_string(), tables.iter().map(String::as_str));
            Error::new(
                ErrorKind::NotFound,
                format!("there is no table \"{name}\" in epoch {}", self.epoch),
            )
            .hint(match near {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => "`sportlake status` lists the tables.".to_owned(),
            })
        })
    }
}

mod stored_schema {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        schema: &SchemaRef,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let json = delta::schema_to_json(schema).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SchemaRef, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        delta::schema_from_json(&json).map_err(serde::de::Error::custom)
    }
}
