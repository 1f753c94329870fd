//! Files on their way to a host: compressed, resumed where an earlier connection stopped, checked at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kubewan_core::action::Artifact;
use kubewan_core::protocol::{CHUNK, Request, Response};

use crate::client::{Agent, LinkLost};

/// For one answer: a chunk of 2 MiB at 20 kB/s, or the hash of a large file on a slow disk.
const PATIENCE: Duration = Duration::from_secs(180);

/// Requests that may be unanswered, so that a long way does not cost a pause per chunk.
const IN_FLIGHT: usize = 3;

/// zstd's fastest ordinary level: binaries shrink to a third, and one core does more than most uplinks carry.
const LEVEL: i32 = 1;

/// Where an artifact's bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file of the bundle.
    File(PathBuf),
    /// Bytes made here.
    Bytes(Arc<Vec<u8>>),
}

/// Where artifacts' bytes come from, by SHA-256.
pub type Sources = BTreeMap<String, Source>;

/// An upload that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The link is gone; the upload can be resumed.
    #[error(transparent)]
    Lost(#[from] LinkLost),
    /// The agent did not take it.
    #[error("{0}")]
    Refused(String),
    /// The bytes can't be had here.
    #[error("{0}")]
    Unreadable(String),
}

/// Brings an artifact to a host unless it is there already; `progress` hears how many bytes are.
///
/// # Errors
/// Fails as [`UploadError`] says.
pub fn upload(
    agent: &mut dyn Agent,
    artifact: &Artifact,
    source: &Source,
    progress: &mut dyn FnMut(u64),
) -> Result<(), UploadError> {
    let offset = Request::Offset { sha256: artifact.sha256.clone() };
    let (mut sent, complete) = stored(agent.call(&offset, PATIENCE)?)?;
    if complete {
        return Ok(());
    }
    if sent > artifact.size {
        // What a download left may be longer than the file, and is none of its parts: the agent removes what is whole and wrong.
        let nothing = zstd::bulk::compress(&[], LEVEL);
        let nothing = nothing.map_err(|error| UploadError::Unreadable(error.to_string()))?;
        let end = Request::Upload { sha256: artifact.sha256.clone(), offset: sent, last: true };
        agent.send(&end, Some(nothing))?;
        agent.receive(PATIENCE, &mut |_| ())?;
        (sent, _) = stored(agent.call(&offset, PATIENCE)?)?;
        if sent > artifact.size {
            let text = format!("the host keeps {sent} bytes of a file that has {}", artifact.size);
            return Err(UploadError::Refused(text));
        }
    }
    let reader = Reader::open(source, artifact.size)?;
    let mut unanswered = VecDeque::new();
    loop {
        while unanswered.len() < IN_FLIGHT && unanswered.back() != Some(&true) {
            let bytes = reader.read(sent, artifact.size)?;
            let last = sent + bytes.len() as u64 == artifact.size;
            let payload = zstd::bulk::compress(&bytes, LEVEL)
                .map_err(|error| UploadError::Unreadable(error.to_string()))?;
            let sha256 = artifact.sha256.clone();
            agent.send(&Request::Upload { sha256, offset: sent, last }, Some(payload))?;
            sent += bytes.len() as u64;
            unanswered.push_back(last);
        }
        let (there, complete) = stored(agent.receive(PATIENCE, &mut |_| ())?)?;
        progress(there);
        if complete {
            return Ok(());
        }
        if unanswered.pop_front() == Some(true) {
            let text =
                format!("the host has {there} bytes of {} and does not say why", artifact.size);
            return Err(UploadError::Refused(text));
        }
    }
}

fn stored(response: Response) -> Result<(u64, bool), UploadError> {
    match response {
        Response::Stored { bytes, complete } => Ok((bytes, complete)),
        Response::Failed(said) => Err(UploadError::Refused(said)),
        _ => {
            Err(UploadError::Refused("the agent gave another answer than the one asked for".into()))
        }
    }
}

