use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sources::postgres::Address;
use tempfile::TempDir;

use crate::parts::part;
use crate::ports::free_port;

/// The password of both roles.
pub(crate) const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a port of its own, which ends with its last user.
pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    settings: Vec<String>,
    pub(crate) port: u16,
    process: Mutex<Child>,
}

/// A database with the tables of `docker/postgres/`.
pub(crate) struct Database {
    pub(crate) server: Arc<Server>,
    pub(crate) name: String,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// The one that tests share; none where PostgreSQL is not installed.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start(&["wal_level=logical"])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let programs = PathBuf::from(part("SPORTLAKE_TEST_POSTGRES")?);
        let folder = tempfile::Builder::new()
            .prefix("sportlake-pg-")
            .tempdir()
            .expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        if is_root() {
            run(Command::new("chmod").arg("755").arg(folder.path()));
            run(Command::new("chown").arg("postgres:").arg(&data));
        }
        let initdb = programs.join("initdb");
        let mut command = as_postgres(&initdb);
        command.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        run(command.arg(&data));
        let access =
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), access).expect("written");
        let port = free_port();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let process = spawn(&programs, &data, port, &settings);
        let server = Self {
            programs,
            folder,
            settings,
            port,
            process: Mutex::new(process),
        };
        server.wait();
        Some(server)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        let answer = self.try_psql(database, sql);
        let shown = answer.as_ref().err();
        assert!(
            shown.is_none(),
            "{sql}\n{}",
            shown.cloned().unwrap_or_default()
        );
        answer.unwrap_or_default()
    }

    /// What psql prints, or what it says where a statement fails.
    pub(crate) fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ]);
        // A file, because arguments are limited.
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{}.sql", FILES.fetch_add(1, Ordering::Relaxed));
        let file = self.folder.path().join(name);
        std::fs::write(&file, sql).expect("written");
        command
            .args(["-p", &self.port.to_string(), "-d", database, "-f"])
            .arg(&file);
        let output = command.output().expect("psql runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        Ok(printed.trim().to_owned())
    }

    /// Ends every process of the server with SIGKILL, and starts it again.
    pub(crate) fn crash(&self) {
        self.kill();
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.wait().expect("it ends");
        *process = spawn(&self.programs, &self.data(), self.port, &self.settings);
        drop(process);
        self.wait();
    }

    /// The postmaster first: it starts no more processes, and mourns none.
    fn kill(&self) {
        let postmaster = self.postmaster().expect("it runs");
        let mut processes = vec![postmaster.clone()];
        processes.extend(children(&postmaster));
        let mut kill = Command::new("kill");
        // One of them may have ended by itself meanwhile.
        let _ = kill
            .arg("-KILL")
            .args(&processes)
            .output()
            .expect("it runs");
        let started = Instant::now();
        while processes.iter().any(|process| is_alive(process)) {
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in order, and makes it a server that took over from another one.
    pub(crate) fn promote(&self) {
        self.signal("-INT");
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.wait().expect("it ends");
        std::fs::write(self.data().join("standby.signal"), "").expect("written");
        *process = spawn(&self.programs, &self.data(), self.port, &self.settings);
        drop(process);
        self.wait();
        assert_eq!(self.psql("postgres", "SELECT pg_promote()"), "t");
    }

    fn signal(&self, signal: &str) {
        if let Some(pid) = self.postmaster() {
            run(Command::new("kill").args([signal, &pid]));
        }
    }

    fn postmaster(&self) -> Option<String> {
        let lock = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        Some(lock.lines().next()?.trim().to_owned())
    }

    fn wait(&self) {
        let started = Instant::now();
        loop {
            let mut ready = Command::new(self.programs.join("psql"));
            ready.args([
                "-X",
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-p",
                &self.port.to_string(),
                "-c",
                "SELECT 1",
            ]);
            let ready = ready
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("psql runs");
            if ready.success() {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-QUIT");
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = process.wait();
    }
}

impl Database {
    /// On the shared server, with nothing of another test in it.
    pub(crate) fn create(name: &str) -> Option<Self> {
        Some(Self::on(Server::shared()?, name))
    }

    pub(crate) fn on(server: Arc<Server>, name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Of the workspace, whose own tests use this too.
        let root = root.ancestors().find(|root| root.join("docker").is_dir());
        let root = root
            .expect("a workspace")
            .join("docker/postgres/01-sportsdb.sql");
        let text = std::fs::read_to_string(root).expect("the script");
        // Each test has a database of its own; the script makes the one of production.
        let text = text.replace("sportsdb", name);
        let file = server.folder.path().join(format!("{name}.sql"));
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(server.programs.join("psql"));
        command.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
        ]);
        command
            .args(["-p", &server.port.to_string(), "-f"])
            .arg(&file);
        command
            .env("SPORTLAKE_CDC_PASSWORD", PASSWORD)
            .env("SPORTLAKE_APP_PASSWORD", PASSWORD);
        // Roles are the server's: two tests must not make them at once.
        static ROLES: Mutex<()> = Mutex::new(());
        let alone = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in ["first", "again: it changes nothing"] {
            run(&mut command);
        }
        drop(alone);
        Self {
            server,
            name: name.to_owned(),
        }
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.server.try_psql(&self.name, sql)
    }

    pub(crate) fn address(&self) -> Address {
        self.address_of("sportlake_cdc", PASSWORD, "")
    }

    pub(crate) fn address_of(&self, user: &str, password: &str, options: &str) -> Address {
        Address::parse(&self.url_of(user, password, options), None).expect("an address")
    }

    pub(crate) fn url_of(&self, user: &str, password: &str, options: &str) -> String {
        let password = password.replace(' ', "%20");
        let (port, name) = (self.server.port, &self.name);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}{options}")
    }
}

fn spawn(programs: &Path, data: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = as_postgres(&programs.join("postgres"));
    command.arg("-D").arg(data);
    let always = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "max_wal_senders=32".to_owned(),
        "max_replication_slots=32".to_owned(),
        "fsync=off".to_owned(),
        "shared_buffers=32MB".to_owned(),
    ];
    for setting in always.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("PostgreSQL starts")
}

/// The server refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    let mut command = match is_root() {
        true => {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        }
        false => Command::new(program),
    };
    command.current_dir("/");
    command
}

fn children(parent: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let processes = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes
        .filter(|process| status(process).is_some_and(|(_, theirs)| theirs == parent))
        .collect()
}

fn is_alive(process: &str) -> bool {
    status(process).is_some_and(|(state, _)| state != "Z")
}

/// The state and the parent of a process.
fn status(process: &str) -> Option<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut words = text.rsplit_once(')')?.1.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
}
