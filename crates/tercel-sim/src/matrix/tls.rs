//! TLS of ends that leave the verdict to their application, sessions to resume, and all secrets for
//! the [observer](super::observer).
//!
//! Secrets and sessions are kept per thread, as a run stays on one. Sessions come from a connection
//! made beforehand that gave many; each is used once.

use std::cell::{Cell as Flag, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, StoresServerSessions};
use rustls::{ClientConfig, KeyLog, NamedGroup, ServerConfig};
use tercel_proto::tls::{DeferredClientVerifier, DeferredServerVerifier};
use tercel_wire::Role;

use super::cells::{Judge, Kind};
use crate::crypto;

/// How many sessions one connection made beforehand gives.
const SESSIONS: usize = 64;

thread_local! {
    static SECRETS: RefCell<BTreeMap<(Role, String), Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    static COLLECTING: Flag<bool> = const { Flag::new(false) };
    /// The client's sessions and the server's, by [`Mode`].
    static TICKETS: RefCell<[Vec<Tls13ClientSessionValue>; 3]> = const { RefCell::new([const { Vec::new() }; 3]) };
    static SESSIONS_KEPT: RefCell<[BTreeMap<Vec<u8>, Vec<u8>>; 3]> =
        const { RefCell::new([const { BTreeMap::new() }; 3]) };
}

/// Which ends judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Client,
    Server,
    Both,
}

impl From<Judge> for Mode {
    fn from(judge: Judge) -> Self {
        match judge {
            Judge::Client => Self::Client,
            Judge::Server => Self::Server,
            Judge::BothAtClient | Judge::BothAtServer => Self::Both,
        }
    }
}

/// Forgets the secrets of the last run.
pub(super) fn forget_secrets() {
    SECRETS.with_borrow_mut(BTreeMap::clear);
}

/// A secret that this end has come to know, by its label in the format of NSS.
pub(super) fn secret(end: Role, label: &str) -> Option<Vec<u8>> {
    SECRETS.with_borrow(|secrets| secrets.get(&(end, label.to_owned())).cloned())
}

#[derive(Debug)]
struct Tell(Role);

impl KeyLog for Tell {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        SECRETS.with_borrow_mut(|secrets| secrets.insert((self.0, label.to_owned()), secret.to_vec()));
    }
}

