//! Connections by TCP or in the file system.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn bind(endpoint: &str) -> Result<Listener> {
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

    pub(super) fn accept(&self) -> std::io::Result<Stream> {
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

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn connect(endpoint: &str) -> Result<Stream> {
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

    pub(super) fn try_clone(&self) -> std::io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        })
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> std::io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(timeout),
            Stream::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(super) fn shutdown(&self) {
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
