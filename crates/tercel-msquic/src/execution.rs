//! Workers that the application drives: each waits at an epoll instance of the application's, whose events call a
//! completion that does nothing; the work is done by `ExecutionPoll`.
//!
//! The thread that polls is the connections' own. What it calls outside of callbacks, and what has to wait for a
//! worker, drives the workers itself until it is done.

use std::ffi::c_void;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::ThreadId;

use tercel::{Driver, Park};

use crate::abi::{ExecutionConfig, Handle, Status};
use crate::boundary;
use crate::gate;
use crate::handle;
use crate::library;
use crate::outcome::{of_system, status_of};

/// `QUIC_SQE`: what the application finds by an event, and has told of it.
#[repr(C)]
struct Entry {
    fd: libc::c_int,
    completion: unsafe extern "C" fn(event: *mut libc::epoll_event),
}

/// That a worker has something to do is seen to by the next poll.
unsafe extern "C" fn nothing(_: *mut libc::epoll_event) {}

/// See the [module](self).
pub(crate) struct Execution {
    driver: Mutex<Option<Driver>>,
    entry: Box<Entry>,
    queue: libc::c_int,
    /// Who polls it.
    thread: OnceLock<ThreadId>,
}

/// All of them, with their names.
static EXECUTIONS: Mutex<Vec<(Handle, Arc<Execution>)>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<(Handle, Arc<Execution>)>> {
    EXECUTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Execution {
    /// Has the worker wait at the application's queue.
    fn new(driver: Driver, queue: libc::c_int) -> Result<Self, Status> {
        let entry = Box::new(Entry { fd: driver.as_raw_fd(), completion: nothing });
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: std::ptr::from_ref(&*entry).expose_provenance() as u64,
        };
        // SAFETY: the event is whole; the entry that it names stays where it is as long as it is in the queue.
        let added = unsafe { libc::epoll_ctl(queue, libc::EPOLL_CTL_ADD, entry.fd, &raw mut event) };
        if added != 0 {
            return Err(of_system(&std::io::Error::last_os_error()));
        }
        Ok(Self { driver: Mutex::new(Some(driver)), entry, queue, thread: OnceLock::new() })
    }

    /// Does what there is to do. Gives after how many milliseconds to come again; `None` if it is being polled.
    fn poll(&self) -> Option<u32> {
        self.thread.get_or_init(|| std::thread::current().id());
        let mut driver = match self.driver.try_lock() {
            Ok(driver) => driver,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let Some(driver) = driver.as_mut() else { return Some(u32::MAX) };
        // A system that cannot tell which sockets are ready has nothing to do for them.
        let _ = driver.wait(Park::Now);
        let park = driver.turn();
        Some(match driver.until(park) {
            Some(time) => u32::try_from(time.as_millis()).unwrap_or(u32::MAX - 1),
            None => u32::MAX,
        })
    }

    fn end(&self) {
        // SAFETY: both are numbers; what is not in the queue is not taken out of it.
        unsafe { libc::epoll_ctl(self.queue, libc::EPOLL_CTL_DEL, self.entry.fd, std::ptr::null_mut()) };
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(driver);
    }
}

/// Drives the workers of this thread until something is done. `false`: it has none, or one of them is at work above on
/// the stack.
pub(crate) fn drive_until(done: impl Fn() -> bool) -> bool {
    if gate::is_in_callback() {
        return false;
    }
    let this = std::thread::current().id();
    let is_mine = |execution: &Arc<Execution>| execution.thread.get() == Some(&this);
    let mine: Vec<_> = all().iter().map(|(_, execution)| execution.clone()).filter(is_mine).collect();
    if mine.is_empty() {
        return false;
    }
    while !done() {
        if !mine.iter().all(|execution| execution.poll().is_some()) {
            return false;
        }
    }
    true
}

/// `ExecutionCreate`: before anything else has made the workers.
///
/// # Safety
/// `configs` and `executions` are null or lead to `count` of what their types say, and each queue to an epoll
/// instance.
pub(crate) unsafe extern "C" fn create(
    _flags: u32,
    _polling_idle_timeout_us: u32,
    count: u32,
    configs: *mut ExecutionConfig,
    executions: *mut *mut c_void,
) -> Status {
    boundary::answer(|| {
        // SAFETY: as demanded of the caller.
        let configs = unsafe { boundary::slice(configs.cast_const(), count as usize) }.unwrap_or_default();
        if configs.is_empty() || executions.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        let mut queues = Vec::new();
        for config in configs {
            // SAFETY: as demanded of the caller.
            queues.push(*unsafe { boundary::reference(config.event_queue) }.ok_or(Status::INVALID_PARAMETER)?);
        }
        let drivers = library::with(|library| library.drive(queues.len()).map_err(|error| status_of(&error)))?;
        let mut all_made = Vec::new();
        for (driver, queue) in drivers.into_iter().zip(queues) {
            match Execution::new(driver, queue) {
                Ok(made) => all_made.push(Arc::new(made)),
                Err(status) => {
                    // All of them or none: nobody would drive the others.
                    all_made.iter().for_each(|made| made.end());
                    library::with(library::Library::undrive);
                    return Err(status);
                }
            }
        }
        for (at, made) in all_made.into_iter().enumerate() {
            let mut name = Handle::NULL;
            handle::insert(|handle| {
                name = handle;
                made.clone()
            })?;
            all().push((name, made));
            // SAFETY: as demanded of the caller.
            unsafe { boundary::put(executions.add(at), name.0) }?;
        }
        Ok(Status::SUCCESS)
    })
}

/// `ExecutionDelete`: with all of them, and when nothing else is open.
///
/// # Safety
/// `executions` is null or leads to `count` of them.
pub(crate) unsafe extern "C" fn delete(count: u32, executions: *mut *mut c_void) {
    boundary::enter((), || {
        // SAFETY: as demanded of the caller.
        let executions = unsafe { boundary::slice(executions.cast_const(), count as usize) }.unwrap_or_default();
        for execution in executions {
            if let Ok(execution) = handle::remove::<Execution>(Handle(*execution)) {
                all().retain(|(_, other)| !Arc::ptr_eq(other, &execution));
                execution.end();
            }
        }
        if all().is_empty() {
            library::with(library::Library::undrive);
        }
    });
}

/// The library is closed: whatever the application has not deleted ends with it.
pub(crate) fn end_all() {
    let ended = std::mem::take(&mut *all());
    for (name, execution) in ended {
        // It may be deleted at the same time.
        let _ = handle::remove::<Execution>(name);
        execution.end();
    }
}

/// `ExecutionPoll`.
///
/// # Safety
/// None: handles are checked.
pub(crate) unsafe extern "C" fn poll(execution: *mut c_void) -> u32 {
    boundary::enter(u32::MAX, || match handle::get::<Execution>(Handle(execution)) {
        // From within a callback of its own.
        Ok(execution) => execution.poll().unwrap_or(0),
        Err(_) => u32::MAX,
    })
}
