//! A real browser.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

use crate::databases::TempDir;
use crate::there::is_there;

/// Debian's Chromium, driven by its driver.
pub(crate) struct Browser {
    driver: Child,
    pub(crate) client: Client,
    _profile: TempDir,
}

impl Browser {
    /// `None` if there is no browser on this machine and that is all right.
    pub(crate) async fn open() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        if !is_there("chromedriver", driver.is_ok()) {
            return None;
        }
        let mut driver = driver.unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = |line: String| line.split("on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok();
        let port = lines.find_map(|line| port(line).filter(|port| *port != 0)).unwrap();
        // A driver whose output is not read stops.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = TempDir::new("chromium");
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1400,1400".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({ "goog:chromeOptions": { "args": arguments } });
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Some(Self { driver, client, _profile: profile })
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.client.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg(self.driver.id().to_string()).status();
        let _status = self.driver.wait();
    }
}
