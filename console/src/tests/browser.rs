//! A browser as plain as HTTP allows: it keeps cookies, sends forms and shows what came back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::form_urlencoded;

pub(super) const PASSWORD: &str = "correct horse battery";

#[derive(Debug, Clone)]
pub(super) struct Browser {
    address: SocketAddr,
    cookies: BTreeMap<String, String>,
    /// Sent with each request, in the place of what a browser sends by itself.
    pub(super) headers: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Shown {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .headers
            .lines()
            .filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    /// The token of the page's forms.
    pub(super) fn token(&self) -> String {
        let after = self.body.split("name=\"token\" value=\"").nth(1);
        let token = after.and_then(|after| after.split('"').next());
        token.unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(super) fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "no {text:?} in {}", self.body);
        self
    }

    #[track_caller]
    pub(super) fn lacks(&self, text: &str) -> &Self {
        assert!(!self.body.contains(text), "{text:?} in {}", self.body);
        self
    }
}

impl Browser {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookies: BTreeMap::new(),
            headers: BTreeMap::new(),
        }
    }

    /// The same browser, which sends a header otherwise.
    pub(super) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.insert(name, value.to_owned());
        other
    }

    pub(super) async fn get(&mut self, path: &str) -> Shown {
        self.send("GET", path, None).await
    }

    /// A page that must be there.
    #[track_caller]
    pub(super) fn page(&mut self, path: &str) -> impl Future<Output = Shown> {
        let path = path.to_owned();
        async move {
            let shown = self.get(&path).await;
            assert_eq!(shown.status, 200, "{path}: {}", shown.body);
            shown
        }
    }

    pub(super) async fn post(&mut self, path: &str, values: &[(&str, &str)]) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(values)
            .finish();
        self.send("POST", path, Some(body)).await
    }

    /// With the token of the sign-in form.
    pub(super) async fn sign_in(&mut self, user: &str, password: &str) -> Shown {
        let token = self.get("/login").await.token();
        let values = [
            ("token", token.as_str()),
            ("user", user),
            ("password", password),
        ];
        self.post("/login", &values).await
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, body: Option<String>) -> Shown {
        let host = self.address.to_string();
        let origin = format!("http://{host}");
        let body = body.unwrap_or_default();
        let length = body.len().to_string();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut headers: BTreeMap<&str, &str> = BTreeMap::from([
            ("Host", host.as_str()),
            ("Accept", "text/html"),
            ("Connection", "close"),
        ]);
        if method == "POST" {
            headers.insert("Origin", &origin);
            headers.insert("Content-Type", "application/x-www-form-urlencoded");
            headers.insert("Content-Length", &length);
        }
        if !cookies.is_empty() {
            headers.insert("Cookie", &cookies);
        }
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (headers, body) = answer.split_once("\r\n\r\n").expect("headers");
        for line in headers.lines() {
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("set-cookie")
                && let Some((name, value)) = value.split(';').next().and_then(|c| c.split_once('='))
            {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let status = headers
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Shown {
            status: status.expect("a status"),
            headers: headers.to_owned(),
            body: body.to_owned(),
        }
    }
}
