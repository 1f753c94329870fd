//! The container runtime, over its own socket: just enough HTTP/2, gRPC and protobuf for a few CRI calls.
//!
//! Numbers are those of k8s.io/cri-api/pkg/apis/runtime/v1/api.proto. Errors carry no text, for that would need
//! HPACK's Huffman code: the runtime's own log has it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::value::Res;

/// A protobuf message being written.
#[derive(Debug, Default, Clone)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number or a boolean.
    pub fn number(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// A string.
    pub fn text(mut self, field: u64, value: &str) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// A message inside this one.
    pub fn message(mut self, field: u64, value: &Message) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.0.len() as u64);
        self.0.extend_from_slice(&value.0);
        self
    }

    /// An entry of a map of strings.
    pub fn entry(self, field: u64, key: &str, value: &str) -> Message {
        self.message(field, &Message::default().text(1, key).text(2, value))
    }
}

/// A field that was read.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Some(tag) = read_varint(&mut bytes) else { break };
        let field = match tag & 7 {
            0 => read_varint(&mut bytes).map(Field::Number),
            2 => read_varint(&mut bytes).and_then(|n| bytes.split_at_checked(n as usize)).map(
                |(value, rest)| {
                    bytes = rest;
                    Field::Bytes(value)
                },
            ),
            _ => None,
        };
        let Some(field) = field else { break };
        all.push((tag >> 3, field));
    }
    all
}

fn bytes_of(message: &[u8], number: u64) -> Vec<&[u8]> {
    let wanted = |(n, f)| match f {
        Field::Bytes(b) if n == number => Some(b),
        _ => None,
    };
    fields(message).into_iter().filter_map(wanted).collect()
}

fn text_of(message: &[u8], number: u64) -> String {
    bytes_of(message, number)
        .first()
        .map(|b| String::from_utf8_lossy(b).into_owned())
        .unwrap_or_default()
}

fn number_of(message: &[u8], number: u64) -> u64 {
    let wanted = |(n, f)| match f {
        Field::Number(value) if n == number => Some(value),
        _ => None,
    };
    fields(message).into_iter().find_map(wanted).unwrap_or_default()
}

/// A condition of the runtime: `RuntimeReady` or `NetworkReady`.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Its type.
    pub kind: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why not.
    pub message: String,
}

/// A pod that runs, as the runtime lists it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The runtime's identifier.
    pub id: String,
    /// The pod's uid.
    pub uid: String,
    /// The identifier of its running container, if there is one.
    pub container: Option<String>,
}

/// A container runtime's socket.
#[derive(Debug, Clone)]
pub struct Runtime {
    endpoint: String,
}

impl Runtime {
    /// The runtime at `unix:///…`.
    pub fn new(endpoint: &str) -> Runtime {
        Runtime { endpoint: endpoint.to_owned() }
    }

