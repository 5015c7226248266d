//! A failure of the disk with the audit file on it.

use std::fs::File;
use std::io::BufReader;

use test_support::support::eventually;
use tower_dcr::audit::{ChainKey, JsonLines, JsonLinesSettings, Overflow, Sink};
use tower_dcr::clients::MemoryLedger;

use super::small_disk::SmallDisk;
use crate::databases::TempDir;
use crate::world::{World, metadata};

const KEY: &[u8] = b"sixteen bytes or more";

/// Registers until the disk has been full for a while, frees it, and says how many were registered.
async fn full_disk(overflow: Overflow) -> Option<(usize, JsonLines, std::path::PathBuf, (TempDir, SmallDisk))> {
    let dir = TempDir::new("audit");
    let disk = SmallDisk::mount(&dir, "1m")?;
    let path = dir.path().join("audit.jsonl");
    let settings = JsonLinesSettings {
        max_bytes: u64::MAX,
        queue: 200,
        overflow,
        chain: ChainKey::new(KEY),
        ..Default::default()
    };
    let file = JsonLines::open(&path, settings).unwrap();
    let audit = file.clone();
    let world = World::new(MemoryLedger::default()).guarded_by(|preset| preset.with_sink(audit));
    let mut registered = 0;
    let mut register = async |number: u32| {
        let status = world.register(&metadata(&format!("App {number}"))).await.status;
        assert!(status == 201 || status == 503, "{status}");
        registered += usize::from(status == 201);
    };
    for number in 0..20 {
        register(number).await;
    }
    file.flush();
    disk.fill();
    for number in 20..800 {
        register(number).await;
    }
    disk.free();
    eventually("the file is ready", async || file.is_ready()).await;
    register(800).await;
    file.flush();
    Some((registered, file, path, (dir, disk)))
}

/// Lines of registrations in a file whose chain holds.
fn lines(path: &std::path::Path) -> usize {
    let key = ChainKey::new(KEY).unwrap();
    key.verify(BufReader::new(File::open(path).unwrap()), None).unwrap();
    std::fs::read_to_string(path).unwrap().lines().filter(|line| line.contains("\"outcome\":\"accepted\"")).count()
}

#[tokio::test]
async fn a_full_disk_rejects_and_loses_no_registration() {
    let Some((registered, _, path, _disk)) = full_disk(Overflow::Reject).await else { return };
    assert!((20..700).contains(&registered), "{registered}");
    assert_eq!(lines(&path), registered);
}

#[tokio::test]
async fn a_full_disk_loses_counted_events() {
    let Some((registered, file, path, _disk)) = full_disk(Overflow::Count).await else { return };
    assert_eq!(registered, 801);
    assert!(file.lost() > 0);
    assert_eq!(lines(&path) as u64 + file.lost(), 801);
}
