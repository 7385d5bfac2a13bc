//! Requests and responses as they travel: a length, a header, a message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Duration, timeout};

use super::shape;

/// Smallest request: a header without client id.
const MIN_REQUEST_BYTES: usize = 8;
/// Memory taken before the bytes that fill it have come.
const FIRST_ALLOCATION: usize = 1024 * 1024;
/// How long a client may take for the next bytes of a request that it began.
const STALL: Duration = Duration::from_secs(30);
/// How long a connection may be silent between requests.
const IDLE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Request {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client_id: String,
    pub(super) body: Bytes,
}

/// Why a connection ends; nothing in it repeats what the client sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("closed by the client")]
    Closed,
    #[error("silent too long")]
    Idle,
    #[error("request length out of range")]
    Length,
    #[error("malformed request")]
    Malformed,
    #[error("request of an unknown kind or version")]
    Unsupported,
    #[error("response not encodable")]
    Response,
    #[error("connection lost")]
    Io(#[source] std::io::Error),
}

/// The length of the next request, checked before anything is allocated for it.
pub(super) async fn read_length(
    reader: &mut (impl AsyncRead + Unpin),
    max_bytes: usize,
) -> Result<usize, Fault> {
    let length = match timeout(IDLE, reader.read_i32()).await {
        Err(_) => return Err(Fault::Idle),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(Fault::Closed);
        }
        Ok(length) => length.map_err(Fault::Io)?,
    };
    let length = usize::try_from(length).map_err(|_| Fault::Length)?;
    if (MIN_REQUEST_BYTES..=max_bytes).contains(&length) {
        return Ok(length);
    }
    Err(Fault::Length)
}

pub(super) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> Result<Bytes, Fault> {
    let mut frame = BytesMut::with_capacity(length.min(FIRST_ALLOCATION));
    let mut rest = reader.take(length as u64);
    while frame.len() < length {
        match timeout(STALL, rest.read_buf(&mut frame)).await {
            Err(_) => return Err(Fault::Idle),
            Ok(Ok(0)) => return Err(Fault::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Fault::Io(error)),
        }
    }
    Ok(frame.freeze())
}

/// Splits a frame into its header and body.
pub(super) fn parse(mut frame: Bytes) -> Result<Request, Fault> {
    if frame.len() < MIN_REQUEST_BYTES {
        return Err(Fault::Malformed);
    }
    let api = ApiKey::try_from(frame.get_i16()).map_err(|()| Fault::Unsupported)?;
    let version = frame.get_i16();
    let correlation = frame.get_i32();
    let client_id = take_string(&mut frame)?;
    Ok(Request {
        api,
        version,
        correlation,
        client_id,
        body: frame,
    })
}

/// The message in a request, after its counts were found to be true.
pub(super) fn decode<T: Decodable>(request: &Request) -> Result<T, Fault> {
    shape::check(request.api, request.version, &request.body).ok_or(Fault::Malformed)?;
    T::decode(&mut request.body.clone(), request.version).map_err(|_| Fault::Malformed)
}

/// A whole response, its length first. No version that we offer has a response header with tags.
pub(super) fn encode(
    correlation: i32,
    version: i16,
    message: &impl Encodable,
    expected_bytes: usize,
) -> Result<Bytes, Fault> {
    let mut frame = BytesMut::with_capacity(expected_bytes + 256);
    frame.put_i32(0);
    frame.put_i32(correlation);
    message
        .encode(&mut frame, version)
        .map_err(|_| Fault::Response)?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| Fault::Response)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

fn take_string(frame: &mut Bytes) -> Result<String, Fault> {
    if frame.len() < 2 {
        return Err(Fault::Malformed);
    }
    let length = frame.get_i16();
    // -1 stands for no client id.
    let length = usize::try_from(length.max(0)).map_err(|_| Fault::Malformed)?;
    if frame.len() < length {
        return Err(Fault::Malformed);
    }
    let bytes = frame.split_to(length);
    String::from_utf8(bytes.to_vec()).map_err(|_| Fault::Malformed)
}