    fn call(&self, method: &str, message: &Message) -> Res<Vec<u8>> {
        let path = self.endpoint.trim_start_matches("unix://");
        let dial = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => error.to_string(),
            };
            format!(
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: \
                 dial unix {path}: connect: {why}\""
            )
        };
        let mut stream = UnixStream::connect(path).map_err(dial)?;
        let _ = stream.set_read_timeout(Some(Duration::from_secs(240)));
        let answer = exchange(&mut stream, &format!("/runtime.v1.{method}"), &message.0);
        match answer.map_err(|e| format!("rpc error: code = Unavailable desc = {e}"))? {
            Some(answer) => Ok(answer),
            None => Err(format!(
                "rpc error: {method} refused; the reason is in the container runtime's log"
            )),
        }
    }

    /// `NAME://VERSION`, as a node's status has it.
    pub fn version(&self) -> Res<String> {
        let fail = |e| {
            format!(
                "failed to create new CRI runtime service: validate service connection: validate CRI v1 runtime API \
                 for endpoint {:?}: {e}",
                self.endpoint
            )
        };
        let answer = self.call("RuntimeService/Version", &Message::default()).map_err(fail)?;
        Ok(format!("{}://{}", text_of(&answer, 2), text_of(&answer, 3)))
    }

    /// Whether the runtime can tell which cgroup driver it uses.
    pub fn tells_cgroup_driver(&self) -> bool {
        self.call("RuntimeService/RuntimeConfig", &Message::default()).is_ok()
    }

    /// Whether runtime and network are ready.
    pub fn conditions(&self) -> Res<Vec<Condition>> {
        let answer = self.call("RuntimeService/Status", &Message::default())?;
        let status = bytes_of(&answer, 1).first().copied().unwrap_or_default();
        let condition = |c: &[u8]| Condition {
            kind: text_of(c, 1),
            holds: number_of(c, 2) != 0,
            message: text_of(c, 4),
        };
        Ok(bytes_of(status, 1).into_iter().map(condition).collect())
    }

    fn image(name: &str) -> Message {
        Message::default().text(1, name)
    }

    /// Whether an image is there.
    pub fn has_image(&self, name: &str) -> Res<bool> {
        let answer = self
            .call("ImageService/ImageStatus", &Message::default().message(1, &Self::image(name)))?;
        Ok(!bytes_of(&answer, 1).is_empty())
    }

    /// Pulls an image.
    pub fn pull(&self, name: &str) -> Res<()> {
        self.call("ImageService/PullImage", &Message::default().message(1, &Self::image(name)))
            .map(drop)
    }

    /// Starts a pod's sandbox.
    pub fn run_sandbox(&self, config: &Message) -> Res<String> {
        let answer =
            self.call("RuntimeService/RunPodSandbox", &Message::default().message(1, config))?;
        Ok(text_of(&answer, 1))
    }

    /// Makes and starts a container in a sandbox.
    pub fn start(&self, sandbox: &str, config: &Message, pod: &Message) -> Res<String> {
        let request = Message::default().text(1, sandbox).message(2, config).message(3, pod);
        let id = text_of(&self.call("RuntimeService/CreateContainer", &request)?, 1);
        self.call("RuntimeService/StartContainer", &Message::default().text(1, &id))?;
        Ok(id)
    }

    /// Whether a container runs; else its exit code.
    pub fn running(&self, container: &str) -> Res<Result<(), u64>> {
        let answer =
            self.call("RuntimeService/ContainerStatus", &Message::default().text(1, container))?;
        let status = bytes_of(&answer, 1).first().copied().unwrap_or_default();
        Ok(if number_of(status, 3) == 1 { Ok(()) } else { Err(number_of(status, 7)) })
    }

    /// All pods that a kubelet started.
    pub fn sandboxes(&self) -> Res<Vec<Sandbox>> {
        let containers = self.call("RuntimeService/ListContainers", &Message::default())?;
        let containers = bytes_of(&containers, 1);
        let answer = self.call("RuntimeService/ListPodSandbox", &Message::default())?;
        let sandbox = |s: &[u8]| {
            let id = text_of(s, 1);
            let uid = bytes_of(s, 2).first().map(|m| text_of(m, 2)).unwrap_or_default();
            // States: a sandbox's 0 is ready, a container's 1 is running.
            let own =
                |c: &&&[u8]| text_of(c, 2) == id && number_of(c, 6) == 1 && number_of(s, 3) == 0;
            let container = containers.iter().find(own).map(|c| text_of(c, 1));
            Sandbox { id, uid, container }
        };
        Ok(bytes_of(&answer, 1).into_iter().map(sandbox).collect())
    }

    /// Stops and removes a sandbox with all that is in it.
    pub fn remove(&self, sandbox: &str) -> Res<()> {
        let id = Message::default().text(1, sandbox);
        self.call("RuntimeService/StopPodSandbox", &id)?;
        self.call("RuntimeService/RemovePodSandbox", &id).map(drop)
    }
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// One unary call on a connection of its own; `None` when the server answers with trailers only.
fn exchange(
    stream: &mut (impl Read + Write),
    path: &str,
    message: &[u8],
) -> io::Result<Option<Vec<u8>>> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.extend([0, name.len() as u8]);
        block.extend_from_slice(name.as_bytes());
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    let mut data = vec![0];
    data.extend((message.len() as u32).to_be_bytes());
    data.extend_from_slice(message);
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[]));
    out.extend(frame(HEADERS, 4, 1, &block));
    out.extend(frame(0, 1, 1, &data));
    stream.write_all(&out)?;

    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        match kind {
            0 => answer.extend_from_slice(&payload),
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            PING if flags & 1 == 0 => stream.write_all(&frame(PING, 1, 0, &payload))?,
            3 | 7 => return Err(io::Error::other("the container runtime ended the call")),
            _ => {}
        }
        if kind <= HEADERS && flags & 1 == 1 {
            return Ok((answer.len() >= 5).then(|| answer.split_off(5)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_written() {
        let inner = Message::default().text(1, "etcd").number(3, 300);
        let outer = Message::default().message(1, &inner).text(4, "later");
        let read = bytes_of(&outer.0, 1)[0];
        assert_eq!((text_of(read, 1).as_str(), number_of(read, 3)), ("etcd", 300));
        assert_eq!(text_of(&outer.0, 4), "later");
        assert_eq!(inner.0, [0x0a, 4, b'e', b't', b'c', b'd', 0x18, 0xac, 2]);
    }

    #[test]
    fn broken_messages_end_quietly() {
        assert!(fields(&[0x0a, 200]).is_empty());
        assert!(fields(&[0xff; 12]).is_empty());
    }
}
