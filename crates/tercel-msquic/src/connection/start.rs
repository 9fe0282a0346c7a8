//! How a client's connection begins: the name of its server is looked up, on a thread of its own if that can take
//! time, and then it is one of Tercel's.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tercel::{CloseReason, Connect, SocketChoice};

use super::events::Events;
use super::{Connection, Stage, elsewhere};
use crate::abi::Status;
use crate::address::PartialAddress;
use crate::configuration::Configuration;
use crate::credential::Role;
use crate::library;
use crate::outcome::status_of;

/// Where a connection leads.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) remote: Option<PartialAddress>,
    pub(super) family: i32,
    pub(super) port: u16,
}

impl Server {
    fn fits(&self, ip: IpAddr) -> bool {
        match self.family {
            libc::AF_INET => ip.is_ipv4(),
            libc::AF_INET6 => ip.is_ipv6(),
            _ => true,
        }
    }

    /// Its address, if no name need be looked up.
    pub(super) fn known(&self) -> Option<SocketAddr> {
        if let Some(remote) = self.remote.and_then(PartialAddress::whole) {
            let port = if self.port != 0 { self.port } else { remote.port() };
            return Some(SocketAddr::new(remote.ip(), port));
        }
        let ip: IpAddr = self.name.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// Its address, which may take long to find.
    pub(super) fn look_up(&self) -> Result<SocketAddr, Status> {
        let found = (self.name.as_str(), self.port).to_socket_addrs().map_err(|_| Status::NOT_FOUND)?;
        found.into_iter().find(|address| self.fits(address.ip())).ok_or(Status::NOT_FOUND)
    }
}

impl Connection {
    /// Starts it. `family` is a family of addresses.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`], [`Status::INVALID_STATE`].
    pub(super) fn start(
        self: &Arc<Self>,
        configuration: Arc<Configuration>,
        family: u16,
        name: Option<&str>,
        port: u16,
    ) -> Result<(), Status> {
        let (built, server) = self.prepare(configuration, family, name, port)?;
        let connection = self.clone();
        match server.known() {
            Some(address) => {
                if let Err(status) = self.connect(&built, address, &server.name) {
                    elsewhere(move || connection.never_began(status));
                }
            }
            None => elsewhere(move || {
                let begun = server.look_up().and_then(|address| connection.connect(&built, address, &server.name));
                if let Err(status) = begun {
                    connection.never_began(status);
                }
            }),
        }
        Ok(())
    }

    /// The same for a connection whose address is known; if it cannot begin that is an error, and not an event.
    ///
    /// # Errors
    /// As for [`start`](Self::start); what the system says.
    pub(super) fn start_quietly(
        self: &Arc<Self>,
        configuration: &Arc<Configuration>,
        family: u16,
        name: &str,
        port: u16,
    ) -> Result<(), Status> {
        let (built, server) = self.prepare(configuration.clone(), family, Some(name), port)?;
        self.connect(&built, server.known().ok_or(Status::INVALID_PARAMETER)?, &server.name)
    }

    /// From now on it is starting.
    fn prepare(
        &self,
        configuration: Arc<Configuration>,
        family: u16,
        name: Option<&str>,
        port: u16,
    ) -> Result<(tercel::Configuration, Server), Status> {
        let mut state = self.state();
        if self.role != tercel::Role::Client || (name.is_none() && state.wishes.remote.is_none()) {
            return Err(Status::INVALID_PARAMETER);
        }
        if !matches!(state.stage, Stage::Idle) || state.shut_down.is_some() {
            return Err(Status::INVALID_STATE);
        }
        if self.registration.shut_down().is_some() {
            return Err(Status::INVALID_STATE);
        }
        let built = configuration.build(Role::Client, &state.settings, &state.wishes.versions)?;
        let built = if state.wishes.keep_tls_secrets { built.with_tls_secrets_kept() } else { built };
        let remote = state.wishes.remote;
        // Without a name its address takes the place.
        let name = name.map(str::to_owned).or_else(|| Some(remote?.ip?.to_string()));
        let server = Server { name: name.ok_or(Status::INVALID_PARAMETER)?, remote, family: family.into(), port };
        if server.known().map_or(port, |known| known.port()) == 0 {
            return Err(Status::INVALID_PARAMETER);
        }
        state.configuration = Some(configuration);
        state.stage = Stage::Beginning;
        Ok((built, server))
    }

    fn connect(
        self: &Arc<Self>,
        configuration: &tercel::Configuration,
        address: SocketAddr,
        name: &str,
    ) -> Result<(), Status> {
        let mut connect = Connect::new(address, name);
        {
            let mut state = self.state();
            if let Some((_, _)) = state.shut_down {
                return Err(Status::ABORTED);
            }
            let bound = state.wishes.local.map(|local| {
                let any = crate::address::PartialAddress { ip: local.ip.or(Some(any_like(address))), ..local };
                any.or_any()
            });
            connect.socket = match (bound, state.wishes.share_binding) {
                (Some(local), _) => SocketChoice::Bound(local),
                (None, true) => SocketChoice::Shared,
                (None, false) => SocketChoice::Own,
            };
            connect.worker = state.wishes.worker;
            // A ticket that leads elsewhere is of no use.
            connect.ticket = state.wishes.ticket.take().filter(|of| of.server_name().eq_ignore_ascii_case(name));
            self.early.store(connect.ticket.is_some(), Ordering::Relaxed);
        }
        let workers = library::workers().map_err(|error| status_of(&error))?;
        let events = Events::new(self.clone());
        // What waits to be sent goes with the first packets.
        let connection = workers.connect_then(configuration, connect, events, |connection| self.begin(connection));
        connection.map(drop).map_err(|error| status_of(&error))
    }

    /// Tells of the end of a connection that never was one.
    fn never_began(self: &Arc<Self>, status: Status) {
        if self.state().shut_down.is_none() {
            self.tell_transport_shutdown(status, 0);
        }
        self.settle(CloseReason::Silent);
    }
}

fn any_like(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
