//! The application's calls about streams and datagrams: they go on to who owns these, unless the connection is closing.

use std::sync::Arc;

use bytes::Bytes;
use tercel_wire::{ApplicationErrorCode, Direction, SpaceId, StreamId};

use super::Connection;
use crate::config::TransportConfig;
use crate::datagram::DatagramPriority;
use crate::error::ApiMisuse;
use crate::stream::{EndedStats, Flush, Read, StreamScheduling, StreamStats};
use crate::time::Time;
use crate::trace::TraceEvent;

impl Connection {
    /// It is `now`: for calls that follow and are not told the time, where something is measured.
    pub fn at(&mut self, now: Time) {
        self.streams.at(now);
    }

    /// What a stream has done so far. Of one that has ended only if times are measured
    /// ([`stream_statistics`](TransportConfig::stream_statistics)), and only between its
    /// [`Closed`](crate::stream::StreamEvent::Closed) and that of the next.
    pub fn stream_stats(&self, id: StreamId) -> Option<StreamStats> {
        self.streams.stats(id)
    }

    /// The same of the stream whose [`Closed`](crate::stream::StreamEvent::Closed) was the last; nobody else is told.
    pub fn take_ended_stream_stats(&mut self, id: StreamId) -> Option<EndedStats> {
        self.streams.take_ended_stats(id)
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// The peer permits no more for now, or the connection is closing.
    pub fn open_stream(&mut self, direction: Direction) -> Result<StreamId, ApiMisuse> {
        self.require_alive()?;
        self.streams.open(direction)
    }

    /// Opens a stream even if the peer permits no more for now: it has an ID at once, and what is sent on
    /// it waits until the peer does, of which [`Accepted`](crate::stream::StreamEvent::Accepted) tells. Gives whether
    /// the peer permits it already.
    ///
    /// # Errors
    /// The connection is closing.
    pub fn open_stream_ahead(&mut self, direction: Direction) -> Result<(StreamId, bool), ApiMisuse> {
        self.require_alive()?;
        Ok(self.streams.open_ahead(direction))
    }

    /// Queues `data` (never copied) and, with `fin`, the end of the stream. Never refuses for lack
    /// of window: the caller limits what it queues, by the `Acked` events.
    ///
    /// # Errors
    /// There is no such stream, its sending part has ended, or the connection is closing.
    pub fn send(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), ApiMisuse> {
        self.send_with(id, data, fin, Flush::Now)
    }

    /// The same, and `flush` says when.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_with(&mut self, id: StreamId, data: Bytes, fin: bool, flush: Flush) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEvent::DataQueued { id, len: data.len() as u64, fin });
        }
        self.streams.send_with(id, data, fin, flush)
    }

    /// What was queued with [`Flush::WithNext`] is sent without anything that follows.
    pub const fn flush(&mut self) {
        self.streams.flush();
    }

    /// From now on a stream is given up as soon as something that was sent on it is lost:
    /// [`CanceledByLoss`](crate::stream::StreamEvent::CanceledByLoss) tells, and it is then for the application to
    /// [`reset`](Self::reset) it. A probe timeout is no loss (RFC 9002 section 6.2): probes repeat nothing of such a stream.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn cancel_on_loss(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.streams.cancel_on_loss(id)
    }

    /// Tells the peer of a stream at once, though there is no data yet.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn announce_stream(&mut self, id: StreamId) -> Result<(), ApiMisuse> {
        self.streams.announce(id)
    }

    /// Takes the next bytes in order, at most `max`, without giving flow-control credit for them.
    ///
    /// # Errors
    /// There is no such stream, or its receiving part was stopped.
    pub fn read(&mut self, id: StreamId, max: usize) -> Result<Read, ApiMisuse> {
        self.streams.read(id, max)
    }

    /// Takes the bytes that are there, in order and at most `max`, and adds them to `into` in the pieces that they came in.
    /// Gives how many: fewer than there are of all only if `max` is reached. What follows, [`read`](Self::read) tells.
    pub fn read_pieces(&mut self, id: StreamId, max: usize, into: &mut Vec<Bytes>) -> usize {
        self.streams.read_pieces(id, max, into)
    }

    /// The code of a reset by the peer that was not read, without reading data.
    pub fn read_reset(&mut self, id: StreamId) -> Option<ApplicationErrorCode> {
        self.streams.read_reset(id)
    }

    /// Whether the end of a stream is next to be read; it is read then.
    pub fn read_end(&mut self, id: StreamId) -> bool {
        self.streams.read_end(id)
    }

    /// A stream of the peer's counts as open, also when it is over, until it is
    /// [released](Self::release_stream).
    pub fn hold_stream(&mut self, id: StreamId) {
        self.streams.hold(id);
    }

    /// A stream of the peer's counts no longer than it lives.
    pub fn release_stream(&mut self, id: StreamId) {
        self.streams.release(id);
    }

    /// Up to which offset a stream came as early data, if anything of it did and it is not over.
    pub fn early(&self, id: StreamId) -> Option<u64> {
        self.streams.early(id)
    }

    /// Whether the datagram of which the last [`DatagramEvent::Received`](crate::datagram::DatagramEvent::Received)
    /// told came as early data.
    pub const fn is_datagram_early(&self) -> bool {
        self.datagrams.is_early()
    }

    /// Takes up to `most` received datagrams that are next to be told of, if they came as that did of which the last
    /// [`DatagramEvent::Received`](crate::datagram::DatagramEvent::Received) told: as early data, or not.
    pub fn take_datagrams(&mut self, into: &mut Vec<Bytes>, most: usize) {
        self.datagrams.take_received(into, most);
    }

    /// Whether the connection has come to rest since this was last asked: nothing was heard or sent for half a second,
    /// or for two probe timeouts when it is new, and it has let go of memory. Its driver can do the same.
    pub const fn take_rested(&mut self) -> bool {
        std::mem::replace(&mut self.rested, false)
    }

    /// How many bytes of a stream up to the highest offset that came in were not read yet, those that are missing
    /// included.
    pub fn unread(&self, id: StreamId) -> u64 {
        self.streams.unread(id)
    }

    /// The application has provided space for so many more bytes of a stream, and from the first such
    /// call on that is what limits the peer.
    ///
    /// # Errors
    /// There is no such stream, or it has no receiving part.
    pub fn provide_receive_space(&mut self, id: StreamId, bytes: u64) -> Result<(), ApiMisuse> {
        self.streams.provide(id, bytes)
    }

    /// Takes over from `config` what may change while the connection runs: for how long this end bears silence, and
    /// how it is kept from coming up; how many streams the peer may have open; how far receive windows may grow;
    /// pacing; after how many bytes the keys are updated. What was agreed on in the handshake stays.
    pub fn reconfigure(&mut self, now: Time, config: &TransportConfig) {
        self.streams.reconfigure(config);
        self.recovery.set_pacing(config.pacing);
        self.idle.change(now, self.recovery.pto(SpaceId::Data), config.max_idle_timeout, config.keep_alive);
        let own = Arc::make_mut(&mut self.config);
        own.key_update_bytes = config.key_update_bytes;
    }

    /// Gives the peer credit for `len` bytes that were read and are now consumed.
    pub fn consumed(&mut self, now: Time, id: StreamId, len: u64) {
        if let Some(trace) = &mut self.trace {
            trace.at(now);
            trace.push(TraceEvent::DataConsumed { id, len });
        }
        self.streams.consumed(now, self.recovery.rtt().smoothed, id, len);
    }

    /// Ends the sending part of a stream abruptly.
    ///
    /// # Errors
    /// There is no such stream, its sending part has ended, or the connection is closing.
    pub fn reset(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.reset(id, code)
    }

    /// Ends the sending part of a stream abruptly, but for its first `reliable_size` bytes: these are
    /// delivered before the peer's application hears of it. May be called again with a smaller size; the
    /// code stays.
    ///
    /// # Errors
    /// [`ApiMisuse::ResetAtUnsupported`]: the peer does not understand it;
    /// [`ApiMisuse::InvalidArgument`]: the size is larger than what was given to send, or than before;
    /// otherwise as for [`reset`](Self::reset).
    pub fn reset_at(&mut self, id: StreamId, code: ApplicationErrorCode, reliable_size: u64) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.reset_at(id, code, reliable_size)
    }

    /// Whether the peer understands [`reset_at`](Self::reset_at).
    pub const fn can_reset_at(&self) -> bool {
        self.streams.can_reset_at()
    }

    /// Asks the peer to send no more on a stream.
    ///
    /// # Errors
    /// There is no such stream, its receiving part has ended, or the connection is closing.
    pub fn stop_sending(&mut self, id: StreamId, code: ApplicationErrorCode) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.streams.stop_sending(id, code)
    }

    /// Higher is sent first; streams of equal priority take turns. Default 0.
    ///
    /// # Errors
    /// There is no such stream, or it has no sending part.
    pub fn set_priority(&mut self, id: StreamId, priority: i32) -> Result<(), ApiMisuse> {
        self.streams.set_priority(id, priority)
    }

    /// Sets in which order streams of equal priority send.
    pub const fn set_stream_scheduling(&mut self, scheduling: StreamScheduling) {
        self.streams.set_scheduling(scheduling);
    }

    /// How many more streams can be opened in `direction` now.
    pub const fn streams_available(&self, direction: Direction) -> u64 {
        self.streams.available(direction)
    }

    /// Whether the peer's limit permits `id`, a stream that this end has opened.
    pub const fn permits_stream(&self, id: StreamId) -> bool {
        self.streams.permits(id)
    }

    /// How many streams the peer permits in `direction` in all, those that were opened included.
    pub const fn stream_limit(&self, direction: Direction) -> u64 {
        self.streams.limit(direction)
    }

    /// The largest datagram that can be sent now, in bytes; `None` if datagrams are off.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.datagrams.max_size()
    }

    /// Queues a datagram and returns its number, by which later events name it: every one gets exactly
    /// one final state, after `Sent` if it left, and after `LostSuspect` if it was taken for lost.
    ///
    /// # Errors
    /// Datagrams are off, it is too large, or the connection is closing.
    pub fn send_datagram(&mut self, data: Bytes, priority: DatagramPriority) -> Result<u64, ApiMisuse> {
        self.require_alive()?;
        self.datagrams.send(data, priority)
    }

    /// Queues a datagram of which is told nothing more.
    ///
    /// # Errors
    /// As for [`send_datagram`](Self::send_datagram).
    pub fn send_datagram_untold(&mut self, data: Bytes, priority: DatagramPriority) -> Result<(), ApiMisuse> {
        self.require_alive()?;
        self.datagrams.send_untold(data, priority)
    }
}
