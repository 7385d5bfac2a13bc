use bytes::{Buf, BufMut, Bytes, BytesMut};
use changes::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// A message is at most 1 GiB in PostgreSQL; a row of more could not be one Kafka message by far.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;
const READ_AT_ONCE: usize = 256 * 1024;

/// Messages of PostgreSQL's protocol, version 3, over a stream.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    incoming: BytesMut,
    outgoing: BytesMut,
}

/// A message from the server.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            incoming: BytesMut::with_capacity(READ_AT_ONCE),
            outgoing: BytesMut::new(),
        }
    }

    /// Puts a message into the buffer; [`Self::flush`] sends it. The first message of a connection has no tag.
    pub(super) fn put(&mut self, tag: Option<u8>, body: impl FnOnce(&mut BytesMut)) {
        if let Some(tag) = tag {
            self.outgoing.put_u8(tag);
        }
        let start = self.outgoing.len();
        self.outgoing.put_u32(0);
        body(&mut self.outgoing);
        let length = u32::try_from(self.outgoing.len() - start).unwrap_or(u32::MAX);
        self.outgoing[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) async fn flush(&mut self) -> Result<()> {
        while self.outgoing.has_remaining() {
            self.stream
                .write_buf(&mut self.outgoing)
                .await
                .map_err(lost)?;
        }
        self.stream.flush().await.map_err(lost)
    }

    /// The next message. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.incoming.reserve(READ_AT_ONCE);
            if self
                .stream
                .read_buf(&mut self.incoming)
                .await
                .map_err(lost)?
                == 0
            {
                return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The next message, if it has come whole.
    pub(super) fn buffered(&mut self) -> Result<Option<Message>> {
        let Some((&tag, rest)) = self.incoming.split_first() else {
            return Ok(None);
        };
        let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "PostgreSQL sent a message larger than 256 MiB, or what answers there is no PostgreSQL",
            ));
        }
        if self.incoming.len() <= length {
            return Ok(None);
        }
        let mut message = self.incoming.split_to(length + 1);
        message.advance(5);
        Ok(Some(Message {
            tag,
            body: message.freeze(),
        }))
    }
}

pub(super) fn lost(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to PostgreSQL was lost",
    )
    .caused_by(error)
}

/// Takes a text that ends in a zero byte off the front.
pub(super) fn text(body: &mut Bytes) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}
