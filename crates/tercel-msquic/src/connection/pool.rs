//! Many connections of one kind at once (`ConnectionPoolCreate`): each has a socket of its own, and the workers have them
//! in turn, so that they are spread over the processors.

use std::ffi::CStr;
use std::sync::Arc;

use super::start::Server;
use super::{Connection, Stage};
use crate::abi::{self, Addr, ConnectionPoolConfig, Handle, Status};
use crate::address::{self, PartialAddress};
use crate::boundary::{self, Context};
use crate::configuration::Configuration;
use crate::handle;
use crate::registration::Registration;
use crate::target::Target;

/// All of them are closed if one cannot be made.
const CLOSE_ON_FAILURE: u32 = 1;

/// What all connections have in common.
struct Plan {
    registration: Arc<Registration>,
    configuration: Arc<Configuration>,
    name: String,
    remote: PartialAddress,
    family: u16,
    port: u16,
}

impl Plan {
    /// # Errors
    /// [`Status::INVALID_PARAMETER`]; [`Status::NOT_FOUND`]: the name has no address.
    ///
    /// # Safety
    /// The name and the address are null or what their types say.
    unsafe fn read(config: &ConnectionPoolConfig) -> Result<Self, Status> {
        let registration = handle::get::<Registration>(config.registration)?;
        let configuration = handle::get::<Configuration>(config.configuration)?;
        let family = [libc::AF_UNSPEC, libc::AF_INET, libc::AF_INET6].contains(&config.family.into());
        let ids = config.cibir_ids.is_null() == (config.cibir_id_length == 0);
        let wanted = config.number_of_connections > 0 && config.handler.is_some() && config.server_port != 0;
        if !family || !ids || !wanted || config.server_name.is_null() || configuration.credential().is_none() {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        let name = unsafe { CStr::from_ptr(config.server_name) }.to_str().map_err(|_| Status::INVALID_PARAMETER)?;
        if name.len() > abi::MAX_SNI_LENGTH {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        let remote = match unsafe { boundary::reference::<Addr>(config.server_address) } {
            Some(address) => Some(address::read(address)?),
            None => None,
        };
        let (name, family, port) = (name.to_owned(), config.family, config.server_port);
        let remote = remote.map(|remote| PartialAddress { port, ..remote });
        let server = Server { name: name.clone(), remote, family: family.into(), port };
        let remote = PartialAddress::from(server.known().map_or_else(|| server.look_up(), Ok)?);
        Ok(Self { registration, configuration, name, remote, family, port })
    }

    /// Makes one and starts it. If that fails the application has not heard of it.
    fn make(&self, target: Target<abi::ConnectionCallback>, cibir_id: Option<&[u8]>) -> Result<Handle, Status> {
        let made = Connection::make(&self.registration, tercel::Role::Client, Stage::Idle, target)?;
        made.wish(|wishes| {
            wishes.remote = Some(self.remote);
            wishes.share_binding = cibir_id.is_some();
        });
        let started = match cibir_id {
            Some(id) => made.set_cibir_id(id),
            None => Ok(()),
        };
        let started =
            started.and_then(|()| made.start_quietly(&self.configuration, self.family, &self.name, self.port));
        match started {
            Ok(()) => Ok(made.handle()),
            Err(status) => {
                made.refused();
                Err(status)
            }
        }
    }
}

/// `ConnectionPoolCreate`.
///
/// # Safety
/// `config` is null, or what its pointers lead to is as its types and counts say; `pool` is null or leads to room for as
/// many handles; the handler may be called with each context until the connection's handle is closed.
pub(crate) unsafe extern "C" fn create(config: *mut ConnectionPoolConfig, pool: *mut Handle) -> Status {
    boundary::answer(|| {
        // SAFETY: as demanded of the caller.
        let config = unsafe { boundary::reference(config.cast_const()) }.ok_or(Status::INVALID_PARAMETER)?;
        if pool.is_null() {
            return Err(Status::INVALID_PARAMETER);
        }
        // SAFETY: as demanded of the caller.
        let plan = unsafe { Plan::read(config) }?;
        let count = usize::from(config.number_of_connections);
        for at in 0..count {
            // SAFETY: as demanded of the caller there is room for `count` handles.
            unsafe { boundary::put(pool.add(at), Handle::NULL) }?;
        }
        // SAFETY: as demanded of the caller, there are `count` of each unless there are none.
        let (contexts, ids) = unsafe {
            (
                boundary::slice(config.context.cast_const(), count).filter(|_| !config.context.is_null()),
                boundary::slice(config.cibir_ids.cast_const(), count).filter(|_| !config.cibir_ids.is_null()),
            )
        };
        let mut made = Vec::new();
        for at in 0..count {
            let target = Target::new(config.handler, Context(contexts.map_or(std::ptr::null_mut(), |all| all[at])));
            // SAFETY: as demanded of the caller, each leads to as many bytes.
            let id = ids.map(|all| unsafe { boundary::slice(all[at].cast_const(), config.cibir_id_length.into()) });
            let connection = match id {
                Some(None) => Err(Status::INVALID_PARAMETER),
                id => plan.make(target, id.flatten()),
            };
            match connection {
                Ok(connection) => {
                    made.push(connection);
                    // SAFETY: as demanded of the caller.
                    unsafe { boundary::put(pool.add(at), connection) }?;
                }
                Err(status) => {
                    let closed = if config.flags & CLOSE_ON_FAILURE != 0 { made.len() } else { 0 };
                    for (at, connection) in made.into_iter().enumerate().take(closed) {
                        if let Ok(connection) = handle::remove::<Connection>(connection) {
                            connection.close();
                        }
                        // SAFETY: as demanded of the caller.
                        unsafe { boundary::put(pool.add(at), Handle::NULL) }?;
                    }
                    return Err(status);
                }
            }
        }
        Ok(Status::SUCCESS)
    })
}
