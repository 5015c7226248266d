//! A disk that is soon full.

use std::process::Command;

use crate::databases::{TempDir, is_there};

/// A file system of its own, which can be filled.
pub(super) struct SmallDisk {
    dir: std::path::PathBuf,
}

impl SmallDisk {
    /// `None` where nobody may mount one.
    pub(super) fn mount(dir: &TempDir, size: &str) -> Option<Self> {
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        is_there("a file system of the test's own", mounted).then(|| Self { dir: dir.path().into() })
    }

    pub(super) fn fill(&self) {
        let block = vec![0; 4096];
        let mut file = std::fs::File::create(self.dir.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    pub(super) fn free(&self) {
        std::fs::remove_file(self.dir.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}
