//! Listeners as their workers see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Binding;
use crate::event::{ListenerEvent, ListenerHandler};
use crate::listener::Listener;
use crate::registration::RegistrationShared;
use crate::worker::{Letter, current};

/// The shared part of a listener.
pub(crate) struct ListenerShared {
    pub(crate) registration: Arc<RegistrationShared>,
    pub(crate) binding: Arc<Binding>,
    alpn: Vec<Vec<u8>>,
    handler: Box<dyn ListenerHandler>,
    /// How many workers have not stopped it yet.
    workers: AtomicUsize,
    /// How many of them keep clients away because of their load. Locked while that is told, so that it is
    /// told in order.
    shedding: Mutex<usize>,
}

impl ListenerShared {
    pub(crate) fn new(
        registration: Arc<RegistrationShared>,
        binding: Arc<Binding>,
        alpn: Vec<Vec<u8>>,
        handler: Box<dyn ListenerHandler>,
    ) -> Arc<Self> {
        let workers = AtomicUsize::new(binding.workers());
        Arc::new(Self { registration, binding, alpn, handler, workers, shedding: Mutex::new(0) })
    }

    /// Whether it serves one of these application protocols.
    pub(crate) fn serves(&self, offered: &[Vec<u8>]) -> bool {
        offered.iter().any(|protocol| self.alpn.contains(protocol))
    }

    /// Calls the handler.
    pub(crate) fn tell(self: &Arc<Self>, event: ListenerEvent) {
        self.handler.event(&Listener { shared: self.clone(), owned: false }, event);
    }

    /// One worker keeps clients away, or does so no more; the first and the last tell the handler.
    pub(crate) fn shedding_by_worker(self: &Arc<Self>, active: bool) {
        let mut shedding = self.shedding.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *shedding;
        *shedding = if active { before + 1 } else { before.saturating_sub(1) };
        let changed = (before == 0) != (*shedding == 0);
        if changed && current::guard(|| self.tell(ListenerEvent::LoadShedding { active })).is_err() {
            tracing::error!("a listener's handler panicked");
        }
    }

    /// One worker has stopped it; the last one tells the handler.
    pub(crate) fn stopped_by_worker(self: &Arc<Self>) {
        let last = self.workers.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && current::guard(|| self.tell(ListenerEvent::StopComplete)).is_err() {
            tracing::error!("a listener's handler panicked");
        }
    }

    /// Tells every worker of a new listener, or to stop one.
    pub(crate) fn announce(self: &Arc<Self>, letter: impl Fn(Arc<Self>) -> Letter) {
        for mailbox in &self.registration.mailboxes {
            // A worker that is gone serves no listener.
            let _ = mailbox.send(letter(self.clone()));
        }
    }
}
