//! Pages and probes, asked for as plainly as HTTP allows.

use std::io::{Read, Write};
use std::net::TcpStream;

/// The whole answer, which must be 200.
#[track_caller]
pub(crate) fn get(address: &str, path: &str) -> String {
    let answer = ask(address, path).expect("answered");
    let status = answer.lines().next().unwrap_or_default();
    assert!(status.contains(" 200 "), "{path}: {answer}");
    answer
}

/// The same where nobody may listen yet, or not be ready.
pub(crate) fn try_get(address: &str, path: &str) -> Option<String> {
    let answer = ask(address, path).ok()?;
    answer.lines().next()?.contains(" 200 ").then_some(answer)
}

/// As HTTP/1.0, to whose clients nobody answers in chunks.
fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
