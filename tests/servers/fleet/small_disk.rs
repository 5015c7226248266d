//! A disk that is soon full.

use std::fs::{File, remove_file};
use std::io::Write;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::databases::TempDir;
use crate::there::is_there;

/// A file system of its own, which can be filled.
pub(super) struct SmallDisk {
    dir: std::path::PathBuf,
    filler: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl SmallDisk {
    /// `None` without the permission to mount one.
    pub(super) fn mount(dir: &TempDir, size: &str) -> Option<Self> {
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        is_there("a file system of the test's own", mounted)
            .then(|| Self { dir: dir.path().into(), filler: Mutex::default() })
    }

    /// Fills the disk, and takes what others give back (a database deletes its log) until [`Self::free`].
    pub(super) fn fill(&self) {
        let mut file = File::create(self.dir.join("filler")).unwrap();
        write_until_full(&mut file);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(2)) == Err(RecvTimeoutError::Timeout) {
                write_until_full(&mut file);
            }
        });
        *self.filler.lock().unwrap() = Some((stop, thread));
    }

    pub(super) fn free(&self) {
        let (stop, thread) = self.filler.lock().unwrap().take().unwrap();
        drop(stop);
        thread.join().unwrap();
        remove_file(self.dir.join("filler")).unwrap();
    }
}

fn write_until_full(file: &mut File) {
    while file.write_all(&[0; 4096]).is_ok() {}
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}
