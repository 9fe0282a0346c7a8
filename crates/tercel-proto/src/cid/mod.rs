//! Connection IDs (RFC 9000 section 5.1): those that we gave the peer, and those it gave us.

mod local;
mod peer;

pub use local::LocalIds;
pub use peer::PeerIds;
