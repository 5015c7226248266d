//! A policy file, looked at again and again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_timer::Delay;

use super::PolicyHandle;
use crate::preset::{PolicyFileError, Preset};
use crate::telemetry;

impl PolicyHandle {
    /// Puts the policy of a file in force.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`] if the file can't be meant. It is logged, and the policy in force stays.
    pub fn reload(&self, path: impl AsRef<Path>) -> Result<(), PolicyFileError> {
        let path = path.as_ref();
        let read = Preset::from_file(path);
        let reloaded =
            read.and_then(|preset| self.replace(&preset).map_err(|error| PolicyFileError::of_config(path, &error)));
        telemetry::policy_reload(reloaded.is_ok());
        if let Err(error) = &reloaded {
            tracing::error!(target: "tower_dcr::reload", %error, "the policy file is not used; the policy in force stays");
        }
        reloaded
    }

    /// Looks at a file every so often, and puts its policy in force when it has changed since this was called and then stayed
    /// the same from one look to the next: half of a policy can be one, too, that lets more through. A file that is written
    /// beside and then renamed is never seen half written at all. Ends never; spawn it.
    ///
    /// What the builder changed about the policy of the file is then no more: a file says all that a file can say.
    pub fn watch(self, path: impl Into<PathBuf>, every: Duration) -> Watching {
        let path = path.into();
        let mut seen = Version::of(&path);
        Watching(Box::pin(async move {
            let mut before = Version::of(&path);
            loop {
                Delay::new(every).await;
                let now = Version::of(&path);
                let settled = std::mem::replace(&mut before, now.clone()) == now;
                if settled && now != seen {
                    // Logged; and looked at again when it changes.
                    let _outcome = self.reload(&path);
                    seen = now;
                }
            }
        }))
    }
}

/// The future of [`PolicyHandle::watch`]. It never ends.
#[must_use = "futures do nothing unless polled"]
pub struct Watching(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Watching {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

/// What changes when a file does.
#[derive(Clone, PartialEq, Eq)]
struct Version {
    modified: Option<SystemTime>,
    length: Option<u64>,
}

impl Version {
    fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        Self { modified, length: metadata.map(|metadata| metadata.len()) }
    }
}
