use rdkafka::producer::FutureRecord;

use crate::TestResult;
use crate::clients::{self, PATIENCE};
use crate::node::Node;

/// Keys and their hashes, of Kafka's own `UtilsTest.testMurmur2`.
const HASHES: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    (
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        -58_897_971,
    ),
    ("abc", 479_470_107),
];

/// A key that moved would leave its value behind in a compacted topic.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_the_partition_where_java_puts_it() -> TestResult {
    const PARTITIONS: i32 = 97;
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "keys", PARTITIONS).await;
    let producer = clients::producer(&node.address);
    for (key, hash) in HASHES {
        let record = FutureRecord::to("keys").key(key).payload("x");
        let delivered = producer.send(record, PATIENCE).await;
        let delivered = delivered.map_err(|(error, _)| error)?;
        assert_eq!(delivered.partition, (hash & i32::MAX) % PARTITIONS, "{key}");
    }
    node.stop().await;
    Ok(())
}
