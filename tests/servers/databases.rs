//! Real databases, started on a free port in a folder of their own and stopped again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed in the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tower-dcr-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a program is `there`. If not, that is said, and fails where all programs have to be.
pub(crate) fn is_there(program: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var_os("TOWER_DCR_ALL_SERVERS").is_none(), "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// A PostgreSQL server.
pub(crate) struct Postgres {
    server: Child,
    port: u16,
    settings: Vec<String>,
    dir: TempDir,
}

impl Postgres {
    /// `None` if there is no PostgreSQL on this machine and that is all right.
    pub(crate) fn start() -> Option<Self> {
        Self::start_in(TempDir::new("postgres"), &["max_connections=200"])
    }

    /// With its data in `dir`.
    pub(crate) fn start_in(dir: TempDir, settings: &[&str]) -> Option<Self> {
        let Some(programs) = programs() else {
            is_there("PostgreSQL", false);
            return None;
        };
        let data = dir.path().join("data");
        as_database_user(&programs.join("initdb"), dir.path(), &["-D", data.to_str().unwrap()])
            .args(["--username=test", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
            .then_some(())
            .expect("initdb");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(ToString::to_string).collect();
        let server = launch(&programs, port, &dir, &settings);
        Some(Self { server, port, settings, dir })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// All of its processes stand still, and keep their connections.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// All of its processes are gone at once.
    pub(crate) fn kill(&mut self) {
        self.signal("-KILL");
        self.server.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        let _stale = std::fs::remove_file(self.dir.path().join("data/postmaster.pid"));
        self.server = launch(&programs().unwrap(), self.port, &self.dir, &self.settings);
    }

    fn signal(&self, signal: &str) {
        let parent = self.server.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        // The one that starts others first. One may have gone by itself meanwhile.
        let _some_gone = Command::new("kill")
            .args([signal, &parent])
            .args(children.split_whitespace())
            .stderr(Stdio::null())
            .status();
    }

    pub(crate) fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new().host("127.0.0.1").port(self.port).username("test").database(database)
    }

    /// A connection pool to an empty database.
    pub(crate) async fn fresh_database(&self) -> PgPool {
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let admin = self.connect("postgres").await;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
        admin.close().await;
        self.connect(&name).await
    }

    pub(crate) async fn connect(&self, database: &str) -> PgPool {
        for _ in 0..200 {
            let pool = PgPoolOptions::new().max_connections(16);
            if let Ok(pool) = pool.connect_with(self.options(database)).await {
                return pool;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no PostgreSQL at port {} ({})", self.port, self.dir.path().display());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM, through whoever started it; the folder goes after the last process has.
        let _gone = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _status = self.server.wait();
    }
}

/// Where Debian and others put the server's programs.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian.map(|version| version.path().join("bin")).max();
    newest.or_else(|| {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().into())
    })
}

fn launch(programs: &Path, port: u16, dir: &TempDir, settings: &Vec<String>) -> Child {
    let data = dir.path().join("data");
    let mut server = as_database_user(&programs.join("postgres"), dir.path(), &["-D", data.to_str().unwrap()]);
    server.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// PostgreSQL does not run as root.
fn as_database_user(program: &Path, dir: &Path, arguments: &[&str]) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let mut command = if is_root {
        let owned = Command::new("chown").args(["-R", "postgres"]).arg(dir).status().unwrap();
        assert!(owned.success(), "the user `postgres` exists");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).current_dir(dir);
    command
}
