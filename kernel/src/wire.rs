//! Messages of the Jupyter protocol (5.4) as they stand on the wire: header, parts, signature.
//!
//! What a message means is in `session`; how its frames travel is in `transport`.

use anyhow::{Context, Result, bail};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of the protocol that this kernel speaks.
pub const PROTOCOL: &str = "5.4";

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The parts of a message, without its signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Routing prefix; the first part names the peer.
    pub identities: Vec<Vec<u8>>,
    /// `msg_id`, `session`, `msg_type` and so on.
    pub header: Value,
    /// The header of the message that this one answers, or `{}`.
    pub parent: Value,
    /// Free.
    pub metadata: Value,
    /// What the message says.
    pub content: Value,
    /// Raw attachments.
    pub buffers: Vec<Vec<u8>>,
}

impl Message {
    /// A new message of one session.
    pub fn new(session: &str, kind: &str, content: Value) -> Message {
        Message {
            identities: Vec::new(),
            header: json!({
                "msg_id": new_id(), "session": session, "username": "kernel",
                "date": now(), "msg_type": kind, "version": PROTOCOL,
            }),
            parent: json!({}),
            metadata: json!({}),
            content,
            buffers: Vec::new(),
        }
    }

    /// The message's type.
    pub fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or("")
    }

    /// The id of the message that this one answers.
    pub fn parent_id(&self) -> &str {
        self.parent["msg_id"].as_str().unwrap_or("")
    }
}

/// Signs and checks messages with a connection's key.
#[derive(Clone)]
pub struct Signer {
    key: Option<Hmac<Sha256>>,
}

impl Signer {
    /// An empty key means that messages are not signed.
    pub fn new(key: &str, scheme: &str) -> Result<Signer> {
        if key.is_empty() {
            return Ok(Signer { key: None });
        }
        if scheme != "hmac-sha256" {
            bail!("signature scheme `{scheme}` is not known; it must be hmac-sha256");
        }
        let key = Hmac::new_from_slice(key.as_bytes()).context("the connection's key")?;
        Ok(Signer { key: Some(key) })
    }

    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = self.key.clone()?;
        for part in parts {
            mac.update(part);
        }
        Some(mac)
    }

    /// The frames of a message.
    pub fn encode(&self, message: &Message) -> Result<Vec<Vec<u8>>> {
        let parts = [
            serde_json::to_vec(&message.header)?,
            serde_json::to_vec(&message.parent)?,
            serde_json::to_vec(&message.metadata)?,
            serde_json::to_vec(&message.content)?,
        ];
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let signature =
            self.mac(&slices).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default();
        let mut frames = message.identities.clone();
        frames.push(DELIMITER.to_vec());
        frames.push(signature.into_bytes());
        frames.extend(parts);
        frames.extend(message.buffers.iter().cloned());
        Ok(frames)
    }

    /// Reads and checks the frames of a message.
    pub fn decode(&self, frames: Vec<Vec<u8>>) -> Result<Message> {
        let at = frames
            .iter()
            .position(|frame| frame == DELIMITER)
            .context("the message has no <IDS|MSG> delimiter")?;
        let mut frames = frames.into_iter();
        let identities: Vec<_> = frames.by_ref().take(at).collect();
        frames.next();
        let signature = frames.next().context("the message has no signature")?;
        let parts: Vec<_> = frames.by_ref().take(4).collect();
        let [header, parent, metadata, content] = parts.as_slice() else {
            bail!("the message has {} of its 4 parts", parts.len());
        };
        if let Some(mac) = self.mac(&[header, parent, metadata, content]) {
            let given = unhex(&signature).context("the signature is not hexadecimal")?;
            if mac.verify_slice(&given).is_err() {
                bail!("the signature is wrong");
            }
        }
        let message = Message {
            identities,
            header: serde_json::from_slice(header).context("the header is not JSON")?,
            parent: serde_json::from_slice(parent).context("the parent header is not JSON")?,
            metadata: serde_json::from_slice(metadata).context("the metadata is not JSON")?,
            content: serde_json::from_slice(content).context("the content is not JSON")?,
            buffers: frames.collect(),
        };
        if message.kind().is_empty() {
            bail!("the header names no msg_type");
        }
        Ok(message)
    }
}

/// A connection file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// `tcp` or `ipc`.
    pub transport: String,
    /// Address, or path prefix for ipc.
    pub ip: String,
    /// Port (or path suffix).
    pub shell_port: u32,
    /// Port (or path suffix).
    pub iopub_port: u32,
    /// Port (or path suffix).
    pub stdin_port: u32,
    /// Port (or path suffix).
    pub control_port: u32,
    /// Port (or path suffix).
    pub hb_port: u32,
    /// Key of the signatures; may be empty.
    pub key: String,
    /// Always `hmac-sha256`.
    pub signature_scheme: String,
    /// Name of the kernelspec.
    #[serde(default)]
    pub kernel_name: String,
}

impl Connection {
    /// Reads a connection file.
    pub fn read(path: &Path) -> Result<Connection> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the connection file {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a connection file", path.display()))
    }

    /// The address of one socket.
    pub fn endpoint(&self, port: u32) -> String {
        if self.transport == "ipc" {
            format!("ipc://{}-{port}", self.ip)
        } else {
            format!("{}://{}:{port}", self.transport, self.ip)
        }
    }
}

/// A random UUID.
pub fn new_id() -> String {
    let mut bytes = [0u8; 16];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut f| std::io::Read::read_exact(&mut f, &mut bytes));
    if read.is_err() {
        use std::hash::{BuildHasher, Hasher, RandomState};
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
        }
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    let (a, b, c, d, e) = (&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// The time in ISO 8601, UTC.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_message_survives_the_wire() {
        let signer = Signer::new("secret", "hmac-sha256").unwrap();
        let mut message = Message::new("s", "kernel_info_request", json!({"a": [1, "ü"]}));
        message.identities = vec![b"peer".to_vec()];
        message.buffers = vec![vec![1, 2, 3]];
        let frames = signer.encode(&message).unwrap();
        assert_eq!(signer.decode(frames).unwrap(), message);
    }

    #[test]
    fn a_forged_or_broken_message_is_refused() {
        let signer = Signer::new("secret", "hmac-sha256").unwrap();
        let other = Signer::new("guess", "hmac-sha256").unwrap();
        let message = Message::new("s", "execute_request", json!({}));
        let forged = other.encode(&message).unwrap();
        assert!(signer.decode(forged.clone()).is_err());
        assert!(signer.decode(forged[..3].to_vec()).is_err());
        assert!(signer.decode(vec![b"x".to_vec(); 9]).is_err());
        assert!(signer.decode(Vec::new()).is_err());
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_777), (2026, 11, 20));
        assert_eq!(new_id().len(), 36);
    }
}
