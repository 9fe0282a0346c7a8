//! Connections: of clients before they are started, of servers before they have a configuration, and of both as
//! connections of Tercel's.
//!
//! | file | holds |
//! |---|---|
//! | `start` | how a client's connection begins |
//! | `accept` | how a server's does |
//! | `pool` | many at once |
//! | `events` | what is told of it |
//! | `verify` | the peer's certificate |
//! | `end` | shutting down, and closing the handle |
//! | `reference` | how streams refer to it |
//! | `knobs` | what parameters look at and change |
//! | `calls` | the functions |

mod accept;
pub(crate) mod calls;
mod end;
mod events;
mod knobs;
pub(crate) mod pool;
mod reference;
mod start;
mod verify;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use tercel::{CloseReason, NewConnection, PendingVerdict, ResumptionTicket, Role};

use crate::abi::settings::flags;
use crate::abi::{self, ConnectionCallback, ConnectionEventBody, Handle, Settings, Status};
use crate::address::PartialAddress;
use crate::boundary::Context;
use crate::brief::{Brief, Hold};
use crate::called;
use crate::configuration::Configuration;
use crate::gate::{Gate, Signal, SignalWhenDropped};
use crate::handle;
use crate::library;
use crate::registration::Registration;
use crate::stream::Stream;
use crate::target::Target;
use crate::versions::VersionLists;

pub(crate) use self::reference::Reference;

/// How far a connection has come.
enum Stage {
    /// Client: not started.
    Idle,
    /// Client: its server's address is being looked up. Server: it is being taken on.
    Beginning,
    /// Server: it waits for a configuration.
    Offered(Box<NewConnection>),
    /// Server: it has one, and the application is asked about the client's ticket.
    Asking(Box<NewConnection>, Box<tercel::Configuration>),
    Live,
    /// It has ended before it was one of Tercel's, or the application has heard its last event.
    Over,
}

/// What a client says of its connection before it starts.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) remote: Option<PartialAddress>,
    pub(crate) local: Option<PartialAddress>,
    pub(crate) share_binding: bool,
    /// Which worker is to have it.
    pub(crate) worker: Option<usize>,
    pub(crate) ticket: Option<ResumptionTicket>,
    pub(crate) keep_tls_secrets: bool,
    pub(crate) versions: VersionLists,
    pub(crate) scheduling: Option<tercel::StreamScheduling>,
}

/// How streams send and receive.
#[derive(Clone, Copy)]
pub(crate) struct Manners {
    /// Receives may be outstanding by the dozen.
    pub(crate) receives_many: bool,
    /// Sends are copied, and done with at once.
    pub(crate) buffers_sends: bool,
}

impl Manners {
    fn of(settings: &Settings) -> Self {
        Self {
            receives_many: crate::settings::receives_many(settings),
            buffers_sends: crate::settings::buffers_sends(settings),
        }
    }
}

/// [`Manners`] once they are settled: read for each stream, so not behind a lock.
#[derive(Default)]
struct SettledManners(AtomicU8);

impl SettledManners {
    const SETTLED: u8 = 1;
    const RECEIVES_MANY: u8 = 2;
    const BUFFERS_SENDS: u8 = 4;

    fn get(&self) -> Option<Manners> {
        let bits = self.0.load(Ordering::Relaxed);
        let has = |bit| bits & bit != 0;
        let manners = Manners { receives_many: has(Self::RECEIVES_MANY), buffers_sends: has(Self::BUFFERS_SENDS) };
        has(Self::SETTLED).then_some(manners)
    }

    fn set(&self, manners: Manners) {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        let bits = bit(manners.receives_many, Self::RECEIVES_MANY) | bit(manners.buffers_sends, Self::BUFFERS_SENDS);
        self.0.store(bits | Self::SETTLED, Ordering::Relaxed);
    }

