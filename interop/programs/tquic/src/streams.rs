//! What is read from the streams of a connection, and what is still to be written to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use tquic::{Connection, Error};

/// The streams of a connection.
#[derive(Default)]
pub struct Streams {
    incoming: BTreeMap<u64, Vec<u8>>,
    outgoing: BTreeMap<u64, Bytes>,
}

impl Streams {
    /// Reads what is there. All of it once the stream has ended.
    pub fn read(&mut self, connection: &mut Connection, stream: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut piece = [0; 16 << 10];
        loop {
            match connection.stream_read(stream, &mut piece) {
                Ok((len, fin)) => {
                    self.incoming.entry(stream).or_default().extend_from_slice(&piece[..len]);
                    if fin {
                        return Ok(self.incoming.remove(&stream));
                    }
                }
                Err(Error::Done) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// What has ended although nobody was told: of a frame whose data was read before, tquic drops the end, too
    /// (`RecvBuf::write`), and does not say that the stream is readable. That happens where the network loses much.
    pub fn ended(&mut self, connection: &Connection) -> BTreeMap<u64, Vec<u8>> {
        self.incoming.extract_if(.., |stream, _| connection.stream_finished(*stream)).collect()
    }

    /// Writes `data` and the end of the stream, as much as is possible now. The rest follows with `go_on`.
    pub fn write(&mut self, connection: &mut Connection, stream: u64, data: Vec<u8>) -> Result<(), Error> {
        self.outgoing.insert(stream, data.into());
        self.go_on(connection, stream)
    }

    /// Writes more, when the endpoint says that the stream is writable.
    pub fn go_on(&mut self, connection: &mut Connection, stream: u64) -> Result<(), Error> {
        let Some(left) = self.outgoing.get_mut(&stream) else {
            return connection.stream_want_write(stream, false);
        };
        match connection.stream_write(stream, left.clone(), true) {
            Ok(written) => drop(left.split_to(written)),
            Err(Error::Done) => {}
            Err(Error::StreamStopped(_)) => left.clear(),
            Err(error) => return Err(error),
        }
        let more = !left.is_empty();
        if !more {
            self.outgoing.remove(&stream);
        }
        connection.stream_want_write(stream, more)
    }
}
