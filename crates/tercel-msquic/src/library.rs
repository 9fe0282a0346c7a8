//! What all objects of the process share: the count of those who have the library open, the workers, and settings
//! that hold for everything.
//!
//! As there, connections and listeners of all registrations share one set of workers and their sockets. They start
//! with the first object that needs them, and end when the last who opened the library closes it.

use std::ffi::c_void;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use tercel::{Error, RetryPolicy, RoutableIds};
use tercel_proto::cid::quic_lb::QuicLb;

use crate::abi::settings::is_set;
use crate::abi::{ApiTable, GlobalSettings, Settings, Status};
use crate::boundary;
use crate::execution;
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
    /// By which codepoint balancers know the present form of connection IDs, if they can read them.
    codepoint: u8,
}

/// `QUIC_LOAD_BALANCING_MODE`: connection IDs say nothing; which address the client came to; or which server it is.
/// What they say stands behind the first byte, as unencrypted QUIC-LB has it.
mod balancing {
    pub(super) const BY_ADDRESS: u16 = 1;
    pub(super) const BY_FIXED_ID: u16 = 2;
    /// The length of what they say, in bytes, and of what follows.
    pub(super) const SERVER_ID_LEN: usize = 4;
    pub(super) const NONCE_LEN: usize = 9;
    /// How many codepoints there are for forms that can be read.
    pub(super) const CODEPOINTS: u8 = 7;
}

/// Connections made so far.
pub(crate) static CONNECTIONS_CREATED: AtomicU64 = AtomicU64::new(0);

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
            codepoint: 0,
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

    /// How many workers there will be: as many as the application wants, or one for each processor.
    fn wanted_workers(&self) -> usize {
        match self.processors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            processors => processors,
        }
    }

    fn workers_config(&self) -> Result<tercel::RegistrationConfig, Error> {
        let mut config = tercel::RegistrationConfig::default();
        self.limit(&mut config, self.wanted_workers());
        config.reset_keys.extend(self.reset_key);
        if self.processors > 0 {
            config.workers = self.processors;
        }
        config.routable_ids.extend(self.routable_ids()?);
        Ok(config)
    }

    /// How much there may be to do before strangers are kept away.
    fn limit(&self, config: &mut tercel::RegistrationConfig, workers: usize) {
        // Memory alone counts; a share of zero is always used up.
        let share = u64::from(self.global.retry_memory_limit);
        let memory = physical_memory() / u64::from(u16::MAX) * share / workers.max(1) as u64;
        (config.retry, config.retry_memory) = match share {
            0 => (RetryPolicy::Above(0), 0),
            _ => (RetryPolicy::Above(usize::MAX), usize::try_from(memory).unwrap_or(usize::MAX)),
        };
        // What nothing is said of is Tercel's choice.
        let is_set = |fields| self.settings.is_set & fields != 0;
        if is_set(is_set::MAX_WORKER_QUEUE_DELAY_US) {
            config.max_queue_delay = Duration::from_micros(self.settings.max_worker_queue_delay_us.into());
        }
        if is_set(is_set::MAX_BINDING_STATELESS_OPERATIONS | is_set::STATELESS_OPERATION_EXPIRATION_MS) {
            let milliseconds = u32::from(self.settings.stateless_operation_expiration_ms.max(1));
            let per_second = u32::from(self.settings.max_binding_stateless_operations) * 1000 / milliseconds;
            config.version_negotiations_per_second = per_second;
            config.retries_per_second = per_second;
            config.refusals_per_second = per_second;
            config.stateless_resets_per_second = per_second;
        }
    }

    /// What limits the load has changed: running workers hear of it.
    pub(crate) fn limits_changed(&self) {
        if let Some(workers) = &self.workers {
            let mut config = tercel::RegistrationConfig::default();
            self.limit(&mut config, workers.workers());
            workers.change_limits(&config);
        }
    }

    /// By what balancers know this server.
    fn routable_ids(&self) -> Result<Option<RoutableIds>, Error> {
        let balancer = || QuicLb::new(self.codepoint, balancing::SERVER_ID_LEN, balancing::NONCE_LEN, None);
        match self.global.load_balancing_mode {
            balancing::BY_ADDRESS => RoutableIds::by_address(balancer()?).map(Some),
            balancing::BY_FIXED_ID => {
                RoutableIds::new(balancer()?, self.global.fixed_server_id.to_ne_bytes()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Changes what balancers know this server by, if it has an ID of its own.
    ///
    /// # Errors
    /// None that this could cause: the form stays.
    pub(crate) fn set_fixed_server_id(&mut self, id: u32) -> Result<(), Error> {
        if std::mem::replace(&mut self.global.fixed_server_id, id) == id {
            return Ok(());
        }
        // IDs of the former one are still understood by its codepoint.
        self.codepoint = (self.codepoint + 1) % balancing::CODEPOINTS;
        match (&self.workers, self.global.load_balancing_mode, self.routable_ids()?) {
            (Some(workers), balancing::BY_FIXED_ID, Some(ids)) => workers.set_routable_ids(&[ids]),
            _ => Ok(()),
        }
    }

    /// Workers for the application to drive.
    ///
    /// # Errors
    /// [`Error::Closed`]: the workers run already; what the system says.
    pub(crate) fn drive(&mut self, count: usize) -> Result<Vec<tercel::Driver>, Error> {
        if self.is_running() {
            return Err(Error::Closed);
        }
        let mut config = self.workers_config()?;
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
            library.workers = Some(tercel::Registration::new(library.workers_config()?)?);
        }
        library.workers.clone().ok_or(Error::Closed)
    })
}

/// How much memory the machine has, in bytes; 0 if it does not tell.
fn physical_memory() -> u64 {
    // SAFETY: these only ask for numbers.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(size).unwrap_or(0))
}

/// How many partitions there are: the workers, or as many as there would be.
pub(crate) fn partitions() -> usize {
    with(|library| library.running().map_or_else(|| library.wanted_workers(), tercel::Registration::workers))
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
        if last.is_some() {
            execution::end_all();
        }
        drop(last);
    });
}
