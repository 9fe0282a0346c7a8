//! Listeners: opened once, started and stopped as often as wanted.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tercel::{Listen, ListenerEvent, NewConnection};

use crate::abi::{self, Addr, Buffer, Handle, ListenerCallback, ListenerEventBody, Status, listener_event};
use crate::address::{self, PartialAddress};
use crate::boundary::{self, Context};
use crate::connection::Connection;
use crate::gate::Crowd;
use crate::handle;
use crate::library;
use crate::outcome::status_of;
use crate::registration::Registration;
use crate::target::Target;

enum Stage {
    Stopped,
    Started(tercel::Listener),
    /// The application has been told to wait for STOP_COMPLETE.
    Stopping,
}

struct State {
    stage: Stage,
    alpn: Vec<Vec<u8>>,
    address: Option<SocketAddr>,
}

/// See the [module](self).
pub(crate) struct Listener {
    handle: Handle,
    pub(crate) registration: Arc<Registration>,
    target: Target<ListenerCallback>,
    state: Mutex<State>,
    /// Several workers may tell of new connections at a time.
    callbacks: Crowd,
    closed: AtomicBool,
    pub(crate) tells_load: AtomicBool,
    pub(crate) accepted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) cibir_id: Mutex<Vec<u8>>,
}

/// Who listens where for what, so that no two listeners want the same.
static TAKEN: Mutex<BTreeMap<(SocketAddr, Vec<u8>), Handle>> = Mutex::new(BTreeMap::new());

fn taken() -> MutexGuard<'static, BTreeMap<(SocketAddr, Vec<u8>), Handle>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest CIBIR ID, its offset not counted.
const MAX_CIBIR: usize = 6;

