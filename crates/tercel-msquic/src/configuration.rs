//! Configurations: protocols, settings and a credential, which is loaded later, perhaps more than once.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tercel::{ResumptionLevel, ServerResumption};

use crate::abi::{self, Buffer, CredentialConfig, Handle, Settings, Status};
use crate::boundary::{self, Context};
use crate::credential::{self, Loaded, Role};
use crate::handle;
use crate::outcome::status_of;
use crate::registration::Registration;
use crate::settings;
use crate::versions::VersionLists;

struct State {
    settings: Settings,
    versions: VersionLists,
    credential: Option<Arc<Loaded>>,
    /// What it comes to, for connections without settings of their own.
    built: Option<tercel::Configuration>,
    ticket_keys: Option<Vec<[u8; 32]>>,
}

/// See the [module](self).
pub(crate) struct Configuration {
    pub(crate) registration: Arc<Registration>,
    context: Mutex<Context>,
    alpn: Vec<Vec<u8>>,
    state: Mutex<State>,
}

impl Configuration {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn context(&self) -> &Mutex<Context> {
        &self.context
    }

    pub(crate) fn settings(&self) -> Settings {
        self.state().settings
    }

    /// The credential, once it is loaded.
    pub(crate) fn credential(&self) -> Option<Arc<Loaded>> {
        self.state().credential.clone()
    }

    /// Lays further settings over those that hold, for connections to come.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`]: a value is out of its range.
    pub(crate) fn change_settings(&self, new: &Settings) -> Result<(), Status> {
        let mut state = self.state();
        settings::apply(&mut state.settings, new)?;
        state.built = None;
        Ok(())
    }

    /// Which versions of QUIC are spoken; none is all.
    pub(crate) fn versions(&self) -> VersionLists {
        self.state().versions.clone()
    }

    /// Sets which versions of QUIC are spoken.
    pub(crate) fn set_versions(&self, versions: VersionLists) {
        let mut state = self.state();
        state.versions = versions;
        state.built = None;
    }

    /// Sets the keys of tickets.
    ///
    /// # Errors
    /// It is not for a server.
    pub(crate) fn set_ticket_keys(&self, keys: Vec<[u8; 32]>) -> Result<(), Status> {
        let mut state = self.state();
        if let Some(built) = &state.built {
            built.set_ticket_keys(&keys).map_err(|error| status_of(&error))?;
        }
        state.ticket_keys = Some(keys);
        Ok(())
    }

    /// What connections of `role` are made with; `own` are the settings of a single one, and `versions`
    /// what it speaks if that is not as here.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`]: there is no credential, or it is for the other role.
    pub(crate) fn build(
        &self,
        role: Role,
        own: &Settings,
        versions: &VersionLists,
    ) -> Result<tercel::Configuration, Status> {
        let mut state = self.state();
        let credential = state.credential.clone().filter(|credential| credential.role() == role);
        let credential = credential.ok_or(Status::INVALID_PARAMETER)?;
        let built = match &state.built {
            Some(built) => built.clone(),
            None => {
                let built = self.build_anew(&state, &credential).map_err(|error| status_of(&error))?;
                state.built = Some(built.clone());
                built
            }
        };
        if own.is_set == 0 && versions.are_empty() {
            return Ok(built);
        }
        let mut settings = state.settings;
        settings::apply(&mut settings, own)?;
        let versions = if versions.are_empty() { &state.versions } else { versions };
        let settings = tercel::Settings { versions: versions.spoken(), ..settings::translate(&settings) };
        built.with_settings(&settings).map_err(|error| status_of(&error))
    }

    fn build_anew(&self, state: &State, credential: &Loaded) -> Result<tercel::Configuration, tercel::Error> {
        let settings = tercel::Settings { versions: state.versions.spoken(), ..settings::translate(&state.settings) };
        let built = credential.configuration(&self.alpn, settings)?;
        match credential.role() {
            Role::Client => Ok(built.without_session_cache()),
            Role::Server => {
                let mut resumption = ServerResumption::default();
                resumption.automatic = 0;
                resumption.level = match settings::resumption_level(&state.settings) {
                    0 => ResumptionLevel::None,
                    1 => ResumptionLevel::Sessions,
                    _ => ResumptionLevel::SessionsAndEarlyData,
                };
                let built = built.with_resumption(resumption)?;
                if let Some(keys) = &state.ticket_keys {
                    built.set_ticket_keys(keys)?;
                }
                Ok(built)
            }
        }
    }

