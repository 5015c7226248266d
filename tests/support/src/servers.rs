//! A real Redis and a real PostgreSQL, each started on a free port in a folder of its own, with faults on request, and stopped
//! again.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed in the end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tower-dcr-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Redis server, which writes nothing to disk.
pub struct Redis {
    server: Child,
    port: u16,
    arguments: Vec<String>,
    dir: TempDir,
}

impl Redis {
    /// `None` if there is no `redis-server` on this machine.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        let (port, dir) = (free_port(), TempDir::new("redis"));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let server = launch_redis(port, &dir, &arguments);
        Some(Self { server, port, arguments, dir })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops answering, and keeps its connections.
    pub fn freeze(&self) {
        signal("-STOP", &[self.server.id()]);
    }

    pub fn thaw(&self) {
        signal("-CONT", &[self.server.id()]);
    }

    pub fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// With an empty memory.
    pub fn restart(&mut self) {
        self.server = launch_redis(self.port, &self.dir, &self.arguments);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _status = self.server.wait();
    }
}

fn launch_redis(port: u16, dir: &TempDir, arguments: &Vec<String>) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..400 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return child;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _gone = (child.kill(), child.wait());
    panic!("no Redis at port {port}");
}

/// Some of the processes may have gone by themselves.
fn signal(signal: &str, processes: &[u32]) {
    let processes = processes.iter().map(ToString::to_string);
    let _some_gone = Command::new("kill").arg(signal).args(processes).stderr(Stdio::null()).status();
}

/// A PostgreSQL server.
pub struct Postgres {
    server: Child,
    port: u16,
    settings: Vec<String>,
    dir: TempDir,
}

impl Postgres {
    /// With its data in `dir`; `None` if there is no PostgreSQL on this machine.
    pub fn start_in(dir: TempDir, settings: &[&str]) -> Option<Self> {
        let programs = programs()?;
        let data = dir.path().join("data");
        as_database_user(&programs.join("initdb"), dir.path(), &["-D", data.to_str().unwrap()])
            .args(["--username=test", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"])
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
            .then_some(())
            .expect("initdb");
        let port = free_port();
        let settings = settings.iter().map(ToString::to_string).collect();
        let server = launch_postgres(&programs, port, &dir, &settings);
        Some(Self { server, port, settings, dir })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// All of its processes stand still, and keep their connections.
    pub fn freeze(&self) {
        signal("-STOP", &self.processes());
    }

    pub fn thaw(&self) {
        signal("-CONT", &self.processes());
    }

    /// All of its processes are gone at once.
    pub fn kill(&mut self) {
        signal("-KILL", &self.processes());
        self.server.wait().unwrap();
    }

    pub fn restart(&mut self) {
        let _stale = std::fs::remove_file(self.dir.path().join("data/postmaster.pid"));
        self.server = launch_postgres(&programs().unwrap(), self.port, &self.dir, &self.settings);
    }

    /// The one that starts others first.
    fn processes(&self) -> Vec<u32> {
        let parent = self.server.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        [parent].into_iter().chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM, through the parent process; the folder is removed after the last process.
        let _gone = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        let _status = self.server.wait();
    }
}

/// The folders of the server's programs on Debian and others.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian.map(|version| version.path().join("bin")).max();
    newest.or_else(|| {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().into())
    })
}

fn launch_postgres(programs: &Path, port: u16, dir: &TempDir, settings: &Vec<String>) -> Child {
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
