//! Making arena files and stamping their generation: the supervisor's side.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::clock;
use crate::layout::{ArenaOptions, GENERATION, GENERATION_LENGTH, Generation, Header};

/// An arena file that the supervisor holds open: it makes it, stamps it and reads it, and never maps it, so that a
/// fault of the disk is an error here and never a signal.
#[derive(Debug)]
pub struct ArenaFile {
    file: File,
    path: PathBuf,
    header: Header,
}

/// An arena, and the damaged or foreign file that was in its place.
#[derive(Debug)]
pub struct Opened {
    /// The arena.
    pub arena: ArenaFile,
    /// Where the unusable file was moved, and what was wrong with it.
    pub set_aside: Option<(PathBuf, Error)>,
}

impl ArenaFile {
    /// Makes a new arena at `path`, with all its blocks allocated. It appears there whole or not at all.
    pub fn create(path: &Path, options: ArenaOptions) -> Result<Self, Error> {
        let partial = with_suffix(path, "partial");
        let made = Self::create_partial(&partial, options).and_then(|mut arena| {
            std::fs::rename(&partial, path).map_err(Error::io("rename", path))?;
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
        })?;
        Ok(arena)
    }

    /// Opens the arena at `path` and goes on with its totals.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path).map_err(Error::io("open", path))?;
        let header = read_header(&file, path)?;
        Ok(Self { file, path: path.to_owned(), header })
    }

    /// Opens the arena at `path`, or makes it. A damaged or foreign file is renamed and a new one takes its place.
    pub fn open_or_create(path: &Path, options: ArenaOptions) -> Result<Opened, Error> {
        match Self::open(path) {
            Ok(arena) => Ok(Opened { arena, set_aside: None }),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Opened { arena: Self::create(path, options)?, set_aside: None })
            }
            Err(error) if error.is_unusable_file() => {
                let aside = with_suffix(path, &format!("damaged-{}", clock::unix_nanos()));
                std::fs::rename(path, &aside).map_err(Error::io("set aside", path))?;
                Ok(Opened { arena: Self::create(path, options)?, set_aside: Some((aside, error)) })
            }
            Err(error) => Err(error),
        }
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

    /// Opens a generation before a new writer starts: gauges written until now are no longer exported.
    pub fn begin_generation(&self) -> Result<u64, Error> {
        self.next_generation(clock::monotonic_nanos())
    }

    /// Closes the generation of a writer that is dead: none of its gauges is exported any more.
    pub fn end_generation(&self) -> Result<(), Error> {
        self.next_generation(u64::MAX).map(|_| ())
    }

    fn next_generation(&self, gauges_since: u64) -> Result<u64, Error> {
        // A damaged stamp says nothing about the totals; the next one replaces it.
        let number = self.generation().map_or(0, |generation| generation.number) + 1;
        self.write_generation(Generation { boot_id: clock::boot_id(), number, gauges_since })?;
        Ok(number)
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

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
