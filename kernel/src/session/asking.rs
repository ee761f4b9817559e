//! Questions of a cell to the user.

use crate::transport::{Incoming, Socket};
use crate::wire::{Message, Signer};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Questions to the user on the stdin socket.
pub struct Asking {
    pub stdin: Socket,
    pub answers: Mutex<Receiver<Incoming>>,
    pub signer: Signer,
    pub session: String,
    /// Peer and header of the cell that may ask, if its client allows it.
    pub request: Mutex<Option<(Vec<u8>, Value)>>,
}

impl Asking {
    /// <https://jupyter-client.readthedocs.io/en/stable/messaging.html#messages-on-the-stdin-router-dealer-channel>
    pub fn ask(&self, prompt: &str, password: bool) -> String {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((peer, parent)) = request.clone() else {
            return String::new();
        };
        drop(request);
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        while answers.try_recv().is_ok() {}
        let content = json!({"prompt": prompt, "password": password});
        let mut message = Message::new(&self.session, "input_request", content);
        message.parent = parent;
        let sent =
            self.signer.encode(&message).is_ok_and(|frames| self.stdin.send_to(&peer, frames));
        if !sent {
            return String::new();
        }
        // The question goes with its cell: an interrupt is no answer.
        let open = || self.request.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        while open() {
            match answers.recv_timeout(Duration::from_millis(200)) {
                Ok(incoming) => {
                    if let Ok(reply) = self.signer.decode(incoming.frames)
                        && reply.kind() == "input_reply"
                    {
                        return reply.content["value"].as_str().unwrap_or("").to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        String::new()
    }
}
