//! The peer's unidirectional streams (RFC 9114 section 6.2): the control stream and what is foreign go on to
//! h3, those of QPACK (RFC 9204 section 4.2) are read here, and none of the critical ones may end.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h3::error::Code;
use tercel::aio::{ReadError, RecvStream};
use tercel_wire::Reader;

use super::fields::integer;
use super::{Fault, Frames, Role};
use crate::connection::code;

const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;
/// Of the WebTransport of h3.
const WEBTRANSPORT: u64 = 0x54;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// Streams that have not told their type, and those that h3 does not read.
#[derive(Default)]
pub(crate) struct Streams {
    untold: Vec<(RecvStream, BytesMut)>,
    encoder: Option<Instructions>,
    decoder: Option<Instructions>,
}

impl Streams {
    /// Takes a stream, and what was read of it before.
    pub(crate) fn add(&mut self, stream: RecvStream, head: &[u8]) {
        self.untold.push((stream, BytesMut::from(head)));
    }

    /// The next stream for h3, with what it begins with and what watches it behind that.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(RecvStream, Bytes, Frames), Fault>> {
        let mut at = 0;
        while let Some((stream, head)) = self.untold.get_mut(at) {
            let Poll::Ready(kind) = poll_kind(stream, head, context) else {
                at += 1;
                continue;
            };
            let (mut stream, mut head) = self.untold.swap_remove(at);
            let Some((kind, len)) = kind else { continue };
            // Odd ones are of servers (RFC 9000 section 2.1).
            let ours = stream.id().is_some_and(|id| id.into_wire() % 2 == 1);
            let role = if ours { Role::Client } else { Role::Server };
            let begin = head.split_to(len).freeze();
            let rest = head.freeze();
            match kind {
                CONTROL => return Poll::Ready(Ok((stream, begin, Frames::of_control(role, rest)))),
                WEBTRANSPORT => return Poll::Ready(Ok((stream, begin, Frames::foreign(rest)))),
                ENCODER => begin_instructions(&mut self.encoder, stream, rest, Qpack::Encoder)?,
                DECODER => begin_instructions(&mut self.decoder, stream, rest, Qpack::Decoder)?,
                PUSH if role == Role::Server => {
                    return Poll::Ready(Err(Fault::Connection(Code::H3_STREAM_CREATION_ERROR, "a client that pushes")));
                }
                PUSH => {
                    return Poll::Ready(Err(Fault::Connection(Code::H3_ID_ERROR, "a push that was not allowed")));
                }
                // Unknown types have no meaning (RFC 9114 section 6.2.3). What has ended needs no stop.
                _ => drop(stream.stop(code(Code::H3_STREAM_CREATION_ERROR.value()))),
            }
        }
        for instructions in [&mut self.encoder, &mut self.decoder].into_iter().flatten() {
            instructions.poll(context)?;
        }
        Poll::Pending
    }
}

/// The type of a stream and how many bytes it is; `None` if it ends before (RFC 9114 section 6.2).
fn poll_kind(stream: &mut RecvStream, head: &mut BytesMut, context: &Context<'_>) -> Poll<Option<(u64, usize)>> {
    loop {
        let mut reader = Reader::new(head);
        if let Ok(kind) = reader.varint() {
            return Poll::Ready(Some((kind, head.len() - reader.remaining())));
        }
        match stream.poll_chunk(context, CHUNK) {
            Poll::Ready(Ok(Some(chunk))) => head.extend_from_slice(&chunk),
            Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn begin_instructions(
    place: &mut Option<Instructions>,
    stream: RecvStream,
    unread: Bytes,
    kind: Qpack,
) -> Result<(), Fault> {
    if place.is_some() {
        return Err(Fault::Connection(Code::H3_STREAM_CREATION_ERROR, "a second stream of QPACK of one kind"));
    }
    *place = Some(Instructions { stream, unread: unread.into(), kind });
    Ok(())
}

#[derive(Clone, Copy)]
enum Qpack {
    Encoder,
    Decoder,
}

/// The instructions of a stream of QPACK, where nobody has a dynamic table.
struct Instructions {
    stream: RecvStream,
    unread: BytesMut,
    kind: Qpack,
}

impl Instructions {
    fn poll(&mut self, context: &Context<'_>) -> Result<(), Fault> {
        loop {
            self.judge()?;
            match self.stream.poll_chunk(context, CHUNK) {
                Poll::Ready(Ok(Some(chunk))) => self.unread.extend_from_slice(&chunk),
                Poll::Ready(Ok(None) | Err(ReadError::Reset(_))) => {
                    return Err(Fault::Connection(Code::H3_CLOSED_CRITICAL_STREAM, "a stream of QPACK has ended"));
                }
                // The connection has ended, which others tell.
                Poll::Ready(Err(_)) | Poll::Pending => return Ok(()),
            }
        }
    }

    fn judge(&mut self) -> Result<(), Fault> {
        let mut rest = &self.unread[..];
        while let Some(first) = rest.first() {
            match self.kind {
                // Set Dynamic Table Capacity, to what it is: all others need a table (RFC 9204 section 4.3).
                Qpack::Encoder if *first == 0x20 => rest = rest.get(1..).unwrap_or_default(),
                Qpack::Encoder => {
                    return Err(Fault::Connection(
                        Code::QPACK_ENCODER_STREAM_ERROR,
                        "an instruction for a dynamic table that there is not",
                    ));
                }
                // Stream Cancellation: all others tell of a table (RFC 9204 section 4.4).
                Qpack::Decoder if first >> 6 == 1 => match integer(&mut rest, 6) {
                    Some(Some(_)) => {}
                    Some(None) => return Err(decoder_error()),
                    None => break,
                },
                Qpack::Decoder => return Err(decoder_error()),
            }
        }
        let read = self.unread.len() - rest.len();
        bytes::Buf::advance(&mut self.unread, read);
        Ok(())
    }
}

const fn decoder_error() -> Fault {
    Fault::Connection(Code::QPACK_DECODER_STREAM_ERROR, "an acknowledgment of what was never sent")
}
