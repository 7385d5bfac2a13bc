use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use changes::{Error, ErrorKind, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::{Address, TlsMode};
use super::problem::ServerError;
use super::scram::{Scram, md5_answer};
use super::wire::{Message, Stream, Wire, lost, text};
use super::{literal, replication, tls};

const PATIENCE: Duration = Duration::from_secs(15);
const VERSION: u32 = 3 << 16;
const TLS_REQUEST: u32 = 80_877_103;

/// The texts of a row; `None` for NULL.
pub type Row = Vec<Option<String>>;

/// What decides how values are written as text.
const SETTINGS: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO"),
    ("timezone", "UTC"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
];

/// A session of a PostgreSQL, which ends when it is dropped.
pub struct Connection {
    pub(super) wire: Wire,
}

impl Connection {
    /// Signs in for ordinary statements.
    pub async fn connect(address: &Address) -> Result<Self> {
        Self::open(address, &[]).await
    }

    /// Signs in for replication, which takes most statements as well.
    pub async fn replicating(address: &Address) -> Result<Self> {
        Self::open(address, &[("replication", "database")]).await
    }

    async fn open(address: &Address, more: &[(&str, &str)]) -> Result<Self> {
        let opening = async {
            let mut connection = Self {
                wire: Wire::new(stream(address).await?),
            };
            connection.sign_in(address, more).await?;
            Ok(connection)
        };
        tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| unreachable(address))?
    }

    /// Sets parameters for the session, each where the server knows it.
    pub(crate) async fn set(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let listed: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("({}, {})", literal(name), literal(value)))
            .collect();
        let sql = format!(
            "SELECT set_config(s.name, v.value, false) FROM pg_settings s JOIN (VALUES {}) v(name, value) USING (name)",
            listed.join(", ")
        );
        self.query(&sql).await.map(drop)
    }

    /// Runs one statement, or several with one result.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.ask(sql).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let message = self.wire.next().await?;
            match message.tag {
                b'D' => rows.push(row(message.body)?),
                b'E' => failed = Some(ServerError::read(message.body)),
                b'Z' => break,
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(rows),
        }
    }

    /// The only value of the only row.
    pub async fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let mut rows = self.query(sql).await?;
        Ok(rows.pop().and_then(|mut row| row.pop()).flatten())
    }

    /// Runs one statement for each list of values, all in one round trip; the statement's `$1` is a list's first value.
    pub async fn execute(&mut self, sql: &str, lists: &[Vec<Option<String>>]) -> Result<()> {
        /// Bytes sent before an answer is read, so that neither side waits for the other.
        const AT_ONCE: usize = 64;
        self.wire.put(Some(b'P'), |body| {
            body.put_u8(0);
            put_text(body, sql);
            body.put_u16(0);
        });
        let mut failed = None;
        for lists in lists.chunks(AT_ONCE) {
            for list in lists {
                self.wire.put(Some(b'B'), |body| bind(body, list));
                self.wire.put(Some(b'E'), |body| {
                    body.put_u8(0);
                    body.put_u32(0);
                });
            }
            self.wire.put(Some(b'S'), |_| {});
            self.wire.flush().await?;
            loop {
                let message = self.wire.next().await?;
                match message.tag {
                    b'E' => failed = Some(ServerError::read(message.body)),
                    b'Z' => break,
                    _ => {}
                }
            }
            if failed.is_some() {
                break;
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Begins to read what `COPY .. TO STDOUT` writes; [`Self::copied`] has its lines.
    pub(crate) async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.ask(sql).await?;
        self.until(b'H').await
    }

    /// The next line of COPY's text format; `None` after the last one.
    pub(crate) async fn copied(&mut self) -> Result<Option<Bytes>> {
        loop {
            let message = self.wire.next().await?;
            match message.tag {
                b'd' => return Ok(Some(message.body)),
                b'E' => return Err(self.failed(message.body).await),
                b'Z' => return Ok(None),
                _ => {}
            }
        }
    }

    pub(super) async fn ask(&mut self, sql: &str) -> Result<()> {
        self.wire.put(Some(b'Q'), |body| put_text(body, sql));
        self.wire.flush().await
    }

    /// Waits for the answer that begins a stream.
    pub(super) async fn until(&mut self, tag: u8) -> Result<()> {
        loop {
            let message = self.wire.next().await?;
            match message.tag {
                b'E' => return Err(self.failed(message.body).await),
                tagged if tagged == tag => return Ok(()),
                _ => {}
            }
        }
    }

    /// The error, once the connection is ready for another statement.
    async fn failed(&mut self, body: Bytes) -> Error {
        let error = ServerError::read(body);
        loop {
            match self.wire.next().await {
                Ok(Message { tag: b'Z', .. }) | Err(_) => return error.into(),
                Ok(_) => {}
            }
        }
    }

    async fn sign_in(&mut self, address: &Address, more: &[(&str, &str)]) -> Result<()> {
        let who = [
            ("user", address.user.as_str()),
            ("database", address.database.as_str()),
            ("application_name", "sportlake"),
        ];
        self.wire.put(None, |body| {
            body.put_u32(VERSION);
            for (name, value) in who.iter().chain(&SETTINGS).chain(more) {
                put_text(body, name);
                put_text(body, value);
            }
            body.put_u8(0);
        });
        self.wire.flush().await?;
        let mut scram = None;
        loop {
            let mut message = self.wire.next().await?;
            match message.tag {
                b'R' => self.prove(address, &mut message.body, &mut scram).await?,
                b'E' => return Err(ServerError::read(message.body).at_sign_in(address)),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    async fn prove(
        &mut self,
        address: &Address,
        body: &mut Bytes,
        scram: &mut Option<Scram>,
    ) -> Result<()> {
        let malformed = || Error::new(ErrorKind::Unavailable, "the server's sign-in is malformed");
        let password = || {
            address.password.as_deref().ok_or_else(|| {
                let message = format!("PostgreSQL asks \"{}\" for a password", address.user);
                Error::new(ErrorKind::Unauthenticated, message)
                    .hint("Give it in SPORTLAKE__SOURCE__POSTGRES, or in the file that source.postgres_password_file names.")
            })
        };
        let kind = (body.len() >= 4)
            .then(|| body.get_u32())
            .ok_or_else(malformed)?;
        let answer = match kind {
            0 => return Ok(()),
            3 if address.tls == TlsMode::Disable && !address.is_local() => {
                return Err(Error::new(ErrorKind::Unauthenticated, "PostgreSQL asks for the password in clear")
                    .hint("Use TLS: sslmode=verify-full in source.postgres; or have the server ask for scram-sha-256."));
            }
            3 => format!("{}\0", password()?),
            5 => format!("{}\0", md5_answer(&address.user, password()?, body)),
            10 => {
                let mut offered = Vec::new();
                while let Some(mechanism) = text(body).filter(|mechanism| !mechanism.is_empty()) {
                    offered.push(mechanism);
                }
                if !offered.iter().any(|mechanism| mechanism == "SCRAM-SHA-256") {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "PostgreSQL offers no sign-in that is known here",
                    )
                    .hint("Have pg_hba.conf ask for scram-sha-256."));
                }
                let scram = scram.insert(Scram::new(password()?)?);
                let first = scram.first();
                self.wire.put(Some(b'p'), |body| {
                    put_text(body, "SCRAM-SHA-256");
                    body.put_u32(u32::try_from(first.len()).unwrap_or(u32::MAX));
                    body.put_slice(first.as_bytes());
                });
                return self.wire.flush().await;
            }
            11 => {
                let challenge = String::from_utf8_lossy(body).into_owned();
                scram.as_mut().ok_or_else(malformed)?.answer(&challenge)?
            }
            12 => {
                let last = String::from_utf8_lossy(body).into_owned();
                return match scram
                    .as_ref()
                    .is_some_and(|scram| scram.is_proven_by(&last))
                {
                    true => Ok(()),
                    false => Err(Error::new(
                        ErrorKind::Unauthenticated,
                        "the server does not know the password itself",
                    )
                    .hint(
                        "What answers at that address is not the PostgreSQL that knows this user.",
                    )),
                };
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "PostgreSQL asks for a sign-in that is not known here",
                )
                .hint("Have pg_hba.conf ask for scram-sha-256."));
            }
        };
        self.wire
            .put(Some(b'p'), |body| body.put_slice(answer.as_bytes()));
        self.wire.flush().await
    }

    pub(crate) async fn start_replication(mut self, sql: &str) -> Result<replication::Replication> {
        self.ask(sql).await?;
        self.until(b'W').await?;
        Ok(replication::Replication::new(self.wire))
    }
}

