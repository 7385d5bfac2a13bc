//! A real page on a real lake, behind the real sign-in, asked over loopback.

mod benefits;
mod browser;
mod export;
mod lake;
mod live;
mod pipeline;
mod probes;
mod quality;
mod queries;
mod security;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use engine::{Reader, ReaderConfig};
use flight_server::{FlightConfig, Server, TicketKey, User, Users, hash_password};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use self::browser::{Browser, PASSWORD};
use super::*;

/// A page with a lake of its own; both end with it.
struct Running {
    address: SocketAddr,
    folder: TempDir,
    lake: Lake,
    desk: Arc<dyn Desk>,
    shutdown: CancellationToken,
    served: JoinHandle<Result<()>>,
}

impl Running {
    /// The sport project for those who sign in.
    async fn with_users() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        users()
            .store(&folder.path().join("users.toml"))
            .expect("stored");
        let lake = lake::sport(folder.path()).await;
        Self::on(folder, lake, HttpConfig::default()).await
    }

    /// The sport project for everybody on this machine.
    async fn anonymous() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = lake::sport(folder.path()).await;
        Self::on(folder, lake, HttpConfig::default()).await
    }

    async fn on(folder: TempDir, lake: Lake, config: HttpConfig) -> Self {
        let source = SourceConfig::default();
        let reader = Reader::new(lake.clone(), &ReaderConfig::default(), &source);
        let reader = reader
            .expect("a reader")
            .with_policies(&folder.path().join("sql"));
        let file = |name: &str| folder.path().join(name).display().to_string();
        let flight = FlightConfig {
            key: Some(TicketKey::new([5; 32])),
            users: file("users.toml"),
            audit: file("audit.jsonl"),
            ..FlightConfig::default()
        };
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::open(address, reader, &flight, lake::clock(), shutdown.clone());
        let registry = Registry::new();
        let rows = prometheus::IntCounter::new("sportlake_test_rows_total", "Rows");
        let rows = rows.expect("a counter");
        rows.inc_by(7);
        registry.register(Box::new(rows)).expect("registered");
        let desk = server.expect("a server").desk();
        let page = Page {
            desk: desk.clone(),
            lake: lake.clone(),
            clock: lake::clock(),
            source,
            registry,
        };
        let served = tokio::spawn(page.serve(listener, config, shutdown.clone()));
        Self {
            address,
            folder,
            lake,
            desk,
            shutdown,
            served,
        }
    }

    fn browser(&self) -> Browser {
        Browser::new(self.address)
    }

    async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser();
        let shown = browser.sign_in(user, PASSWORD).await;
        assert_eq!(shown.status, 303, "{}", shown.body);
        browser
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.served.await.expect("joined").expect("stopped");
    }
}

/// One of each role: rose of HR, max who leads Ventes, sam who is number 2, and nina without a role.
fn users() -> Users {
    let mut users = Users::default();
    for (name, role, attribute) in [
        ("rose", Some("rh"), None),
        ("max", Some("manager"), Some(("bu", "Ventes"))),
        ("sam", Some("salarie"), Some(("employee_id", "2"))),
        ("nina", None, None),
    ] {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let user = User {
            name: name.to_owned(),
            password: Some(hash_password(PASSWORD).expect("a hash")),
            certificate: None,
            generation: 0,
            roles: role.into_iter().map(str::to_owned).collect(),
            attributes: attribute.map(owned).into_iter().collect::<BTreeMap<_, _>>(),
            tokens: Vec::new(),
        };
        users.add(user).expect("a user");
    }
    users
}
