//! Credentials.

use std::ffi::{c_char, c_void};

use super::{Handle, Status};

/// `QUIC_CREDENTIAL_TYPE`.
pub mod credential_type {
    /// No certificate.
    pub const NONE: u32 = 0;
    /// Windows only.
    pub const CERTIFICATE_HASH: u32 = 1;
    /// Windows only.
    pub const CERTIFICATE_HASH_STORE: u32 = 2;
    /// Windows only.
    pub const CERTIFICATE_CONTEXT: u32 = 3;
    /// Files.
    pub const CERTIFICATE_FILE: u32 = 4;
    /// Files, the key behind a password.
    pub const CERTIFICATE_FILE_PROTECTED: u32 = 5;
    /// PKCS #12 in memory.
    pub const CERTIFICATE_PKCS12: u32 = 6;
}

/// `QUIC_CREDENTIAL_FLAGS`.
pub mod credential_flags {
    /// For clients; else for servers.
    pub const CLIENT: u32 = 0x0000_0001;
    /// The end of loading is told by the handler.
    pub const LOAD_ASYNCHRONOUS: u32 = 0x0000_0002;
    /// Every certificate will do.
    pub const NO_CERTIFICATE_VALIDATION: u32 = 0x0000_0004;
    /// Schannel only.
    pub const ENABLE_OCSP: u32 = 0x0000_0008;
    /// The application hears of the peer's certificate.
    pub const INDICATE_CERTIFICATE_RECEIVED: u32 = 0x0000_0010;
    /// The application hears what validation says, and decides.
    pub const DEFER_CERTIFICATE_VALIDATION: u32 = 0x0000_0020;
    /// Clients must show a certificate.
    pub const REQUIRE_CLIENT_AUTHENTICATION: u32 = 0x0000_0040;
    /// TLS validates by itself.
    pub const USE_TLS_BUILTIN_CERTIFICATE_VALIDATION: u32 = 0x0000_0080;
    /// Schannel only.
    pub const REVOCATION_CHECK_END_CERT: u32 = 0x0000_0100;
    /// Schannel only.
    pub const REVOCATION_CHECK_CHAIN: u32 = 0x0000_0200;
    /// Schannel only.
    pub const REVOCATION_CHECK_CHAIN_EXCLUDE_ROOT: u32 = 0x0000_0400;
    /// Schannel only.
    pub const IGNORE_NO_REVOCATION_CHECK: u32 = 0x0000_0800;
    /// Schannel only.
    pub const IGNORE_REVOCATION_OFFLINE: u32 = 0x0000_1000;
    /// `allowed_cipher_suites` holds.
    pub const SET_ALLOWED_CIPHER_SUITES: u32 = 0x0000_2000;
    /// Certificates are told in DER, chains in PKCS #7.
    pub const USE_PORTABLE_CERTIFICATES: u32 = 0x0000_4000;
    /// Schannel only.
    pub const USE_SUPPLIED_CREDENTIALS: u32 = 0x0000_8000;
    /// Schannel only.
    pub const USE_SYSTEM_MAPPER: u32 = 0x0001_0000;
    /// Windows only.
    pub const CACHE_ONLY_URL_RETRIEVAL: u32 = 0x0002_0000;
    /// Windows only.
    pub const REVOCATION_CHECK_CACHE_ONLY: u32 = 0x0004_0000;
    /// Schannel only.
    pub const INPROC_PEER_CERTIFICATE: u32 = 0x0008_0000;
    /// `ca_certificate_file` holds.
    pub const SET_CA_CERTIFICATE_FILE: u32 = 0x0010_0000;
    /// Schannel only.
    pub const DISABLE_AIA: u32 = 0x0020_0000;
}

/// `QUIC_ALLOWED_CIPHER_SUITE_FLAGS`.
pub mod cipher_suites {
    /// TLS_AES_128_GCM_SHA256.
    pub const AES_128_GCM_SHA256: u32 = 1;
    /// TLS_AES_256_GCM_SHA384.
    pub const AES_256_GCM_SHA384: u32 = 2;
    /// TLS_CHACHA20_POLY1305_SHA256.
    pub const CHACHA20_POLY1305_SHA256: u32 = 4;
    /// All of them.
    pub const ALL: u32 = 7;
}

/// `QUIC_CERTIFICATE_FILE`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CertificateFile {
    /// PEM.
    pub private_key_file: *const c_char,
    /// PEM, the chain, leaf first.
    pub certificate_file: *const c_char,
}

/// `QUIC_CERTIFICATE_FILE_PROTECTED`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CertificateFileProtected {
    /// PEM, encrypted.
    pub private_key_file: *const c_char,
    /// PEM, the chain, leaf first.
    pub certificate_file: *const c_char,
    /// Opens the key.
    pub private_key_password: *const c_char,
}

/// `QUIC_CERTIFICATE_PKCS12`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CertificatePkcs12 {
    /// The archive.
    pub asn1_blob: *const u8,
    /// Its length.
    pub asn1_blob_length: u32,
    /// Opens it; null for none.
    pub private_key_password: *const c_char,
}

/// The certificate of a [`CredentialConfig`], by its type.
#[repr(C)]
#[derive(Clone, Copy)]
pub union CertificateSource {
    /// Of type CERTIFICATE_FILE.
    pub file: *const CertificateFile,
    /// Of type CERTIFICATE_FILE_PROTECTED.
    pub protected: *const CertificateFileProtected,
    /// Of type CERTIFICATE_PKCS12.
    pub pkcs12: *const CertificatePkcs12,
    /// Of any other type.
    pub other: *const c_void,
}

/// `QUIC_CREDENTIAL_LOAD_COMPLETE`.
pub type CredentialLoadComplete = unsafe extern "C" fn(configuration: Handle, context: *mut c_void, status: Status);

/// `QUIC_CREDENTIAL_CONFIG`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CredentialConfig {
    /// One of [`credential_type`].
    pub credential_type: u32,
    /// Some of [`credential_flags`].
    pub flags: u32,
    /// The certificate.
    pub certificate: CertificateSource,
    /// Not used.
    pub principal: *const c_char,
    /// Not used.
    pub reserved: *mut c_void,
    /// Hears when loading is done, with LOAD_ASYNCHRONOUS.
    pub async_handler: Option<CredentialLoadComplete>,
    /// Some of [`cipher_suites`], with SET_ALLOWED_CIPHER_SUITES.
    pub allowed_cipher_suites: u32,
    /// PEM, with SET_CA_CERTIFICATE_FILE.
    pub ca_certificate_file: *const c_char,
}

/// The most keys that [`TicketKeyConfig`] can come in.
pub const MAX_TICKET_KEY_COUNT: usize = 16;

/// `QUIC_TICKET_KEY_CONFIG`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TicketKeyConfig {
    /// Names it within tickets.
    pub id: [u8; 16],
    /// The secret.
    pub material: [u8; 64],
    /// How much of `material` counts.
    pub material_length: u8,
}