enum Reader<'a> {
    File(File),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn open(source: &'a Source, size: u64) -> Result<Self, UploadError> {
        let (reader, found) = match source {
            Source::Bytes(bytes) => (Reader::Bytes(bytes), bytes.len() as u64),
            Source::File(path) => {
                let unreadable =
                    |error| UploadError::Unreadable(format!("{}: {error}", path.display()));
                let file = File::open(path).map_err(unreadable)?;
                let found = file.metadata().map_err(unreadable)?.len();
                (Reader::File(file), found)
            }
        };
        if found != size {
            let text = format!("it has {found} bytes, and bundle.yaml says {size}");
            return Err(UploadError::Unreadable(text));
        }
        Ok(reader)
    }

    /// Up to [`CHUNK`] bytes from `offset` on.
    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, UploadError> {
        let length = (size.saturating_sub(offset)).min(CHUNK as u64) as usize;
        match self {
            Reader::Bytes(bytes) => Ok(bytes[offset.min(size) as usize..][..length].to_vec()),
            Reader::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, offset)
                    .map_err(|error| UploadError::Unreadable(error.to_string()))?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubewan_core::protocol::BatchEvent;

    /// Stores one file as the agent does.
    #[derive(Default)]
    struct Store {
        bytes: Vec<u8>,
        complete: bool,
        answers: VecDeque<Response>,
        most_in_flight: usize,
    }

    impl Agent for Store {
        fn send(&mut self, request: &Request, payload: Option<Vec<u8>>) -> Result<(), LinkLost> {
            if let Request::Upload { offset, last, sha256 } = request {
                assert_eq!(*offset, self.bytes.len() as u64);
                self.bytes.extend(zstd::bulk::decompress(&payload.unwrap(), CHUNK).unwrap());
                self.complete = *last && *sha256 == kubewan_core::sha256_hex(&self.bytes);
                if *last && !self.complete {
                    self.bytes.clear();
                    self.answers.push_back(Response::Failed("another hash".into()));
                    return Ok(());
                }
            }
            let bytes = self.bytes.len() as u64;
            self.answers.push_back(Response::Stored { bytes, complete: self.complete });
            self.most_in_flight = self.most_in_flight.max(self.answers.len());
            Ok(())
        }

        fn receive(
            &mut self,
            _: Duration,
            _: &mut dyn FnMut(BatchEvent),
        ) -> Result<Response, LinkLost> {
            self.answers.pop_front().ok_or(LinkLost("nothing was asked".into()))
        }
    }

    fn artifact(bytes: &[u8]) -> Artifact {
        Artifact {
            sha256: kubewan_core::sha256_hex(bytes),
            size: bytes.len() as u64,
            name: "file".into(),
            url: None,
        }
    }

    fn source(bytes: &[u8]) -> Source {
        Source::Bytes(Arc::new(bytes.to_vec()))
    }

    #[test]
    fn files_of_all_sizes_arrive() {
        for size in [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let mut store = Store::default();
            let mut seen = Vec::new();
            upload(&mut store, &artifact(&bytes), &source(&bytes), &mut |b| seen.push(b)).unwrap();
            assert_eq!(store.bytes, bytes);
            assert_eq!(seen.last(), Some(&(size as u64)));
            assert!(store.most_in_flight <= IN_FLIGHT);
        }
    }

    #[test]
    fn what_is_longer_than_the_file_is_begun_anew() {
        let bytes = vec![7; CHUNK];
        let mut store = Store { bytes: vec![1; CHUNK + 9], ..Store::default() };
        upload(&mut store, &artifact(&bytes), &source(&bytes), &mut |_| ()).unwrap();
        assert_eq!(store.bytes, bytes);
    }

    #[test]
    fn an_upload_goes_on_where_it_stopped_and_is_not_done_twice() {
        let bytes = vec![7; 2 * CHUNK];
        let mut store = Store { bytes: bytes[..CHUNK + 5].to_vec(), ..Store::default() };
        let mut seen = Vec::new();
        upload(&mut store, &artifact(&bytes), &source(&bytes), &mut |b| seen.push(b)).unwrap();
        assert_eq!(seen, [2 * CHUNK as u64]);
        upload(&mut store, &artifact(&bytes), &source(&bytes), &mut |_| panic!("again")).unwrap();
    }

    #[test]
    fn a_file_that_changed_is_named() {
        let mut wrong = artifact(b"four");
        wrong.size = 5;
        let error =
            upload(&mut Store::default(), &wrong, &source(b"four"), &mut |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "it has 4 bytes, and bundle.yaml says 5");
        let mut other = artifact(b"four");
        other.sha256 = "00".into();
        let error =
            upload(&mut Store::default(), &other, &source(b"four"), &mut |_| ()).unwrap_err();
        assert!(matches!(error, UploadError::Refused(_)), "{error:?}");
    }
}
