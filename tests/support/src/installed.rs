//! Programs that `tests/clients/install` installs, and their commands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::ROOT;
use crate::there::is_there;

/// Packages of npm and of Python, and the interpreters that find them.
pub struct Installed {
    pub dir: PathBuf,
    /// The scripts, beside the packages that they import.
    scripts: PathBuf,
}

impl Installed {
    /// Finds the installation; `None` if there is none, and none is needed.
    pub fn find() -> Option<&'static Self> {
        static INSTALLED: LazyLock<Option<Installed>> = LazyLock::new(Installed::open);
        INSTALLED.as_ref()
    }

    fn open() -> Option<Self> {
        let here = Path::new(ROOT);
        let install = Command::new(here.join("tests/clients/install")).arg("--where").output();
        let installed = install.ok().filter(|output| output.status.success());
        if !is_there("what tests/clients/install installs", installed.is_some()) {
            return None;
        }
        let dir = PathBuf::from(String::from_utf8(installed?.stdout).unwrap().trim_end());
        // Node looks for packages beside the script, wherever it was started.
        let scripts = here.join("target/clients/node");
        std::fs::create_dir_all(&scripts).unwrap();
        for entry in std::fs::read_dir(here.join("tests/clients/node")).unwrap() {
            let script = entry.unwrap().path();
            if script.extension() == Some(OsStr::new("mjs")) {
                std::fs::copy(&script, scripts.join(script.file_name().unwrap())).unwrap();
            }
        }
        let packages = scripts.join("node_modules");
        // It may be one of an installation that is no more.
        let _gone = std::fs::remove_file(&packages);
        std::os::unix::fs::symlink(dir.join("node_modules"), &packages).unwrap();
        Some(Self { dir, scripts })
    }

    pub fn node(&self, script: &str) -> Command {
        let mut command = Command::new(self.dir.join("bin/node"));
        command.arg(self.scripts.join(script));
        command
    }

    /// With the interpreter that has the packages: `python` or `python-1`.
    pub fn python(&self, python: &str, script: &str) -> Command {
        let mut command = self.interpreter(python);
        let scripts = Path::new(ROOT).join("tests/clients/python");
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(scripts.join(script));
        command
    }

    pub fn interpreter(&self, python: &str) -> Command {
        Command::new(self.dir.join(python).join("bin/python"))
    }
}
