//! Brings topics under way: finds them, opens their tables, decides where reading starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use changes::{KafkaConfig, Topic, TopicPattern, diagnose};
use engine::bronze::{BronzeTable, Lineage, PartitionOffset};
use engine::{Clock, Error, ErrorKind, Lake, Lease, Requests, Result, UpkeepConfig};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::budget::Budget;
use crate::client::Client;
use crate::config::Start;
use crate::error::{from_changes, is_of_topic, is_transient};
use crate::probe::{self, Last};
use crate::progress::Progress;
use crate::reader::Assignment;
use crate::topics::{self, Discovery, Stored, Watermarks};
use crate::upkeep::Order;
use crate::writer::{Flush, QUEUED_CUTS, Writer};

pub(crate) struct Intake {
    pub(crate) kafka: KafkaConfig,
    pub(crate) client: Arc<Client>,
    pub(crate) lake: Lake,
    pub(crate) lease: Lease,
    pub(crate) clock: Clock,
    pub(crate) discovery: Discovery,
    /// Where a topic is begun that bronze holds nothing of; one that comes later is read whole.
    pub(crate) start: Start,
    /// Names the cluster, where it has a name; outermost `None` until it answered.
    pub(crate) cluster: Option<Option<i64>>,
    /// Topics that may start again at their earliest message.
    pub(crate) from_earliest: BTreeSet<String>,
    /// Topics that start again at their earliest message, whatever is stored, when they are brought in.
    pub(crate) anew: BTreeSet<String>,
    pub(crate) assignments: mpsc::Sender<Vec<Assignment>>,
    pub(crate) progress: Progress,
    pub(crate) wake: Arc<Notify>,
    pub(crate) stop: CancellationToken,
    pub(crate) writers: JoinSet<Result<()>>,
    /// Topics that have a writer.
    pub(crate) written: BTreeSet<Topic>,
    pub(crate) waiting: bool,
    /// Whether the brokers ever let this client in.
    pub(crate) let_in: bool,
    /// What writes each table, while it is read.
    pub(crate) flushes: BTreeMap<String, mpsc::WeakSender<Flush>>,
    pub(crate) budget: Budget,
    pub(crate) requests: Requests,
    pub(crate) upkeep: UpkeepConfig,
    /// To what writes each table.
    pub(crate) orders: BTreeMap<String, mpsc::Sender<Order>>,
}