impl Address {
    fn is_local(&self) -> bool {
        ["localhost", "127.0.0.1", "::1"].contains(&self.host.as_str())
    }
}

async fn stream(address: &Address) -> Result<Box<dyn Stream>> {
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let mut stream = connecting
        .await
        .map_err(|error| unreachable(address).caused_by(error))?;
    stream.set_nodelay(true).map_err(lost)?;
    notice_silence(&stream).map_err(lost)?;
    if address.tls == TlsMode::Disable {
        return Ok(Box::new(stream));
    }
    let mut request = [0; 8];
    request[..4].copy_from_slice(&8_u32.to_be_bytes());
    request[4..].copy_from_slice(&TLS_REQUEST.to_be_bytes());
    stream.write_all(&request).await.map_err(lost)?;
    if stream.read_u8().await.map_err(lost)? != b'S' {
        let message = format!("the PostgreSQL at \"{}\" has no TLS", address.host);
        return Err(Error::new(ErrorKind::Unsupported, message).hint(
            "Turn ssl on in its postgresql.conf; sslmode=disable in source.postgres sends everything in clear.",
        ));
    }
    Ok(Box::new(tls::encrypt(address, stream).await?))
}

/// A server that is gone without a word (a cable, a failover, a firewall that forgot) is noticed within a minute, whether
/// we wait for it or write to it.
fn notice_silence(stream: &TcpStream) -> std::io::Result<()> {
    const QUIET: Duration = Duration::from_secs(30);
    const BETWEEN: Duration = Duration::from_secs(10);
    const TRIES: u32 = 3;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(BETWEEN)
        .with_retries(TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(QUIET + BETWEEN * TRIES))?;
    Ok(())
}

