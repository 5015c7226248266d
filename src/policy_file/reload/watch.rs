//! Watching a policy file.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_timer::Delay;

use super::ReloadableLayer;
use crate::period;
use crate::policy_file::{PolicyFileError, load};
use crate::preset::Preset;
use crate::registration::Digest;
use crate::telemetry;

impl ReloadableLayer {
    /// Puts the policy of a file in force.
    ///
    /// # Errors
    ///
    /// Returns [`PolicyFileError`] if the file can't be read or is invalid. The error is logged, and the policy in
    /// force stays.
    pub fn reload(&self, path: impl AsRef<Path>) -> Result<(), PolicyFileError> {
        let path = path.as_ref();
        self.adopt(path, Preset::from_file(path))
    }

    fn adopt(&self, path: &Path, read: Result<Preset, PolicyFileError>) -> Result<(), PolicyFileError> {
        let reloaded =
            read.and_then(|preset| self.replace(&preset).map_err(|error| PolicyFileError::of_config(path, &error)));
        telemetry::policy_reload(reloaded.is_ok());
        if let Err(error) = &reloaded {
            tracing::error!(target: "tower_dcr::reload", %error, "the policy file is not used; the policy in force stays");
        }
        reloaded
    }

    /// Reads a policy file, and that of its shadow, at this interval, and puts its policy in force once the content of
    /// one has changed and two consecutive reads agree: half of a policy file can be a valid policy that lets more
    /// through. A file that is written under another name and then renamed is never read half written. Times and
    /// lengths are not compared, because images and package stores set them to the same values. The future never ends;
    /// spawn it.
    ///
    /// Changes that code made to the policy are lost at the first reload: a file sets everything that a file can.
    pub fn watch(self, path: impl Into<PathBuf>, every: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (path, every) = (path.into(), every.min(period::LONGEST));
        // A shadow policy has a file of its own.
        let look = |layer: &Self, path: &Path| {
            let shadow = layer.shared.preset.load().shadow_file();
            let policy = Content::of(path);
            ((policy.digest, shadow.and_then(|shadow| Content::of(&shadow).digest)), policy.read)
        };
        let (mut seen, _) = look(&self, &path);
        Box::pin(async move {
            let mut before = seen;
            loop {
                Delay::new(every).await;
                let (now, read) = look(&self, &path);
                let settled = std::mem::replace(&mut before, now) == now;
                if settled && now != seen {
                    // An error is logged, and the file is read again when it changes. The text from this read is used:
                    // the file may hold another by now.
                    let _outcome = self.adopt(&path, Preset::from_read_file(&path, read));
                    seen = now;
                }
            }
        })
    }
}

/// The content of a file.
struct Content {
    /// `None` if the file can't be read.
    digest: Option<Digest>,
    read: io::Result<String>,
}

impl Content {
    fn of(path: &Path) -> Self {
        let read = load::read_policy(path);
        Self { digest: read.as_ref().ok().map(|text| Digest::of(text.as_bytes())), read }
    }
}
