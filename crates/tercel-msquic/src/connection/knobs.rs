//! What parameters of a connection look at and change.

use std::sync::Arc;

use tercel::{Alert, ConnectionStats, Direction, Role, StreamScheduling, Verdict};

use super::{Connection, Stage, Wishes};
use crate::abi::settings::{flags, is_set};
use crate::abi::{Addr, Settings, Status, TlsSecrets};
use crate::address::{self, PartialAddress};
use crate::outcome::status_of;
use crate::versions::VersionLists;

/// Where an application wants the secrets of TLS to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecretsPlace(pub(super) *mut TlsSecrets);

// SAFETY: it is written from one thread at a time, before the handshake is told to be complete.
unsafe impl Send for SecretsPlace {}

impl Connection {
    /// # Errors
    /// [`Status::INVALID_STATE`]: it was started, or configured.
    pub(crate) fn require_unstarted(&self) -> Result<(), Status> {
        let state = self.state();
        match matches!(state.stage, Stage::Idle | Stage::Offered(_)) && state.shut_down.is_none() {
            true => Ok(()),
            false => Err(Status::INVALID_STATE),
        }
    }

    /// # Errors
    /// [`Status::INVALID_STATE`]: it was started, or is not a client's.
    pub(crate) fn require_unstarted_client(&self) -> Result<(), Status> {
        match self.role {
            Role::Client => self.require_unstarted(),
            Role::Server => Err(Status::INVALID_STATE),
        }
    }

    /// Looks at what is wanted, and may change it.
    pub(crate) fn wish<R>(&self, look: impl FnOnce(&mut Wishes) -> R) -> R {
        look(&mut self.state().wishes)
    }

    /// A client's: where to speak from; once it is connected it moves there.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]; what the system says of the address.
    pub(crate) fn set_local_address(&self, local: PartialAddress) -> Result<(), Status> {
        if self.role == Role::Server || self.is_closed_locally() {
            return Err(Status::INVALID_STATE);
        }
        if self.require_unstarted().is_ok() {
            self.wish(|wishes| wishes.local = Some(local));
            return Ok(());
        }
        if !self.is_connected() {
            return Err(Status::INVALID_STATE);
        }
        let live = self.live().ok_or(Status::INVALID_STATE)?;
        live.rebind(local.or_any()).map_err(|error| match error {
            tercel::Error::InvalidArgument(_) => Status::INVALID_STATE,
            error => status_of(&error),
        })
    }

    /// Lays settings over those of the configuration. What is agreed on in the handshake does not change after it.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`]: a value is out of its range, or can only be set before the start.
    pub(crate) fn change_settings(&self, new: &Settings) -> Result<(), Status> {
        const AT_START: u64 = is_set::MINIMUM_MTU | is_set::MAXIMUM_MTU | is_set::ECN_ENABLED;
        let started = self.require_unstarted().is_err();
        if started && new.is_set & AT_START != 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        // In the light of everything that holds.
        let mut all = self.settings();
        crate::settings::apply(&mut all, new)?;
        let mut state = self.state();
        crate::settings::overlay(&mut state.settings, new);
        self.manners.unsettle();
        drop(state);
        if let Some(live) = self.live() {
            // What has ended needs no settings.
            let _ = live.change_settings(&crate::settings::translate(&all));
            let _ = live.tell_network(all.flags & flags::NET_STATS_EVENT_ENABLED != 0);
        }
        Ok(())
    }

    /// # Errors
    /// [`Status::INVALID_STATE`]: it was started, is not a client's, or does not share its socket;
    /// [`Status::INVALID_PARAMETER`]; [`Status::NOT_SUPPORTED`].
    pub(crate) fn set_cibir_id(&self, id: &[u8]) -> Result<(), Status> {
        self.require_unstarted_client()?;
        match self.wish(|wishes| wishes.share_binding) {
            true => crate::listener::cibir_id(id).map(drop),
            false => Err(Status::INVALID_STATE),
        }
    }

    /// Which processor it is on.
    pub(crate) fn processor(&self) -> u16 {
        let worker = self.live().map(|live| live.worker()).or_else(|| self.wish(|wishes| wishes.worker));
        u16::try_from(worker.unwrap_or(0)).unwrap_or(u16::MAX)
    }

    /// Which versions it speaks, as its own settings say, or else its configuration's.
    pub(crate) fn versions(&self) -> VersionLists {
        let (own, configuration) = {
            let state = self.state();
            (state.wishes.versions.clone(), state.configuration.clone())
        };
        match configuration {
            Some(configuration) if own.are_empty() => configuration.versions(),
            _ => own,
        }
    }

