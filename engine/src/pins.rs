//! Pins: which epochs the readers of a lake still use, as files in the lake.
//!
//! A process that reads keeps one file in `_pins/` with the epochs in use. It is renewed while that lasts and expires
//! by itself, so a reader that was killed holds nothing back for long. Upkeep leaves what is pinned. An epoch is kept for
//! a while without a pin, hence a short statement never writes one.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use chrono::{DateTime, Duration, Utc};
use datafusion::error::DataFusionError;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;
use crate::epoch::EpochLog;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

const DIRECTORY: &str = "_pins";

/// Pause between two looks at what is in use; an epoch is kept longer than this without a pin.
const LOOK: StdDuration = StdDuration::from_secs(5);

/// A pin holds for this long after it was written.
const LIFE: Duration = Duration::seconds(120);

/// Age at which it is written anew.
const RENEWED: Duration = Duration::seconds(20);

/// How far the clocks of a reader and of upkeep may be apart for a pin that nobody saw being renewed.
const SKEW: Duration = Duration::minutes(10);

/// Epochs that one pin names; beyond, it holds the oldest of them and everything since.
const MAX_NAMED: usize = 256;

const AGAIN: &str = "Run the statement again, it reads the newest epoch; [upkeep] of the configuration says how long older ones stay.";

const MAX_PINS: usize = 1024;
const MAX_BYTES: u64 = 16 << 10;

/// A pin's file.
#[derive(Debug, Serialize, Deserialize)]
struct Pin {
    epochs: BTreeSet<u64>,
    /// Whether every later epoch is held too.
    and_later: bool,
    expires_at: DateTime<Utc>,
}

/// What the readers of a lake hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) epochs: BTreeSet<u64>,
    /// Every epoch from this on.
    pub(crate) from: Option<u64>,
}

impl Pinned {
    pub(crate) fn holds(&self, epoch: u64) -> bool {
        self.epochs.contains(&epoch) || self.from.is_some_and(|from| epoch >= from)
    }
}

/// The epochs that this process uses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pins {
    lake: Lake,
    epochs: EpochLog,
    in_use: Arc<Mutex<BTreeMap<u64, usize>>>,
    written: Arc<tokio::sync::Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    path: Option<String>,
    pin: Option<(BTreeSet<u64>, DateTime<Utc>)>,
    failed: bool,
}

impl Pins {
    pub(crate) fn new(lake: &Lake) -> Self {
        Self {
            lake: lake.clone(),
            epochs: EpochLog::new(lake.clone()),
            in_use: Arc::default(),
            written: Arc::default(),
        }
    }

    /// Uses an epoch until what is returned is dropped.
    pub(crate) fn hold(&self, epoch: u64) -> EpochHold {
        *self.in_use.lock().entry(epoch).or_default() += 1;
        EpochHold {
            use_of: Arc::new(Use {
                epoch,
                pins: self.clone(),
            }),
        }
    }

    /// Keeps the file up to date until `shutdown`, then removes it.
    pub(crate) async fn keep(self, clock: Clock, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            let kept = self.renew(clock()).await;
            let mut written = self.written.lock().await;
            match kept {
                Ok(()) => written.failed = false,
                Err(error) if !written.failed => {
                    written.failed = true;
                    warn!(error = %error.with_causes(), "epochs in use could not be pinned: trying again");
                }
                Err(_) => {}
            }
        }
        if let Some(path) = self.written.lock().await.path.take() {
            // One that stays expires.
            self.lake.remove(&path).await.ok();
        }
    }

    /// Writes what is in use now, when that is not what the file says or when its time runs out.
    pub(crate) async fn renew(&self, now: DateTime<Utc>) -> Result<()> {
        let in_use: BTreeSet<u64> = self.in_use.lock().keys().copied().collect();
        let mut written = self.written.lock().await;
        if in_use.is_empty() {
            if written.pin.is_some()
                && let Some(path) = &written.path
            {
                self.lake.remove(path).await?;
                written.pin = None;
            }
            return Ok(());
        }
        if let Some((pinned, at)) = &written.pin
            && *pinned == in_use
            && (Duration::zero()..RENEWED).contains(&now.signed_duration_since(*at))
        {
            return Ok(());
        }
        let pin = Pin {
            epochs: in_use.iter().copied().take(MAX_NAMED).collect(),
            and_later: in_use.len() > MAX_NAMED,
            expires_at: now + LIFE,
        };
        let json = serde_json::to_vec(&pin).map_err(|source| {
            Error::new(ErrorKind::Internal, "could not write a pin").caused_by(source)
        })?;
        match &written.path {
            Some(path) => self.lake.replace(path, json).await?,
            None => written.path = Some(self.first(json, now).await?),
        }
        written.pin = Some((in_use, now));
        Ok(())
    }

    /// A name that no other process has, whatever machine it runs on.
    async fn first(&self, json: Vec<u8>, now: DateTime<Utc>) -> Result<String> {
        let mut number = now.timestamp_micros().max(0);
        loop {
            let path = format!("{DIRECTORY}/{number:020}-{}.json", std::process::id());
            if self.lake.create(&path, json.clone()).await? {
                return Ok(path);
            }
            number += 1;
        }
    }
}