/// The client's and the server's place for sessions.
#[derive(Debug)]
struct Sessions(Mode);

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _server_name: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server_name: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _server_name: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server_name: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server_name: ServerName<'static>, value: Tls13ClientSessionValue) {
        if COLLECTING.get() {
            TICKETS.with_borrow_mut(|tickets| tickets[self.0 as usize].push(value));
        }
    }

    fn take_tls13_ticket(&self, _server_name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        match COLLECTING.get() {
            true => None,
            false => TICKETS.with_borrow_mut(|tickets| tickets[self.0 as usize].pop()),
        }
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        if COLLECTING.get() {
            SESSIONS_KEPT.with_borrow_mut(|kept| kept[self.0 as usize].insert(key, value));
        }
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        SESSIONS_KEPT.with_borrow(|kept| kept[self.0 as usize].get(key).cloned())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        SESSIONS_KEPT.with_borrow_mut(|kept| kept[self.0 as usize].remove(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// All configurations of a [`Mode`]. Those of the client share their verifier, without which TLS
/// resumes nothing.
struct Configurations {
    plain: Arc<ClientConfig>,
    resuming: Arc<ClientConfig>,
    early: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    forgetful: Arc<ServerConfig>,
    generous: Arc<ServerConfig>,
}

static CONFIGURATIONS: [LazyLock<Configurations>; 3] = [
    LazyLock::new(|| Configurations::new(Mode::Client)),
    LazyLock::new(|| Configurations::new(Mode::Server)),
    LazyLock::new(|| Configurations::new(Mode::Both)),
];

const FAULTLESS: &str = "constants of the simulator";

fn with<T: Clone>(config: &T, change: impl FnOnce(&mut T)) -> Arc<T> {
    let mut config = config.clone();
    change(&mut config);
    Arc::new(config)
}

impl Configurations {
    fn new(mode: Mode) -> Self {
        let (client, server) = (Self::client(mode), Self::server(mode));
        let store = || Resumption::store(Arc::new(Sessions(mode)));
        Self {
            plain: with(&client, |client| client.resumption = Resumption::disabled()),
            resuming: with(&client, |client| (client.resumption, client.enable_early_data) = (store(), false)),
            early: with(&client, |client| client.resumption = store()),
            forgetful: with(&server, |server| server.session_storage = Arc::new(NoServerSessionStorage {})),
            generous: with(&server, |server| server.send_tls13_tickets = SESSIONS),
            server: Arc::new(server),
        }
    }

    #[allow(clippy::expect_used)]
    fn client(mode: Mode) -> ClientConfig {
        let provider = Arc::new(crypto::small_provider());
        let builder = ClientConfig::builder_with_details(provider.clone(), crypto::standstill())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(FAULTLESS);
        let builtin =
            rustls::client::WebPkiServerVerifier::builder_with_provider(crypto::roots().into(), provider.clone())
                .build()
                .expect(FAULTLESS);
        let builder = match mode {
            Mode::Server => builder.with_webpki_verifier(builtin),
            Mode::Client | Mode::Both => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(DeferredServerVerifier::new(Some(builtin), provider))),
        };
        let mut config = match mode {
            Mode::Client => builder.with_no_client_auth(),
            Mode::Server | Mode::Both => {
                builder.with_client_auth_cert(crypto::chain(), crypto::key()).expect(FAULTLESS)
            }
        };
        config.alpn_protocols = vec![crypto::ALPN.to_vec()];
        config.enable_early_data = true;
        config.key_log = Arc::new(Tell(Role::Client));
        config
    }

    #[allow(clippy::expect_used)]
    fn server(mode: Mode) -> ServerConfig {
        let provider = Arc::new(crypto::small_provider());
        let builder = ServerConfig::builder_with_details(provider.clone(), crypto::standstill())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect(FAULTLESS);
        let builder = match mode {
            Mode::Client => builder.with_no_client_auth(),
            Mode::Server | Mode::Both => {
                builder.with_client_cert_verifier(Arc::new(DeferredClientVerifier::new(None, true, provider)))
            }
        };
        let mut config = builder.with_single_cert(crypto::chain(), crypto::key()).expect(FAULTLESS);
        config.alpn_protocols = vec![crypto::ALPN.to_vec()];
        config.max_early_data_size = u32::MAX;
        config.session_storage = Arc::new(Sessions(mode));
        config.send_tls13_tickets = 1;
        config.key_log = Arc::new(Tell(Role::Server));
        config
    }
}

/// The TLS of both ends.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Tls {
    /// For cells of this kind. Here alone it is decided how sessions are resumed.
    pub(super) fn of(kind: Kind, judge: Judge) -> Self {
        let all = &CONFIGURATIONS[Mode::from(judge) as usize];
        let client = match kind {
            Kind::Full | Kind::Retry => &all.plain,
            Kind::Resumed | Kind::ResumptionRefused => &all.resuming,
            Kind::Early | Kind::EarlyRefused => &all.early,
        };
        let server = match kind {
            Kind::ResumptionRefused | Kind::EarlyRefused => &all.forgetful,
            _ => &all.server,
        };
        Self { client: client.clone(), server: server.clone() }
    }
}

/// Makes sure that there is a session to resume; `connect` makes a connection and accepts whoever
/// is judged.
pub(super) fn provide_session(judge: Judge, connect: impl FnOnce(Tls)) {
    let mode = Mode::from(judge);
    if TICKETS.with_borrow(|tickets| !tickets[mode as usize].is_empty()) {
        return;
    }
    let all = &CONFIGURATIONS[mode as usize];
    COLLECTING.set(true);
    connect(Tls { client: all.early.clone(), server: all.generous.clone() });
    COLLECTING.set(false);
    let count = TICKETS.with_borrow(|tickets| tickets[mode as usize].len());
    assert_eq!(count, SESSIONS, "sessions to resume");
}
