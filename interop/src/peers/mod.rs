//! The peers, each as a server that tells how its connections end, and as a client that shows a
//! certificate and tells what it hears.

pub mod aioquic;
#[cfg(feature = "msquic")]
pub mod msquic;
pub mod quinn;
pub mod s2n;
