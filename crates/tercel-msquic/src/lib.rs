//! MsQuic's C interface, version 2: so far its types. What builds `libmsquic.so.2` of them is not there yet.

pub mod abi;