/// A CIBIR ID as a program gives it: an offset, which must be 0, and the ID.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`], [`Status::NOT_SUPPORTED`].
pub(crate) fn cibir_id(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    match bytes {
        [] => Ok(Vec::new()),
        [_] => Err(Status::INVALID_PARAMETER),
        bytes if bytes.len() > MAX_CIBIR + 1 => Err(Status::INVALID_PARAMETER),
        // It is for network cards that bring packets to a process by it, which there are none of here.
        _ => Err(Status::NOT_SUPPORTED),
    }
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn target(&self) -> &Target<ListenerCallback> {
        &self.target
    }

    /// Where it listens, or did.
    pub(crate) fn address(&self) -> Addr {
        self.state().address.map_or_else(address::unspecified, address::write)
    }

    fn start(self: &Arc<Self>, alpn: Vec<Vec<u8>>, at: PartialAddress) -> Result<(), Status> {
        let mut state = self.state();
        if !matches!(state.stage, Stage::Stopped) {
            return Err(Status::INVALID_STATE);
        }
        // Whoever closes it says so before they look whether it has started.
        if self.closed.load(Ordering::Acquire) {
            return Err(Status::INVALID_PARAMETER);
        }
        if self.registration.shut_down().is_some() {
            return Err(Status::INVALID_STATE);
        }
        let workers = library::workers().map_err(|error| status_of(&error))?;
        let address = at.or_any();
        let listen = |address| {
            let mut taken = taken();
            if alpn.iter().any(|protocol| taken.contains_key(&(address, protocol.clone()))) {
                return Err(Status::ALPN_IN_USE);
            }
            let heard = self.clone();
            let handler = move |_: &tercel::Listener, event: ListenerEvent| heard.heard(event);
            let listener = workers.listen(Listen::new(address, alpn.clone()), handler);
            let listener = listener.map_err(|error| status_of(&error))?;
            for protocol in &alpn {
                taken.insert((listener.local_address(), protocol.clone()), self.handle);
            }
            Ok(listener)
        };
        let listener = match listen(address) {
            // There may be no IPv6 here.
            Err(Status::INVALID_ADDRESS | Status::ADDRESS_NOT_AVAILABLE) if at.ip.is_none() => {
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port))?
            }
            result => result?,
        };
        let bound = listener.local_address();
        state.address = Some(match at.ip {
            Some(_) => bound,
            // As asked for: any address, at the port that was found.
            None => SocketAddr::new(address.ip(), bound.port()),
        });
        state.alpn = alpn;
        state.stage = Stage::Started(listener);
        Ok(())
    }

    /// Takes no more connections; STOP_COMPLETE follows.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Started(_))
            && let Stage::Started(listener) = std::mem::replace(&mut state.stage, Stage::Stopping)
        {
            taken().retain(|_, by| *by != self.handle);
            drop(state);
            drop(listener);
        }
    }

    fn heard(self: &Arc<Self>, event: ListenerEvent) {
        match event {
            ListenerEvent::NewConnection(new) => self.new_connection(new),
            ListenerEvent::LoadShedding { active } if self.tells_load.load(Ordering::Relaxed) => self.tell_load(active),
            ListenerEvent::StopComplete => self.stopped(),
            _ => {}
        }
    }

    /// Sets whether it tells that clients are kept away; if they are now, it does so at once.
    pub(crate) fn watch_load(&self, wanted: bool) {
        self.tells_load.store(wanted, Ordering::Relaxed);
        let active = library::with(|library| library.running().is_some_and(|workers| workers.stats().shedding > 0));
        if wanted && active {
            self.tell_load(true);
        }
    }

    fn tell_load(&self, active: bool) {
        let body = ListenerEventBody { dos_mode_changed: active.into() };
        self.tell(abi::ListenerEvent { event_type: listener_event::DOS_MODE_CHANGED, body });
    }

    fn new_connection(self: &Arc<Self>, new: NewConnection) {
        // Before `closed` is looked at: who closes waits for those who have not seen it.
        let _member = self.callbacks.enter();
        let reject = || {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        };
        if self.closed.load(Ordering::Acquire) || self.registration.shut_down().is_some() {
            // Dropping it refuses.
            return reject();
        }
        let alpn = self.state().alpn.clone();
        let chosen = new.alpn().find(|offered| alpn.iter().any(|served| served == offered)).map(<[u8]>::to_vec);
        let list: Vec<u8> = new.alpn().flat_map(|protocol| [&[protocol.len() as u8], protocol].concat()).collect();
        let chosen = chosen.unwrap_or_default();
        let chosen = [&[chosen.len() as u8], chosen.as_slice()].concat();
        let hello = new.client_hello().clone();
        let name = new.server_name().map(str::as_bytes).unwrap_or_default().to_vec();
        let (local, remote) = (address::write(new.local_address()), address::write(new.remote_address()));
        let version = new.version().0;
        let Ok(connection) = Connection::offered(self.registration.clone(), new) else { return reject() };
        let info = abi::NewConnectionInfo {
            quic_version: version,
            local_address: &raw const local,
            remote_address: &raw const remote,
            crypto_buffer_length: u32::try_from(hello.len()).unwrap_or(u32::MAX),
            client_alpn_list_length: u16::try_from(list.len()).unwrap_or(u16::MAX),
            server_name_length: u16::try_from(name.len()).unwrap_or(u16::MAX),
            negotiated_alpn_length: chosen[0],
            crypto_buffer: hello.as_ptr(),
            client_alpn_list: list.as_ptr(),
            negotiated_alpn: chosen[1..].as_ptr(),
            server_name: if name.is_empty() { std::ptr::null() } else { name.as_ptr().cast::<c_char>() },
        };
        let new_connection = abi::NewConnection { info: &raw const info, connection: connection.handle() };
        let body = ListenerEventBody { new_connection };
        let answer = self.tell(abi::ListenerEvent { event_type: listener_event::NEW_CONNECTION, body });
        match answer {
            Some(status) if !status.is_failure() => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                connection.taken();
            }
            _ => {
                reject();
                connection.refused();
            }
        }
    }

    fn stopped(self: &Arc<Self>) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Stopping) {
            state.stage = Stage::Stopped;
            drop(state);
            self.tell_stopped();
        }
    }

    fn tell_stopped(&self) {
        let closing = self.closed.load(Ordering::Acquire);
        let body = ListenerEventBody { stop_complete: closing.into() };
        self.tell(abi::ListenerEvent { event_type: listener_event::STOP_COMPLETE, body });
    }

    /// Calls the application.
    fn tell(&self, mut event: abi::ListenerEvent) -> Option<Status> {
        let _member = self.callbacks.enter();
        let (handler, context) = self.target.get()?;
        // SAFETY: the application gave this function to be called with this context until STOP_COMPLETE; the event
        // is whole, and lives until the function has returned.
        Some(unsafe { handler(self.handle, context.0, &raw mut event) })
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut state = self.state();
        taken().retain(|_, by| *by != self.handle);
        let before = std::mem::replace(&mut state.stage, Stage::Stopped);
        drop(state);
        self.callbacks.wait_for_others();
        if !matches!(before, Stage::Stopped) {
            self.tell_stopped();
        }
        self.target.silence();
        // Who has read the target before that is inside already.
        self.callbacks.wait_for_others();
        drop(before);
    }
}

