//! A Docker client sets its proxies in every container: no check of health and no registration asks them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;

use super::{docker, read};
use crate::project::text;

/// Proxies that do not answer.
pub(super) fn proxies() -> [(&'static str, &'static str); 2] {
    ["http_proxy", "all_proxy"].map(|variable| (variable, "http://127.0.0.1:9"))
}

/// Not in the checks that no test can run either.
#[test]
fn nothing_asks_a_proxy_for_its_neighbours() {
    for name in ["Dockerfile", "compose.yaml", "debezium/register.sh"] {
        let file = read(name);
        let lines = file.lines().map(str::trim_start);
        for line in lines.filter(|line| !line.starts_with('#') && !line.contains("apt-get")) {
            assert!(
                !line.contains("curl") || line.contains("--noproxy"),
                "{line}"
            );
            assert!(
                !line.contains("wget") || line.contains("http_proxy="),
                "{line}"
            );
        }
    }
}

/// A worker that has one connector, which runs at once.
#[test]
fn the_connector_is_registered_past_a_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let worker = std::thread::spawn(move || {
        let mut asked = Vec::new();
        while asked.len() < 3 {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let mut line = String::new();
            reader.read_line(&mut line).expect("a request");
            let (mut header, mut length) = (String::new(), 0);
            while header != "\r\n" {
                header.clear();
                reader.read_line(&mut header).expect("a header");
                if let Some(found) = header.to_lowercase().strip_prefix("content-length: ") {
                    length = found.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let answer = r#"{"tasks":[{"id":0,"state":"RUNNING"}]}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", answer.len());
            write!(stream, "{head}Connection: close\r\n\r\n{answer}").expect("answered");
            asked.push(line.trim().to_owned());
        }
        asked
    });
    let mut script = Command::new("sh");
    script.arg(docker("debezium/register.sh"));
    script.env("CONNECT_URL", url).env("CONNECT_TRIES", "3");
    let output = script.envs(proxies()).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let asked = worker.join().expect("a worker");
    assert!(
        asked[1].starts_with("PUT /connectors/sport/config"),
        "{asked:?}"
    );
}