    fn unsettle(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

struct State {
    stage: Stage,
    configuration: Option<Arc<Configuration>>,
    settings: Settings,
    wishes: Wishes,
    reason_phrase: Vec<u8>,
    /// The application has shut it down, with these flags and this code.
    shut_down: Option<(u32, u64)>,
    /// Streams that were started before there was a connection.
    waiting: Vec<Arc<Stream>>,
    datagrams: BTreeMap<u64, Context>,
    next_datagram: u64,
    verdict: Option<PendingVerdict>,
    connected: bool,
    resumed: bool,
    may_send_tickets: bool,
    close_reason: Option<CloseReason>,
    secrets: Option<knobs::SecretsPlace>,
    /// What there was to see when it ended.
    last_stats: Option<tercel::ConnectionStats>,
    last_addresses: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
    /// How many wait for it to begin.
    awaited: usize,
}

/// See the [module](self).
pub(crate) struct Connection {
    handle: Handle,
    pub(crate) registration: Arc<Registration>,
    role: Role,
    gate: Gate,
    target: Target<ConnectionCallback>,
    state: Brief<State>,
    /// The connection of Tercel's, from when it is [live](Stage::Live) on: also for those who have no lock.
    live: OnceLock<tercel::Connection>,
    /// It is shut down or being closed, or why it ended is known: for those who have no lock.
    ends: AtomicBool,
    /// How its streams send and receive. Changed under the lock of the state.
    manners: SettledManners,
    /// Held by those who wait for it to begin, until they sleep.
    beginning: Mutex<()>,
    /// It has begun, or never will.
    begun: Condvar,
    /// The application is in `ConnectionClose`.
    closing: AtomicBool,
    /// The application has heard the last event.
    over: AtomicBool,
    /// The application has it: it hears of its end.
    owned: AtomicBool,
    /// It may send early data.
    early: AtomicBool,
    spare: reference::Spare,
}

impl Connection {
    fn make(
        registration: &Arc<Registration>,
        role: Role,
        stage: Stage,
        target: Target<ConnectionCallback>,
    ) -> Result<Arc<Self>, Status> {
        let state = State {
            stage,
            configuration: None,
            settings: Settings::default(),
            wishes: Wishes::default(),
            reason_phrase: Vec::new(),
            shut_down: None,
            waiting: Vec::new(),
            datagrams: BTreeMap::new(),
            next_datagram: 0,
            verdict: None,
            connected: false,
            resumed: false,
            may_send_tickets: true,
            close_reason: None,
            secrets: None,
            last_stats: None,
            last_addresses: None,
            awaited: 0,
        };
        let make = |handle| {
            Arc::new(Self {
                handle,
                registration: registration.clone(),
                role,
                gate: Gate::default(),
                target,
                state: Brief::new(state),
                live: OnceLock::new(),
                ends: AtomicBool::new(false),
                manners: SettledManners::default(),
                beginning: Mutex::new(()),
                begun: Condvar::new(),
                closing: AtomicBool::new(false),
                over: AtomicBool::new(false),
                owned: AtomicBool::new(role == Role::Client),
                early: AtomicBool::new(false),
                spare: reference::Spare::default(),
            })
        };
        let connection = match role {
            // It is on its worker.
            Role::Server => handle::insert(make),
            Role::Client => handle::insert_in_turn(make),
        }?;
        library::CONNECTIONS_CREATED.fetch_add(1, Ordering::Relaxed);
        registration.join();
        registration.add_connection(connection.handle, &connection);
        Ok(connection)
    }

    pub(crate) const fn handle(&self) -> Handle {
        self.handle
    }

    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether the call comes from a callback of it.
    pub(crate) fn is_in_callback(&self) -> bool {
        called::is_of(self)
    }

    fn state(&self) -> Hold<'_, State> {
        self.state.lock()
    }

    pub(crate) const fn target(&self) -> &Target<ConnectionCallback> {
        &self.target
    }

    /// Whether the application is closing the handle, or has closed it.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether the application has heard the last event.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The connection of Tercel's, while there is one.
    pub(crate) fn live(&self) -> Option<tercel::Connection> {
        self.live_in(&self.state()).cloned()
    }

    fn live_in(&self, state: &State) -> Option<&tercel::Connection> {
        self.live.get().filter(|_| matches!(state.stage, Stage::Live))
    }

    /// The same if nothing of its end is known, for who is inside the gate: nobody settles it meanwhile.
    #[inline]
    fn runs_here(&self) -> Option<&tercel::Connection> {
        let live = self.live.get().filter(|_| self.gate.is_mine() && !self.ends.load(Ordering::Relaxed))?;
        (!live.has_ended()).then_some(live)
    }

    /// Why it ended, once that is known.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.with_close_reason(|reason| reason.cloned())
    }

    /// Whether the application has shut it down or is closing it.
    pub(crate) fn is_closed_locally(&self) -> bool {
        self.state().shut_down.is_some() || self.closing.load(Ordering::Acquire) || self.is_over()
    }

    /// The status of a call that comes after the end; `None` while it has not come.
    pub(crate) fn late(&self) -> Option<Status> {
        self.late_in(&self.state())
    }