/// Keeps an epoch's tables readable until the last clone is dropped.
#[derive(Clone)]
pub struct EpochHold {
    use_of: Arc<Use>,
}

struct Use {
    epoch: u64,
    pins: Pins,
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut in_use = self.pins.in_use.lock();
        if let Some(count) = in_use.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.epoch);
            }
        }
    }
}

impl std::fmt::Debug for EpochHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EpochHold")
            .field(&self.use_of.epoch)
            .finish()
    }
}

/// What a statement reads.
#[derive(Clone)]
pub(crate) struct Reads {
    pins: Pins,
    epochs: BTreeSet<u64>,
    names_versions: bool,
}

impl Reads {
    pub(crate) fn epoch(pins: &Pins, epoch: u64) -> Self {
        Self {
            pins: pins.clone(),
            epochs: BTreeSet::from([epoch]),
            names_versions: false,
        }
    }

    pub(crate) fn also(&mut self, epoch: u64) {
        self.epochs.insert(epoch);
    }

    /// It names versions of tables, which no epoch may have.
    pub(crate) fn versions(&mut self) {
        self.names_versions = true;
    }

    /// Uses all of it until what is returned is dropped.
    pub(crate) fn hold(self) -> Held {
        let epochs = self.epochs.iter();
        Held {
            _holds: epochs.map(|epoch| self.pins.hold(*epoch)).collect(),
            reads: self,
        }
    }
}

/// What a running statement reads, kept readable.
pub(crate) struct Held {
    _holds: Vec<EpochHold>,
    reads: Reads,
}

impl Held {
    /// Says of a failed read whether an epoch is no longer kept, or whether a file of one that is kept is missing.
    pub(crate) fn explain(&self, error: DataFusionError) -> DataFusionError {
        let is_missing = is_missing(&error);
        let error = Error::from(error);
        let may_be_thinned = is_missing
            || matches!(
                error.kind(),
                ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Internal
            );
        let mut epochs = self.reads.epochs.iter();
        let gone = epochs.find(|epoch| may_be_thinned && !self.reads.pins.epochs.is_kept(**epoch));
        let explained = if let Some(epoch) = gone {
            Error::new(
                ErrorKind::Unavailable,
                format!("epoch {epoch} is no longer kept"),
            )
            .hint(AGAIN)
            .caused_by(error)
        } else if is_missing && self.reads.names_versions {
            Error::new(
                ErrorKind::Unavailable,
                "a version that the statement names is no longer kept",
            )
            .hint("Name a later version, or an epoch: those that are kept can be read as long as the statement runs.")
            .caused_by(error)
        } else if is_missing {
            Error::new(
                ErrorKind::Corrupt,
                "a file of an epoch that is kept is missing from the lake",
            )
            .hint("Something other than sportlake removed it: restore the lake's directory from a copy, or rebuild the table with `sportlake refresh --full`.")
            .caused_by(error)
        } else {
            error
        };
        DataFusionError::External(Box::new(explained))
    }
}

/// An epoch that was published once and whose files are gone.
pub(crate) fn thinned(epoch: u64) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("epoch {epoch} is no longer kept"),
    )
    .hint(AGAIN)
}

/// Whether what failed is a file that is not there, however deep its reader hides it.
fn is_missing(error: &DataFusionError) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error.find_root());
    while let Some(cause) = next {
        if let Some(object_store::Error::NotFound { .. }) = cause.downcast_ref() {
            return true;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::NotFound;
        }
        next = cause.source();
    }
    false
}

/// The pins of all readers, as upkeep sees them from look to look.
///
/// A reader's clock is not upkeep's: a pin that changes is alive whatever time it names, one that stays the same is
/// dead after its life.
pub(crate) struct PinWatch {
    lake: Lake,
    seen: BTreeMap<String, Seen>,
}

struct Seen {
    expires_at: DateTime<Utc>,
    /// When it was first seen with that time.
    at: DateTime<Utc>,
}

impl PinWatch {
    pub(crate) fn new(lake: &Lake) -> Self {
        Self {
            lake: lake.clone(),
            seen: BTreeMap::new(),
        }
    }

    /// The clock has leapt: whatever was seen is as if it was seen now.
    pub(crate) fn forgive(&mut self, now: DateTime<Utc>) {
        for seen in self.seen.values_mut() {
            seen.at = now;
        }
    }

