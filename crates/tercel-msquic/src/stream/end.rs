//! The end of a stream: by a shutdown, of which events tell; and by closing the handle, after which there are none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercel::{Direction, VarInt};

use super::events::Ending;
use super::{Call, Receiving, Stage, Stream};
use crate::abi::{Handle, Status, stream_shutdown as flag};
use crate::connection::on_worker;
use crate::execution;
use crate::gate::{Signal, SignalWhenDropped};
use crate::handle;

impl Stream {
    /// Shuts down one part or both.
    ///
    /// # Errors
    /// None that a program need care about: what has ended has ended.
    pub(super) fn shut_down(self: &Arc<Self>, flags: u32, code: u64) -> Result<(), Status> {
        let code = VarInt::saturating(code);
        {
            let mut state = self.state();
            let reliable = state.reliable_offset;
            // What has ended already needs no end.
            if flags & flag::GRACEFUL != 0 && self.sends() {
                let _ = self.call(&mut state, Call::Finish);
                state.sends.close(&self.first);
            }
            if flags & flag::ABORT_SEND != 0 && self.sends() {
                let _ = self.call(&mut state, Call::Reset { code, reliable });
                state.sends.close(&self.first);
            }
            if flags & flag::ABORT_RECEIVE != 0 && (!self.local || self.direction == Direction::Bidirectional) {
                let _ = self.call(&mut state, Call::Stop(code));
            }
        }
        if flags & flag::ABORT_RECEIVE != 0 {
            self.hold_back_nothing();
        }
        if flags & flag::IMMEDIATE != 0 {
            self.settle_soon();
        }
        Ok(())
    }

    /// The application hears the last events now. Whoever calls this is the only one who tells it anything, and has
    /// seen to it that nothing is sent any more.
    pub(crate) fn settle(self: &Arc<Self>) {
        let _pass = self.connection.gate().enter();
        self.settle_inside(Ending::Maybe);
    }

    /// The same, by who is inside the gate, when it may be known that the connection goes on.
    pub(super) fn settle_inside(self: &Arc<Self>, connection: Ending) {
        if self.is_over() {
            return;
        }
        if !self.first.was_last() {
            self.cancel_sends();
        }
        self.tell_send_ended();
        if !self.is_over() {
            self.tell_complete(connection);
        }
        self.finish();
    }

    /// Sends that are left are canceled, one by one: the application may close the handle meanwhile, and hears of those
    /// that are left then within that.
    #[cold]
    fn cancel_sends(self: &Arc<Self>) {
        loop {
            let left = self.state().sends.seal(&self.first);
            match left {
                Some(context) => self.tell_sent(context, true),
                None => return,
            }
        }
    }

    /// It has told the last event.
    fn finish(self: &Arc<Self>) {
        // Most have started, and hold nothing: the stream of Tercel's, which is over, goes with the object.
        if self.holds.load(Ordering::Acquire) || self.id().is_none() {
            self.clear();
        }
        self.stay_no_longer();
    }

    /// Nothing is held any more, nor kept for a stream that has not started.
    fn clear(&self) {
        let mut state = self.state();
        state.memory.end();
        let stage = std::mem::replace(&mut state.stage, Stage::Over);
        let many = matches!(state.receiving, Receiving::Many(_));
        let pending = state.receiving.end();
        drop(state);
        if let (Stage::Live(live), true) = (&stage, many) {
            live.consumed(u64::MAX);
        }
        drop(pending);
    }

    /// Both parts end at once, and nothing is sent any more.
    fn abort(&self) {
        let mut state = self.state();
        state.memory.end();
        let code = VarInt::from_u32(0);
        let Stage::Live(live) = &state.stage else {
            if let Stage::Before { calls, .. } = &mut state.stage {
                *calls = None;
            }
            return;
        };
        // What has ended already needs no end.
        if self.sends() {
            let _ = live.reset(code);
        }
        if !self.local || self.direction == Direction::Bidirectional {
            let _ = live.stop_sending(code);
        }
    }

    /// Settles it within the callback that this is called from; else has the connection's worker do it.
    fn settle_soon(self: &Arc<Self>) -> Option<Arc<Signal>> {
        let live = match &self.state().stage {
            Stage::Live(live) if !self.is_over() => Some(live.connection()),
            _ => None,
        };
        let Some(live) = live.filter(|_| !self.connection.is_in_callback()) else {
            self.settle();
            return None;
        };
        let done = Arc::new(Signal::default());
        let (stream, signal) = (self.clone(), SignalWhenDropped(done.clone()));
        let settle = move || {
            stream.settle();
            drop(signal);
        };
        let asked = on_worker(&live, &self.connection, Box::new(settle));
        match asked {
            Ok(()) => Some(done),
            Err(_) => {
                // The queue of the connection has ended, so nothing of it sends any more: what is left is to tell.
                self.settle();
                None
            }
        }
    }

    /// Closes the handle: after this no callback of it is running, except one that called this, and none follows.
    pub(super) fn close(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Release);
        self.release();
        if !self.is_over() && !self.end_at_once() {
            return;
        }
        if !self.connection.is_in_callback() {
            // The callback of the last event may still be running.
            drop(self.connection.gate().enter());
        }
        self.stay_no_longer();
    }

    /// Ends it before its time. `false`: to wait for the last events would be to wait for oneself, and they come a little
    /// later.
    #[cold]
    fn end_at_once(self: &Arc<Self>) -> bool {
        let own_thread = self.connection.gate().is_own_thread();
        self.abort();
        if let Some(done) = self.settle_soon() {
            if own_thread && !execution::drive_until(|| done.is_given()) {
                return false;
            }
            done.wait();
            self.settle();
        }
        true
    }

    /// The application does not want the peer's stream: nothing is left of it.
    pub(crate) fn refuse(handle: Handle) {
        // Unless the application has closed it itself.
        if let Ok(stream) = handle::close_stream(handle) {
            stream.target.silence();
            stream.abort();
            stream.settle();
        }
    }
}
