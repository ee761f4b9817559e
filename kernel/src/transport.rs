//! The sockets: a small ZMTP 3.0 (the protocol under ZeroMQ), without security mechanisms.
//!
//! Written here because what Jupyter needs of it is little and what it must not do is lose
//! anything: a published message is queued for each subscriber without a limit on their number
//! (a subscriber that stops reading makes the publisher wait, and is dropped in the end), and
//! messages of any size arrive. Every connection has a thread for reading and one for writing.
//!
//! Both sides are here: a kernel binds ROUTER, PUB and REP, the notebook runner connects
//! DEALER, SUB and REQ. Frames only; what they mean is in `wire`.

use anyhow::{Context, Result, anyhow, bail};
use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The frames of one message.
pub type Frames = Vec<Vec<u8>>;

/// A message that arrived, with the name under which its sender can be answered.
pub struct Incoming {
    /// The peer's routing id.
    pub peer: Vec<u8>,
    /// What it sent.
    pub frames: Frames,
    /// When it arrived.
    pub at: Instant,
}

/// What a socket does, in ZeroMQ's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Takes requests of many peers and answers each.
    Router,
    /// Sends to every subscriber.
    Pub,
    /// Answers each request with itself (the heartbeat).
    Rep,
    /// A client of a router.
    Dealer,
    /// A client of a publisher.
    Sub,
    /// A client of the heartbeat.
    Req,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Router => "ROUTER",
            Kind::Pub => "PUB",
            Kind::Rep => "REP",
            Kind::Dealer => "DEALER",
            Kind::Sub => "SUB",
            Kind::Req => "REQ",
        }
    }

    fn accepts(self, peer: &str) -> bool {
        match self {
            Kind::Router => matches!(peer, "DEALER" | "REQ" | "ROUTER"),
            Kind::Pub => matches!(peer, "SUB" | "XSUB"),
            Kind::Rep => matches!(peer, "REQ" | "DEALER"),
            Kind::Dealer => matches!(peer, "ROUTER" | "DEALER" | "REP"),
            Kind::Sub => matches!(peer, "PUB" | "XPUB"),
            Kind::Req => matches!(peer, "REP" | "ROUTER"),
        }
    }
}

/// The most that one message may hold; beyond it the connection is closed.
const MESSAGE_LIMIT: u64 = 2 << 30;
/// How much may wait for a slow subscriber before the publisher waits for it.
const QUEUE_BYTES: usize = 256 << 20;
/// How long the publisher waits for a subscriber that does not read at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a new connection may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A socket, bound or connected.
#[derive(Clone)]
pub struct Socket {
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    identity: Vec<u8>,
    peers: Mutex<HashMap<Vec<u8>, Arc<Peer>>>,
    changed: Condvar,
    incoming: Mutex<Sender<Incoming>>,
}

