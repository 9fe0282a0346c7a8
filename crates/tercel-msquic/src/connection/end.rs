//! The end of a connection: by a shutdown, of which events tell; and by closing the handle, after which there are
//! none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tercel::{CloseReason, VarInt};

use super::{Connection, Stage, elsewhere, on_worker};
use crate::abi::{connection_shutdown, datagram_send_state};
use crate::execution;
use crate::gate::{Signal, SignalWhenDropped};
use crate::handle;

impl Connection {
    /// Shuts it down. The first time counts.
    pub(super) fn shut_down(self: &Arc<Self>, flags: u32, code: u64) {
        let mut state = self.state();
        if state.shut_down.is_some() {
            return;
        }
        state.shut_down = Some((flags, code));
        self.ends.store(true, Ordering::Relaxed);
        match &state.stage {
            Stage::Live => {
                drop(state);
                if let Some(live) = self.live.get() {
                    self.close_live(live, flags, code);
                }
            }
            Stage::Idle => {
                drop(state);
                let connection = self.clone();
                elsewhere(move || connection.settle(CloseReason::Silent));
            }
            Stage::Offered(_) | Stage::Asking(..) => {
                drop(state);
                self.refuse_offer();
            }
            // It is closed as soon as it has begun.
            Stage::Beginning | Stage::Over => {}
        }
    }

    /// Shuts it down with its registration: what is not started stays as it is.
    pub(crate) fn shut_down_with_registration(self: &Arc<Self>, flags: u32, code: u64) {
        if !matches!(self.state().stage, Stage::Idle) {
            self.shut_down(flags, code);
        }
    }

    pub(super) fn close_live(&self, live: &tercel::Connection, flags: u32, code: u64) {
        match flags & connection_shutdown::SILENT != 0 {
            true => live.close_silently(),
            false => {
                let reason = Bytes::from(self.state().reason_phrase.clone());
                live.close(VarInt::saturating(code), reason);
            }
        }
    }

    /// The application hears the last events of everything, now. Whoever calls this is the only one who tells it
    /// anything: the connection's own worker; or a thread that knows that the worker does not.
    pub(super) fn settle(self: &Arc<Self>, reason: CloseReason) {
        let _pass = self.gate.enter();
        if self.is_over() {
            return;
        }
        let verdict = {
            let mut state = self.state();
            state.close_reason.get_or_insert(reason);
            self.ends.store(true, Ordering::Relaxed);
            state.waiting.clear();
            state.verdict.take()
        };
        drop(verdict);
        // From now on none is opened.
        for stream in handle::streams_of(self.handle).iter().filter(|stream| stream.was_started()) {
            stream.settle();
        }
        // One by one: the application may close the handle meanwhile, and hears of those that are left within that.
        loop {
            let Some((_, context)) = self.state().datagrams.pop_first() else { break };
            self.tell_datagram(context, datagram_send_state::CANCELED);
        }
        let (connected, timed_out) = {
            let state = self.state();
            let timed_out = matches!(
                state.close_reason,
                Some(CloseReason::IdleTimeout | CloseReason::HandshakeTimeout | CloseReason::StatelessReset)
            );
            (state.connected, timed_out)
        };
        self.tell_complete(connected, !timed_out);
        let live = {
            let mut state = self.state();
            let live = self.live_in(&state);
            if let Some(live) = live {
                let (stats, addresses) = (live.stats(), (live.local_address(), live.remote_address()));
                (state.last_stats, state.last_addresses) = (Some(stats), Some(addresses));
            }
            state.stage = Stage::Over;
            live
        };
        if let Some(live) = live {
            // What is still to be sent to the peer does not need a handle.
            live.clone().detach();
        }
        self.is_begun();
    }

    /// Closes the handle: after this no callback is running, except one that called this, and none follows.
    pub(super) fn close(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        self.ends.store(true, Ordering::Relaxed);
        let live = self.live();
        if let Some(live) = &live {
            // The first close counts, so this changes nothing after a shutdown.
            live.close_silently();
        }
        if !self.is_over() {
            match live {
                Some(live) if !self.is_in_callback() => {
                    if !self.settle_by_worker(&live) {
                        return self.forget();
                    }
                }
                _ => self.settle(CloseReason::Silent),
            }
        }
        // The callback of the last event may still be running.
        drop(self.gate.enter());
        self.target.silence();
        self.forget();
    }

    /// Has the connection's worker settle it, and waits for that. `false` if that would be to wait for oneself: the
    /// last events come a little later.
    fn settle_by_worker(self: &Arc<Self>, live: &tercel::Connection) -> bool {
        let connection = self.clone();
        let done = Arc::new(Signal::default());
        let signal = SignalWhenDropped(done.clone());
        let own_thread = self.gate.is_own_thread();
        let settle = move || {
            connection.settle(CloseReason::Silent);
            drop(signal);
        };
        let asked = on_worker(live, self, Box::new(settle));
        match asked {
            Ok(()) if own_thread && !execution::drive_until(|| done.is_given()) => return false,
            Ok(()) => {
                done.wait();
                // If it has ended before, its end is told by now, or being told.
                self.settle(CloseReason::Silent);
            }
            // The queue has ended, so nothing of it sends any more: what is left is to tell.
            Err(_) => self.settle(CloseReason::Silent),
        }
        true
    }

    /// It does not belong to its registration any more.
    pub(super) fn forget(&self) {
        self.registration.remove_connection(self.handle);
        self.registration.leave();
    }
}
