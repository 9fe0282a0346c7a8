//! Registrations: here only what belongs together. (The workers are the [library](crate::library)'s.)

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::abi::{self, Handle, RegistrationCloseCallback, Status};
use crate::boundary::{self, Context};
use crate::connection::Connection;
use crate::execution;
use crate::gate;
use crate::handle;
use crate::listener::Listener;

#[derive(Default)]
struct State {
    /// How many objects there are that were not closed.
    children: usize,
    closing: Option<(RegistrationCloseCallback, Context)>,
    /// It was shut down, with these flags and this code.
    shut_down: Option<(u32, u64)>,
    connections: BTreeMap<Handle, Weak<Connection>>,
    listeners: BTreeMap<Handle, Weak<Listener>>,
}

/// See the [module](self).
pub(crate) struct Registration {
    context: Mutex<Context>,
    state: Mutex<State>,
    emptied: Condvar,
}

impl Registration {
    pub(crate) fn new() -> Self {
        Self { context: Mutex::new(Context::NULL), state: Mutex::default(), emptied: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn context(&self) -> &Mutex<Context> {
        &self.context
    }

    /// An object that belongs here begins. To be [left](Self::leave) when its handle is closed.
    pub(crate) fn join(&self) {
        self.state().children += 1;
    }

    /// An object is closed.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        state.children = state.children.saturating_sub(1);
        if state.children > 0 {
            return;
        }
        let told = state.closing.take();
        drop(state);
        self.emptied.notify_all();
        tell_closed(told);
    }

    /// With which flags and code it was shut down.
    pub(crate) fn shut_down(&self) -> Option<(u32, u64)> {
        self.state().shut_down
    }

    pub(crate) fn add_connection(&self, handle: Handle, connection: &Arc<Connection>) {
        self.state().connections.insert(handle, Arc::downgrade(connection));
    }

    pub(crate) fn remove_connection(&self, handle: Handle) {
        self.state().connections.remove(&handle);
    }

    pub(crate) fn add_listener(&self, handle: Handle, listener: &Arc<Listener>) {
        self.state().listeners.insert(handle, Arc::downgrade(listener));
    }

    pub(crate) fn remove_listener(&self, handle: Handle) {
        self.state().listeners.remove(&handle);
    }
}

fn tell_closed(told: Option<(RegistrationCloseCallback, Context)>) {
    if let Some((handler, context)) = told {
        // SAFETY: the application gave this function to be called once, with this context.
        unsafe { handler(context.0) };
    }
}

/// `RegistrationOpen`.
///
/// # Safety
/// Pointers are null or lead to what their types say.
pub(crate) unsafe extern "C" fn open(config: *const abi::RegistrationConfig, registration: *mut Handle) -> Status {
    boundary::answer(|| {
        // SAFETY: as demanded of the caller.
        let config = unsafe { boundary::reference(config) };
        if let Some(config) = config.filter(|config| !config.app_name.is_null()) {
            // SAFETY: as demanded of the caller.
            let name = unsafe { std::ffi::CStr::from_ptr(config.app_name) };
            if name.count_bytes() >= 255 {
                return Err(Status::INVALID_PARAMETER);
            }
        }
        if registration.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        let made = |_| Arc::new(Registration::new());
        let mut name = Handle::NULL;
        handle::insert(|handle| {
            name = handle;
            made(handle)
        })?;
        // SAFETY: as demanded of the caller.
        unsafe { boundary::put(registration, name) }?;
        Ok(Status::SUCCESS)
    })
}

/// `RegistrationClose`: waits until every object of it is closed; except in a callback, where that could be to
/// wait for oneself.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn close(registration: Handle) {
    boundary::enter((), || {
        let Ok(registration) = handle::remove::<Registration>(registration) else { return };
        if gate::is_in_callback() {
            return;
        }
        // Who drives the workers would wait for itself.
        execution::drive_until(|| registration.state().children == 0);
        let mut state = registration.state();
        while state.children > 0 {
            state = registration.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    });
}

/// `RegistrationClose2`: tells `handler` when every object of it is closed.
///
/// # Safety
/// `handler` may be called, once, with `context`.
pub(crate) unsafe extern "C" fn close2(
    registration: Handle,
    handler: Option<RegistrationCloseCallback>,
    context: *mut c_void,
) {
    boundary::enter((), || {
        let Some(handler) = handler else { return };
        let Ok(registration) = handle::remove::<Registration>(registration) else { return };
        let told = Some((handler, Context(context)));
        let mut state = registration.state();
        if state.children > 0 {
            state.closing = told;
            return;
        }
        drop(state);
        tell_closed(told);
    });
}

/// `RegistrationShutdown`: shuts down every connection, stops every listener, and lets no new ones begin.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn shutdown(registration: Handle, flags: u32, error_code: u64) {
    boundary::enter((), || {
        let Ok(registration) = handle::get::<Registration>(registration) else { return };
        if error_code > abi::UINT62_MAX {
            return;
        }
        let (connections, listeners) = {
            let mut state = registration.state();
            if state.shut_down.is_some() {
                return;
            }
            state.shut_down = Some((flags, error_code));
            let connections: Vec<_> = state.connections.values().filter_map(Weak::upgrade).collect();
            let listeners: Vec<_> = state.listeners.values().filter_map(Weak::upgrade).collect();
            (connections, listeners)
        };
        for connection in connections {
            connection.shut_down_with_registration(flags, error_code);
        }
        for listener in listeners {
            listener.stop();
        }
    });
}
