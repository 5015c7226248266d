//! Events in files: rotation, the chain, what happens when there is no room.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tower_dcr::audit::{
    BrokenChain, ChainHead, ChainKey, JsonLines, JsonLinesError, JsonLinesSettings, Overflow, Sink,
};

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
    match key().verify(BufReader::new(fs::File::open(path).unwrap()), previous) {
        Ok((end, lines)) => Ok((lines, end.last)),
        Err(BrokenChain::Line(line)) => Err(line),
        Err(error) => panic!("{error}"),
    }
}

async fn register(sink: &JsonLines, times: usize) {
    let service = behind(&tower_dcr::mcp().without_rate_limits().with_sink(sink.clone()), &Naive::default());
    for _ in 0..times {
        send(&service, post(r#"{"redirect_uris":["https://app.example.com/cb"]}"#)).await;
    }
    sink.flush();
}

#[tokio::test]
async fn each_event_is_a_line_of_json() {
    let folder = Folder::new();
    let sink = JsonLines::open(folder.file("audit"), JsonLinesSettings::default()).unwrap();
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
    let sink = JsonLines::open(
        folder.file("audit"),
        JsonLinesSettings { max_bytes: 3_000, max_files: 3, ..Default::default() },
    )
    .unwrap();
    register(&sink, 20).await;
    let names = ["audit", "audit.1", "audit.2"];
    for name in names {
        let length = fs::metadata(folder.file(name)).unwrap().len();
        assert!(length > 0 && length <= 3_000, "{name}: {length}");
    }
    assert!(!folder.file("audit.3").exists());
    let single =
        JsonLines::open(folder.file("one"), JsonLinesSettings { max_bytes: 1_000, max_files: 1, ..Default::default() })
            .unwrap();
    register(&single, 5).await;
    assert!(!folder.file("one.1").exists() && fs::metadata(folder.file("one")).unwrap().len() <= 1_000);
}

#[tokio::test]
async fn the_chain_holds_across_restarts_and_rotations() {
    let folder = Folder::new();
    let open = || {
        JsonLines::open(
            folder.file("audit"),
            JsonLinesSettings { max_bytes: 6_000, max_files: 9, chain: Some(key()), ..Default::default() },
        )
        .unwrap()
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
    let sink = JsonLines::open(&path, JsonLinesSettings { chain: Some(key()), ..Default::default() }).unwrap();
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
    assert!(other.verify(whole.as_bytes(), None).is_err());
    assert!(ChainKey::new(b"too short").is_none());
    // A cut end is only detected with a value that was kept elsewhere.
    fs::write(&path, lines[..5].join("\n")).unwrap();
    assert_ne!(verify(&path, None).unwrap().1, key().verify(whole.as_bytes(), None).unwrap().0.last);
}

#[tokio::test]
async fn a_chain_is_not_started_in_the_middle_of_a_file() {
    let folder = Folder::new();
    fs::write(folder.file("audit"), "{\"schema\":1}\n").unwrap();
    let error = JsonLines::open(folder.file("audit"), JsonLinesSettings { chain: Some(key()), ..Default::default() })
        .unwrap_err();
    assert!(matches!(&error, JsonLinesError::Unchained(path) if *path == folder.file("audit")), "{error}");
    let error = JsonLines::open(folder.file("no/such/folder"), JsonLinesSettings::default()).unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

fn open_chained(path: &Path) -> Result<JsonLines, JsonLinesError> {
    JsonLines::open(path, JsonLinesSettings { max_bytes: u64::MAX, chain: Some(key()), ..Default::default() })
}

/// Opens a chained file, writes so many lines, and closes it again.
async fn chained(path: &Path, lines: usize) {
    register(&open_chained(path).unwrap(), lines).await;
}

fn read_head(path: &Path, key: &ChainKey) -> Result<ChainHead, BrokenChain> {
    ChainHead::read(format!("{}.head", path.display()), key)
}

/// Verifies the chain of the file up to its head.
fn holds(path: &Path) -> bool {
    let Ok((end, _)) = key().verify(BufReader::new(fs::File::open(path).unwrap()), None) else { return false };
    read_head(path, &key()).is_ok_and(|head| end.reaches(&head))
}

fn resumptions(path: &Path) -> usize {
    String::from_utf8_lossy(&fs::read(path).unwrap()).matches(r#""action":"resumed""#).count()
}

#[tokio::test]
async fn lines_are_numbered_and_the_head_has_the_last_one() {
    let folder = Folder::new();
    let path = folder.file("audit");
    chained(&path, 3).await;
    chained(&path, 2).await;
    let text = fs::read_to_string(&path).unwrap();
    let number = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].as_u64().unwrap();
    assert_eq!(text.lines().map(number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let head = read_head(&path, &key()).unwrap();
    assert_eq!((head.lines, &*head.last), (5, &*verify(&path, None).unwrap().1));
    assert!(holds(&path) && resumptions(&path) == 0);
    let other = ChainKey::new(b"another key, as long").unwrap();
    assert!(matches!(read_head(&path, &other), Err(BrokenChain::Head)));
    assert!(matches!(read_head(&folder.file("none"), &key()), Err(BrokenChain::Io(_))));
}

/// A person with access to the files, and not to the key, while the server is down.
#[tokio::test]
async fn a_change_while_the_server_was_down_is_always_found() {
    type Change = fn(&Path, &Path, &str);
    let changes: [(&str, Change); 9] = [
        ("lines are cut off", |file, _, text| fs::write(file, kept(text, 4)).unwrap()),
        ("the last line is cut off", |file, _, text| fs::write(file, kept(text, 9)).unwrap()),
        ("the last line break is cut off, and more", |file, _, text| fs::write(file, &kept(text, 4)[..900]).unwrap()),
        ("all lines are cut off", |file, _, _| fs::write(file, "").unwrap()),
        ("the file is removed", |file, _, _| fs::remove_file(file).unwrap()),
        ("the last line is another one", |file, _, text| {
            fs::write(file, kept(text, 9) + "{\"outcome\":\"accepted\",\"n\":10,\"chain\":\"00\"}\n").unwrap();
        }),
        ("the head is removed", |_, head, _| fs::remove_file(head).unwrap()),
        ("the head is emptied", |_, head, _| fs::write(head, "").unwrap()),
        ("the file is cut, and the head removed", |file, head, text| {
            fs::write(file, kept(text, 4)).unwrap();
            fs::remove_file(head).unwrap();
        }),
    ];
    for (reason, change) in changes {
        let folder = Folder::new();
        let (path, head) = (folder.file("audit"), folder.file("audit.head"));
        chained(&path, 10).await;
        assert!(holds(&path));
        change(&path, &head, &fs::read_to_string(&path).unwrap());
        // It goes on all the same, and says so once.
        chained(&path, 10).await;
        chained(&path, 2).await;
        assert!(!holds(&path), "{reason}");
        assert!((1..=2).contains(&resumptions(&path)), "{reason}");
        let accepted = fs::read_to_string(&path).unwrap().matches(r#""outcome":"accepted""#).count();
        assert!(accepted >= 12, "{reason}: no new event is lost: {accepted}");
    }
}

fn kept(text: &str, lines: usize) -> String {
    text.split_inclusive('\n').take(lines).collect()
}

/// The one thing that a head beside the file does not find, and one elsewhere does.
#[tokio::test]
async fn an_older_file_with_its_older_head_differs_from_a_head_elsewhere() {
    let folder = Folder::new();
    let (path, head) = (folder.file("audit"), folder.file("audit.head"));
    chained(&path, 4).await;
    let older = (fs::read(&path).unwrap(), fs::read(&head).unwrap());
    let elsewhere = std::sync::Arc::new(std::sync::Mutex::new(None));
    let copy = std::sync::Arc::clone(&elsewhere);
    let copying = move |head: &ChainHead| *copy.lock().unwrap() = Some(head.clone());
    register(
        &JsonLines::open(
            &path,
            JsonLinesSettings {
                chain: Some(key()),
                head_copy: Some(std::sync::Arc::new(copying)),
                ..Default::default()
            },
        )
        .unwrap(),
        6,
    )
    .await;
    fs::write(&path, older.0).unwrap();
    fs::write(&head, older.1).unwrap();
    assert!(holds(&path));
    let elsewhere = elsewhere.lock().unwrap().clone().unwrap();
    assert_eq!(elsewhere.lines, 10);
    let (end, _) = key().verify(BufReader::new(fs::File::open(&path).unwrap()), None).unwrap();
    assert!(!end.reaches(&elsewhere));
}

/// A crash can come between two writes: what is on disk is then ahead of its head.
#[tokio::test]
async fn a_head_behind_the_file_is_accepted() {
    let folder = Folder::new();
    let (path, head) = (folder.file("audit"), folder.file("audit.head"));
    for before in [0, 3] {
        if before == 0 {
            drop(open_chained(&path).unwrap());
        } else {
            chained(&path, before).await;
        }
        let behind = fs::read(&head).unwrap();
        chained(&path, 5).await;
        fs::write(&head, behind).unwrap();
        chained(&path, 1).await;
        assert!(holds(&path) && resumptions(&path) == 0, "{before}");
    }
}

#[tokio::test]
async fn a_rotation_before_a_restart_is_accepted() {
    let folder = Folder::new();
    let path = folder.file("audit");
    chained(&path, 3).await;
    fs::rename(&path, folder.file("audit.1")).unwrap();
    chained(&path, 2).await;
    assert_eq!(resumptions(&path), 0);
    let (_, last) = verify(&folder.file("audit.1"), None).unwrap();
    assert_eq!(verify(&path, Some(&last)).unwrap().0, 2);
    assert_eq!(verify(&path, None), Err(1));
}

#[tokio::test]
async fn another_key_is_an_error() {
    let folder = Folder::new();
    let path = folder.file("audit");
    chained(&path, 2).await;
    let other = ChainKey::new(b"another key, as long").unwrap();
    let error = JsonLines::open(&path, JsonLinesSettings { chain: Some(other), ..Default::default() }).unwrap_err();
    assert!(matches!(&error, JsonLinesError::Key(at) if *at == path), "{error}");
    assert!(holds(&path), "and nothing was changed");
}

/// Without its key a chained file would go on unchained, and no verification would pass over that again.
#[tokio::test]
async fn a_chained_file_is_not_opened_without_its_key() {
    type Change<'a> = &'a dyn Fn(&Folder);
    let remove = |folder: &Folder, name: &str| fs::remove_file(folder.file(name)).unwrap();
    let rows: [(&str, bool, Change<'_>); 8] = [
        ("as it was", false, &|_| ()),
        ("the head alone tells", false, &|folder| remove(folder, "audit")),
        ("it was just rotated", false, &|folder| fs::rename(folder.file("audit"), folder.file("audit.1")).unwrap()),
        ("the last line alone tells", false, &|folder| remove(folder, "audit.head")),
        ("half a line follows", false, &|folder| {
            remove(folder, "audit.head");
            let mut file = fs::OpenOptions::new().append(true).open(folder.file("audit")).unwrap();
            std::io::Write::write_all(&mut file, b"{\"sch").unwrap();
        }),
        ("both were moved away", true, &|folder| {
            remove(folder, "audit");
            remove(folder, "audit.head");
        }),
        ("its rotated files stay", true, &|folder| {
            fs::rename(folder.file("audit"), folder.file("audit.1")).unwrap();
            remove(folder, "audit.head");
        }),
        ("another file", true, &|folder| {
            remove(folder, "audit.head");
            fs::write(folder.file("audit"), "{\"schema\":1}\n").unwrap();
        }),
    ];
    for (reason, opens, change) in rows {
        let folder = Folder::new();
        chained(&folder.file("audit"), 3).await;
        change(&folder);
        let before = fs::read(folder.file("audit")).ok();
        match JsonLines::open(folder.file("audit"), JsonLinesSettings::default()) {
            Ok(_) => assert!(opens, "{reason}"),
            Err(error) => {
                assert!(!opens && matches!(error, JsonLinesError::Chained(_)), "{reason}: {error}");
                assert!(error.to_string().contains("is chained, and no key was given"), "{error}");
                assert!(fs::read(folder.file("audit")).ok() == before, "{reason}: and nothing was changed");
            }
        }
    }
}

/// Chained or not: a crash or a full disk leaves half a line, or half a letter.
#[tokio::test]
async fn half_a_line_does_not_stop_the_start_or_lose_the_next_event() {
    let halves: [(&str, &[u8]); 5] = [
        ("half a line", br#"{"schema":1,"time_ms":17672256"#),
        ("half a letter", b"{\"schema\":1,\"requester\":\"\xc3"),
        ("a brace", b"{"),
        ("zeros, as file systems leave them", &[0; 300]),
        ("a sealed line without its break", br#"{"schema":1,"n":4,"chain":"00"}"#),
    ];
    for (reason, half) in halves {
        for lines in [0, 3] {
            for is_chained in [false, true] {
                let folder = Folder::new();
                let path = folder.file("audit");
                let open = || {
                    let settings = JsonLinesSettings { chain: is_chained.then(key), ..Default::default() };
                    JsonLines::open(&path, settings).unwrap()
                };
                register(&open(), lines).await;
                let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut file, half).unwrap();
                register(&open(), 2).await;
                let bytes = fs::read(&path).unwrap();
                let whole = |line: &&[u8]| serde_json::from_slice::<serde_json::Value>(line).is_ok();
                let accepted = bytes.split(|byte| *byte == b'\n').filter(whole);
                let accepted = accepted.filter(|line| String::from_utf8_lossy(line).contains("accepted")).count();
                assert_eq!(accepted, lines + 2, "{reason}, {lines}, {is_chained}");
                assert_eq!(resumptions(&path), 1, "{reason}, {lines}, {is_chained}");
                assert!(!is_chained || holds(&path), "{reason}, {lines}");
            }
        }
    }
}

/// Renaming `/dev/null`, which takes any number of bytes, would leave everybody else without it.
#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_are_rotated() {
    use std::os::unix::fs::FileTypeExt;
    let folder = Folder::new();
    let pipe = folder.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened for both, so that neither end waits for the other.
    let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let sink = JsonLines::open(&pipe, JsonLinesSettings { max_bytes: 100, ..Default::default() }).unwrap();
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
async fn events_lost_by_a_full_disk_are_counted_or_rejected() {
    let counting = JsonLines::open("/dev/full", JsonLinesSettings::default()).unwrap();
    register(&counting, 3).await;
    assert_eq!(counting.lost(), 3);
    assert!(counting.is_ready());
    let (naive, kept) = (Naive::default(), Kept::default());
    let rejecting =
        JsonLines::open("/dev/full", JsonLinesSettings { overflow: Overflow::Reject, ..Default::default() }).unwrap();
    let service = behind(&tower_dcr::mcp().with_sink((kept.sink(), rejecting.clone())), &naive);
    let send = async || {
        let answer = send(&service, post(r#"{"redirect_uris":["https://app.example.com/cb"]}"#)).await;
        rejecting.flush();
        answer.status()
    };
    assert_eq!(send().await, StatusCode::CREATED);
    assert_eq!(send().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((naive.seen().len(), kept.take().len()), (1, 2));
}
