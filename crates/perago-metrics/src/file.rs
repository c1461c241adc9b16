//! Making arena files and stamping their generation: the supervisor's side.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::clock;
use crate::crash;
use crate::ladder::Form;
use crate::layout::{
    self, ArenaOptions, GENERATION, GENERATION_LENGTH, Generation, Header, SHARD_OWNER, SHARD_OWNER_STARTED,
};
use crate::shard;

/// What stands in the names of files that were set aside.
const SET_ASIDE: &str = ".damaged-";
/// The most files that are kept aside; older ones are deleted.
const SET_ASIDE_KEPT: usize = 4;

/// An arena file that the supervisor holds open: it makes it, stamps it and reads it, and never maps it, so that a
/// fault of the disk is an error here and never a signal.
#[derive(Debug)]
pub struct ArenaFile {
    file: File,
    path: PathBuf,
    header: Header,
}

impl ArenaFile {
    /// Makes a new arena at `path`, with all its blocks allocated. It appears there whole or not at all.
    pub fn create(path: &Path, options: ArenaOptions) -> Result<Self, Error> {
        let partial = with_suffix(path, "partial");
        let made = Self::create_partial(&partial, options).and_then(|mut arena| {
            crash::point();
            std::fs::rename(&partial, path).map_err(Error::io("rename", path))?;
            crash::point();
            path.clone_into(&mut arena.path);
            Ok(arena)
        });
        if made.is_err() {
            // The error that matters is the one above.
            let _ = std::fs::remove_file(&partial);
        }
        made
    }

    fn create_partial(partial: &Path, options: ArenaOptions) -> Result<Self, Error> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(partial)
            .map_err(Error::io("create", partial))?;
        let arena_id = clock::random_id().map_err(Error::io("identify", partial))?;
        let header = Header { options, arena_id, created_unix_nanos: clock::unix_nanos() };
        // A hole would be a SIGBUS in a task body once the disk is full.
        // SAFETY: a plain call on an open descriptor.
        let status =
            unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, header.file_length() as libc::off_t) };
        if status != 0 {
            return Err(Error::io("allocate", partial)(io::Error::from_raw_os_error(status)));
        }
        file.write_all_at(&header.encode(), 0).map_err(Error::io("write", partial))?;
        let arena = Self { file, path: partial.to_owned(), header };
        arena.write_generation(Generation {
            boot_id: clock::boot_id(),
            number: 0,
            gauges_since: u64::MAX,
            label_sets: u32::MAX,
            form: Form::Explicit,
        })?;
        Ok(arena)
    }

    /// Opens the arena at `path` and goes on with its totals.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path).map_err(Error::io("open", path))?;
        let header = read_header(&file, path)?;
        Ok(Self { file, path: path.to_owned(), header })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How large it is.
    pub fn options(&self) -> ArenaOptions {
        self.header.options
    }

    /// When it was made, in nanoseconds since 1970: its totals count from then.
    pub fn created_unix_nanos(&self) -> u64 {
        self.header.created_unix_nanos
    }

    /// The identity that no other arena has.
    pub(crate) fn arena_id(&self) -> [u8; 16] {
        self.header.arena_id
    }

    /// Opens a generation before a new writer starts, whose recorder may make series of `label_sets` label sets and
    /// lays out histograms as `form`: gauges written until now are no longer exported.
    pub fn begin_generation(&self, label_sets: usize, form: Form) -> Result<u64, Error> {
        let label_sets = u32::try_from(label_sets).unwrap_or(u32::MAX);
        self.next_generation(clock::monotonic_nanos(), label_sets, form)
    }

    /// Closes the generation of a writer that is dead: none of its gauges is exported any more.
    pub fn end_generation(&self) -> Result<(), Error> {
        let (label_sets, form) = self
            .generation()
            .map_or((u32::MAX, Form::Explicit), |generation| (generation.label_sets, generation.form));
        self.next_generation(u64::MAX, label_sets, form).map(|_| ())
    }

    fn next_generation(&self, gauges_since: u64, label_sets: u32, form: Form) -> Result<u64, Error> {
        let number = self.generation().map_or(0, |generation| generation.number) + 1;
        let boot_id = clock::boot_id();
        self.write_generation(Generation { boot_id, number, gauges_since, label_sets, form })?;
        Ok(number)
    }

    /// Takes the arena from all writers, if every one of them is dead: no process holds it open, forked children of a
    /// body included, and no living thread owns a shard. It is held until the file is dropped.
    pub(crate) fn take_from_the_dead(&self) -> Result<bool, Error> {
        // SAFETY: a plain call on an open descriptor.
        let locked = unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        if locked != 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(false)
            } else {
                Err(Error::io("lock", &self.path)(error))
            };
        }
        for index in 0..=self.header.options.shards {
            let word = |at: usize| {
                let mut bytes = [0; 8];
                self.read_at(&mut bytes, self.header.shard(index) + at as u64 * 8)?;
                Ok(u64::from_le_bytes(bytes))
            };
            let owner = word(SHARD_OWNER)?;
            if owner != 0 && shard::owner_lives(owner, word(SHARD_OWNER_STARTED)?) {
                self.give_back();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets the counters, which have no checksum, to what the directory uses. Only while nobody writes.
    pub(crate) fn repair_counters(&self) -> Result<(), Error> {
        let options = &self.header.options;
        let mut index = vec![0; (self.header.blob() - Header::entry(0)) as usize];
        self.read_at(&mut index, Header::entry(0))?;
        let mut blob = vec![0; options.blob_bytes as usize];
        self.read_at(&mut blob, self.header.blob())?;
        for (offset, used) in layout::used(&index, &blob, options) {
            self.file.write_all_at(&used.to_le_bytes(), offset).map_err(Error::io("write", &self.path))?;
        }
        Ok(())
    }

    /// Lets writers in again.
    pub(crate) fn give_back(&self) {
        // SAFETY: a plain call on an open descriptor, which holds the lock.
        unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
    }

    fn write_generation(&self, generation: Generation) -> Result<(), Error> {
        self.file.write_all_at(&generation.encode(), GENERATION).map_err(Error::io("write", &self.path))
    }

    pub(crate) fn generation(&self) -> Result<Generation, Error> {
        let mut bytes = [0; GENERATION_LENGTH];
        self.read_at(&mut bytes, GENERATION)?;
        Generation::decode(&bytes)
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, offset).map_err(Error::io("read", &self.path))
    }
}

