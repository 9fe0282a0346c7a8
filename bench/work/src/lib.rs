//! What the ends of a run share, whatever stack they use: the work that is to be done, what is measured, what an end
//! says to the harness, and how a stack is driven that has neither sockets nor threads of its own.

pub mod end;
pub mod measure;
pub mod polled;
pub mod scenario;
pub mod settings;
pub mod wire;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
