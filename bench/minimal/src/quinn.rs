//! quinn: a client says something to a server, and hears it back.

use quinn as stack;

include!("tokio.rs");
