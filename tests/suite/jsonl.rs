//! Events in files: rotation, the chain, what happens when there is no room.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tower_dcr::Preset;
use tower_dcr::event::{BrokenChain, ChainKey, JsonLines, JsonLinesError, Overflow, Sink, verify_chain};

use crate::support::{Kept, Naive, behind, post, send};

/// A folder of its own for every test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tower-dcr-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn key() -> ChainKey {
    ChainKey::new(b"sixteen bytes or more").unwrap()
}

fn verify(path: &Path, previous: Option<&str>) -> Result<(u64, String), u64> {
    match verify_chain(BufReader::new(fs::File::open(path).unwrap()), &key(), previous) {
        Ok(chain) => Ok((chain.lines, chain.last)),
        Err(BrokenChain::Line(line)) => Err(line),
        Err(error) => panic!("{error}"),
    }
}

async fn register(sink: &JsonLines, times: usize) {
    let service = behind(&Preset::mcp().without_rate_limits().with_sink(sink.clone()), &Naive::default());
    for _ in 0..times {
        send(&service, post(r#"{"redirect_uris":["https://app.example.com/cb"]}"#)).await;
    }
    sink.flush();
}

#[tokio::test]
async fn each_event_is_a_line_of_json() {
    let folder = Folder::new();
    let sink = JsonLines::new(folder.file("audit")).open().unwrap();
    register(&sink, 3).await;
    let lines = fs::read_to_string(folder.file("audit")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["schema"], &event["outcome"]), (&1.into(), &"accepted".into()));
        assert!(event.get("chain").is_none());
    }
    assert_eq!(sink.lost(), 0);
}

#[tokio::test]
async fn a_file_is_rotated_at_its_size_and_the_oldest_goes() {
    let folder = Folder::new();
    let sink = JsonLines::new(folder.file("audit")).with_max_bytes(3_000).with_max_files(3).open().unwrap();
    register(&sink, 20).await;
    let names = ["audit", "audit.1", "audit.2"];
    for name in names {
        let length = fs::metadata(folder.file(name)).unwrap().len();
        assert!(length > 0 && length <= 3_000, "{name}: {length}");
    }
    assert!(!folder.file("audit.3").exists());
    let single = JsonLines::new(folder.file("one")).with_max_bytes(1_000).with_max_files(1).open().unwrap();
    register(&single, 5).await;
    assert!(!folder.file("one.1").exists() && fs::metadata(folder.file("one")).unwrap().len() <= 1_000);
}

#[tokio::test]
async fn the_chain_holds_across_restarts_and_rotations() {
    let folder = Folder::new();
    let open = || {
        JsonLines::new(folder.file("audit")).with_max_bytes(6_000).with_max_files(9).with_chain(key()).open().unwrap()
    };
    for _ in 0..4 {
        register(&open(), 5).await;
    }
    let mut files: Vec<PathBuf> =
        (1..9).rev().map(|number| folder.file(&format!("audit.{number}"))).filter(|path| path.exists()).collect();
    files.push(folder.file("audit"));
    assert!(files.len() > 1);
    let (mut last, mut lines) = (None, 0);
    for file in &files {
        let (count, end) = verify(file, last.as_deref()).unwrap();
        lines += count;
        last = Some(end);
    }
    assert_eq!(lines, 20);
    // Without the file before it, a rotated file does not verify.
    assert_eq!(verify(files.last().unwrap(), None), Err(1));
}

#[tokio::test]
async fn the_first_line_that_was_tampered_with_is_named() {
    let folder = Folder::new();
    let path = folder.file("audit");
    let sink = JsonLines::new(&path).with_chain(key()).open().unwrap();
    register(&sink, 6).await;
    drop(sink);
    assert_eq!(verify(&path, None).unwrap().0, 6);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let tampered = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n")).unwrap();
        verify(&path, None).err()
    };
    assert_eq!(tampered(&|lines| lines[2] = lines[2].replace("accepted", "rejected")), Some(3));
    assert_eq!(tampered(&|lines| drop(lines.remove(3))), Some(4));
    assert_eq!(tampered(&|lines| lines.swap(1, 2)), Some(2));
    assert_eq!(tampered(&|lines| lines.insert(4, lines[4].clone())), Some(6));
    assert_eq!(tampered(&|lines| lines[5].push(' ')), Some(6));
    assert_eq!(tampered(&|lines| lines[0] = "{}".into()), Some(1));
    assert_eq!(tampered(&|lines| lines[0] = "\u{fffd}".into()), Some(1));
    let other = ChainKey::new(b"another key, as long").unwrap();
    fs::write(&path, &whole).unwrap();
    assert!(verify_chain(whole.as_bytes(), &other, None).is_err());
    assert!(ChainKey::new(b"too short").is_none());
    // What was cut off at the end shows only against a value that was kept elsewhere.
    fs::write(&path, lines[..5].join("\n")).unwrap();
    assert_ne!(verify(&path, None).unwrap().1, verify_chain(whole.as_bytes(), &key(), None).unwrap().last);
}

#[tokio::test]
async fn a_chain_is_not_started_in_the_middle_of_a_file() {
    let folder = Folder::new();
    fs::write(folder.file("audit"), "{\"schema\":1}\n").unwrap();
    let error = JsonLines::new(folder.file("audit")).with_chain(key()).open().unwrap_err();
    assert!(matches!(&error, JsonLinesError::Unchained(path) if *path == folder.file("audit")), "{error}");
    let error = JsonLines::new(folder.file("no/such/folder")).open().unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

/// Renaming `/dev/null`, which takes any number of bytes, would leave everybody else without it.
#[cfg(unix)]
#[tokio::test]
async fn what_is_no_regular_file_is_never_renamed() {
    use std::os::unix::fs::FileTypeExt;
    let folder = Folder::new();
    let pipe = folder.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened for both, so that neither end waits for the other.
    let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let sink = JsonLines::new(&pipe).with_max_bytes(100).open().unwrap();
    register(&sink, 3).await;
    assert_eq!(sink.lost(), 0);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert!(!folder.file("pipe.1").exists());
    let mut lines = std::io::BufRead::lines(BufReader::new(reader));
    assert!((0..3).all(|_| lines.next().unwrap().unwrap().contains("\"outcome\"")));
}

/// `/dev/full` takes nothing: every write fails, as on a disk without room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_full_disk_loses_is_counted_or_refused() {
    let counting = JsonLines::new("/dev/full").open().unwrap();
    register(&counting, 3).await;
    assert_eq!(counting.lost(), 3);
    assert!(counting.is_ready());
    let (naive, kept) = (Naive::default(), Kept::default());
    let refusing = JsonLines::new("/dev/full").with_overflow(Overflow::Refuse).open().unwrap();
    let service = behind(&Preset::mcp().with_sink((kept.sink(), refusing.clone())), &naive);
    let send = async || {
        let answer = send(&service, post(r#"{"redirect_uris":["https://app.example.com/cb"]}"#)).await;
        refusing.flush();
        answer.status()
    };
    assert_eq!(send().await, StatusCode::CREATED);
    assert_eq!(send().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((naive.seen().len(), kept.take().len()), (1, 2));
}
