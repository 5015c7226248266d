//! Tries to reach a listener on this machine as an attacker does, by a name that resolves to it and by a port. Fails if a connection
//! arrives.
//!
//! Started with `--release`: what users have reaches no more than what is tested.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_dcr::documents::{
    ClientIdUrl, ClientIdUrlError, ClientIdUrlOptions, DocumentSettings, Fetch, FetchError, FetchRequest,
};
use tower_dcr_fetch::{HttpsFetcher, Resolve};

const HOST: &str = "app.example.com";

/// The names of an attacker: every one of them leads to this machine.
struct Attacker(IpAddr);

impl Resolve for Attacker {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.0])
    }
}

/// Returns `true` if a connection arrives soon.
async fn arrives(listener: &TcpListener) -> bool {
    timeout(Duration::from_millis(200), listener.accept()).await.is_ok()
}

/// Returns `true` if the address is rejected and nothing arrives.
async fn is_out_of_reach(address: &str, url: &ClientIdUrl, listener: &TcpListener) -> Result<bool, Box<dyn Error>> {
    let fetcher = HttpsFetcher::new()?.with_resolver(Attacker(address.parse()?));
    let (text, is_rejected) = match fetcher.fetch(FetchRequest::new(url.clone())).await {
        Err(FetchError::AddressRejected(class)) => (format!("rejected: {class}"), true),
        other => (format!("{other:?}"), false),
    };
    let has_arrived = arrives(listener).await;
    println!("{address:24} {text}{}", if has_arrived { ", but a connection arrived" } else { "" });
    Ok(is_rejected && !has_arrived)
}

/// Returns `true` if the settings that a server begins with reject the URL for its port.
fn is_no_client_id(url: &str) -> bool {
    let by_default = DocumentSettings::default();
    let options = ClientIdUrlOptions { query: by_default.query, ports: by_default.ports.clone() };
    let read = ClientIdUrl::parse_with(url, &options);
    println!("{url:40} {}", read.as_ref().map_or_else(ToString::to_string, |_| "accepted".to_owned()));
    read == Err(ClientIdUrlError::Port)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    // The port is in the URL: only the address stands in between.
    let options = ClientIdUrlOptions { query: false, ports: [port].into() };
    let url = ClientIdUrl::parse_with(&format!("https://{HOST}:{port}/client"), &options)?;
    let mut is_safe = true;
    for address in
        ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"]
    {
        is_safe &= is_out_of_reach(address, &url, &listener).await?;
    }
    // By default a server asks no other port than 443. Only `documents.ports` lists more.
    for port in [port, 80, 6379, 8443] {
        is_safe &= is_no_client_id(&format!("https://{HOST}:{port}/client"));
    }
    // The listener can be reached, and only this call reaches it.
    let mapped = HttpsFetcher::new()?.danger_map_host(HOST, SocketAddr::from(([127, 0, 0, 1], port)))?;
    let (arrived, _) =
        tokio::join!(arrives(&listener), timeout(Duration::from_millis(200), mapped.fetch(FetchRequest::new(url))));
    println!("{:24} {}", "danger_map_host", if arrived { "reached" } else { "not reached: nothing is proved" });
    Ok(if is_safe && arrived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
