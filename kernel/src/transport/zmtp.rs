//! The protocol on one connection: greeting, handshake, frames (ZMTP 3.0, <https://rfc.zeromq.org/spec/23/>).

use super::{Frames, Kind, MESSAGE_LIMIT};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::HashMap;
use std::io::{Read, Write};

pub(super) const MORE: u8 = 1;
pub(super) const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;

pub(super) enum Received {
    Message(Frames),
    Command(Vec<u8>, Vec<u8>),
}

pub(super) fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

/// Greets, and returns the identity that the peer gave itself.
pub(super) fn handshake(
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

pub(super) fn properties(mut body: &[u8]) -> Result<HashMap<String, Vec<u8>>> {
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

pub(super) fn write_frame(writer: &mut impl Write, flags: u8, body: &[u8]) -> std::io::Result<()> {
    match u8::try_from(body.len()) {
        Ok(short) => writer.write_all(&[flags, short])?,
        Err(_) => {
            writer.write_all(&[flags | LONG])?;
            writer.write_all(&(body.len() as u64).to_be_bytes())?;
        }
    }
    writer.write_all(body)
}

pub(super) fn write_message(writer: &mut impl Write, frames: &[Vec<u8>]) -> std::io::Result<()> {
    for (i, frame) in frames.iter().enumerate() {
        let more = if i + 1 < frames.len() { MORE } else { 0 };
        write_frame(writer, more, frame)?;
    }
    Ok(())
}

pub(super) fn read_message(reader: &mut impl Read) -> Result<Received> {
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
pub(super) fn read_body(reader: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(size.min(1 << 16) as usize);
    reader.take(size).read_to_end(&mut body)?;
    if body.len() as u64 != size {
        bail!("a frame is cut off");
    }
    Ok(body)
}