struct Peer {
    queue: Mutex<Queue>,
    changed: Condvar,
    topics: Mutex<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Arc<Frames>>,
    bytes: usize,
    writing: bool,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Socket {
    fn new(kind: Kind, identity: &[u8]) -> (Socket, Receiver<Incoming>) {
        let (sender, receiver) = channel();
        let shared = Shared {
            kind,
            identity: identity.to_vec(),
            peers: Mutex::default(),
            changed: Condvar::new(),
            incoming: Mutex::new(sender),
        };
        let socket = Socket { shared: Arc::new(shared) };
        (socket, receiver)
    }

    /// Binds an address (`tcp://…` or `ipc://…`) and serves whoever connects.
    pub fn bind(kind: Kind, endpoint: &str) -> Result<(Socket, Receiver<Incoming>)> {
        let (socket, receiver) = Socket::new(kind, &[]);
        let listener = Listener::bind(endpoint)?;
        let serving = socket.clone();
        spawn(format!("accept {endpoint}"), move || {
            loop {
                match listener.accept() {
                    Ok(stream) => {
                        let socket = serving.clone();
                        spawn("connection".to_owned(), move || {
                            // Whoever does not speak the protocol is simply not served.
                            let _ = socket.serve(stream);
                        });
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        Ok((socket, receiver))
    }

    /// Connects to an address, trying until `within` is over.
    pub fn connect(
        kind: Kind,
        endpoint: &str,
        identity: &[u8],
        within: Duration,
    ) -> Result<(Socket, Receiver<Incoming>)> {
        let (socket, receiver) = Socket::new(kind, identity);
        let start = Instant::now();
        let stream = loop {
            match Stream::connect(endpoint) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > within => {
                    return Err(error).with_context(|| format!("nothing answers at {endpoint}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let serving = socket.clone();
        spawn(format!("connection {endpoint}"), move || {
            let _ = serving.serve(stream);
        });
        let waited = socket.wait_for_peer(HANDSHAKE);
        if !waited {
            bail!("{endpoint} does not speak the protocol");
        }
        Ok((socket, receiver))
    }

    fn wait_for_peer(&self, within: Duration) -> bool {
        let peers = lock(&self.shared.peers);
        let (peers, _) = self
            .shared
            .changed
            .wait_timeout_while(peers, within, |peers| peers.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        !peers.is_empty()
    }

    /// Whether anybody is connected.
    pub fn is_connected(&self) -> bool {
        !lock(&self.shared.peers).is_empty()
    }

    /// Sends to one peer; false if it is gone.
    pub fn send_to(&self, peer: &[u8], frames: Frames) -> bool {
        let found = lock(&self.shared.peers).get(peer).cloned();
        found.is_some_and(|peer| peer.push(&Arc::new(frames)))
    }

    /// Sends to every peer (of a publisher: to those that subscribed to the first frame).
    pub fn send(&self, frames: Frames) {
        let peers: Vec<_> = lock(&self.shared.peers).values().cloned().collect();
        let frames = Arc::new(frames);
        for peer in peers {
            if self.shared.kind != Kind::Pub || peer.wants(&frames) {
                peer.push(&frames);
            }
        }
    }

    /// Waits until everything is written out, or `within` is over.
    pub fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let peers: Vec<_> = lock(&self.shared.peers).values().cloned().collect();
        for peer in peers {
            let queue = lock(&peer.queue);
            let left = end.saturating_duration_since(Instant::now());
            let _ = peer.changed.wait_timeout_while(queue, left, |q| {
                !q.closed && (q.writing || !q.messages.is_empty())
            });
        }
    }

    fn serve(&self, stream: Stream) -> Result<()> {
        stream.set_read_timeout(Some(HANDSHAKE))?;
        let mut writer = BufWriter::with_capacity(1 << 16, stream.try_clone()?);
        let mut reader = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        let identity =
            handshake(&mut reader, &mut writer, self.shared.kind, &self.shared.identity)?;
        stream.set_read_timeout(None)?;
        let name = if identity.is_empty() { crate::wire::new_id().into_bytes() } else { identity };
        let peer = Arc::new(Peer {
            queue: Mutex::default(),
            changed: Condvar::new(),
            topics: Mutex::default(),
        });
        if self.shared.kind == Kind::Sub {
            // Everything: one byte 1 and an empty topic.
            write_message(&mut writer, &[vec![1]])?;
            writer.flush()?;
        }
        let replaced = lock(&self.shared.peers).insert(name.clone(), peer.clone());
        if let Some(old) = replaced {
            old.close();
        }
        self.shared.changed.notify_all();
        let writing = peer.clone();
        spawn("write".to_owned(), move || writing.write_out(writer));
        let result = self.read_in(&mut reader, &name, &peer);
        peer.close();
        stream.shutdown();
        let mut peers = lock(&self.shared.peers);
        if peers.get(&name).is_some_and(|p| Arc::ptr_eq(p, &peer)) {
            peers.remove(&name);
        }
        result
    }

    fn read_in(&self, reader: &mut impl Read, name: &[u8], peer: &Peer) -> Result<()> {
        loop {
            match read_message(reader)? {
                Received::Message(frames) => match self.shared.kind {
                    Kind::Rep => {
                        peer.push(&Arc::new(frames));
                    }
                    Kind::Pub => {
                        if let Some((first, topic)) = frames.first().and_then(|f| f.split_first()) {
                            peer.subscribe(*first == 1, topic);
                            self.shared.changed.notify_all();
                        }
                    }
                    _ => {
                        let message = Incoming { peer: name.to_vec(), frames, at: Instant::now() };
                        if lock(&self.shared.incoming).send(message).is_err() {
                            return Ok(());
                        }
                    }
                },
                Received::Command(name, body) => match name.as_slice() {
                    b"SUBSCRIBE" => peer.subscribe(true, &body),
                    b"CANCEL" => peer.subscribe(false, &body),
                    b"ERROR" => bail!("the peer reports an error"),
                    _ => {}
                },
            }
        }
    }
}

impl Peer {
    fn wants(&self, frames: &Frames) -> bool {
        let first = frames.first().map_or(&[][..], Vec::as_slice);
        lock(&self.topics).iter().any(|t| first.starts_with(t))
    }

    fn subscribe(&self, on: bool, topic: &[u8]) {
        let mut topics = lock(&self.topics);
        if on {
            topics.push(topic.to_vec());
        } else if let Some(at) = topics.iter().position(|t| t == topic) {
            topics.remove(at);
        }
    }

    fn push(&self, frames: &Arc<Frames>) -> bool {
        let size = frames.iter().map(Vec::len).sum::<usize>();
        let (mut queue, waited) = self
            .changed
            .wait_timeout_while(lock(&self.queue), PATIENCE, |q| !q.closed && q.bytes > QUEUE_BYTES)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            queue.closed = true;
        }
        if queue.closed {
            return false;
        }
        queue.bytes += size;
        queue.messages.push_back(frames.clone());
        drop(queue);
        self.changed.notify_all();
        true
    }

    fn close(&self) {
        lock(&self.queue).closed = true;
        self.changed.notify_all();
    }

    fn write_out(&self, mut writer: BufWriter<Stream>) {
        loop {
            let mut queue = lock(&self.queue);
            queue.writing = false;
            self.changed.notify_all();
            queue = self
                .changed
                .wait_while(queue, |q| q.messages.is_empty() && !q.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let Some(frames) = queue.messages.pop_front() else {
                return;
            };
            queue.bytes -= frames.iter().map(Vec::len).sum::<usize>();
            queue.writing = true;
            let last = queue.messages.is_empty();
            drop(queue);
            let written = write_message(&mut writer, &frames)
                .and_then(|()| if last { writer.flush() } else { Ok(()) });
            if written.is_err() {
                self.close();
                return;
            }
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) {
    let name: String = name.chars().take(15).collect();
    let spawned = std::thread::Builder::new().name(name).spawn(work);
    if let Err(error) = spawned {
        eprintln!("cannot start a thread: {error}");
    }
}

// --- the protocol -----------------------------------------------------------------------------

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

enum Received {
    Message(Frames),
    Command(Vec<u8>, Vec<u8>),
}

fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Greets, and returns the identity that the peer gave itself.
fn handshake(
    reader: &mut impl Read,
    writer: &mut impl Write,
    kind: Kind,
    identity: &[u8],
) -> Result<Vec<u8>> {
    writer.write_all(&greeting())?;
    writer.flush()?;
    let mut theirs = [0; 64];
    reader.read_exact(&mut theirs)?;
    if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 {
        bail!("not a ZMTP 3 peer");
    }
    if &theirs[12..17] != b"NULL\0" {
        bail!("the peer wants a security mechanism");
    }
    let mut ready = b"\x05READY".to_vec();
    for (key, value) in [("Socket-Type", kind.name().as_bytes()), ("Identity", identity)] {
        ready.push(key.len() as u8);
        ready.extend(key.as_bytes());
        ready.extend((value.len() as u32).to_be_bytes());
        ready.extend(value);
    }
    write_frame(writer, COMMAND, &ready)?;
    writer.flush()?;
    let Received::Command(name, body) = read_message(reader)? else {
        bail!("the peer did not introduce itself");
    };
    if name != b"READY" {
        bail!("the peer refused the connection");
    }
    let properties = properties(&body)?;
    let peer = properties.get("socket-type").cloned().unwrap_or_default();
    let peer = String::from_utf8_lossy(&peer).into_owned();
    if !kind.accepts(&peer) {
        bail!("a {peer} socket cannot talk to a {} socket", kind.name());
    }
    Ok(properties.get("identity").cloned().unwrap_or_default())
}

fn properties(mut body: &[u8]) -> Result<HashMap<String, Vec<u8>>> {
    let mut found = HashMap::new();
    let broken = || anyhow!("a property of the peer's is cut off");
    while let Some((&length, rest)) = body.split_first() {
        let (key, rest) = rest.split_at_checked(length.into()).ok_or_else(broken)?;
        let (size, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let size = u32::from_be_bytes(*size) as usize;
        let (value, rest) = rest.split_at_checked(size).ok_or_else(broken)?;
        found.insert(String::from_utf8_lossy(key).to_ascii_lowercase(), value.to_vec());
        body = rest;
    }
    Ok(found)
}

fn write_frame(writer: &mut impl Write, flags: u8, body: &[u8]) -> std::io::Result<()> {
    match u8::try_from(body.len()) {
        Ok(short) => writer.write_all(&[flags, short])?,
        Err(_) => {
            writer.write_all(&[flags | LONG])?;
            writer.write_all(&(body.len() as u64).to_be_bytes())?;
        }
    }
    writer.write_all(body)
}

fn write_message(writer: &mut impl Write, frames: &[Vec<u8>]) -> std::io::Result<()> {
    for (i, frame) in frames.iter().enumerate() {
        let more = if i + 1 < frames.len() { MORE } else { 0 };
        write_frame(writer, more, frame)?;
    }
    Ok(())
}

fn read_message(reader: &mut impl Read) -> Result<Received> {
    let mut frames = Vec::new();
    let mut total = 0;
    loop {
        let mut flags = [0];
        reader.read_exact(&mut flags)?;
        let flags = flags[0];
        let size = if flags & LONG != 0 {
            let mut size = [0; 8];
            reader.read_exact(&mut size)?;
            u64::from_be_bytes(size)
        } else {
            let mut size = [0];
            reader.read_exact(&mut size)?;
            size[0].into()
        };
        total += 16u64.saturating_add(size);
        if size > MESSAGE_LIMIT || total > MESSAGE_LIMIT {
            bail!("a message of more than {MESSAGE_LIMIT} bytes");
        }
        let body = read_body(reader, size)?;
        if flags & COMMAND != 0 {
            let (&length, rest) = body.split_first().context("an empty command")?;
            let (name, rest) =
                rest.split_at_checked(length.into()).context("a command's name is cut off")?;
            return Ok(Received::Command(name.to_vec(), rest.to_vec()));
        }
        frames.push(body);
        if flags & MORE == 0 {
            return Ok(Received::Message(frames));
        }
    }
}

/// Reads as much as really comes, so that a claimed size alone costs no memory.
fn read_body(reader: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(size.min(1 << 16) as usize);
    reader.take(size).read_to_end(&mut body)?;
    if body.len() as u64 != size {
        bail!("a frame is cut off");
    }
    Ok(body)
}

// --- streams ----------------------------------------------------------------------------------

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(endpoint: &str) -> Result<Listener> {
        let cannot = || format!("cannot bind {endpoint}");
        if let Some(address) = endpoint.strip_prefix("tcp://") {
            let address = address.replacen('*', "0.0.0.0", 1);
            return Ok(Listener::Tcp(TcpListener::bind(address).with_context(cannot)?));
        }
        let Some(path) = endpoint.strip_prefix("ipc://") else {
            bail!("{endpoint}: the transport must be tcp or ipc");
        };
        match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                // A socket file outlives its process; one that answers is in use.
                if UnixStream::connect(path).is_ok() {
                    return Err(error).with_context(cannot);
                }
                std::fs::remove_file(path).with_context(cannot)?;
                Ok(Listener::Unix(UnixListener::bind(path).with_context(cannot)?))
            }
            bound => Ok(Listener::Unix(bound.with_context(cannot)?)),
        }
    }

    fn accept(&self) -> std::io::Result<Stream> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Listener::Unix(listener) => Stream::Unix(listener.accept()?.0),
        })
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(endpoint: &str) -> Result<Stream> {
        if let Some(address) = endpoint.strip_prefix("tcp://") {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            return Ok(Stream::Tcp(stream));
        }
        let Some(path) = endpoint.strip_prefix("ipc://") else {
            bail!("{endpoint}: the transport must be tcp or ipc");
        };
        Ok(Stream::Unix(UnixStream::connect(path)?))
    }

    fn try_clone(&self) -> std::io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn shutdown(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buf),
            Stream::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buf),
            Stream::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Unix(stream) => stream.flush(),
        }
    }
}
