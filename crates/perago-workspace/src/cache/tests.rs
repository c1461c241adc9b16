//! What is kept, what is trusted, what goes first.

use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use super::*;

struct Shelf {
    folder: tempfile::TempDir,
    most_bytes: u64,
}

impl Shelf {
    fn new(most_bytes: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), most_bytes }
    }

    fn open(&self) -> Cache {
        let place = self.folder.path().join("cache");
        Cache::open(CacheOptions { place, most_bytes: self.most_bytes }).unwrap()
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let blobs = self.folder.path().join("cache/blobs");
        let folders = std::fs::read_dir(blobs).unwrap().flatten();
        folders
            .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
            .map(|entry| entry.path())
            .collect()
    }
}

fn file_of(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn keep(cache: &Cache, object: u8, content: &[u8]) -> bool {
    let file = file_of(content);
    let source = if object.is_multiple_of(2) { Content::Bytes(content) } else { Content::File(&file) };
    let kept = cache.keep([object; 32], blake3::hash(content), source, 0);
    cache.flush();
    kept
}

fn fetch(cache: &Cache, object: u8) -> Option<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    let hash = cache.fetch(&[object; 32], &file).unwrap()?;
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(hash, blake3::hash(&content));
    Some(content)
}

#[test]
fn contents_are_shared_by_open_caches_and_kept_once() {
    let shelf = Shelf::new(1000);
    let (one, other) = (shelf.open(), shelf.open());
    assert!(keep(&one, 1, b"content") && keep(&one, 2, b"content") && keep(&one, 3, b""));
    other.refresh();
    assert_eq!(fetch(&other, 2).unwrap(), b"content");
    assert_eq!(fetch(&other, 3).unwrap(), b"");
    assert_eq!(fetch(&other, 9), None);
    assert_eq!((shelf.blobs().len(), other.bytes()), (2, 7));
    assert_eq!(fetch(&shelf.open(), 1).unwrap(), b"content");
}

#[test]
fn a_copy_can_be_written_in_place_without_harm() {
    let shelf = Shelf::new(1000);
    let cache = shelf.open();
    keep(&cache, 1, b"content");
    let copy = tempfile::tempfile().unwrap();
    cache.fetch(&[1; 32], &copy).unwrap();
    copy.write_all_at(b"CHANGED", 0).unwrap();
    assert_eq!(fetch(&cache, 1).unwrap(), b"content");
}

#[test]
fn what_was_changed_or_never_reached_the_disk_is_not_handed_out() {
    let shelf = Shelf::new(1000);
    let cache = shelf.open();
    keep(&cache, 1, b"content");
    let blob = shelf.blobs().remove(0);
    std::fs::set_permissions(&blob, Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&blob, b"\0\0\0\0\0\0\0").unwrap();
    assert_eq!(fetch(&cache, 1), None);
    assert!(shelf.blobs().is_empty());

    // The right content with other times, as after a restored backup, is hashed once and trusted again.
    keep(&cache, 1, b"content");
    let blob = shelf.blobs().remove(0);
    std::fs::set_permissions(&blob, Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&blob, b"content").unwrap();
    assert_eq!(fetch(&cache, 1).unwrap(), b"content");
    let mut earlier_boot = shelf.open();
    earlier_boot.boot ^= 1;
    assert_eq!(fetch(&earlier_boot, 1).unwrap(), b"content");
}

#[test]
fn the_least_recently_used_goes_first() {
    let shelf = Shelf::new(100);
    let cache = shelf.open();
    let content = |object: u8| vec![object; 30];
    for object in 1..=3 {
        assert!(keep(&cache, object, &content(object)));
    }
    // Times of use have the clock's resolution, so they are set apart by hand.
    for (index, blob) in shelf.blobs().iter().enumerate() {
        let used = Timespec { tv_sec: 1000 + index as i64, tv_nsec: 0 };
        let same = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: used, last_modification: same };
        rustix::fs::futimens(File::open(blob).unwrap(), &times).unwrap();
    }
    assert_eq!(fetch(&cache, 1).unwrap(), content(1));
    assert!(keep(&cache, 4, &content(4)));
    assert!(cache.bytes() <= 90);
    assert_eq!(fetch(&cache, 1).unwrap(), content(1), "used last");
    assert_eq!(fetch(&cache, 4).unwrap(), content(4), "newest");
    cache.give_way(1000);
    assert!(shelf.blobs().is_empty() && cache.bytes() == 0);
}

#[test]
fn what_is_too_large_or_has_no_room_is_not_kept() {
    let shelf = Shelf::new(10);
    let cache = shelf.open();
    assert!(!keep(&cache, 1, b"more than ten bytes"));
    let content = b"small";
    assert!(!cache.keep([2; 32], blake3::hash(content), Content::Bytes(content), u64::MAX));
    assert!(keep(&cache, 2, content));
}

#[test]
fn a_cache_that_others_can_write_to_is_refused() {
    let shelf = Shelf::new(10);
    let place = shelf.folder.path().join("cache");
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(&place, Permissions::from_mode(0o770)).unwrap();
    let error = Cache::open(CacheOptions { place: place.clone(), most_bytes: 10 }).unwrap_err();
    assert!(error.to_string().contains("open to other users"), "{error}");
    std::fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    shelf.open();
    assert_eq!(std::fs::metadata(&place).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_copy_made_while_the_content_arrives_is_kept_whole_or_not_at_all() {
    let shelf = Shelf::new(1000);
    let cache = shelf.open();
    let (content, source) = (b"content", file_of(b"content"));
    let unfinished = || std::fs::read_dir(shelf.folder.path().join("cache/new")).unwrap().count();
    assert!(cache.draft(1001, 0).is_none() && cache.draft(7, u64::MAX).is_none());
    let draft = cache.draft(7, 0).unwrap();
    draft.copy_part(&source, 4..7).unwrap();
    draft.copy_part(&source, 0..4).unwrap();
    assert!(cache.adopt([1; 32], blake3::hash(content), draft));
    assert_eq!(fetch(&cache, 1).unwrap(), content);
    let draft = cache.draft(7, 0).unwrap();
    draft.copy_part(&source, 0..4).unwrap();
    assert!(!cache.adopt([2; 32], blake3::hash(b"other"), draft), "a part is missing");
    drop(cache.draft(7, 0));
    assert_eq!((fetch(&cache, 2), unfinished(), shelf.blobs().len()), (None, 0, 1));
}

#[test]
fn many_writers_lose_nothing() {
    let shelf = Shelf::new(1_000_000);
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let cache = shelf.open();
            scope.spawn(move || {
                for object in 0..20_u8 {
                    assert!(keep(&cache, writer * 20 + object, &[writer, object]));
                }
            });
        }
    });
    let cache = shelf.open();
    for object in 0..80_u8 {
        assert_eq!(fetch(&cache, object).unwrap(), [object / 20, object % 20]);
    }
}
