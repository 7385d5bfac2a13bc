//! Google's Routes API and OpenRouteService as their references describe them, on loopback, with faults on demand.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const GOOGLE_KEY: &str = "AIza-key";
pub(crate) const ORS_KEY: &str = "ors-key";

/// Where both place every address, unless told otherwise: in the middle of Montpellier.
const MONTPELLIER: (f64, f64) = (43.6109, 3.8772);

/// A call as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// Method and path, with the query.
    pub(crate) line: String,
    pub(crate) key: String,
    pub(crate) fields: String,
    pub(crate) body: Value,
}

/// Status, headers, body; status 0 breaks the connection.
pub(crate) type Reply = (u16, &'static str, Value);

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    replies: VecDeque<Option<Reply>>,
    /// Calls that have no answer yet, and how many they were at most.
    open: usize,
    most: usize,
    /// How many of them are waited for before the first is answered.
    gathered: usize,
    /// How many ways are measured within a while, and when the last ones were.
    limit: Option<(usize, Duration)>,
    measured: VecDeque<Instant>,
    refused: usize,
}

/// What a call is held for when fewer come at once than are waited for, and what it is held for once they were there:
/// one more would show.
const GATHERING: Duration = Duration::from_secs(20);
const LINGERING: Duration = Duration::from_millis(30);

#[derive(Clone)]
pub(crate) struct Routes {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl Routes {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let routes = Self {
            address: listener.local_addr().expect("bound"),
            state: Arc::default(),
            changed: Arc::default(),
        };
        let serving = routes.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(&stream));
            }
        });
        routes
    }

    pub(crate) fn api(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How the next calls are answered; `None` for the usual answer.
    pub(crate) fn script(&self, replies: impl IntoIterator<Item = Option<Reply>>) {
        self.state().replies.extend(replies);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Answers nobody before so many calls are under way at once.
    pub(crate) fn gather(&self, calls: usize) {
        self.state().gathered = calls;
    }

    /// Measures so many ways in any such while, as OpenRouteService's plans do; more are refused, and do not count.
    pub(crate) fn limit(&self, ways: usize, within: Duration) {
        self.state().limit = Some((ways, within));
    }

    /// How many calls were beyond the limit.
    pub(crate) fn refused(&self) -> usize {
        self.state().refused
    }

    /// How many calls were under way at once, at most.
    pub(crate) fn most(&self) -> usize {
        self.state().most
    }

    fn opened(&self) {
        let mut state = self.state();
        state.open += 1;
        state.most = state.most.max(state.open);
        self.changed.notify_all();
        if state.gathered > 0 {
            let is_waiting = |state: &mut State| state.most < state.gathered;
            drop(
                self.changed
                    .wait_timeout_while(state, GATHERING, is_waiting),
            );
            std::thread::sleep(LINGERING);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(call) = read(&mut reader) {
            let usual = usual(&call);
            self.opened();
            let reply = {
                let mut state = self.state();
                let is_way = call.line.starts_with("POST ");
                state.calls.push(call);
                state.open -= 1;
                match is_way && !state.admits() {
                    true => Some((429, "", json!({"error": "Rate limit exceeded"}))),
                    false => state.replies.pop_front().flatten(),
                }
            };
            let (status, headers, body) = reply.unwrap_or(usual);
            if status == 0 {
                return;
            }
            let body = body
                .as_str()
                .map_or_else(|| body.to_string(), str::to_owned);
            let answer = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

impl State {
    fn admits(&mut self) -> bool {
        let Some((ways, within)) = self.limit else {
            return true;
        };
        let now = Instant::now();
        while self
            .measured
            .front()
            .is_some_and(|at| now.duration_since(*at) >= within)
        {
            self.measured.pop_front();
        }
        let is_within = self.measured.len() < ways;
        if is_within {
            self.measured.push_back(now);
        } else {
            self.refused += 1;
        }
        is_within
    }
}

fn usual(call: &Call) -> Reply {
    if call.line.starts_with("POST /directions/v2:computeRoutes ") {
        return google(call);
    }
    if call.key != ORS_KEY {
        return (
            403,
            "",
            json!({"error": "Access to this API has been disallowed"}),
        );
    }
    if call.line.starts_with("GET /geocode/search?") {
        return (200, "", place(MONTPELLIER, 1.0));
    }
    (
        200,
        "",
        json!({"routes": [{"summary": {"distance": 6500.5, "duration": 4680.0}}]}),
    )
}

fn google(call: &Call) -> Reply {
    if call.key != GOOGLE_KEY {
        return (
            400,
            "",
            json!({"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}),
        );
    }
    if call.fields.is_empty() {
        return (
            400,
            "",
            json!({"error": {"code": 400, "message": "FieldMask is a required parameter.", "status": "INVALID_ARGUMENT"}}),
        );
    }
    (200, "", way(6400, MONTPELLIER))
}

/// An answer of Google's.
pub(crate) fn way(metres: i64, (latitude, longitude): (f64, f64)) -> Value {
    json!({
        "routes": [{"distanceMeters": metres, "legs": [{"startLocation": {"latLng": {"latitude": latitude, "longitude": longitude}}}]}],
        "geocodingResults": {"origin": {"geocoderStatus": {}, "type": ["street_address"], "placeId": "ChIJ"}},
    })
}

/// An answer of OpenRouteService's search.
pub(crate) fn place((latitude, longitude): (f64, f64), confidence: f64) -> Value {
    json!({"type": "FeatureCollection", "features": [{"type": "Feature",
        "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        "properties": {"confidence": confidence, "country_a": "FRA"}}]})
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Call> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let (mut length, mut key, mut fields) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" | "x-goog-api-key" => key = value.to_owned(),
            "x-goog-fieldmask" => fields = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call {
        line,
        key,
        fields,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
