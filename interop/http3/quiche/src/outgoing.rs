//! A message on its way out, as far as flow control lets it.

use quiche::Connection;
use quiche::h3::{self, Header};

/// What is left of a message to send.
pub struct Outgoing {
    pub headers: Option<Vec<Header>>,
    pub body: Vec<u8>,
    pub sent: usize,
    /// How much of the body may be sent now.
    pub limit: usize,
    pub trailers: Vec<Header>,
    pub done: bool,
}

impl Outgoing {
    pub fn new(headers: Vec<Header>, body: Vec<u8>, trailers: Vec<Header>) -> Self {
        let limit = body.len();
        Self { headers: Some(headers), body, sent: 0, limit, trailers, done: false }
    }

    /// Whether the headers are all there is.
    pub fn is_bare(&self) -> bool {
        self.body.is_empty() && self.trailers.is_empty()
    }

    /// Sends what can be sent after the headers.
    pub fn pump(&mut self, http: &mut h3::Connection, connection: &mut Connection, stream: u64) -> h3::Result<()> {
        while !self.done && self.sent < self.limit {
            let last = self.limit == self.body.len() && self.trailers.is_empty();
            match http.send_body(connection, stream, &self.body[self.sent..self.limit], last) {
                Ok(len) => self.sent += len,
                Err(h3::Error::Done) => return Ok(()),
                Err(error) => return self.stopped(error),
            }
            self.done = last && self.sent == self.body.len();
        }
        if !self.done && self.sent == self.body.len() && !self.trailers.is_empty() {
            match http.send_additional_headers(connection, stream, &self.trailers, true, true) {
                Ok(()) => self.done = true,
                Err(h3::Error::StreamBlocked | h3::Error::Done) => {}
                Err(error) => return self.stopped(error),
            }
        }
        Ok(())
    }

    /// Whoever wants no more of a message says so; that is no error.
    fn stopped(&mut self, error: h3::Error) -> h3::Result<()> {
        match error {
            h3::Error::TransportError(quiche::Error::StreamStopped(_) | quiche::Error::InvalidStreamState(_)) => {
                self.done = true;
                Ok(())
            }
            error => Err(error),
        }
    }
}
