//! A budget of bytes that many connections share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1024;

pub(super) struct Memory {
    units: Arc<Semaphore>,
    total: usize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT).clamp(1, u32::MAX as usize);
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until `bytes` are free and takes them until the permit is dropped.
    pub(super) async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).min(self.total) as u32;
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }

    /// Gives back what a permit holds beyond `bytes`.
    pub(super) fn keep(
        permit: Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let mut permit = permit?;
        match permit.split(bytes.div_ceil(UNIT)) {
            Some(kept) => Some(kept),
            None => Some(permit),
        }
    }
}
