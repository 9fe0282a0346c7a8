//! MsQuic's C interface, version 2, over Tercel.

pub mod abi;
