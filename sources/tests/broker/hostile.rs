use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use rdkafka::message::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::TestResult;
use crate::clients;
use crate::node::Node;
use crate::wire;

const CORRUPT_MESSAGE: i16 = 2;
const UNSUPPORTED_VERSION: i16 = 35;
const OUT_OF_ORDER: i16 = 45;
const INVALID_RECORD: i16 = 87;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_end_their_connection_only() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "calm", 1).await;
    let seed = 20_261_124;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut frames: Vec<Vec<u8>> = vec![
        i32::MAX.to_be_bytes().to_vec(),
        i32::MIN.to_be_bytes().to_vec(),
        vec![0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // A produce request that announces 2^31 - 1 topics.
        frame(
            0,
            3,
            &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
        ),
        // The same of strings, for metadata.
        frame(3, 1, &[0x7f, 0xff, 0xff, 0xff]),
        // An unknown request, a version from the future, a client id beyond the frame.
        frame(999, 0, &[]),
        frame(1, 99, &[0; 64]),
        vec![0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff],
    ];
    for _ in 0..300 {
        let api = random.random_range(0..40);
        let version = random.random_range(0..9);
        let mut body = vec![0; random.random_range(0..200)];
        random.fill_bytes(&mut body);
        frames.push(frame(api, version, &body));
    }
    for (number, bytes) in frames.iter().enumerate() {
        let mut stream = TcpStream::connect(&node.address).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        // Whether it is answered or not, the broker ends the connection.
        let ended = tokio::time::timeout(clients::PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "frame {number} of seed {seed} hangs");
    }
    let producer = clients::producer(&node.address);
    assert_eq!(clients::send(&producer, "calm", 0, "still here").await, 0);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_from_the_future_learns_the_versions() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    let mut stream = TcpStream::connect(&node.address).await?;
    let response = wire::call(&mut stream, 18, 99, &[0; 16]).await?;
    assert_eq!(response[4..6], UNSUPPORTED_VERSION.to_be_bytes());
    let offered = i32::from_be_bytes(response[6..10].try_into()?);
    assert_eq!(response.len(), 10 + offered as usize * 6);
    // The connection goes on in a version that both know.
    let response = wire::call(&mut stream, 18, 0, &[]).await?;
    assert_eq!(response[4..6], [0, 0]);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_stored_once_even_over_a_restart() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "once", 1).await;
    let mut stream = TcpStream::connect(&node.address).await?;
    let first = wire::batch(77, 0, &["a", "b"]);
    let second = wire::batch(77, 2, &["c"]);
    assert_eq!(wire::produce(&mut stream, "once", &first).await, (0, 0));
    assert_eq!(wire::produce(&mut stream, "once", &first).await, (0, 0));
    assert_eq!(wire::produce(&mut stream, "once", &second).await, (0, 2));
    let gap = wire::batch(77, 9, &["z"]);
    assert_eq!(
        wire::produce(&mut stream, "once", &gap).await.0,
        OUT_OF_ORDER
    );
    node.kill().await;

    let node = Node::start(directory.path()).await;
    let mut stream = TcpStream::connect(&node.address).await?;
    assert_eq!(wire::produce(&mut stream, "once", &second).await, (0, 2));
    assert_eq!(wire::produce(&mut stream, "once", &first).await, (0, 0));
    node.stop().await;

    let node = Node::start(directory.path()).await;
    let mut stream = TcpStream::connect(&node.address).await?;
    assert_eq!(wire::produce(&mut stream, "once", &second).await, (0, 2));
    let third = wire::batch(77, 3, &["d"]);
    assert_eq!(wire::produce(&mut stream, "once", &third).await, (0, 3));
    let read = clients::read_all(&node.address, "once", 1).await;
    let values: Vec<_> = read.iter().filter_map(Message::payload).collect();
    assert_eq!(values, [b"a", b"b", b"c", b"d"]);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_batches_are_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "clean", 1).await;
    let mut stream = TcpStream::connect(&node.address).await?;
    let good = wire::batch(-1, -1, &["a", "b"]);
    let mut flipped = good.clone();
    flipped[70] ^= 1;
    let twice = [good.clone(), good.clone()].concat();
    let mut transactional = good.clone();
    transactional[22] |= 0x10;
    let checksum = crc32c::crc32c(&transactional[21..]).to_be_bytes();
    transactional[17..21].copy_from_slice(&checksum);
    for (bytes, expected) in [
        (&flipped[..], CORRUPT_MESSAGE),
        (&good[..40], CORRUPT_MESSAGE),
        (&[], CORRUPT_MESSAGE),
        (&twice[..], INVALID_RECORD),
        (&good[..good.len() - 1], INVALID_RECORD),
        (&transactional[..], INVALID_RECORD),
        (&good[..], 0),
    ] {
        assert_eq!(wire::produce(&mut stream, "clean", bytes).await.0, expected);
    }
    assert_eq!(clients::read_all(&node.address, "clean", 1).await.len(), 2);
    node.stop().await;
    Ok(())
}

fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend((body.len() as i32 + 10).to_be_bytes());
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(1_i32.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    frame
}
