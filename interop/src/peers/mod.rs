//! The peers, each as a server that tells how its connections end.

#[cfg(feature = "msquic")]
pub mod msquic;
pub mod quinn;
pub mod s2n;