    pub(crate) fn set_reason_phrase(&self, phrase: Vec<u8>) {
        self.state().reason_phrase = phrase;
    }

    /// What was set, or what the peer said.
    pub(crate) fn reason_phrase(&self) -> Option<Vec<u8>> {
        let own = self.state().reason_phrase.clone();
        let peers = match self.close_reason() {
            Some(tercel::CloseReason::PeerApplication { reason, .. }) => reason.to_vec(),
            _ => Vec::new(),
        };
        [own, peers].into_iter().find(|phrase| !phrase.is_empty())
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn set_scheduling(&self, scheduling: StreamScheduling) -> Result<(), Status> {
        self.wish(|wishes| wishes.scheduling = Some(scheduling));
        match self.live() {
            Some(live) => live.set_stream_scheduling(scheduling).map_err(|error| status_of(&error)),
            None => Ok(()),
        }
    }

    pub(crate) fn scheduling(&self) -> StreamScheduling {
        self.wish(|wishes| wishes.scheduling).unwrap_or(StreamScheduling::Fifo)
    }

    /// The verdict on the peer's certificate, without more words.
    pub(crate) fn judge_as(&self, valid: bool) {
        // Who is not asked is not heard.
        let _ = self.judge(if valid { Verdict::Accept } else { Verdict::Reject(Alert::BAD_CERTIFICATE) });
    }

    pub(crate) fn keep_secrets_at(&self, place: *mut TlsSecrets) {
        let mut state = self.state();
        state.wishes.keep_tls_secrets = true;
        state.secrets = Some(SecretsPlace(place));
    }

    /// This end's and the peer's, as far as known.
    pub(crate) fn addresses(&self) -> (Option<Addr>, Option<Addr>) {
        let state = self.state();
        if let Some(live) = self.live_in(&state) {
            return (Some(address::write(live.local_address())), Some(address::write(live.remote_address())));
        }
        match &state.stage {
            Stage::Offered(new) | Stage::Asking(new, _) => {
                (Some(address::write(new.local_address())), Some(address::write(new.remote_address())))
            }
            _ => {
                let whole = |wish: Option<PartialAddress>| wish.and_then(PartialAddress::whole).map(address::write);
                let wished = (whole(state.wishes.local), whole(state.wishes.remote));
                match state.last_addresses {
                    Some((local, remote)) => (Some(address::write(local)), Some(address::write(remote))),
                    None => wished,
                }
            }
        }
    }

    pub(crate) fn streams_available(self: &Arc<Self>, direction: Direction) -> u16 {
        let available = self.look(move |look| look.streams_available(direction)).unwrap_or(0);
        u16::try_from(available).unwrap_or(u16::MAX)
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.state().resumed
    }

    /// What it has done, as last told.
    pub(crate) fn last_stats(&self) -> ConnectionStats {
        let state = self.state();
        match self.live_in(&state) {
            Some(live) => live.stats(),
            None => state.last_stats.unwrap_or_default(),
        }
    }

    /// Writes the secrets of TLS to where the application wants them.
    pub(super) fn write_secrets(&self, live: &tercel::Connection) {
        let Some(SecretsPlace(place)) = self.state().secrets else { return };
        let (tell, told) = std::sync::mpsc::channel();
        // In a handler it is run at once.
        let _ = live.inspect(move |look| drop(tell.send(look.tls_secrets().cloned())));
        let Ok(Some(found)) = told.try_recv() else { return };
        let mut secrets = TlsSecrets {
            secret_length: 0,
            is_set: 1,
            client_random: found.client_random,
            client_early_traffic_secret: [0; 64],
            client_handshake_traffic_secret: [0; 64],
            server_handshake_traffic_secret: [0; 64],
            client_traffic_secret0: [0; 64],
            server_traffic_secret0: [0; 64],
        };
        for (bit, from, to) in [
            (1, &found.client_early_traffic, &mut secrets.client_early_traffic_secret),
            (2, &found.client_handshake_traffic, &mut secrets.client_handshake_traffic_secret),
            (3, &found.server_handshake_traffic, &mut secrets.server_handshake_traffic_secret),
            (4, &found.client_traffic, &mut secrets.client_traffic_secret0),
            (5, &found.server_traffic, &mut secrets.server_traffic_secret0),
        ] {
            if let Some(secret) = from.as_ref().filter(|secret| secret.len() <= to.len()) {
                to[..secret.len()].copy_from_slice(secret);
                secrets.secret_length = secret.len() as u8;
                secrets.is_set |= 1 << bit;
            }
        }
        // SAFETY: the application keeps the struct that it gave by the parameter until the handshake is complete,
        // which is told after this.
        unsafe { place.write(secrets) };
    }
}
