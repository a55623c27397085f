//! Files, read by the crew: whole, or in chunks that follow each other at the reader's pace.
//!
//! Only regular files are read: opening a FIFO or a terminal could hold a thread of the crew for ever.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::offload::{
    answer::Panicked,
    crew::{Crew, Full},
};

/// Why a file could not be read.
#[derive(Debug)]
pub enum FileError {
    /// The system says so.
    Io(io::Error),
    /// A directory, a FIFO, a device.
    NotAFile,
    /// More bytes than the caller wants to hold.
    TooLarge,
    /// The range does not lie within the file; its length in bytes.
    OutOfRange(u64),
    /// The file became shorter while it was read: what was promised cannot be delivered.
    Truncated,
    /// The crew takes no more work.
    Full,
    /// The job panicked, or the crew was shut down.
    Panicked(Panicked),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::TooLarge => f.write_str("the file is larger than allowed"),
            Self::OutOfRange(length) => write!(f, "the range lies outside of the file of {length} bytes"),
            Self::Truncated => f.write_str("the file became shorter while it was read"),
            Self::Full => Full.fmt(f),
            Self::Panicked(panicked) => panicked.fmt(f),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a whole file, of `bytes_max` bytes at most.
///
/// # Errors
/// [`FileError::TooLarge`] without reading such a file; else as the variants say.
pub async fn read_file(crew: &Crew, path: impl Into<PathBuf>, bytes_max: usize) -> Result<Bytes, FileError> {
    let path = path.into();
    offload(crew, move || read_whole(&path, bytes_max)).await
}

/// A range of a file, read chunk by chunk. One chunk is in memory at a time: the next one is read when it is asked for.
#[derive(Debug)]
pub struct FileReader {
    crew: Crew,
    /// Read at explicit offsets only, so that a read whose answer was forgotten disturbs no later one.
    file: Arc<File>,
    metadata: Metadata,
    remaining: Range<u64>,
    chunk_bytes: usize,
}

impl FileReader {
    /// Opens a file to be read from start to end, as long as it is now.
    ///
    /// # Errors
    /// As the variants of [`FileError`] say.
    pub async fn open(crew: &Crew, path: impl Into<PathBuf>, chunk_bytes: usize) -> Result<Self, FileError> {
        Self::open_range(crew, path, .., chunk_bytes).await
    }

    /// Opens a file to be read from one byte to another (`500..1000`, `500..`, `..=99`). `chunk_bytes` bounds a chunk; 0
    /// counts as 1.
    ///
    /// # Errors
    /// [`FileError::OutOfRange`] if the range starts after the end of the file, ends after it, or ends before it starts.
    pub async fn open_range(
        crew: &Crew,
        path: impl Into<PathBuf>,
        range: impl std::ops::RangeBounds<u64>,
        chunk_bytes: usize,
    ) -> Result<Self, FileError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let path = path.into();
        let (file, metadata) = offload(crew, move || open_regular(&path)).await?;
        let length = metadata.len();
        let start = match range.start_bound() {
            Included(&start) => Some(start),
            Excluded(&before) => before.checked_add(1),
            Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Included(&last) => last.checked_add(1),
            Excluded(&end) => Some(end),
            Unbounded => Some(length),
        };
        let (Some(start), Some(end)) = (start, end) else { return Err(FileError::OutOfRange(length)) };
        if start > end || end > length {
            return Err(FileError::OutOfRange(length));
        }
        let (crew, chunk_bytes) = (crew.clone(), chunk_bytes.max(1));
        Ok(Self { crew, file: Arc::new(file), metadata, remaining: start..end, chunk_bytes })
    }

    /// What the system said of the file when it was opened: whole length, time of the last change.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining.end - self.remaining.start
    }

    /// The next chunk, full except for the last one; `None` at the end. Where it fails, or the returned future is dropped
    /// before it is done, nothing is skipped: the next call tries the same chunk again.
    ///
    /// # Errors
    /// As the variants of [`FileError`] say.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, FileError> {
        let (start, remaining) = (self.remaining.start, self.remaining());
        if remaining == 0 {
            return Ok(None);
        }
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.chunk_bytes);
        let file = self.file.clone();
        let chunk = offload(&self.crew, move || read_chunk(&file, start, length)).await?;
        self.remaining.start += length as u64;
        Ok(Some(chunk))
    }
}

async fn offload<T: Send + 'static>(
    crew: &Crew,
    job: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match crew.run(job) {
        Ok(answer) => answer.await.map_err(FileError::Panicked)?,
        Err(Full) => Err(FileError::Full),
    }
}

/// Without O_NONBLOCK the opening of a FIFO would wait for a writer; for regular files the flag means nothing.
fn open_regular(path: &Path) -> Result<(File, Metadata), FileError> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(FileError::NotAFile) }
}

fn read_whole(path: &Path, bytes_max: usize) -> Result<Bytes, FileError> {
    let (file, metadata) = open_regular(path)?;
    let length = usize::try_from(metadata.len()).ok().filter(|&length| length <= bytes_max);
    let mut bytes = Vec::with_capacity(length.ok_or(FileError::TooLarge)?);
    // It may have grown since (or, in /proc, have no length at all): one byte beyond the bound tells.
    file.take((bytes_max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(FileError::TooLarge) } else { Ok(bytes.into()) }
}

fn read_chunk(file: &File, start: u64, length: usize) -> Result<Bytes, FileError> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FileError::Truncated,
        _ => FileError::Io(error),
    })?;
    Ok(bytes.into())
}