/// Reads and checks the header, and that the file is as long as it says and no sparser.
pub(crate) fn read_header(file: &File, path: &Path) -> Result<Header, Error> {
    use std::os::unix::fs::MetadataExt as _;

    let mut bytes = [0; 128];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Error::Foreign { what: "length" });
        }
        read => read.map_err(Error::io("read", path))?,
    }
    let header = Header::decode(&bytes)?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    if metadata.len() != header.file_length() {
        return Err(Error::Damaged { what: "length" });
    }
    // A copy made by a tool that punches holes would be a SIGBUS on a full disk.
    if metadata.blocks() * 512 < header.file_length() {
        // SAFETY: a plain call on an open descriptor; it fills holes and leaves data alone.
        let status =
            unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, header.file_length() as libc::off_t) };
        if status != 0 {
            return Err(Error::io("allocate", path)(io::Error::from_raw_os_error(status)));
        }
    }
    Ok(header)
}

/// Renames the unusable file at `path`, and deletes the oldest of those set aside before. Returns its new path.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = with_suffix(path, &format!("{}{}", &SET_ASIDE[1..], clock::unix_nanos()));
    crash::point();
    std::fs::rename(path, &aside).map_err(Error::io("set aside", path))?;
    crash::point();
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut kept: Vec<(u64, PathBuf)> = std::fs::read_dir(directory)
        .map_err(Error::io("list", directory))?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let (_, nanos) = name.rsplit_once(SET_ASIDE)?;
            Some((nanos.parse().ok()?, entry.path()))
        })
        .collect();
    kept.sort();
    for (_, oldest) in kept.iter().rev().skip(SET_ASIDE_KEPT) {
        // One more than wanted harms nobody.
        let _ = std::fs::remove_file(oldest);
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
