//! Frames of the protocol on two streams: a big-endian u32 length and that many bytes, capped.

use std::io::{Error, ErrorKind, Read, Result, Write};

use kubewan_core::protocol::FRAME_MAX;

/// The line that marks where the protocol begins, whatever a login shell printed before it.
pub fn hello(nonce: &str) -> String {
    format!("kubewan-agent {nonce}\n")
}

/// Writes a frame and flushes.
///
/// # Errors
/// Fails where the frame is too large (nothing is written then) or the stream is closed.
pub fn write(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= FRAME_MAX);
    let Some(length) = length else {
        let text = format!("a frame of {} bytes is larger than {FRAME_MAX}", bytes.len());
        return Err(Error::new(ErrorKind::InvalidInput, text));
    };
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// Fails on a frame that is too large or cut short.
pub fn read(from: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match from.read(&mut length[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => have += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        let text = format!("a frame of {length} bytes was announced, more than {FRAME_MAX}");
        return Err(Error::new(ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went() {
        let mut wire = Vec::new();
        write(&mut wire, b"one").unwrap();
        write(&mut wire, b"").unwrap();
        let mut wire = wire.as_slice();
        assert_eq!(read(&mut wire).unwrap().unwrap(), b"one");
        assert_eq!(read(&mut wire).unwrap().unwrap(), b"");
        assert!(read(&mut wire).unwrap().is_none());
    }

    #[test]
    fn too_large_and_cut_frames_are_errors() {
        let mut large = &[0xff; 8][..];
        assert_eq!(read(&mut large).unwrap_err().kind(), ErrorKind::InvalidData);
        for cut in [&[0, 0][..], &[0, 0, 0, 3, b'x'][..]] {
            assert_eq!(read(&mut { cut }).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
        let mut wire = Vec::new();
        assert!(write(&mut wire, &vec![0; FRAME_MAX + 1]).is_err());
        assert!(wire.is_empty());
    }
}