impl Intake {
    /// Looks for topics and partitions that are not read yet. What is away for a while is tried again next time.
    pub(crate) async fn look(&mut self) -> Result<()> {
        match self.try_look().await {
            Ok(()) => {
                self.let_in = true;
                if std::mem::take(&mut self.waiting) {
                    info!("topics are listed again");
                }
                Ok(())
            }
            Err(error) if is_transient(&error) => {
                if !self.waiting {
                    self.waiting = true;
                    let error = self.why(error).await?;
                    let hint = error.hint_text();
                    warn!(error = %error.with_causes(), hint, "looking for topics failed: trying again");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What is behind an answer that did not come. Who was never let in is refused for good.
    async fn why(&self, error: Error) -> Result<Error> {
        let kafka = self.kafka.clone();
        match blocking(move || Ok(diagnose(&kafka))).await? {
            Some(why) if !self.let_in && why.kind() != changes::ErrorKind::Unavailable => {
                Err(from_changes(why))
            }
            Some(why) => Ok(from_changes(why)),
            None => Ok(error),
        }
    }

    async fn try_look(&mut self) -> Result<()> {
        let client = Arc::clone(&self.client);
        let known = self.cluster;
        let (listed, cluster) = blocking(move || {
            let listed = topics::list(&client)?;
            Ok((listed, known.unwrap_or_else(|| topics::cluster(&client))))
        })
        .await?;
        self.cluster = Some(cluster);
        let names = listed.iter().map(|(name, _)| name.as_str());
        let absent = self.discovery.unmatched(names);
        self.say_absent(absent).await?;
        for (topic, partitions) in self.discovery.select(listed, &self.written)? {
            let fresh: Vec<i32> = (0..partitions)
                .filter(|partition| !self.progress.is_read(&topic, *partition))
                .collect();
            if !fresh.is_empty() {
                self.bring_in(topic, fresh).await?;
            }
        }
        self.start = Start::Earliest;
        Ok(())
    }

    async fn say_absent(&self, absent: Vec<TopicPattern>) -> Result<()> {
        for pattern in absent {
            let client = Arc::clone(&self.client);
            let asked = pattern.clone();
            let why = blocking(move || match &asked {
                TopicPattern::Exact(topic) => Ok(topics::why_absent(&client, topic)),
                TopicPattern::Prefix(_) => Ok(None),
            });
            topics::say_absent(&pattern, why.await?.as_ref());
        }
        Ok(())
    }

    async fn bring_in(&mut self, topic: Topic, partitions: Vec<i32>) -> Result<()> {
        let clock = Arc::clone(&self.clock);
        let opened =
            BronzeTable::open_or_create(&self.lake, &self.lease, topic.table(), clock).await;
        let mut table = match opened {
            Err(error) if error.kind() == ErrorKind::InvalidRequest => {
                self.discovery
                    .leave_out(topic.to_string(), "it names no table");
                return Ok(());
            }
            opened => opened?,
        };
        let watermarks = match self.watermarks(&topic, &partitions).await {
            // One topic keeps no other from being read.
            Err(error) if is_of_topic(&error) => {
                self.discovery.pass_over(&topic, &error);
                return Ok(());
            }
            watermarks => watermarks?,
        };
        self.discovery.is_readable(&topic);
        let mut is_anew = self.anew.contains(topic.as_str());
        let from_earliest = is_anew || self.from_earliest.contains(topic.as_str());
        let cluster = self.cluster.flatten();
        let known = known(&table, &topic, &partitions).await?;
        if !is_anew && let Some(last) = self.another(&topic, &watermarks, &known).await? {
            if !from_earliest {
                return Err(topics::made_again(&topic, last.partition, last.offset));
            }
            is_anew = true;
        }
        // A partition that is added to a topic is read whole: what it holds came since.
        let is_known = self.written.contains(&topic) || known.values().any(Known::is_stored);
        let begin = match is_known {
            true => Start::Earliest,
            false => self.start,
        };
        let newest = known
            .values()
            .map(|known| known.generation(cluster, is_anew));
        let newest = newest.max().unwrap_or_default();
        let mut assignments = Vec::new();
        let mut moved = Vec::new();
        for (partition, watermarks) in watermarks {
            let Known {
                offset,
                mut lineage,
            } = known.get(&partition).copied().unwrap_or_default();
            let stored = match Stored::of(offset, lineage.cluster, cluster, begin) {
                Stored::Offset(_) if is_anew => Stored::Anew,
                stored => stored,
            };
            let start = watermarks.start(&topic, partition, stored, from_earliest)?;
            if stored.is_another() || matches!(stored, Stored::Nothing(_)) {
                // Keys come from other partitions, or from another topic: what comes here wins over what came there.
                lineage = Lineage {
                    generation: newest,
                    ..Lineage::default()
                };
            }
            let is_skipped = stored == Stored::Nothing(Start::Latest);
            if is_skipped || stored.is_another() {
                lineage.cluster = cluster;
                moved.push((partition, offset, start, lineage));
            }
            assignments.push(Assignment {
                topic: topic.clone(),
                partition,
                stored: offset,
                start,
                lineage,
                cluster,
                writer: None,
            });
        }
        begin_elsewhere(&mut table, &topic, &moved, &mut assignments).await?;
        for assignment in &assignments {
            self.progress
                .begin(&topic, assignment.partition, assignment.start);
        }
        if let Some(first) = assignments.first_mut()
            && self.written.insert(topic.clone())
        {
            let (sender, flushes) = mpsc::channel(QUEUED_CUTS);
            self.flushes
                .insert(topic.table().to_owned(), sender.downgrade());
            let (order, orders) = mpsc::channel(1);
            self.orders.insert(topic.table().to_owned(), order);
            first.writer = Some(sender);
            let writer = Writer {
                topic: topic.clone(),
                table,
                progress: self.progress.clone(),
                wake: Arc::clone(&self.wake),
                shutdown: self.stop.clone(),
                upkeep: self.upkeep.clone(),
                orders,
            };
            self.writers.spawn(writer.run(flushes));
        }
        self.anew.remove(topic.as_str());
        info!(%topic, partitions = assignments.len(), "reading");
        // The reader hangs up only when it ends, and then its outcome says why.
        drop(self.assignments.send(assignments).await);
        Ok(())
    }

    /// Where a topic has another message than the last one that was read of it.
    async fn another(
        &self,
        topic: &Topic,
        watermarks: &BTreeMap<i32, Watermarks>,
        known: &BTreeMap<i32, Known>,
    ) -> Result<Option<Last>> {
        let cluster = self.cluster.flatten();
        let read = watermarks.iter().filter_map(|(partition, watermarks)| {
            let Known { offset, lineage } = known.get(partition)?;
            let stored = Stored::of(*offset, lineage.cluster, cluster, Start::Earliest);
            let Stored::Offset(next) = stored else {
                return None;
            };
            let is_there = next > watermarks.low && next <= watermarks.high;
            is_there.then_some(Last {
                partition: *partition,
                offset: next - 1,
                time_ms: lineage.time_ms?,
            })
        });
        let read: Vec<Last> = read.collect();
        let (kafka, topic) = (self.kafka.clone(), topic.clone());
        blocking(move || Ok(probe::another(&kafka, &topic, &read))).await
    }

    async fn watermarks(
        &self,
        topic: &Topic,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Watermarks>> {
        let client = Arc::clone(&self.client);
        let (topic, partitions) = (topic.clone(), partitions.to_vec());
        blocking(move || {
            partitions
                .into_iter()
                .map(|partition| {
                    let watermarks = Watermarks::fetch(&client, &topic, partition)?;
                    Ok((partition, watermarks))
                })
                .collect()
        })
        .await
    }
}

/// What a table tells of a partition.
#[derive(Clone, Copy, Default)]
struct Known {
    offset: Option<i64>,
    lineage: Lineage,
}

impl Known {
    fn is_stored(&self) -> bool {
        self.offset.is_some()
    }

    /// The generation of what comes from that cluster: the next one where it is another, or is read anew.
    fn generation(&self, cluster: Option<i64>, is_anew: bool) -> i64 {
        let stored = Stored::of(self.offset, self.lineage.cluster, cluster, Start::Earliest);
        match stored == Stored::Elsewhere || (is_anew && self.is_stored()) {
            true => self.lineage.generation.saturating_add(1),
            false => self.lineage.generation,
        }
    }
}

/// Of the partitions that are to be read, of those before them, and of those that the table has rows of: the topic of
/// another cluster may have fewer.
async fn known(
    table: &BronzeTable,
    topic: &Topic,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Known>> {
    let wanted = partitions.iter().copied();
    let last = wanted.chain(table.last_partition()?).max();
    let mut known = BTreeMap::new();
    for partition in 0..=last.unwrap_or_default() {
        let of_partition = Known {
            offset: table.next_offset(topic.as_str(), partition).await?,
            lineage: table.lineage(topic.as_str(), partition).await?,
        };
        known.insert(partition, of_partition);
    }
    Ok(known)
}

/// Stores where partitions begin that do not go on where they were, before they are read: a restart begins there too.
async fn begin_elsewhere(
    table: &mut BronzeTable,
    topic: &Topic,
    moved: &[(i32, Option<i64>, i64, Lineage)],
    assignments: &mut [Assignment],
) -> Result<()> {
    if moved.is_empty() {
        return Ok(());
    }
    let offsets: Vec<PartitionOffset> = moved
        .iter()
        .map(|(partition, from, next, _)| PartitionOffset {
            topic: topic.to_string(),
            partition: *partition,
            from: *from,
            next: *next,
        })
        .collect();
    let lineages: Vec<(i32, Lineage)> = moved.iter().map(|moved| (moved.0, moved.3)).collect();
    table.append_with(Vec::new(), &offsets, &lineages).await?;
    for offset in offsets {
        let mut all = assignments.iter_mut();
        if let Some(assignment) = all.find(|all| all.partition == offset.partition) {
            assignment.stored = Some(offset.next);
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(question).await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "a question to the broker broke off").caused_by(error))
    })
}
