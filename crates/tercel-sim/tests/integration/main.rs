//! What the simulator shows, in one program, which is linked once.
#![allow(clippy::unwrap_used)]

mod congestion;
mod extensions;
mod matrix;
mod paths;
mod qlog;
mod scenarios;
mod storm;
mod versions;
mod workers;
