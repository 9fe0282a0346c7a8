//! What became of a datagram.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tercel_proto::datagram::DatagramSendState;

use super::state::{ConnectionState, lock};

/// A datagram that was handed over to be sent ([`Connection::send_datagram_with`]): a future of what
/// became of it, one of the [final](DatagramSendState::is_final) states. Whoever does not want to know
/// drops it.
///
/// ```
/// use tercel::aio::Connection;
/// use tercel::{DatagramPriority, DatagramSendState, Error};
///
/// /// Sends until the peer has it.
/// async fn insist(connection: &Connection) -> Result<(), Error> {
///     loop {
///         let sent = connection.send_datagram_with("ahead of all".into(), DatagramPriority::Urgent)?;
///         match sent.await {
///             DatagramSendState::Acknowledged | DatagramSendState::AcknowledgedSpurious => return Ok(()),
///             _ if connection.close_reason().is_some() => return Ok(()),
///             _ => {}
///         }
///     }
/// }
/// ```
///
/// [`Connection::send_datagram_with`]: super::Connection::send_datagram_with
#[derive(Debug)]
#[must_use = "dropping it forgets what became of the datagram"]
pub struct SentDatagram {
    state: Arc<Mutex<ConnectionState>>,
    context: u64,
}

impl SentDatagram {
    /// A datagram that is about to be sent with a context of its own.
    pub(super) fn new(state: Arc<Mutex<ConnectionState>>) -> Self {
        let mut locked = lock(&state);
        locked.last_context += 1;
        let context = locked.last_context;
        locked.awaited.insert(context, None);
        drop(locked);
        Self { state, context }
    }

    pub(super) const fn context(&self) -> u64 {
        self.context
    }
}

impl Future for SentDatagram {
    type Output = DatagramSendState;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DatagramSendState> {
        let mut state = lock(&self.state);
        match state.awaited.get(&self.context) {
            Some(Some(end)) => Poll::Ready(*end),
            _ => {
                state.wakers.wait(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for SentDatagram {
    fn drop(&mut self) {
        lock(&self.state).awaited.remove(&self.context);
    }
}
