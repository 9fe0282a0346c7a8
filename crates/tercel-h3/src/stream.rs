//! Streams as the h3 crate wants them.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use tercel::aio;

use crate::connection::code;
use crate::error;
use crate::guard::{Fault, Frames};

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

fn id(id: Option<tercel::StreamId>) -> StreamId {
    // Streams that are handed out have their IDs.
    let number = id.map_or(0, tercel::StreamId::into_wire);
    StreamId::try_from(number).unwrap_or_else(|_| unreachable!("a stream ID has 62 bits"))
}

/// The sending part of a stream.
pub struct SendStream<B> {
    stream: aio::SendStream,
    /// What h3 has given and the transport has not taken.
    writing: Option<WriteBuf<B>>,
    /// A piece of it that the transport takes as it can.
    piece: Bytes,
    finished: bool,
}

impl<B: Buf> SendStream<B> {
    pub(crate) const fn new(stream: aio::SendStream) -> Self {
        Self { stream, writing: None, piece: Bytes::new(), finished: false }
    }
}

/// So much of a body is copied at a time: memory is given back piece by piece.
const PIECE: usize = 64 << 10;

impl<B: Buf> quic::SendStream<B> for SendStream<B> {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        loop {
            while !self.piece.is_empty() {
                ready!(self.stream.poll_write_chunk(context, &mut self.piece)).map_err(error::write)?;
            }
            match self.writing.as_mut().filter(|writing| writing.has_remaining()) {
                Some(writing) => self.piece = writing.copy_to_bytes(writing.remaining().min(PIECE)),
                None => {
                    self.writing = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            return Err(StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: ConnectionErrorIncoming::InternalError("data before the last was sent".into()),
            });
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(context))?;
        self.finished = true;
        Poll::Ready(self.stream.finish().map_err(error::write))
    }

    fn reset(&mut self, reset_code: u64) {
        // What has ended needs no reset, and what was finished is not taken back.
        if !self.finished {
            let _ = self.stream.reset(code(reset_code));
        }
    }

    fn send_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

impl<B: Buf> quic::SendStreamUnframed<B> for SendStream<B> {
    fn poll_send<D: Buf>(
        &mut self,
        context: &mut Context<'_>,
        data: &mut D,
    ) -> Poll<Result<usize, StreamErrorIncoming>> {
        ready!(quic::SendStream::poll_ready(self, context))?;
        let written = ready!(self.stream.poll_write_bytes(context, data.chunk())).map_err(error::write)?;
        data.advance(written);
        Poll::Ready(Ok(written))
    }
}

/// The receiving part of a stream.
pub struct RecvStream {
    stream: aio::RecvStream,
    /// Its connection, which a fault ends.
    connection: aio::Connection,
    /// What is before the frames: the type of a unidirectional stream.
    begin: Bytes,
    frames: Frames,
    fault: Option<Fault>,
}

impl RecvStream {
    /// A stream that begins so, and whose frames are watched.
    pub(crate) const fn new(
        stream: aio::RecvStream,
        connection: aio::Connection,
        begin: Bytes,
        frames: Frames,
    ) -> Self {
        Self { stream, connection, begin, frames, fault: None }
    }

    /// Ends what the fault ends, and says so to h3, for which the end is not to be its own.
    fn fail(&mut self, fault: Fault) -> StreamErrorIncoming {
        self.fault = Some(fault);
        match fault {
            Fault::Connection(..) => {
                StreamErrorIncoming::ConnectionErrorIncoming { connection_error: error::fault(&self.connection, fault) }
            }
            Fault::Message(_) => {
                // What has ended needs no stop.
                let _ = self.stream.stop(code(Code::H3_MESSAGE_ERROR.value()));
                StreamErrorIncoming::Unknown(Box::new(fault))
            }
        }
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Err(self.fail(fault)));
        }
        if !self.begin.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.begin))));
        }
        loop {
            match self.frames.next() {
                Ok(None) => {}
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(fault) => return Poll::Ready(Err(self.fail(fault))),
            }
            match ready!(self.stream.poll_chunk(context, CHUNK)).map_err(error::read)? {
                Some(chunk) => self.frames.feed(chunk),
                None => return Poll::Ready(self.frames.end().map(|()| None).map_err(|fault| self.fail(fault))),
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        // What has ended needs no stop.
        let _ = self.stream.stop(code(error_code));
    }

    fn recv_id(&self) -> StreamId {
        id(self.stream.id())
    }
}

/// A bidirectional stream.
pub struct BidiStream<B> {
    send: SendStream<B>,
    recv: RecvStream,
}

impl<B> BidiStream<B> {
    pub(crate) const fn new(send: SendStream<B>, recv: RecvStream) -> Self {
        Self { send, recv }
    }
}

impl<B: Buf> quic::BidiStream<B> for BidiStream<B> {
    type SendStream = SendStream<B>;
    type RecvStream = RecvStream;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        (self.send, self.recv)
    }
}

impl<B: Buf> quic::SendStream<B> for BidiStream<B> {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(context)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(context)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> quic::SendStreamUnframed<B> for BidiStream<B> {
    fn poll_send<D: Buf>(
        &mut self,
        context: &mut Context<'_>,
        data: &mut D,
    ) -> Poll<Result<usize, StreamErrorIncoming>> {
        self.send.poll_send(context, data)
    }
}

impl<B: Buf> quic::RecvStream for BidiStream<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(context)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}
