use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::{answer, blocking};
use crate::broker::Shared;
use crate::broker::connection::{Reply, Response};
use crate::broker::frame::{self, Fault, Request};
use crate::broker::log::Slice;
use crate::broker::memory::Memory;

/// Longest wait for records, whatever the client asks.
const MAX_WAIT_MS: i32 = 60_000;
/// What a response takes beside its records.
const OVERHEAD: usize = 64 * 1024;

/// What is read for one partition.
struct Part {
    topic: TopicName,
    wanted: FetchPartition,
    slice: Result<Slice, ResponseError>,
}

/// What is read for all of them, and the memory it may take.
struct Gathered {
    parts: Vec<Part>,
    memory: Option<OwnedSemaphorePermit>,
}

pub(super) fn fetch(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: FetchRequest = frame::decode(request)?;
    // Every fetch names all its partitions: the answer declines a session by its id 0.
    if message.session_id != 0 {
        let refusal =
            FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
        return answer(request, &refusal);
    }
    let (correlation, version) = (request.correlation, request.version);
    let shared = Arc::clone(shared);
    Ok(async move {
        let gathered = gather(message, &shared).await?;
        let size = gathered.bytes();
        let response = response_of(gathered.parts);
        Ok(Some(Response {
            bytes: frame::encode(correlation, version, &response, size + OVERHEAD)?,
            _memory: gathered.memory,
        }))
    }
    .boxed())
}

/// Reads what there is, again whenever something arrived, until it is enough or the client waited long enough.
///
/// Memory is held while reading and answering, not while waiting.
async fn gather(message: FetchRequest, shared: &Arc<Shared>) -> Result<Gathered, Fault> {
    let allowed = usize::try_from(message.max_bytes)
        .unwrap_or(0)
        .min(shared.config.max_fetch_bytes);
    let wait = message.max_wait_ms.clamp(0, MAX_WAIT_MS) as u64;
    let deadline = Instant::now() + Duration::from_millis(wait);
    let enough = usize::try_from(message.min_bytes).unwrap_or(0);
    let mut arrivals = shared.topics.arrivals();
    let wanted: Arc<[(TopicName, FetchPartition)]> = message
        .topics
        .into_iter()
        .flat_map(|topic| {
            let name = topic.topic;
            topic
                .partitions
                .into_iter()
                .map(move |partition| (name.clone(), partition))
        })
        .collect();
    loop {
        arrivals.borrow_and_update();
        let may_wait = Instant::now() < deadline;
        if may_wait && enough > 0 && nothing_new(&wanted, shared) {
            // Over or not, the next turn reads.
            let _ = timeout_at(deadline, arrivals.changed()).await;
            continue;
        }
        // Twice: as read, and as encoded.
        let most = 2 * allowed.max(shared.config.max_batch_bytes) + OVERHEAD;
        let memory = shared.response_memory.take(most).await;
        let mut gathered = read_all(&wanted, allowed, shared).await?;
        let failed = gathered.parts.iter().any(|part| part.slice.is_err());
        if failed || !may_wait || gathered.bytes() >= enough {
            gathered.memory = Memory::keep(memory, 2 * gathered.bytes() + OVERHEAD);
            return Ok(gathered);
        }
        drop((gathered, memory));
        let _ = timeout_at(deadline, arrivals.changed()).await;
    }
}

/// Whether all partitions are there and at their end.
fn nothing_new(wanted: &[(TopicName, FetchPartition)], shared: &Shared) -> bool {
    wanted.iter().all(|(topic, wanted)| {
        let partition = shared.topics.partition(topic, wanted.partition);
        partition.is_ok_and(|partition| partition.high_watermark() == wanted.fetch_offset)
    })
}

async fn read_all(
    wanted: &Arc<[(TopicName, FetchPartition)]>,
    allowed: usize,
    shared: &Arc<Shared>,
) -> Result<Gathered, Fault> {
    let wanted = Arc::clone(wanted);
    let shared = Arc::clone(shared);
    let read = move || {
        let mut left = allowed;
        let mut first = true;
        let parts = wanted.iter().map(|(topic, wanted)| {
            let limit = usize::try_from(wanted.partition_max_bytes).unwrap_or(0);
            let slice = shared
                .topics
                .partition(topic, wanted.partition)
                .and_then(|partition| partition.read(wanted.fetch_offset, limit.min(left), first));
            let part = Part {
                topic: topic.clone(),
                wanted: wanted.clone(),
                slice,
            };
            first = first && part.bytes() == 0;
            left = left.saturating_sub(part.bytes());
            part
        });
        Ok(Gathered {
            parts: parts.collect(),
            memory: None,
        })
    };
    blocking(read).await.map_err(|_| Fault::Response)
}

fn response_of(parts: Vec<Part>) -> FetchResponse {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for part in parts {
        let data = PartitionData::default()
            .with_partition_index(part.wanted.partition)
            .with_aborted_transactions(Some(Vec::new()));
        let data = match part.slice {
            Ok(slice) => data
                .with_high_watermark(slice.high_watermark)
                .with_last_stable_offset(slice.high_watermark)
                .with_log_start_offset(slice.log_start)
                .with_records(Some(slice.batches)),
            Err(error) => data
                .with_error_code(error.code())
                .with_high_watermark(-1)
                .with_last_stable_offset(-1)
                .with_log_start_offset(-1)
                .with_records(Some(Bytes::new())),
        };
        match topics.last_mut().filter(|last| last.topic == part.topic) {
            Some(topic) => topic.partitions.push(data),
            None => topics.push(
                FetchableTopicResponse::default()
                    .with_topic(part.topic)
                    .with_partitions(vec![data]),
            ),
        }
    }
    FetchResponse::default().with_responses(topics)
}

impl Gathered {
    fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }
}

impl Part {
    fn bytes(&self) -> usize {
        self.slice.as_ref().map_or(0, |slice| slice.batches.len())
    }
}
