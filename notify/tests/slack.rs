//! Slack as its documentation describes it, on loopback: `chat.postMessage` and incoming webhooks, with faults on demand.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// Ends a test that hangs; no test depends on its length.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Posted,
    /// Of a method: `ok` false with status 200.
    Error(&'static str),
    /// Status, headers and body as they stand.
    Raw(u16, &'static str, &'static str),
    /// The connection breaks before an answer.
    Reset,
    /// The answer comes when `release` is called.
    Held,
}

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: Value,
}

impl Call {
    pub(crate) fn text(&self) -> &str {
        self.body["text"].as_str().unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    replies: VecDeque<Reply>,
    answered: usize,
    released: usize,
    held: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone)]
pub(crate) struct Slack {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Slack {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let slack = Self {
            address: listener.local_addr().expect("bound"),
            shared: Arc::default(),
        };
        let shared = Arc::clone(&slack.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        slack
    }

    /// What `notify.api` is.
    pub(crate) fn api(&self) -> String {
        format!("http://{}/api", self.address)
    }

    pub(crate) fn webhook(&self) -> String {
        format!("http://{}/services/T000/B000/XXXX", self.address)
    }

    /// How the next calls are answered; after them, every message is taken.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().replies.extend(replies);
    }

    /// Answers the calls that are held.
    pub(crate) fn release(&self) {
        self.state().released += 1;
        self.shared.changed.notify_all();
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.calls()
            .iter()
            .map(|call| call.text().to_owned())
            .collect()
    }

    /// Waits until so many calls arrived.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Call> {
        let state = self.state();
        let waiting = |state: &mut State| state.calls.len() < count;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            state.calls.len() >= count,
            "{} of {count} calls: {:?}",
            state.calls.len(),
            state.calls
        );
        state.calls.clone()
    }

    /// Waits until the answers of so many calls are sent.
    #[track_caller]
    pub(crate) fn wait_until_answered(&self, count: usize) {
        let waiting = |state: &mut State| state.answered < count;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.state(), PATIENCE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            state.answered >= count,
            "{} of {count} answers",
            state.answered
        );
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(call) = read(&mut reader) {
            let is_webhook = call.path.starts_with("/services/");
            let fault = fault(&call, is_webhook);
            let reply = {
                let mut state = self.lock();
                state.calls.push(call);
                self.changed.notify_all();
                state.replies.pop_front()
            };
            let reply = reply.or(fault).unwrap_or(Reply::Posted);
            let goes_on = self.answer(stream, reply, is_webhook);
            self.lock().answered += 1;
            self.changed.notify_all();
            if !goes_on {
                return;
            }
        }
    }

    fn answer(&self, mut stream: &TcpStream, reply: Reply, is_webhook: bool) -> bool {
        let (status, headers, body) = match reply {
            Reply::Reset => return false,
            Reply::Held => {
                let mut state = self.lock();
                state.held += 1;
                let turn = state.held;
                let waiting = |state: &mut State| state.released < turn;
                drop(
                    self.changed
                        .wait_timeout_while(state, PATIENCE, waiting)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                return self.answer(stream, Reply::Posted, is_webhook);
            }
            Reply::Posted if is_webhook => (200, "", "ok".to_owned()),
            Reply::Posted => (
                200,
                "",
                json!({"ok": true, "channel": "C1", "ts": "1503435956.000247"}).to_string(),
            ),
            Reply::Error(code) => (200, "", json!({"ok": false, "error": code}).to_string()),
            Reply::Raw(status, headers, body) => (status, headers, body.to_owned()),
        };
        let kind = if body.starts_with('{') {
            "application/json; charset=utf-8"
        } else {
            "text/html"
        };
        let answer = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    }
}

/// What Slack says of a call that is not as documented.
fn fault(call: &Call, is_webhook: bool) -> Option<Reply> {
    if call.text().is_empty() {
        return Some(if is_webhook {
            Reply::Raw(400, "", "no_text")
        } else {
            Reply::Error("no_text")
        });
    }
    if is_webhook {
        return None;
    }
    if call.path != "/api/chat.postMessage" {
        return Some(Reply::Error("unknown_method"));
    }
    if !call.authorization.starts_with("Bearer xoxb-") {
        return Some(Reply::Error("not_authed"));
    }
    (call.body["channel"] != "C1").then_some(Reply::Error("channel_not_found"))
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Call> {
    let mut first = String::new();
    if reader.read_line(&mut first).ok()? == 0 {
        return None;
    }
    let path = first.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call {
        path,
        authorization,
        body: serde_json::from_slice(&body).ok()?,
    })
}
