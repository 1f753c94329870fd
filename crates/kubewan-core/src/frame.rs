//! Frames of the agent's protocol on byte streams: a big-endian u32 length, then that many bytes. Which streams, the
//! caller knows; both ends of the protocol use this one implementation.

use std::io::{self, Read, Write};

use crate::protocol::FRAME_MAX;

/// Writes one frame.
///
/// # Errors
/// Fails as the stream does, or for a frame over [`FRAME_MAX`], of which nothing is then written.
pub fn write(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    if frame.len() > FRAME_MAX {
        let text = format!("a message of {} bytes is over the limit of {FRAME_MAX}", frame.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    stream.write_all(&(frame.len() as u32).to_be_bytes())?;
    stream.write_all(frame)?;
    stream.flush()
}

/// Reads one frame; `None` where the stream ends between two frames.
///
/// # Errors
/// Fails where the stream ends inside a frame, or for a length over [`FRAME_MAX`]: then something else than
/// the agent writes to the stream.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0_u8; 4];
    loop {
        match stream.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            // As `read_exact` does it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(&mut length[1..])?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > FRAME_MAX {
        let start: String = length.iter().map(|b| b.escape_ascii().to_string()).collect();
        let text = format!("not a frame of kubewan's: it starts with `{start}`");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut frame = vec![0; bytes];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went() {
        let mut bytes = Vec::new();
        for frame in [&b""[..], b"one", b"{\"two\":2}"] {
            write(&mut bytes, frame).unwrap();
        }
        let mut stream = bytes.as_slice();
        assert_eq!(read(&mut stream).unwrap().unwrap(), b"");
        assert_eq!(read(&mut stream).unwrap().unwrap(), b"one");
        assert_eq!(read(&mut stream).unwrap().unwrap(), b"{\"two\":2}");
        assert_eq!(read(&mut stream).unwrap(), None);
    }

    #[test]
    fn garbage_is_named_and_not_allocated_for() {
        let error = read(&mut &b"Segmentation fault\n"[..]).unwrap_err();
        assert_eq!(error.to_string(), "not a frame of kubewan's: it starts with `Segm`");
    }

    #[test]
    fn a_cut_frame_is_an_error_and_not_an_end() {
        let mut bytes = Vec::new();
        write(&mut bytes, b"whole").unwrap();
        for end in 1..bytes.len() {
            let error = read(&mut &bytes[..end]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut after {end} bytes");
        }
    }

    #[test]
    fn an_interrupted_read_goes_on() {
        struct Interrupted<'a>(&'a [u8], bool);
        impl Read for Interrupted<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(buffer) }
            }
        }
        let mut bytes = Vec::new();
        write(&mut bytes, b"whole").unwrap();
        assert_eq!(read(&mut Interrupted(&bytes, false)).unwrap().unwrap(), b"whole");
        assert_eq!(read(&mut Interrupted(b"", false)).unwrap(), None);
    }

    #[test]
    fn a_frame_over_the_limit_is_not_sent() {
        let mut bytes = Vec::new();
        assert!(write(&mut bytes, &vec![0; FRAME_MAX + 1]).is_err());
        assert!(bytes.is_empty());
    }
}
