//! Messages on iopub: what every client sees, with the cell that caused it as parent.

use crate::transport::Socket;
use crate::wire::{Message, Signer};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// Publishes with the parent that is current.
pub struct Publisher {
    socket: Socket,
    signer: Signer,
    session: String,
    parent: Mutex<Value>,
}

impl Publisher {
    /// For one kernel session.
    pub fn new(socket: Socket, signer: Signer, session: String) -> Publisher {
        Publisher { socket, signer, session, parent: Mutex::new(json!({})) }
    }

    /// The header of the cell whose outputs follow.
    pub fn set_parent(&self, header: Value) {
        *self.parent.lock().unwrap_or_else(PoisonError::into_inner) = header;
    }

    /// Publishes for the current cell.
    pub fn publish(&self, kind: &str, content: Value) {
        let parent = self.parent.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_for(&parent, kind, content);
    }

    /// Publishes for some other request.
    pub fn publish_for(&self, parent: &Value, kind: &str, content: Value) {
        let mut message = Message::new(&self.session, kind, content);
        message.parent = parent.clone();
        message.identities = vec![format!("kernel.{}.{kind}", self.session).into_bytes()];
        match self.signer.encode(&message) {
            Ok(frames) => self.socket.send(frames),
            Err(error) => eprintln!("cannot publish {kind}: {error:#}"),
        }
    }

    /// Text of the current cell.
    pub fn stream(&self, name: &str, text: &str) {
        if !text.is_empty() {
            self.publish("stream", json!({"name": name, "text": text}));
        }
    }

    /// The socket, to wait for it at the end.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}
