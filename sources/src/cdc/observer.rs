//! The slot as the server sees it, told to the meters whatever the capture waits for.

use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::debug;

use super::config::CdcConfig;
use super::slot;
use crate::postgres::{Address, Connection};

/// Looks at the slot until it is dropped, by a connection of its own.
pub(super) struct Observer(JoinHandle<()>);

impl Observer {
    pub(super) fn start(address: &Address, config: &CdcConfig) -> Self {
        let (address, slot) = (address.clone(), config.slot.clone());
        let every = Duration::from_secs(config.look_seconds);
        Self(tokio::spawn(async move {
            let mut connection = None;
            loop {
                connection = match look(connection, &address, &slot).await {
                    Ok(connection) => Some(connection),
                    Err(error) => {
                        // The capture itself says what it is.
                        debug!(error = %error, "could not look at the slot");
                        None
                    }
                };
                tokio::time::sleep(every).await;
            }
        }))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look(
    connection: Option<Connection>,
    address: &Address,
    slot: &str,
) -> changes::Result<Connection> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::connect(address).await?,
    };
    slot::observe(&mut connection, slot).await?;
    Ok(connection)
}