    fn late_in(&self, state: &State) -> Option<Status> {
        let locally = || state.shut_down.is_some() || self.closing.load(Ordering::Acquire) || self.is_over();
        self.with_close_reason_in(state, |reason| match reason {
            Some(reason) if crate::outcome::is_remote(reason) => Some(Status::ABORTED),
            Some(_) => Some(Status::INVALID_STATE),
            None => locally().then_some(Status::INVALID_STATE),
        })
    }

    /// Looks at why it ended, once that is known.
    pub(crate) fn with_close_reason<R>(&self, look: impl FnOnce(Option<&CloseReason>) -> R) -> R {
        self.with_close_reason_in(&self.state(), look)
    }

    fn with_close_reason_in<R>(&self, state: &State, look: impl FnOnce(Option<&CloseReason>) -> R) -> R {
        match (&state.close_reason, self.live_in(state)) {
            (None, Some(live)) if live.has_ended() => look(live.close_reason().as_ref()),
            (known, _) => look(known.as_ref()),
        }
    }

    /// How its streams send and receive.
    pub(crate) fn manners(&self) -> Manners {
        self.manners.get().unwrap_or_else(|| self.settle_manners())
    }

    #[cold]
    fn settle_manners(&self) -> Manners {
        let state = self.state();
        let Some(configuration) = &state.configuration else {
            drop(state);
            return Manners::of(&self.settings());
        };
        let mut settings = configuration.settings();
        // They were checked when they were given.
        let _ = crate::settings::apply(&mut settings, &state.settings);
        let manners = Manners::of(&settings);
        self.manners.set(manners);
        manners
    }

    /// Makes a stream that the application wants to open.
    ///
    /// # Errors
    /// It comes too late; those of `make`.
    pub(crate) fn open_stream(
        &self,
        make: impl FnOnce(Manners) -> Result<Arc<Stream>, Status>,
    ) -> Result<Arc<Stream>, Status> {
        let manners = self.manners();
        // Held meanwhile: who settles the connection finds the stream, or is found to have done so.
        let state = self.runs_here().is_none().then(|| self.state());
        match state.as_ref().and_then(|state| self.late_in(state)) {
            Some(late) => Err(late),
            None => make(manners),
        }
    }

    /// Whether it may send early data.
    pub(crate) fn may_send_early(&self) -> bool {
        self.early.load(Ordering::Relaxed)
    }

    /// What holds for it: settings of the library, the configuration, and its own.
    pub(crate) fn settings(&self) -> Settings {
        let (configuration, own) = {
            let state = self.state();
            (state.configuration.clone(), state.settings)
        };
        let mut settings = match configuration {
            Some(configuration) => configuration.settings(),
            None => crate::library::with(|library| library.settings),
        };
        // They were checked when they were given.
        let _ = crate::settings::apply(&mut settings, &own);
        settings
    }

