//! What no stack on this machine can beat: the system's UDP alone, and the cipher alone.

pub mod protection;
pub mod udp;
