//! MsQuic as a client and as a server of interop cases. What it is given to send, and its handles, are
//! leaked: the process is short-lived.
#![allow(clippy::disallowed_methods, reason = "some cases have a clock in them")]

mod client;
mod server;

use std::ffi::c_void;

use msquic::{
    AllowedCipherSuiteFlags, Api, BufferRef, CertificateFile, Configuration, ConnectionEvent, ConnectionRef,
    Credential, CredentialConfig, CredentialFlags, Registration, RegistrationConfig, SendFlags, ServerResumptionLevel,
    Settings, Status, Stream, StreamEvent, StreamRef, ffi,
};
use tercel_interop_end::{ALPN, Arguments, CUT_OFF, KEEP_ALIVE, RESET_KEY, Role, tell};

/// Turns RFC 9368 on; of MsQuic's private parameters.
const QUIC_PARAM_CONFIGURATION_VERSION_NEG_ENABLED: u32 = 0x8300_0001;

const V1: u32 = 1;
const V2: u32 = 0x6b33_43cf;

fn main() {
    let arguments = Arguments::read(env!("PEER"));
    arguments.cannot(&["http3"], "it leaves HTTP/3 to others");
    arguments.cannot(&["addressdiscovery"], "it does not tell of observed addresses");
    let registration = Registration::new(&RegistrationConfig::default()).expect("MsQuic starts");
    let registration = Box::leak(Box::new(registration));
    if let Err(status) = globals(&arguments) {
        failed(format!("{status:?}"));
    }
    let outcome = match arguments.role {
        Role::Client => client::run(registration, &arguments),
        Role::Server => server::run(registration, arguments),
    };
    if let Err(status) = outcome {
        failed(format!("{status:?}"));
    }
    end(0)
}

unsafe extern "C" {
    safe fn _exit(code: i32) -> !;
}

/// Ends the process at once: handles are open, for which the library's own end would wait.
fn end(code: i32) -> ! {
    _exit(code)
}

/// Ends the process: it went wrong.
fn failed(why: impl std::fmt::Display) -> ! {
    tell(&format!("failed: {why}"));
    end(1)
}

/// Sets a parameter.
fn set<T>(handle: ffi::HQUIC, parameter: u32, value: &[T]) -> Result<(), Status> {
    let length = u32::try_from(size_of_val(value)).expect("parameters are small");
    // SAFETY: the value is of this length, and MsQuic copies it.
    unsafe { Api::set_param(handle, parameter, length, value.as_ptr().cast::<c_void>()) }
}

/// What holds for the process.
fn globals(arguments: &Arguments) -> Result<(), Status> {
    set(std::ptr::null_mut(), ffi::QUIC_PARAM_GLOBAL_STATELESS_RESET_KEY, &RESET_KEY[..32])?;
    if arguments.is(&["retry"]) {
        set(std::ptr::null_mut(), ffi::QUIC_PARAM_GLOBAL_RETRY_MEMORY_PERCENT, &[0_u16])?;
    }
    match versions(arguments) {
        [] => Ok(()),
        some => set(std::ptr::null_mut(), ffi::QUIC_PARAM_GLOBAL_VERSION_SETTINGS, &[version_settings(some)]),
    }
}

/// The versions of a case, most wanted first; none to leave it to MsQuic.
fn versions(arguments: &Arguments) -> &'static [u32] {
    match (arguments.case.as_str(), arguments.role) {
        ("v2", Role::Client) => &[V1, V2],
        ("v2", Role::Server) => &[V2, V1],
        ("v2first", _) => &[V2],
        // The server does not speak what the client begins with.
        ("versionnegotiation", Role::Client) => &[V2, V1],
        ("versionnegotiation", Role::Server) => &[V1],
        _ => &[],
    }
}

fn version_settings(versions: &[u32]) -> ffi::QUIC_VERSION_SETTINGS {
    let (list, length) = (versions.as_ptr(), u32::try_from(versions.len()).expect("few versions"));
    ffi::QUIC_VERSION_SETTINGS {
        AcceptableVersions: list,
        OfferedVersions: list,
        FullyDeployedVersions: list,
        AcceptableVersionsLength: length,
        OfferedVersionsLength: length,
        FullyDeployedVersionsLength: length,
    }
}

