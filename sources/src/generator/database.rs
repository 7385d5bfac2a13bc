//! The generator on a PostgreSQL: the first load is one transaction, and so is each tick of live changes.

use std::time::Instant;

use changes::{BACKFILL_COMPLETE, Clock, Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::activity::Activity;
use super::backfill::{Stamp, steps};
use super::config::GeneratorConfig;
use super::live::Live;
use super::pace::Pace;
use super::roster::Roster;
use super::run::{BATCH, GeneratorReport, Progress, ROSTER_AGE, next_id};
use crate::postgres::{Address, Connection, literal, without_tables};

/// The row before and after a change.
type Change = (Option<Activity>, Option<Activity>);

/// Plays the first load when the table lacks it, then live changes until the shutdown.
///
/// Returns once the first load is complete when the rate is 0.
pub async fn run_into(
    address: &Address,
    config: GeneratorConfig,
    clock: Clock,
    shutdown: CancellationToken,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<GeneratorReport> {
    config.validate()?;
    config.chaos.of_a_database()?;
    let mut database = Database {
        connection: Connection::connect(address).await?,
    };
    let mut report = GeneratorReport::default();
    let playing = async {
        let mut roster = database.roster(&config).await?;
        let load = FirstLoad {
            config: &config,
            clock: &clock,
            progress: &progress,
        };
        report.backfill = load.play(&mut database, &roster).await?;
        report.complete = true;
        progress(Progress::BackfillComplete);
        if config.rate == 0.0 {
            return Ok(());
        }
        let mut live = Live::new(
            config.seed,
            &config.chaos,
            database.next_id().await?,
            database.recent().await?,
        );
        let mut pace = Pace::new(config.rate);
        let mut read_at = Instant::now();
        loop {
            let due = pace.tick().await;
            if read_at.elapsed() > ROSTER_AGE {
                match database.roster(&config).await {
                    Ok(newer) => roster = newer,
                    Err(error) => warn!(error = %error, "the employees could not be read again"),
                }
                read_at = Instant::now();
            }
            let changes: Vec<Change> = (0..due)
                .filter_map(|_| live.next(&roster, clock()))
                .collect();
            if changes.is_empty() {
                continue;
            }
            database.connection.query("BEGIN").await?;
            database.write(&changes).await?;
            database.connection.query("COMMIT").await?;
            report.live += changes.len() as u64;
            progress(Progress::Live {
                published: report.live,
            });
        }
    };
    // What is not committed yet goes with the connection.
    let ended = tokio::select! {
        ended = playing => ended,
        () = shutdown.cancelled() => Ok(()),
    };
    ended.map(|()| report)
}

struct FirstLoad<'a, P> {
    config: &'a GeneratorConfig,
    clock: &'a Clock,
    progress: &'a P,
}

impl<P: Fn(Progress)> FirstLoad<'_, P> {
    /// Changes written; none where the load is there.
    async fn play(&self, database: &mut Database, roster: &Roster) -> Result<usize> {
        database.connection.query("BEGIN").await?;
        let lock = "LOCK TABLE sport_activities IN SHARE ROW EXCLUSIVE MODE";
        database
            .connection
            .query(lock)
            .await
            .map_err(without_tables)?;
        let is_there = format!(
            "SELECT 1 FROM sport_activities WHERE type_activite = {} LIMIT 1",
            literal(BACKFILL_COMPLETE)
        );
        if database.connection.value(&is_there).await?.is_some() {
            database.connection.query("COMMIT").await?;
            return Ok(0);
        }
        let now = (self.clock)();
        let stamp = Stamp {
            seed: self.config.seed,
            days: self.config.days,
            until: now,
            first_id: database.next_id().await?,
            roster: roster.fingerprint,
            after: None,
            updates: self.config.chaos.updates,
            deletes: self.config.chaos.deletes,
        };
        let steps = steps(&stamp, roster);
        info!(
            steps = steps.len(),
            days = stamp.days,
            "playing the first load"
        );
        let mut done = 0;
        for batch in steps.chunks(BATCH) {
            let changes: Vec<Change> = batch
                .iter()
                .map(|step| (step.before.clone(), step.after.clone()))
                .collect();
            database.write(&changes).await?;
            done += batch.len();
            (self.progress)(Progress::Backfill {
                done,
                total: steps.len(),
            });
        }
        let complete = Activity::backfill_complete(next_id(&stamp, &steps), now);
        database.write(&[(None, Some(complete))]).await?;
        database.connection.query("COMMIT").await?;
        Ok(done)
    }
}

