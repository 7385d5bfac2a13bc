use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// From the first signal to the last role's end. A role that is slower is dropped, as a crash would.
const PATIENCE: Duration = Duration::from_secs(4);

/// The order in which roles are stopped: first who writes to the broker, then who reads it, then the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Source,
    Work,
    Broker,
}

const ORDER: [Stage; 3] = [Stage::Source, Stage::Work, Stage::Broker];

/// The parts that run in this process. The first that fails ends all.
pub(crate) struct Roles {
    running: JoinSet<(Role, anyhow::Result<()>)>,
    alive: Vec<Role>,
    tokens: [CancellationToken; 3],
    patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    name: &'static str,
    stage: Stage,
}

impl Roles {
    pub(crate) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            alive: Vec::new(),
            tokens: Default::default(),
            patience: PATIENCE,
        }
    }

    /// The token that stops the roles of a stage.
    pub(crate) fn token(&self, stage: Stage) -> CancellationToken {
        self.tokens[stage as usize].clone()
    }

    pub(crate) fn start<F, E>(&mut self, name: &'static str, stage: Stage, work: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        anyhow::Error: From<E>,
    {
        let role = Role { name, stage };
        self.alive.push(role);
        let work = Box::pin(work);
        self.running
            .spawn(async move { (role, work.await.map_err(anyhow::Error::from)) });
    }

    /// Until `shutdown`, or until a role ends that should not. Then stops them all, in order, and returns the
    /// first failure. Sources may come to their end; nobody else does.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let outcome = loop {
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                ended = self.next() => match ended {
                    None => break Ok(()),
                    Some((role, Ok(()))) if role.stage == Stage::Source => {}
                    Some((role, Ok(()))) => break Err(anyhow::anyhow!("{} ended by itself", role.name)),
                    Some((_, Err(error))) => break Err(error),
                },
            }
        };
        let stopped = self.stop().await;
        outcome.and(stopped)
    }

    async fn next(&mut self) -> Option<(Role, anyhow::Result<()>)> {
        let (role, result) = match self.running.join_next().await? {
            Ok(ended) => ended,
            Err(error) => {
                let role = Role {
                    name: "a role",
                    stage: Stage::Work,
                };
                return Some((
                    role,
                    Err(anyhow::Error::from(error).context("a role broke off")),
                ));
            }
        };
        self.alive.retain(|alive| *alive != role);
        Some((role, result))
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut outcome = Ok(());
        for stage in ORDER {
            self.tokens[stage as usize].cancel();
            while self.alive.iter().any(|role| role.stage == stage) {
                match timeout_at(deadline, self.next()).await {
                    Ok(Some((role, result))) => {
                        debug!("{} stopped", role.name);
                        outcome = outcome.and(result);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        let late: Vec<_> = self.alive.iter().map(|role| role.name).collect();
                        warn!(
                            "{} did not stop in time; what they had begun is resumed at the next start",
                            late.join(", ")
                        );
                        self.running.abort_all();
                        return outcome;
                    }
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn roles_stop_in_order() {
        let (log, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut roles = Roles::new();
        for (name, stage) in [
            ("broker", Stage::Broker),
            ("work", Stage::Work),
            ("source", Stage::Source),
        ] {
            let token = roles.token(stage);
            let log = log.clone();
            roles.start(name, stage, async move {
                token.cancelled().await;
                log.send(name)?;
                anyhow::Ok(())
            });
        }
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        roles.run(shutdown).await.expect("a clean stop");
        drop(log);
        let mut stopped = Vec::new();
        while let Some(name) = order.recv().await {
            stopped.push(name);
        }
        assert_eq!(stopped, ["source", "work", "broker"]);
    }

    #[tokio::test]
    async fn one_failure_ends_all_with_its_error() {
        let mut roles = Roles::new();
        let token = roles.token(Stage::Work);
        roles.start("work", Stage::Work, async move {
            token.cancelled().await;
            anyhow::Ok(())
        });
        roles.start("source", Stage::Source, async { anyhow::Ok(()) });
        roles.start("broker", Stage::Broker, async {
            Err(anyhow::anyhow!("the disk is full"))
        });
        let error = roles
            .run(CancellationToken::new())
            .await
            .expect_err("a failure");
        assert_eq!(error.to_string(), "the disk is full");
    }

    #[tokio::test]
    async fn a_role_that_does_not_stop_is_dropped() {
        let mut roles = Roles::new();
        roles.patience = Duration::from_millis(10);
        roles.start(
            "work",
            Stage::Work,
            std::future::pending::<anyhow::Result<()>>(),
        );
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        roles.run(shutdown).await.expect("dropped, not waited for");
    }
}