/// A configuration for a case.
fn configuration(registration: &Registration, arguments: &Arguments) -> Result<Configuration, Status> {
    let mut settings = Settings::new()
        .set_IdleTimeoutMs(30_000)
        .set_HandshakeIdleTimeoutMs(60_000)
        .set_DisconnectTimeoutMs(60_000)
        .set_PeerBidiStreamCount(if arguments.is(&["multiplexing", "streams"]) { 1000 } else { 100 })
        .set_PeerUnidiStreamCount(10)
        .set_ServerResumptionLevel(ServerResumptionLevel::ResumeAndZerortt)
        .set_SendBufferingEnabled()
        .set_MigrationEnabled();
    settings = match arguments.case.as_str() {
        "ecn" => settings.set_EcnEnabled(),
        "datagrams" => settings.set_DatagramReceiveEnabled(),
        "grease" => settings.set_GreaseQuicBitEnabled(),
        "reliablereset" => settings.set_ReliableResetEnabled(),
        "timestamps" => settings.set_OneWayDelayEnabled(),
        _ => settings,
    };
    if arguments.is(&["reset"]) && arguments.role == Role::Client {
        settings = settings.set_KeepAliveIntervalMs(u32::try_from(KEEP_ALIVE).expect("short"));
    }
    let configuration = Configuration::open(registration, &[BufferRef::from(ALPN)], Some(&settings))?;
    if let some @ [_, ..] = versions(arguments) {
        // SAFETY: the handle is used while the configuration lives.
        let handle = unsafe { configuration.as_raw() };
        set(handle, ffi::QUIC_PARAM_CONFIGURATION_VERSION_SETTINGS, &[version_settings(some)])?;
        set(handle, QUIC_PARAM_CONFIGURATION_VERSION_NEG_ENABLED, &[1_u8])?;
    }
    let files = CertificateFile::new(arguments.key.display().to_string(), arguments.certificate.display().to_string());
    let mut credential = CredentialConfig::new().set_ca_certificate_file(arguments.authority.display().to_string());
    match arguments.role {
        Role::Client => {
            credential = credential.set_credential_flags(CredentialFlags::CLIENT);
            credential = match arguments.is(&["clientcert", "verdict"]) {
                true => credential.set_credential(Credential::CertificateFile(files)),
                false => credential.set_credential(Credential::None),
            };
            if arguments.is(&["chacha20"]) {
                credential = credential.set_allowed_cipher_suites(AllowedCipherSuiteFlags::CHACHA20_POLY1305_SHA256);
            }
        }
        Role::Server => {
            credential = credential.set_credential(Credential::CertificateFile(files));
            if arguments.is(&["clientcert"]) {
                credential = credential.set_credential_flags(CredentialFlags::REQUIRE_CLIENT_AUTHENTICATION);
            }
        }
    }
    configuration.load_credential(&credential)?;
    Ok(configuration)
}

/// A connection's handler as MsQuic's crate keeps it.
type Handler = Box<dyn FnMut(ConnectionRef, ConnectionEvent<'_>) -> Result<(), Status>>;

/// Keeps the events of MsQuic's previews from a connection whose handler was set: its crate panics at them.
fn spare_previews(handle: ffi::HQUIC) {
    let get_context = Api::get_ffi().GetContext.expect("MsQuic's table is full");
    // SAFETY: the connection is alive, and its context, which is the crate's, stays.
    unsafe { Api::set_callback_handler(handle, on_event as *const c_void, get_context(handle)) };
}

unsafe extern "C" fn on_event(
    handle: ffi::HQUIC,
    context: *mut c_void,
    event: *mut ffi::QUIC_CONNECTION_EVENT,
) -> ffi::QUIC_STATUS {
    // SAFETY: the event is there while we are called.
    let event = unsafe { &*event };
    if event.Type > ffi::QUIC_CONNECTION_EVENT_TYPE_QUIC_CONNECTION_EVENT_PEER_CERTIFICATE_RECEIVED {
        return 0;
    }
    // SAFETY: this is what the crate has put there; MsQuic calls a connection's handler once at a time.
    let handler = unsafe { &mut *context.cast::<Handler>() };
    // SAFETY: the one is nothing but the other.
    let connection = unsafe { std::mem::transmute::<ffi::HQUIC, ConnectionRef>(handle) };
    match handler(connection, ConnectionEvent::from(event)) {
        Ok(()) => 0,
        Err(status) => status.0,
    }
}

/// Sends `data` and the end of the stream.
fn send(stream: &Stream, data: Vec<u8>, flags: SendFlags) -> Result<(), Status> {
    send_part(stream, data, flags | SendFlags::FIN)
}

/// Sends `data`.
fn send_part(stream: &Stream, data: Vec<u8>, flags: SendFlags) -> Result<(), Status> {
    let data: &'static [u8] = data.leak();
    let buffers: &'static [BufferRef; 1] = Box::leak(Box::new([BufferRef::from(data)]));
    // SAFETY: what is sent is never freed.
    unsafe { stream.send(buffers, flags, std::ptr::null()) }
}

/// Gives all that comes on a stream to `whole`, when it is there; with a reset by `CUT_OFF` that is all of it, too.
fn whole(
    mut whole: impl FnMut(&Stream, Vec<u8>) -> Result<(), Status> + 'static,
) -> impl FnMut(StreamRef, StreamEvent<'_>) -> Result<(), Status> + 'static {
    let mut data = Vec::new();
    move |stream, event| match event {
        StreamEvent::Receive { buffers, .. } => {
            buffers.iter().for_each(|buffer| data.extend_from_slice(buffer.as_bytes()));
            Ok(())
        }
        StreamEvent::PeerSendShutdown => whole(&stream, std::mem::take(&mut data)),
        StreamEvent::PeerSendAborted { error_code } if error_code == u64::from(CUT_OFF) => {
            whole(&stream, std::mem::take(&mut data))
        }
        _ => Ok(()),
    }
}
