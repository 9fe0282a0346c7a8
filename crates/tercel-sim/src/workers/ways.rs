//! Every way in which a stream can be received and sent, chosen by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tercel::{BytesMut, Receive, Rest, SendOptions, Stream};

use crate::random::Random;

/// What an application does after a while, on none of its workers.
pub(super) struct Later {
    pub(super) after: Duration,
    pub(super) act: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Later").field("after", &self.after).finish_non_exhaustive()
    }
}

/// How much of a receive counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// All that is shown.
    Whole,
    /// So much of it.
    Part(u64),
}

/// The choices of one stream.
#[derive(Debug)]
pub(super) struct Ways {
    random: Random,
    /// Whether it is given up for a loss.
    pub(super) cancels: bool,
    into_buffers: bool,
    /// Whether no receive may come now.
    rests: Arc<AtomicBool>,
    later: Vec<Later>,
}

impl Ways {
    pub(super) fn new(mut random: Random, may_cancel: bool) -> Self {
        let (cancels, into_buffers) = (may_cancel && random.chance(0.2), random.chance(0.3));
        Self { random, cancels, into_buffers, rests: Arc::default(), later: Vec::new() }
    }

    pub(super) fn take_later(&mut self) -> Vec<Later> {
        std::mem::take(&mut self.later)
    }

    fn later(&mut self, act: impl FnOnce() + Send + 'static) {
        let after = self.random.millis(0..=30);
        self.later.push(Later { after, act: Box::new(act) });
    }

    pub(super) fn send_options(&mut self, options: SendOptions, more_follows: bool) -> SendOptions {
        SendOptions {
            more_follows: more_follows && self.random.chance(0.5),
            after_handshake: self.random.chance(0.2),
            cancel_on_loss: self.cancels,
            ..options
        }
    }

    // Receives.

    /// Answers a receive, now or later. What counts of it is told at once.
    pub(super) fn answer(&mut self, stream: &Stream, receive: &mut Receive<'_>) -> Taking {
        assert!(!self.rests.load(Ordering::SeqCst), "{:?}: data while none is to come", stream.id());
        let accepted = match self.random.below(3) {
            0 => receive.len(),
            1 => self.random.below(receive.len() as u64 + 1) as usize,
            _ => receive.len().saturating_sub(1),
        };
        let whole = accepted == receive.len();
        let rest = self.random.one_of(&[Rest::AtOnce, Rest::WhenEnabled]);
        match self.random.below(4) {
            0 => Taking::Whole,
            1 => {
                self.rests.store(true, Ordering::SeqCst);
                let (pending, rests) = (expect(receive.pend()), self.rests.clone());
                assert!(receive.pend().is_err(), "pended twice");
                self.later(move || {
                    rests.store(false, Ordering::SeqCst);
                    let stream = pending.stream().clone();
                    assert!(pending.complete_part(accepted, rest).is_ok());
                    stream.set_receive_enabled(true);
                    stream.detach();
                });
                Taking::Part(accepted as u64)
            }
            _ => {
                // Who takes nothing waits for more, which may not come.
                let rest = if accepted == 0 { Rest::WhenEnabled } else { rest };
                expect(receive.accept(accepted, rest));
                if rest == Rest::WhenEnabled && !whole {
                    self.rests.store(true, Ordering::SeqCst);
                    let (stream, rests) = (stream.clone(), self.rests.clone());
                    self.later(move || {
                        rests.store(false, Ordering::SeqCst);
                        stream.set_receive_enabled(true);
                        stream.detach();
                    });
                }
                Taking::Whole
            }
        }
    }

    // Buffers.

    fn buffer(&mut self) -> BytesMut {
        BytesMut::with_capacity(self.random.one_of(&[1_000, 7_777, 50_000]))
    }

    pub(super) fn first_buffers(&mut self) -> Option<Vec<BytesMut>> {
        if !self.into_buffers {
            return None;
        }
        let count = self.random.below(3);
        Some((0..count).map(|_| self.buffer()).collect())
    }

    /// A buffer, or a part of one, came back.
    pub(super) fn filled(&mut self, stream: &Stream, used_up: bool) {
        if used_up && self.random.chance(0.5) {
            let buffer = self.buffer();
            // Refused if the stream has ended meanwhile.
            let _ = stream.provide_receive_buffers(vec![buffer]);
        }
    }

    /// There are none, and nothing comes before there are.
    pub(super) fn need_buffers(&mut self, stream: &Stream) {
        let buffers: Vec<_> = (0..self.random.within(1..=2)).map(|_| self.buffer()).collect();
        match self.random.chance(0.5) {
            true => drop(stream.provide_receive_buffers(buffers)),
            false => {
                let stream = stream.clone();
                self.later(move || {
                    let _ = stream.provide_receive_buffers(buffers);
                    stream.detach();
                });
            }
        }
    }
}

fn expect<T>(result: Result<T, tercel::Error>) -> T {
    result.unwrap_or_else(|error| panic!("a receive cannot be answered: {error}"))
}
