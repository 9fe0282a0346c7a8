//! The works that are counted.

/// A work: so many exchanges over bidirectional streams that the client opens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// For what the cost is told.
    pub(crate) unit: &'static str,
    /// How many exchanges are done before it is counted, and while it is.
    pub(crate) warm_up: usize,
    pub(crate) exchanges: usize,
    /// How many of them are under way at a time.
    pub(crate) at_once: usize,
    /// How many bytes go to the server in each, and come back.
    pub(crate) up: usize,
    pub(crate) down: usize,
    /// Whether each has a connection of its own.
    pub(crate) connection_each: bool,
    /// Whether that stays, without an exchange: then the memory that it holds is told in place of allocations.
    pub(crate) idle: bool,
}

const MIB: usize = 1 << 20;

impl Work {
    pub(crate) const ALL: &[Self] = &[
        Self { name: "upload", up: 12 * MIB, ..BULK },
        Self { name: "download", down: 12 * MIB, ..BULK },
        Self { name: "streams", exchanges: 100, at_once: 100, warm_up: 100, down: MIB / 8, ..BULK },
        Self { name: "requests", exchanges: 2_000, at_once: 50, warm_up: 500, ..REQUEST },
        Self { name: "one-by-one", exchanges: 500, at_once: 1, warm_up: 100, ..REQUEST },
        Self {
            name: "connections",
            unit: "connection",
            connection_each: true,
            exchanges: 100,
            at_once: 8,
            warm_up: 30,
            ..REQUEST
        },
        Self { name: "idle", unit: "connection-held", idle: true, connection_each: true, exchanges: 100, ..REQUEST },
    ];

    /// Whether its units are packets of the side that sends most, and not exchanges.
    pub(crate) fn is_bulk(&self) -> bool {
        self.unit == "packet"
    }
}

const BULK: Work = Work {
    name: "",
    unit: "packet",
    warm_up: 1,
    exchanges: 1,
    at_once: 1,
    up: 0,
    down: 0,
    connection_each: false,
    idle: false,
};

const REQUEST: Work = Work { unit: "request", up: 512, down: 512, ..BULK };

/// Whose cost is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
