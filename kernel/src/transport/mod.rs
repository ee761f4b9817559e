//! The sockets: a small ZMTP 3.0 (the protocol under ZeroMQ), without security mechanisms.
//!
//! Written here because what Jupyter needs of it is little and what it must not do is lose
//! anything: a published message is queued for each subscriber without a limit on their number
//! (a subscriber that stops reading makes the publisher wait, and is dropped in the end), and
//! messages of any size arrive. Every connection has a thread for reading and one for writing.
//!
//! Both sides are here: a kernel binds ROUTER, PUB and REP, the notebook runner connects
//! DEALER, SUB and REQ. Frames only; what they mean is in `wire`.

mod stream;
mod zmtp;

use anyhow::{Context, Result, bail};
use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stream::{Listener, Stream};
use zmtp::{Received, handshake, read_message, write_message};

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
