//! The settings that all peers share.

use std::time::Duration;

/// The size of every UDP payload: fits IPv6 over Ethernet. Fixed, no discovery.
pub const MTU: u16 = 1452;
/// The receive window of a stream, from the start.
pub const STREAM_WINDOW: u32 = 8 << 20;
/// The receive window of a connection, from the start.
pub const WINDOW: u32 = 16 << 20;
/// The initial congestion window: ten datagrams (RFC 9002 section 7.2).
pub const INITIAL_WINDOW: u64 = 10 * MTU as u64;
/// How many streams a client may have open at once, unless the scenario is about that.
pub const STREAMS: u32 = 200;
/// What the system is asked to hold for a socket in each direction.
pub const SOCKET_BUFFER: usize = 4 << 20;
/// After how long a connection that is left alone ends: not while connections are made to be left alone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How many connections are made at a time, where they are made before the clock starts.
pub const AT_ONCE: usize = 32;

/// The application protocol.
pub const ALPN: &[u8] = b"bench";
/// The server's name.
pub const SERVER_NAME: &str = "localhost";
