//! What all objects of the process share: the count of those who have the library open, the workers, and settings
//! that hold for everything.
//!
//! As there, connections and listeners of all registrations share one set of workers and their sockets. They start
//! with the first object that needs them, and end when the last who opened the library closes it.

use std::ffi::c_void;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tercel::{Error, RetryPolicy};

use crate::abi::{ApiTable, GlobalSettings, Settings, Status};
use crate::boundary;
use crate::settings;
use crate::table;
use crate::versions::VersionLists;

/// The only version of the table that there is.
const API_VERSION: u32 = 2;

/// See the [module](self).
pub(crate) struct Library {
    /// The tables that were given out, by address.
    tables: Vec<usize>,
    workers: Option<tercel::Registration>,
    /// What configurations begin with.
    pub(crate) settings: Settings,
    pub(crate) global: GlobalSettings,
    pub(crate) versions: VersionLists,
    pub(crate) reset_key: Option<[u8; 32]>,
    /// Which processors to use, as the application said it: there is a worker for each.
    pub(crate) execution: Vec<u8>,
    /// How many they are; 0: all that there are.
    pub(crate) processors: usize,
}

/// Connections made so far, and streams that are not closed.
pub(crate) static CONNECTIONS_CREATED: AtomicU64 = AtomicU64::new(0);
pub(crate) static STREAMS_ACTIVE: AtomicU64 = AtomicU64::new(0);

static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Library>> {
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at what is shared, and may change it.
pub(crate) fn with<R>(look: impl FnOnce(&mut Library) -> R) -> R {
    look(lock().get_or_insert_with(Library::new))
}

impl Library {
    fn new() -> Self {
        Self {
            tables: Vec::new(),
            workers: None,
            settings: settings::defaults(),
            global: GlobalSettings { is_set: 0, retry_memory_limit: 65, load_balancing_mode: 0, fixed_server_id: 0 },
            versions: VersionLists::default(),
            reset_key: None,
            execution: Vec::new(),
            processors: 0,
        }
    }

    /// Whether the workers run: what they are made with cannot change any more.
    pub(crate) const fn is_running(&self) -> bool {
        self.workers.is_some()
    }

    /// Keeps what the application says of processors, so many of them.
    ///
    /// # Errors
    /// [`Status::INVALID_STATE`]: the workers run already.
    pub(crate) fn set_execution(&mut self, said: &[u8], processors: usize) -> Result<(), Status> {
        if self.is_running() {
            return Err(Status::INVALID_STATE);
        }
        (self.execution, self.processors) = (said.to_vec(), processors);
        Ok(())
    }

    fn workers_config(&self) -> tercel::RegistrationConfig {
        let mut config = tercel::RegistrationConfig::default();
        if self.global.retry_memory_limit == 0 {
            config.retry = RetryPolicy::Always;
        }
        config.reset_keys.extend(self.reset_key);
        if self.processors > 0 {
            config.workers = self.processors;
        }
        config
    }

    /// Workers for the application to drive.
    ///
    /// # Errors
    /// [`Error::Closed`]: the workers run already; what the system says.
    pub(crate) fn drive(&mut self, count: usize) -> Result<Vec<tercel::Driver>, Error> {
        if self.is_running() {
            return Err(Error::Closed);
        }
        let mut config = self.workers_config();
        config.workers = count;
        let (workers, drivers) = tercel::Registration::driven(config)?;
        self.workers = Some(workers);
        Ok(drivers)
    }

    /// The application drives none any more.
    pub(crate) fn undrive(&mut self) {
        self.workers = None;
    }

    /// The running workers, if they run.
    pub(crate) const fn running(&self) -> Option<&tercel::Registration> {
        self.workers.as_ref()
    }
}

/// The workers; they start now if they do not run yet.
///
/// # Errors
/// The system refuses threads or sockets.
pub(crate) fn workers() -> Result<tercel::Registration, Error> {
    with(|library| {
        if library.workers.is_none() {
            library.workers = Some(tercel::Registration::new(library.workers_config())?);
        }
        library.workers.clone().ok_or(Error::Closed)
    })
}

/// How many partitions there are: the workers, or as many as there would be.
pub(crate) fn partitions() -> usize {
    let running = with(|library| library.running().map(tercel::Registration::workers));
    running.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// `MsQuicOpenVersion`: gives the table of functions.
///
/// # Safety
/// Unless null, `table` leads to room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn MsQuicOpenVersion(version: u32, table: *mut *const c_void) -> Status {
    boundary::answer(|| {
        if version != API_VERSION {
            return Err(Status::NOT_SUPPORTED);
        }
        if table.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        let given: *mut ApiTable = Box::into_raw(Box::new(table::functions()));
        with(|library| library.tables.push(given.addr()));
        // SAFETY: as demanded of the caller.
        unsafe { boundary::put(table, given.cast_const().cast()) }?;
        Ok(Status::SUCCESS)
    })
}

/// `MsQuicClose`: gives a table of functions back. With the last one the workers end, and connections that are
/// still open with them.
///
/// # Safety
/// The table is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn MsQuicClose(table: *const c_void) {
    boundary::enter((), || {
        let mut library = lock();
        let Some(shared) = library.as_mut() else { return };
        let Some(at) = shared.tables.iter().position(|given| *given == table.addr()) else { return };
        shared.tables.swap_remove(at);
        // SAFETY: it was made of a box by `MsQuicOpenVersion`, was in the list, and is not any more; so it is
        // freed once.
        drop(unsafe { Box::from_raw(table.cast::<ApiTable>().cast_mut()) });
        let last = if shared.tables.is_empty() { library.take() } else { None };
        // Threads are joined without the lock.
        drop(library);
        drop(last);
    });
}
