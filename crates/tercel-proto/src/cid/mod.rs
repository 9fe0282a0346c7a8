//! Connection IDs: those that we issued, those of the peer, and how one names a server to a balancer.

mod local;
mod peer;
pub mod quic_lb;

pub use local::LocalIds;
pub use peer::PeerIds;