    /// Lends the connection of Tercel's to a stream that is to start; or keeps the stream until there is one.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn when_live<R>(
        &self,
        stream: &Arc<Stream>,
        start: impl FnOnce(&tercel::Connection) -> R,
    ) -> Result<Option<R>, Status> {
        if let Some(live) = self.runs_here() {
            return Ok(Some(start(live)));
        }
        let mut state = self.state();
        if self.late_in(&state) == Some(Status::ABORTED) {
            return Err(Status::ABORTED);
        }
        if let Some(live) = self.live_in(&state) {
            return Ok(Some(start(live)));
        }
        match &state.stage {
            Stage::Over => Err(Status::INVALID_STATE),
            // Its end is being told.
            _ if state.close_reason.is_some() => Err(Status::INVALID_STATE),
            _ => {
                state.waiting.push(stream.clone());
                Ok(None)
            }
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// Waits for a connection that is beginning: what is asked of it after the start is asked of what has begun.
    pub(crate) fn wait_for_beginning(&self) {
        if self.is_in_callback() {
            return;
        }
        let mut beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        self.state().awaited += 1;
        while matches!(self.state().stage, Stage::Beginning) && !self.is_over() {
            beginning = self.begun.wait(beginning).unwrap_or_else(PoisonError::into_inner);
        }
        self.state().awaited -= 1;
    }

    /// It has begun, or never will: those go on who wait for that.
    fn is_begun(&self) {
        // To wake nobody would be a system call all the same, for every connection.
        if self.state().awaited > 0 {
            // Who has seen that it has not begun sleeps by now.
            drop(self.beginning.lock().unwrap_or_else(PoisonError::into_inner));
            self.begun.notify_all();
        }
    }

    /// Has the worker look inside, and waits for what it saw.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]: it is not running; or to wait would be to wait for oneself.
    pub(crate) fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&tercel::connection::Inspect<'_>) -> R + Send + 'static,
    ) -> Result<R, Status> {
        let live = self.live().ok_or(Status::INVALID_STATE)?;
        let drives = self.gate.is_own_thread() && !self.is_in_callback();
        let (tell, told) = std::sync::mpsc::channel();
        let done = Arc::new(Signal::default());
        let signal = SignalWhenDropped(done.clone());
        let look = move |inside: &tercel::connection::Inspect<'_>| {
            // Whoever has asked waits for the answer.
            let _ = tell.send(look(inside));
            drop(signal);
        };
        live.inspect(look).map_err(|error| crate::outcome::status_of(&error))?;
        if drives && !crate::execution::drive_until(|| done.is_given()) {
            return Err(Status::INVALID_STATE);
        }
        told.recv().map_err(|_| Status::INVALID_STATE)
    }

    /// It is one of Tercel's now: streams that have waited start.
    fn begin(&self, connection: &tercel::Connection) {
        let mut state = self.state();
        if !matches!(state.stage, Stage::Beginning) {
            return;
        }
        // It begins once.
        let _ = self.live.set(connection.clone());
        state.stage = Stage::Live;
        if let Some(scheduling) = state.wishes.scheduling {
            // It cannot have ended yet for this end; if it has, nothing is sent.
            let _ = connection.set_stream_scheduling(scheduling);
        }
        let waiting = std::mem::take(&mut state.waiting);
        let shut_down = state.shut_down;
        let had_own = state.settings.is_set != 0;
        drop(state);
        let settings = self.settings();
        if settings.flags & flags::NET_STATS_EVENT_ENABLED != 0 {
            // What has ended has nothing to tell.
            let _ = connection.tell_network(true);
        }
        if had_own {
            // They may have changed since the start.
            let _ = connection.change_settings(&crate::settings::translate(&settings));
        }
        self.is_begun();
        for stream in waiting {
            stream.start_on(connection);
        }
        if let Some((flags, code)) = shut_down {
            self.close_live(connection, flags, code);
        }
    }

    /// Calls the application, unless it has heard the last event. Gives what it answered, and the event as it left
    /// it.
    fn tell(self: &Arc<Self>, event_type: u32, body: ConnectionEventBody) -> (Status, ConnectionEventBody) {
        let mut event = abi::ConnectionEvent { event_type, body };
        (self.tell_of(None, &mut event), event.body)
    }

    /// The same of a stream of the peer's, if there is one. The event is as the application left it.
    fn tell_of(self: &Arc<Self>, stream: Option<&Arc<Stream>>, event: &mut abi::ConnectionEvent) -> Status {
        let _pass = self.gate.enter();
        match self.is_over() {
            true => Status::SUCCESS,
            false => self.call(stream, event),
        }
    }

    /// Calls the application. By who is inside the gate.
    fn call(self: &Arc<Self>, stream: Option<&Arc<Stream>>, event: &mut abi::ConnectionEvent) -> Status {
        let Some((handler, context)) = self.target.get() else { return Status::SUCCESS };
        // SAFETY: the application gave this function to be called with this context until SHUTDOWN_COMPLETE or until
        // it has closed the handle, which the gate sees to; the event is whole, and lives until the function has
        // returned.
        called::during(self, stream, || unsafe { handler(self.handle, context.0, event) })
    }
}

/// Has the connection's worker do something that calls the application: in order with what was asked of the
/// connection before, and not within a callback of it.
///
/// # Errors
/// The connection has ended.
pub(crate) fn on_worker(
    live: &tercel::Connection,
    connection: &Arc<Connection>,
    act: Box<dyn FnOnce() + Send>,
) -> Result<(), tercel::Error> {
    let (again, connection) = (live.clone(), connection.clone());
    live.inspect(move |_| match connection.is_in_callback() {
        // A callback that runs has come to a call which had to wait for this. What is asked here is queued.
        true => drop(on_worker(&again, &connection, act)),
        false => act(),
    })
}

/// Runs something that may call the application where no call of the application's is on the stack.
fn elsewhere(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("tercel-msquic".into());
    // Without a thread the process is at its end; what was to be told is told to nobody.
    let _ = thread.spawn(move || crate::boundary::enter((), act));
}
