//! How a server's connection begins: a listener tells of it, the application says that it wants it, gives a
//! configuration, now or later, and judges the client's ticket if there is one.

use std::future::Future as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Wake, Waker};

use tercel::{CloseReason, NewConnection, Resume, TransportErrorCode};

use super::events::Events;
use super::{Connection, Stage, elsewhere};
use crate::abi::{ConnectionEventBody, Resumed, Status, connection_event};
use crate::configuration::Configuration;
use crate::credential::Role;
use crate::handle;
use crate::outcome::of_end;
use crate::registration::Registration;
use crate::target::Target;

/// Woken when the client has left before it was answered.
struct Left(Weak<Connection>);

impl Wake for Left {
    fn wake(self: Arc<Self>) {
        // It is woken when the question is settled, too, which is no news.
        if let Some(connection) = self.0.upgrade()
            && connection.may_be_left()
        {
            elsewhere(move || connection.client_left());
        }
    }
}

impl Connection {
    /// A client wants a connection.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn offered(registration: Arc<Registration>, new: NewConnection) -> Result<Arc<Self>, Status> {
        let cancelled = new.cancelled();
        let stage = Stage::Offered(Box::new(new));
        let connection = Self::make(&registration, tercel::Role::Server, stage, Target::nobody())?;
        let waker = Waker::from(Arc::new(Left(Arc::downgrade(&connection))));
        // It stays with the question, not with the future.
        let _ = std::pin::pin!(cancelled).poll(&mut TaskContext::from_waker(&waker));
        Ok(connection)
    }

    /// The application wants the connection: from now on it hears of its end.
    pub(crate) fn taken(self: &Arc<Self>) {
        self.owned.store(true, Ordering::Release);
        // A configuration may have been given already.
        self.ask_about_ticket();
    }

    /// The application does not want the connection: nothing is left of it.
    pub(crate) fn refused(&self) {
        if handle::remove::<Self>(self.handle).is_err() {
            // It has closed the handle itself.
            return;
        }
        self.over.store(true, Ordering::Release);
        let before = std::mem::replace(&mut self.state().stage, Stage::Over);
        self.forget();
        // Dropping it refuses.
        drop(before);
    }

    /// Gives the configuration.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`], [`Status::INVALID_STATE`].
    pub(super) fn configure(self: &Arc<Self>, configuration: Arc<Configuration>) -> Result<(), Status> {
        if self.role != tercel::Role::Server {
            return Err(Status::INVALID_PARAMETER);
        }
        let (own, versions) = {
            let state = self.state();
            (state.settings, state.wishes.versions.clone())
        };
        let built = configuration.build(Role::Server, &own, &versions)?;
        let mut state = self.state();
        if state.configuration.is_some() || self.is_over() {
            return Err(Status::INVALID_STATE);
        }
        let built = if state.wishes.keep_tls_secrets { built.with_tls_secrets_kept() } else { built };
        let Stage::Offered(new) = std::mem::replace(&mut state.stage, Stage::Over) else {
            return Err(Status::INVALID_STATE);
        };
        state.configuration = Some(configuration);
        let asks = new.ticket(&built).is_some();
        state.stage = Stage::Asking(new, Box::new(built));
        drop(state);
        if !self.owned.load(Ordering::Acquire) {
            // Within NEW_CONNECTION: when that has returned.
            return Ok(());
        }
        match asks {
            true => {
                let connection = self.clone();
                elsewhere(move || connection.ask_about_ticket());
            }
            false => self.ask_about_ticket(),
        }
        Ok(())
    }

    /// Tells the application of the client's ticket, if it shows one that is good, and goes on with the answer.
    fn ask_about_ticket(self: &Arc<Self>) {
        let data = match &self.state().stage {
            Stage::Asking(new, built) => new.ticket(built).map(|ticket| ticket.data().clone()),
            _ => return,
        };
        let Some(data) = data else { return self.answer_ticket(Resume::Session) };
        let resumed = Resumed {
            resumption_state_length: u16::try_from(data.len()).unwrap_or(u16::MAX),
            resumption_state: data.as_ptr(),
        };
        let (status, _) = self.tell(connection_event::RESUMED, ConnectionEventBody { resumed });
        match status {
            Status::PENDING => {}
            status if status.is_failure() => self.answer_ticket(Resume::Refuse),
            _ => self.answer_ticket(Resume::Session),
        }
    }

    /// Takes the connection on, with what the application makes of the ticket. Once.
    pub(super) fn answer_ticket(self: &Arc<Self>, resume: Resume) {
        let mut state = self.state();
        if !matches!(state.stage, Stage::Asking(..)) {
            return;
        }
        let Stage::Asking(new, built) = std::mem::replace(&mut state.stage, Stage::Beginning) else { return };
        drop(state);
        let why = new.close_reason();
        match new.resume(resume).accept(&built, Events::new(self.clone())) {
            Ok(connection) => self.begin(&connection),
            Err(_) => {
                let connection = self.clone();
                elsewhere(move || connection.lost(why));
            }
        }
    }

    /// Whether the application is being asked about the ticket.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.state().stage, Stage::Asking(..))
    }

    /// Whether the client may have left before it was answered. Whoever asks may have the state already.
    fn may_be_left(&self) -> bool {
        self.state.try_lock().is_none_or(|state| match &state.stage {
            Stage::Offered(new) | Stage::Asking(new, _) => new.is_cancelled(),
            _ => false,
        })
    }

    /// The client may have left before it was answered.
    fn client_left(self: &Arc<Self>) {
        let mut state = self.state();
        let reason = match &state.stage {
            Stage::Offered(new) | Stage::Asking(new, _) if new.is_cancelled() => new.close_reason(),
            _ => return,
        };
        let before = std::mem::replace(&mut state.stage, Stage::Beginning);
        drop(state);
        drop(before);
        self.lost(reason);
    }

    fn lost(self: &Arc<Self>, reason: Option<CloseReason>) {
        let reason = reason.unwrap_or(CloseReason::HandshakeTimeout);
        if self.state().shut_down.is_none() {
            let (status, code) = of_end(&reason);
            self.tell_transport_shutdown(status, code);
        }
        self.settle(reason);
    }

    /// The application shuts down what it has not answered yet.
    pub(super) fn refuse_offer(self: &Arc<Self>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.stage, Stage::Beginning);
        drop(state);
        match before {
            Stage::Offered(new) | Stage::Asking(new, _) => new.refuse(TransportErrorCode::APPLICATION_ERROR),
            other => drop(other),
        }
        let connection = self.clone();
        elsewhere(move || connection.settle(CloseReason::Silent));
    }
}
