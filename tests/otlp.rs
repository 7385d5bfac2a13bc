//! A receiver of traces as OTLP over HTTP describes it: it keeps what it is sent, and is as slow as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;

use crate::project::PATIENCE;

/// A span as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// In hexadecimal digits, as in a traceparent.
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first of a trace.
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) service: String,
    /// How many events, which hold texts.
    pub(crate) events: usize,
}

impl Span {
    pub(crate) fn is(&self, name: &str, attributes: &[(&str, &str)]) -> bool {
        self.name == name
            && attributes
                .iter()
                .all(|(name, value)| self.attributes.get(*name).is_some_and(|had| had == value))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Reads what comes and never answers.
    Silent,
}

#[derive(Default)]
struct Kept {
    bodies: Vec<Vec<u8>>,
    spans: Vec<Span>,
    calls: usize,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    kept: Arc<(Mutex<Kept>, Condvar)>,
}

impl Receiver {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::at("127.0.0.1:0", manner)
    }

    pub(crate) fn at(address: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            kept: Arc::default(),
        };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(&stream, manner));
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.kept().spans.clone()
    }

    /// Waits for a span, and returns the first that there is.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, attributes: &[(&str, &str)]) -> Span {
        let found = self.find(|span| span.is(name, attributes));
        found.unwrap_or_else(|| unreachable!("no {name} {attributes:?} in {:#?}", self.names()))
    }

    fn find(&self, wanted: impl Fn(&Span) -> bool) -> Option<Span> {
        let deadline = Instant::now() + PATIENCE;
        let mut kept = self.kept();
        loop {
            if let Some(span) = kept.spans.iter().find(|span| wanted(span)) {
                return Some(span.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.kept.1.wait_timeout(kept, left);
            kept = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it was called so often, answered or not.
    pub(crate) fn wait_for_calls(&self, calls: usize) {
        let mut kept = self.kept();
        while kept.calls < calls {
            kept = self
                .kept
                .1
                .wait(kept)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a text is anywhere in what was sent.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let kept = self.kept();
        let mut bodies = kept.bodies.iter();
        bodies.any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    fn names(&self) -> Vec<String> {
        let spans = self.spans().into_iter();
        spans
            .map(|span| format!("{} {:?}", span.name, span.attributes))
            .collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream, manner: Manner) {
        let mut reader = BufReader::new(stream);
        while let Some(body) = read(&mut reader) {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf");
            let mut kept = self.kept();
            kept.calls += 1;
            if manner == Manner::Takes {
                kept.spans.extend(spans(request));
                kept.bodies.push(body);
            }
            drop(kept);
            self.kept.1.notify_all();
            if manner == Manner::Silent {
                // Until the other side hangs up.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The body of the next request to the path of traces.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "content-type" => assert_eq!(value, "application/x-protobuf"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        let service = texts(resource.attributes);
        let service = service.get("service.name").cloned().unwrap_or_default();
        let scopes = of_resource.scope_spans.into_iter();
        found.extend(scopes.flat_map(|scope| scope.spans).map(|span| Span {
            name: span.name,
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            attributes: texts(span.attributes),
            service: service.clone(),
            events: span.events.len(),
        }));
    }
    found
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for attribute in attributes {
        let before = texts.insert(attribute.key.clone(), text(attribute.value));
        assert_eq!(before, None, "{} is told twice", attribute.key);
    }
    texts
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
