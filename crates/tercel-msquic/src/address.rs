//! Addresses, as C has them and as Rust has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::abi::{Addr, Status};

/// What a program says of an address: its parts may be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartialAddress {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) scope: u32,
}

/// # Errors
/// [`Status::INVALID_PARAMETER`]: it is of an unknown family.
pub(crate) fn read(address: &Addr) -> Result<PartialAddress, Status> {
    // SAFETY: every form of an address begins with its family, and all are plain numbers, for which any bits do.
    let (family, v4, v6) = unsafe { (address.family, address.ipv4, address.ipv6) };
    match i32::from(family) {
        // The port stands at the same place in both.
        libc::AF_UNSPEC => Ok(PartialAddress { ip: None, port: u16::from_be(v4.sin_port), scope: 0 }),
        libc::AF_INET => {
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(PartialAddress { ip: Some(ip.into()), port: u16::from_be(v4.sin_port), scope: 0 })
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Ok(PartialAddress { ip: Some(ip.into()), port, scope: v6.sin6_scope_id })
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

impl From<SocketAddr> for PartialAddress {
    fn from(address: SocketAddr) -> Self {
        let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
        Self { ip: Some(address.ip()), port: address.port(), scope }
    }
}

impl PartialAddress {
    /// The address, where an open IP address is that of any IPv6 or IPv4 interface.
    pub(crate) fn or_any(self) -> SocketAddr {
        self.with(self.ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()))
    }

    fn with(self, ip: IpAddr) -> SocketAddr {
        match ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, self.port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port, 0, self.scope).into(),
        }
    }

    /// The whole address, if its IP address is said.
    pub(crate) fn whole(self) -> Option<SocketAddr> {
        self.ip.map(|ip| self.with(ip))
    }
}

/// An address for C. IPv4 addresses within IPv6 are told as what they are.
pub(crate) fn write(address: SocketAddr) -> Addr {
    let mut out = unspecified();
    match SocketAddr::new(address.ip().to_canonical(), address.port()) {
        SocketAddr::V4(v4) => {
            // SAFETY: these are plain numbers, and all bits of `out` are set.
            let to = unsafe { &mut out.ipv4 };
            to.sin_family = libc::AF_INET as libc::sa_family_t;
            to.sin_port = v4.port().to_be();
            to.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
        }
        SocketAddr::V6(v6) => {
            let scope = if let SocketAddr::V6(whole) = address { whole.scope_id() } else { 0 };
            // SAFETY: as above.
            let to = unsafe { &mut out.ipv6 };
            to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            to.sin6_port = v6.port().to_be();
            to.sin6_addr.s6_addr = v6.ip().octets();
            to.sin6_scope_id = scope;
        }
    }
    out
}

/// An address of which nothing is said.
pub(crate) fn unspecified() -> Addr {
    // SAFETY: every part of it is a number, for which zero will do.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        for text in ["127.0.0.1:4433", "[::1]:1", "[2001:db8::7]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(read(&write(address)).unwrap().whole(), Some(address));
        }
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(read(&write(mapped)).unwrap().whole(), Some("192.0.2.1:7".parse().unwrap()));
        let open = read(&unspecified()).unwrap();
        assert_eq!((open.whole(), open.or_any()), (None, "[::]:0".parse().unwrap()));
        let mut strange = unspecified();
        strange.family = 77;
        assert_eq!(read(&strange), Err(Status::INVALID_PARAMETER));
    }
}
