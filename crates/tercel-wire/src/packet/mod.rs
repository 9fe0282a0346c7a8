//! Packets (RFC 9000 section 17, RFC 8999).
//!
//! A received datagram is cut into packets by [`Protected::split_first`]. Each packet then goes
//! `Protected -> Sealed -> Opened`: header protection off, payload decrypted; every step takes
//! the bytes from the step before, so that none can be left out or done twice. A packet to send is begun by
//! [`Header::begin`], filled with frames, and finished by [`PacketStart::finish`].

mod header;
pub mod invariant;
mod number;
pub mod protection;
mod received;
pub mod retry;
mod space;
pub mod stateless_reset;
#[cfg(test)]
mod tests;
pub mod version_negotiation;

pub use header::{Header, LongPacketType, PacketStart};
pub use received::{FirstPacket, Opened, Protected, Sealed};
pub use space::{EncryptionLevel, SpaceId};