fn unreachable(address: &Address) -> Error {
    let message = format!(
        "no PostgreSQL answers at \"{}:{}\"",
        address.host, address.port
    );
    Error::new(ErrorKind::Unavailable, message)
        .hint("Check source.postgres, and that the server listens on that address.")
}

fn put_text(body: &mut BytesMut, text: &str) {
    body.put_slice(text.as_bytes());
    body.put_u8(0);
}

/// Parameters and results as text.
fn bind(body: &mut BytesMut, list: &[Option<String>]) {
    body.put_slice(&[0, 0, 0, 0]);
    body.put_u16(u16::try_from(list.len()).unwrap_or(u16::MAX));
    for value in list {
        match value {
            None => body.put_i32(-1),
            Some(value) => {
                body.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                body.put_slice(value.as_bytes());
            }
        }
    }
    body.put_u16(0);
}

fn row(mut body: Bytes) -> Result<Row> {
    let malformed = || Error::new(ErrorKind::Unavailable, "PostgreSQL sent a malformed row");
    let columns = (body.len() >= 2)
        .then(|| body.get_u16())
        .ok_or_else(malformed)?;
    let mut row = Vec::with_capacity(usize::from(columns));
    for _ in 0..columns {
        let length = (body.len() >= 4)
            .then(|| body.get_i32())
            .ok_or_else(malformed)?;
        let Ok(length) = usize::try_from(length) else {
            row.push(None);
            continue;
        };
        if body.len() < length {
            return Err(malformed());
        }
        let value = body.split_to(length);
        row.push(Some(String::from_utf8_lossy(&value).into_owned()));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_noticed_on_both_ways() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await;
        let stream = stream.expect("connected");
        notice_silence(&stream).expect("set");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("told"));
        #[cfg(target_os = "linux")]
        {
            let wait = socket.tcp_keepalive_time().expect("told");
            let tries = socket.tcp_keepalive_interval().expect("told")
                * socket.tcp_keepalive_retries().expect("told");
            assert!(
                wait + tries <= Duration::from_secs(60),
                "{wait:?} and {tries:?}"
            );
            let unanswered = socket.tcp_user_timeout().expect("told");
            assert!(unanswered.is_some_and(|limit| limit <= Duration::from_secs(60)));
        }
    }
}
