use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ProjectConfig, RefreshConfig, Refresher};
use crate::clock::Clock;
use crate::epoch::{Intent, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::{Lease, Role};
use crate::session::Sessions;

/// Stands behind every epoch that the live writer may be in the middle of.
const FAR: u64 = 1 << 32;

/// An epoch that was made and not published.
pub(crate) struct Rehearsal {
    pub(crate) before: Option<Arc<Manifest>>,
    pub(crate) after: Manifest,
}

impl Refresher {
    /// The role on an epoch that somebody reads, also when there are later ones. Only for a lake whose writes go nowhere.
    pub(crate) async fn rehearsing(
        lake: Lake,
        project: &ProjectConfig,
        config: &RefreshConfig,
        sessions: Sessions,
        clock: Clock,
        on: Option<Arc<Manifest>>,
    ) -> Result<Self> {
        let lease = Lease::rehearsing(Role::Refresh);
        let refresher = Self::at(lake, lease, project, config, sessions, clock, on).await?;
        Ok(Self {
            is_rehearsal: true,
            ..refresher
        })
    }

    /// The epoch that the project on disk makes of the very inputs and the `now` of the one it stands on.
    pub(crate) async fn rehearse(mut self) -> Result<Rehearsal> {
        let proposal = self.project.on_disk(&self.sessions).await?;
        self.project.accept(&self.lake, proposal).await?;
        let project = self.project.current().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a project was taken and is not there")
        })?;
        let before = self.newest.clone();
        let (inputs, now) = match &before {
            Some(before) => {
                let bronze = before.tables.iter().filter(|(name, _)| name.is_bronze());
                let inputs = bronze.map(|(name, state)| (name.clone(), state.version));
                (inputs.collect(), before.now)
            }
            None => (self.bronze.versions().await?, (self.clock)()),
        };
        let intent = Intent {
            epoch: before.as_ref().map_or(0, |before| before.epoch) + FAR,
            term: self.lease.term(),
            now,
            project: project.project.fingerprint(),
            inputs,
            commits: BTreeMap::new(),
            restores: None,
            refused: None,
        };
        let built = Box::pin(self.build(&intent, &project)).await?;
        let same = before.as_ref().map(|before| before.as_ref().clone());
        let after = built.manifest.or(same).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a first epoch is never like the last")
        })?;
        Ok(Rehearsal { before, after })
    }
}
