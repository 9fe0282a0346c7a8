//! The binary interface of MsQuic, version 2, as its public header describes it for POSIX systems:
//! what crosses the boundary, byte for byte. Nothing here does anything.
//!
//! Names are those of the header without the prefix `QUIC_`. Sizes and offsets are checked at compile
//! time in `layout`.

pub mod credential;
pub mod event;
mod layout;
pub mod param;
pub mod settings;
pub mod statistics;
pub mod status;
pub mod table;
pub mod types;

pub use credential::*;
pub use event::*;
pub use settings::*;
pub use statistics::*;
pub use status::Status;
pub use table::ApiTable;
pub use types::*;