    fn load(&self, loaded: Loaded) -> Result<(), Status> {
        let mut state = self.state();
        // What cannot be used is found out now, and not by a connection.
        let built = self.build_anew(&state, &loaded).map_err(|error| status_of(&error))?;
        state.built = Some(built);
        state.credential = Some(Arc::new(loaded));
        Ok(())
    }
}

/// `ConfigurationOpen`.
///
/// # Safety
/// Pointers are null or lead to what their types and the counts beside them say.
pub(crate) unsafe extern "C" fn open(
    registration: Handle,
    alpn_buffers: *const Buffer,
    alpn_buffer_count: u32,
    settings: *const Settings,
    settings_size: u32,
    context: *mut c_void,
    configuration: *mut Handle,
) -> Status {
    boundary::answer(|| {
        let registration = handle::get::<Registration>(registration)?;
        // SAFETY: as demanded of the caller.
        let alpn = unsafe { boundary::protocols(alpn_buffers, alpn_buffer_count) }?;
        if configuration.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        let (mut all, versions) = crate::library::with(|library| (library.settings, library.versions.clone()));
        // SAFETY: as demanded of the caller.
        if let Some(bytes) = unsafe { boundary::slice(settings.cast::<u8>(), settings_size as usize) }
            && bytes.len() >= 8
            && bytes[..8] != [0; 8]
        {
            settings::apply(&mut all, &settings::read(bytes)?)?;
        }
        let state = State { settings: all, versions, credential: None, built: None, ticket_keys: None };
        let mut name = Handle::NULL;
        handle::insert(|handle| {
            name = handle;
            Arc::new(Configuration {
                registration: registration.clone(),
                context: Mutex::new(Context(context)),
                alpn,
                state: Mutex::new(state),
            })
        })?;
        registration.join();
        // SAFETY: as demanded of the caller.
        unsafe { boundary::put(configuration, name) }?;
        Ok(Status::SUCCESS)
    })
}

/// `ConfigurationClose`: connections that were made with it go on.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn close(configuration: Handle) {
    boundary::enter((), || {
        if let Ok(configuration) = handle::remove::<Configuration>(configuration) {
            configuration.registration.leave();
        }
    });
}

/// `ConfigurationLoadCredential`.
///
/// # Safety
/// `config`, and what its pointers lead to, is as its type, its flags and its lengths say.
pub(crate) unsafe extern "C" fn load_credential(configuration: Handle, config: *const CredentialConfig) -> Status {
    boundary::answer(|| {
        let name = configuration;
        let configuration = handle::get::<Configuration>(configuration)?;
        // SAFETY: as demanded of the caller.
        let config = unsafe { boundary::reference(config) }.ok_or(Status::INVALID_PARAMETER)?;
        // SAFETY: as demanded of the caller.
        let source = unsafe { credential::read(config) }?;
        if config.flags & abi::credential_flags::LOAD_ASYNCHRONOUS == 0 {
            configuration.load(source.load()?)?;
            return Ok(Status::SUCCESS);
        }
        let handler = config.async_handler.ok_or(Status::INVALID_PARAMETER)?;
        let load = move || {
            let status = match source.load().and_then(|loaded| configuration.load(loaded)) {
                Ok(()) => Status::SUCCESS,
                Err(status) => status,
            };
            let context = configuration.context.lock().unwrap_or_else(PoisonError::into_inner).0;
            // SAFETY: the application gave this function to be called once, with the configuration's context.
            boundary::enter((), || unsafe { handler(name, context, status) });
        };
        let thread = std::thread::Builder::new().name("tercel-credential".into());
        thread.spawn(load).map_err(|error| crate::outcome::of_system(&error))?;
        Ok(Status::PENDING)
    })
}
