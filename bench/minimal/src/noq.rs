//! noq: a client says something to a server, and hears it back.

use noq as stack;

include!("tokio.rs");