    /// What readers hold. Removes the pins that are dead; whatever else lies there is no pin.
    pub(crate) async fn look(&mut self, now: DateTime<Utc>) -> Result<Pinned> {
        let mut pinned = Pinned::default();
        let mut seen = BTreeMap::new();
        for file in self.lake.list(DIRECTORY, MAX_PINS).await? {
            if file.bytes > MAX_BYTES || !file.name.ends_with(".json") {
                continue;
            }
            let path = format!("{DIRECTORY}/{}", file.name);
            let Some(bytes) = self.lake.read(&path).await? else {
                continue;
            };
            let Ok(pin) = serde_json::from_slice::<Pin>(&bytes) else {
                continue;
            };
            let known = self.seen.remove(&path);
            let (is_alive, at) = match known.filter(|seen| seen.expires_at == pin.expires_at) {
                Some(seen) => (now.signed_duration_since(seen.at) < LIFE, seen.at),
                None => (pin.expires_at >= now - SKEW, now),
            };
            if !is_alive {
                self.lake.remove(&path).await?;
                continue;
            }
            let expires_at = pin.expires_at;
            seen.insert(path, Seen { expires_at, at });
            pinned.add(pin);
        }
        self.seen = seen;
        Ok(pinned)
    }
}

impl Pinned {
    fn add(&mut self, pin: Pin) {
        if pin.and_later {
            let from = pin.epochs.first().copied();
            self.from = match (self.from, from) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self.epochs.extend(pin.epochs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::LakeConfig;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    async fn lake(directory: &tempfile::TempDir) -> Lake {
        let uri = directory.path().join("lake").display().to_string();
        Lake::open(&LakeConfig { uri }).await.expect("a lake")
    }

    async fn seen(watch: &mut PinWatch, seconds: i64) -> Vec<u64> {
        let pinned = watch.look(at(seconds)).await.expect("readable");
        assert_eq!(pinned.from, None);
        Vec::from_iter(pinned.epochs)
    }

    #[tokio::test]
    async fn what_is_in_use_is_pinned_until_it_is_let_go_or_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = lake(&directory).await;
        let (pins, mut watch) = (Pins::new(&lake), PinWatch::new(&lake));

        pins.renew(at(0)).await.expect("nothing to do");
        assert_eq!(seen(&mut watch, 0).await, [0_u64; 0]);
        let (five, seven) = (pins.hold(5), pins.hold(7));
        let again = five.clone();
        pins.renew(at(1)).await.expect("written");
        assert_eq!(seen(&mut watch, 2).await, [5, 7]);
        drop(five);
        pins.renew(at(100)).await.expect("renewed");
        let held = seen(&mut watch, 130).await;
        assert_eq!(held, [5, 7], "a clone holds it, and the pin was renewed");
        drop(again);
        pins.renew(at(140)).await.expect("written");
        assert_eq!(seen(&mut watch, 141).await, [7]);
        assert_eq!(seen(&mut watch, 260).await, [7], "it lives for a while");
        let held = seen(&mut watch, 262).await;
        assert_eq!(held, [0_u64; 0], "whoever stops renewing is forgotten");
        pins.renew(at(263)).await.expect("written again");
        assert_eq!(seen(&mut watch, 263).await, [7]);
        drop(seven);
        pins.renew(at(264)).await.expect("removed");
        assert_eq!(seen(&mut watch, 264).await, [0_u64; 0]);
    }

    #[tokio::test]
    async fn a_pin_of_another_clock_holds_while_it_is_renewed() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = lake(&directory).await;
        let (pins, mut watch) = (Pins::new(&lake), PinWatch::new(&lake));
        let _hold = pins.hold(3);
        let ahead = 400 * 86_400;
        for look in 0..10 {
            pins.renew(at(ahead + look * 60)).await.expect("renewed");
            assert_eq!(seen(&mut watch, look * 60).await, [3]);
        }
        let stopped = seen(&mut watch, 540 + 120).await;
        assert_eq!(stopped, [0_u64; 0], "it was not renewed any more");

        // Upkeep's own clock leaps over the pin's life and back.
        pins.renew(at(1000)).await.expect("written");
        assert_eq!(seen(&mut watch, 1000).await, [3]);
        watch.forgive(at(ahead));
        assert_eq!(seen(&mut watch, ahead).await, [3]);
        watch.forgive(at(1060));
        assert_eq!(seen(&mut watch, 1060).await, [3]);
    }

    #[tokio::test]
    async fn a_dead_pin_and_a_strange_file_hold_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let lake = lake(&directory).await;
        let dead = br#"{"epochs":[1],"and_later":true,"expires_at":"2026-01-01T00:00:00Z"}"#;
        for (name, text) in [("x", b"{".to_vec()), ("y", dead.to_vec())] {
            let path = format!("_pins/{name}.json");
            lake.create(&path, text).await.expect("written");
        }
        let mut watch = PinWatch::new(&lake);
        assert_eq!(seen(&mut watch, 0).await, [0_u64; 0]);
        let left = lake.list("_pins", 10).await.expect("listed");
        assert_eq!(left.len(), 1, "what is no pin is left alone: {left:?}");
    }
}