/// `ListenerOpen`.
///
/// # Safety
/// `listener` is null or leads to room for a handle; `handler` may be called with `context` until STOP_COMPLETE.
pub(crate) unsafe extern "C" fn open(
    registration: Handle,
    handler: Option<ListenerCallback>,
    context: *mut c_void,
    listener: *mut Handle,
) -> Status {
    boundary::answer(|| {
        let registration = handle::get::<Registration>(registration)?;
        if handler.is_none() || listener.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        if registration.shut_down().is_some() {
            return Err(Status::INVALID_STATE);
        }
        let made = handle::insert(|handle| {
            Arc::new(Listener {
                handle,
                registration: registration.clone(),
                target: Target::new(handler, Context(context)),
                state: Mutex::new(State { stage: Stage::Stopped, alpn: Vec::new(), address: None }),
                callbacks: Crowd::default(),
                closed: AtomicBool::new(false),
                tells_load: AtomicBool::new(false),
                accepted: AtomicU64::new(0),
                rejected: AtomicU64::new(0),
                cibir_id: Mutex::default(),
            })
        })?;
        registration.join();
        registration.add_listener(made.handle, &made);
        // SAFETY: as demanded of the caller.
        unsafe { boundary::put(listener, made.handle) }?;
        Ok(Status::SUCCESS)
    })
}

/// `ListenerClose`: stops it. No callback of it begins after this has returned.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn close(listener: Handle) {
    boundary::enter((), || {
        if let Ok(listener) = handle::remove::<Listener>(listener) {
            listener.close();
            listener.registration.remove_listener(listener.handle);
            listener.registration.leave();
        }
    });
}

/// `ListenerStart`.
///
/// # Safety
/// Pointers are null or lead to what their types and the counts beside them say.
pub(crate) unsafe extern "C" fn start(
    listener: Handle,
    alpn_buffers: *const Buffer,
    alpn_buffer_count: u32,
    local_address: *const Addr,
) -> Status {
    boundary::answer(|| {
        let listener = handle::get::<Listener>(listener)?;
        // SAFETY: as demanded of the caller.
        let alpn = unsafe { boundary::protocols(alpn_buffers, alpn_buffer_count) }?;
        // SAFETY: as demanded of the caller.
        let at = match unsafe { boundary::reference(local_address) } {
            Some(address) => address::read(address)?,
            None => PartialAddress { ip: None, port: 0, scope: 0 },
        };
        listener.start(alpn, at)?;
        Ok(Status::SUCCESS)
    })
}

/// `ListenerStop`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn stop(listener: Handle) {
    boundary::enter((), || {
        if let Ok(listener) = handle::get::<Listener>(listener) {
            listener.stop();
        }
    });
}
