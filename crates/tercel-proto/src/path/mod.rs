//! Paths (RFC 9000 sections 8, 9, 13.4, 14).

use std::net::{IpAddr, SocketAddr};

/// Between which addresses datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathAddress {
    /// The peer's address.
    pub remote: SocketAddr,
    /// This end's address, where it is known.
    pub local: Option<IpAddr>,
}

/// An ECN codepoint (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct,
    /// ECT(1).
    Ect1,
    /// ECT(0).
    Ect0,
    /// Congestion experienced.
    Ce,
}
