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

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In small letters.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Signs in with the password of the tests; the cookie.
#[track_caller]
pub(crate) fn sign_in(address: &str, user: &str) -> String {
    let form = format!("user={user}&password=correct+horse+battery");
    let answer = send(address, "/login", "/login", &form);
    let cookie = answer.split("sportlake_session=").nth(1);
    let cookie = cookie.and_then(|rest| rest.split(';').next());
    format!(
        "sportlake_session={}",
        cookie.unwrap_or_else(|| unreachable!("no cookie: {answer}"))
    )
}

/// The answer to a form of a page, sent with the token that the page has for it.
#[track_caller]
pub(crate) fn send(address: &str, page: &str, to: &str, form: &str) -> String {
    let page = fetch(address, page, "").expect("answered");
    let page = String::from_utf8(page.body).expect("a page");
    let token = page.split("name=\"token\" value=\"").nth(1);
    let token = token
        .and_then(|rest| rest.split('"').next())
        .expect("a token");
    let body = format!("token={token}&{form}");
    let host = address.trim_start_matches("http://");
    let mut stream = connect(address).expect("connected");
    write!(
        stream,
        "POST {to} HTTP/1.1\r\nHost: {host}\r\nOrigin: {address}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

pub(crate) fn connect(address: &str) -> std::io::Result<TcpStream> {
    TcpStream::connect(address.trim_start_matches("http://"))
}

/// An answer that is whole, or an error.
pub(crate) fn fetch(address: &str, path: &str, cookie: &str) -> std::io::Result<Answer> {
    ask_by(connect(address)?, path, cookie)
}

/// The same over a connection that is there.
pub(crate) fn ask_by(mut stream: TcpStream, path: &str, cookie: &str) -> std::io::Result<Answer> {
    let host = stream.peer_addr()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let torn = || std::io::Error::other("the answer is torn");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or_else(torn)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = &answer[end + 4..];
    let body = match head.contains("transfer-encoding: chunked") {
        true => of_chunks(body).ok_or_else(torn)?,
        false => body.to_vec(),
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(torn)?,
        head,
        body,
    })
}

/// None where the last chunk, which is empty, did not come.
fn of_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}