struct Database {
    connection: Connection,
}

const WRITE: &str = "INSERT INTO sport_activities
    (id, employee_id, date_debut, type_activite, distance_m, duree_s, commentaire)
    VALUES ($1::bigint, $2::bigint, timestamp '1970-01-01' + $3::bigint * interval '1 microsecond', $4::text, $5::float8,
        $6::bigint, $7::text)
    ON CONFLICT (id) DO UPDATE SET employee_id = excluded.employee_id, date_debut = excluded.date_debut,
        type_activite = excluded.type_activite, distance_m = excluded.distance_m, duree_s = excluded.duree_s,
        commentaire = excluded.commentaire";
const DELETE: &str = "DELETE FROM sport_activities WHERE id = $1::bigint";

/// Rows that a start may still correct or delete.
const RECENT: &str = "SELECT json_build_object('id', id, 'employee_id', employee_id,
    'date_debut', (extract(epoch FROM date_debut) * 1000000)::bigint, 'type_activite', type_activite,
    'distance_m', distance_m, 'duree_s', duree_s, 'commentaire', commentaire)
    FROM (SELECT * FROM sport_activities WHERE type_activite <> 'BACKFILL_COMPLETE' ORDER BY id DESC LIMIT 500) a
    ORDER BY id";

impl Database {
    async fn roster(&mut self, config: &GeneratorConfig) -> Result<Roster> {
        if let Some(workbook) = &config.employees {
            return Ok(Roster::of(workbook, config.seed));
        }
        let sql = "SELECT id, sport FROM employees LEFT JOIN declared_sports ON employee_id = id ORDER BY id";
        let rows = self.connection.query(sql).await.map_err(without_tables)?;
        let employees: Vec<(i64, Option<String>)> = rows
            .into_iter()
            .filter_map(|row| {
                let [id, sport] = <[Option<String>; 2]>::try_from(row).ok()?;
                Some((id?.parse().ok()?, sport))
            })
            .collect();
        if employees.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "there is no employee yet")
                .hint("Import a workbook first: sportlake hr import FILE.xlsx."));
        }
        Ok(Roster::new(employees, config.seed))
    }

    async fn next_id(&mut self) -> Result<i64> {
        let last = self
            .connection
            .value("SELECT max(id) FROM sport_activities")
            .await?;
        Ok(last.and_then(|id| id.parse::<i64>().ok()).unwrap_or(0) + 1)
    }

    async fn recent(&mut self) -> Result<Vec<Activity>> {
        let rows = self.connection.query(RECENT).await?;
        let texts = rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten());
        Ok(texts
            .filter_map(|text| Activity::from_row(&serde_json::from_str(&text).ok()?))
            .collect())
    }

    /// In their order: changes of one kind that follow each other go together.
    async fn write(&mut self, changes: &[Change]) -> Result<()> {
        for run in changes.chunk_by(|(_, one), (_, other)| one.is_some() == other.is_some()) {
            let (sql, lists): (_, Vec<_>) = match run.first() {
                Some((_, Some(_))) => (
                    WRITE,
                    run.iter()
                        .filter_map(|(_, after)| after.as_ref())
                        .map(values)
                        .collect(),
                ),
                _ => {
                    let gone = run.iter().filter_map(|(before, _)| before.as_ref());
                    (
                        DELETE,
                        gone.map(|row| vec![Some(row.id.to_string())]).collect(),
                    )
                }
            };
            self.connection.execute(sql, &lists).await?;
        }
        Ok(())
    }
}

fn values(activity: &Activity) -> Vec<Option<String>> {
    vec![
        Some(activity.id.to_string()),
        Some(activity.employee_id.to_string()),
        Some(activity.date_debut.and_utc().timestamp_micros().to_string()),
        Some(activity.type_activite.to_string()),
        activity.distance_m.map(|distance| distance.to_string()),
        Some(activity.duree_s.to_string()),
        activity.commentaire.as_deref().map(str::to_owned),
    ]
}
