//! A request or a response as far as it has come.

use std::fmt::Write as _;

use quiche::Connection;
use quiche::h3::{self, Header, NameValue as _};
use sha2::{Digest as _, Sha256};

/// The name under which the trailer goes.
pub const TRAILER: &str = "x-trailer";

/// A hash as it is printed.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[derive(Default)]
pub struct Message {
    pub headers: Vec<Header>,
    pub trailers: Vec<Header>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn take_headers(&mut self, list: Vec<Header>) {
        let section = if self.headers.is_empty() { &mut self.headers } else { &mut self.trailers };
        *section = list;
    }

    pub fn take_body(&mut self, http: &mut h3::Connection, connection: &mut Connection, stream: u64) {
        let mut buffer = [0; 65_535];
        while let Ok(len) = http.recv_body(connection, stream, &mut buffer) {
            self.body.extend_from_slice(&buffer[..len]);
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// The body and the trailer as they are printed.
    pub fn told(&self) -> String {
        let trailer = value(&self.trailers, TRAILER).unwrap_or("-");
        format!("{} {} {trailer}", self.body.len(), hex(&Sha256::digest(&self.body)))
    }
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name() == name.as_bytes())?;
    std::str::from_utf8(header.value()).ok()
}
