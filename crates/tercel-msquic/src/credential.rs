//! Credentials, in every form that there is on Linux.

use std::path::PathBuf;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tercel::{CipherSuite, ClientAuthentication, ClientCredential, Configuration, Error, Identity, ServerCredential};
use tercel::{Settings, Trust};

use crate::abi::{CredentialConfig, Status, cipher_suites, credential_flags as flag, credential_type};
use crate::boundary;
use crate::outcome::status_of;

/// Which end a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What is done about the certificate of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Any certificate will do.
    pub(crate) none: bool,
    /// The application hears of it, and may refuse it.
    pub(crate) indicated: bool,
    /// What validation says does not refuse it: the application is told.
    pub(crate) deferred: bool,
    /// In DER, with the chain in PKCS #7.
    pub(crate) portable: bool,
}

impl Judgement {
    /// Whether a server asks its clients for certificates, which they may have to have.
    const fn asks_clients(self, required: bool) -> bool {
        required || self.indicated
    }
}

/// The certificate and its key, where they are.
enum Source {
    None,
    Files { chain: PathBuf, key: PathBuf, password: Option<String> },
    Pkcs12 { archive: Vec<u8>, password: Option<String> },
}

/// A credential as it was described, with nothing read yet.
pub(crate) struct Described {
    role: Role,
    judgement: Judgement,
    requires_client: bool,
    source: Source,
    authorities: Option<PathBuf>,
    suites: Vec<CipherSuite>,
}

/// A credential that can be used.
pub(crate) struct Loaded {
    role: Role,
    judgement: Judgement,
    requires_client: bool,
    identity: Option<Identity>,
    trust: Option<Trust>,
    suites: Vec<CipherSuite>,
}

/// Flags that mean something only where Schannel or Windows are.
const WINDOWS_ONLY: u32 = flag::ENABLE_OCSP
    | flag::REVOCATION_CHECK_END_CERT
    | flag::REVOCATION_CHECK_CHAIN
    | flag::REVOCATION_CHECK_CHAIN_EXCLUDE_ROOT
    | flag::IGNORE_NO_REVOCATION_CHECK
    | flag::IGNORE_REVOCATION_OFFLINE
    | flag::USE_SUPPLIED_CREDENTIALS
    | flag::USE_SYSTEM_MAPPER
    | flag::CACHE_ONLY_URL_RETRIEVAL
    | flag::REVOCATION_CHECK_CACHE_ONLY
    | flag::INPROC_PEER_CERTIFICATE
    | flag::DISABLE_AIA;

/// Copies what a program says of a credential.
///
/// # Errors
/// [`Status::INVALID_PARAMETER`], [`Status::NOT_SUPPORTED`].
///
/// # Safety
/// What its pointers lead to is as its type, its flags and its lengths say.
pub(crate) unsafe fn read(config: &CredentialConfig) -> Result<Described, Status> {
    let flags = config.flags;
    let has = |flag| flags & flag != 0;
    let role = if has(flag::CLIENT) { Role::Client } else { Role::Server };
    if has(flag::LOAD_ASYNCHRONOUS) && config.async_handler.is_none() {
        return Err(Status::INVALID_PARAMETER);
    }
    if has(WINDOWS_ONLY) {
        return Err(Status::NOT_SUPPORTED);
    }
    // SAFETY: as demanded of the caller.
    let source = unsafe { read_source(config) }?;
    if role == Role::Server && matches!(source, Source::None) {
        return Err(Status::INVALID_PARAMETER);
    }
    let authorities = match has(flag::SET_CA_CERTIFICATE_FILE) {
        // SAFETY: as demanded of the caller.
        true => Some(unsafe { boundary::text(config.ca_certificate_file) }.ok_or(Status::INVALID_PARAMETER)?.into()),
        false => None,
    };
    let suites = match has(flag::SET_ALLOWED_CIPHER_SUITES) {
        true if config.allowed_cipher_suites & !cipher_suites::ALL != 0 => return Err(Status::INVALID_PARAMETER),
        true => {
            let suites = [
                (cipher_suites::AES_128_GCM_SHA256, CipherSuite::Aes128GcmSha256),
                (cipher_suites::AES_256_GCM_SHA384, CipherSuite::Aes256GcmSha384),
                (cipher_suites::CHACHA20_POLY1305_SHA256, CipherSuite::Chacha20Poly1305Sha256),
            ];
            let allowed = suites.into_iter().filter(|(bit, _)| config.allowed_cipher_suites & bit != 0);
            let allowed: Vec<_> = allowed.map(|(_, suite)| suite).collect();
            if allowed.is_empty() {
                return Err(Status::INVALID_PARAMETER);
            }
            allowed
        }
        false => Vec::new(),
    };
    let judgement = Judgement {
        none: has(flag::NO_CERTIFICATE_VALIDATION),
        indicated: has(flag::INDICATE_CERTIFICATE_RECEIVED),
        deferred: has(flag::DEFER_CERTIFICATE_VALIDATION),
        portable: has(flag::USE_PORTABLE_CERTIFICATES),
    };
    let requires_client = has(flag::REQUIRE_CLIENT_AUTHENTICATION);
    Ok(Described { role, judgement, requires_client, source, authorities, suites })
}

/// # Safety
/// As for [`read`].
unsafe fn read_source(config: &CredentialConfig) -> Result<Source, Status> {
    // SAFETY: as demanded of the caller; here and below, which part of the union holds is told by the type.
    let text = |pointer| unsafe { boundary::text(pointer) }.ok_or(Status::INVALID_PARAMETER);
    match config.credential_type {
        credential_type::NONE => Ok(Source::None),
        credential_type::CERTIFICATE_FILE => {
            // SAFETY: as above.
            let file = unsafe { boundary::reference(config.certificate.file) }.ok_or(Status::INVALID_PARAMETER)?;
            let (chain, key) = (text(file.certificate_file)?.into(), text(file.private_key_file)?.into());
            Ok(Source::Files { chain, key, password: None })
        }
        credential_type::CERTIFICATE_FILE_PROTECTED => {
            // SAFETY: as above.
            let file = unsafe { boundary::reference(config.certificate.protected) }.ok_or(Status::INVALID_PARAMETER)?;
            let (chain, key) = (text(file.certificate_file)?.into(), text(file.private_key_file)?.into());
            Ok(Source::Files { chain, key, password: Some(text(file.private_key_password)?.to_owned()) })
        }
        credential_type::CERTIFICATE_PKCS12 => {
            // SAFETY: as above.
            let pkcs12 = unsafe { boundary::reference(config.certificate.pkcs12) }.ok_or(Status::INVALID_PARAMETER)?;
            // SAFETY: as above.
            let archive = unsafe { boundary::slice(pkcs12.asn1_blob, pkcs12.asn1_blob_length as usize) };
            let archive = archive.filter(|archive| !archive.is_empty()).ok_or(Status::INVALID_PARAMETER)?.to_vec();
            let password = match pkcs12.private_key_password.is_null() {
                true => None,
                false => Some(text(pkcs12.private_key_password)?.to_owned()),
            };
            Ok(Source::Pkcs12 { archive, password })
        }
        credential_type::CERTIFICATE_HASH
        | credential_type::CERTIFICATE_HASH_STORE
        | credential_type::CERTIFICATE_CONTEXT => Err(Status::NOT_SUPPORTED),
        _ => Err(Status::INVALID_PARAMETER),
    }
}

impl Described {
    /// Reads the files.
    ///
    /// # Errors
    /// What the system says, or [`Status::TLS_ERROR`]: something cannot be used.
    pub(crate) fn load(self) -> Result<Loaded, Status> {
        let Self { role, judgement, requires_client, source, authorities, suites } = self;
        let identity = source.load()?;
        let judges = role == Role::Client || judgement.asks_clients(requires_client);
        let trust = match (authorities, judges && !judgement.none) {
            (Some(file), _) => Some(Trust::from_file(file).map_err(|error| status_of(&error))?),
            // A system may have none.
            (None, true) => Trust::system().ok(),
            // Who sees no certificate, or trusts everybody, needs no authorities.
            (None, false) => None,
        };
        Ok(Loaded { role, judgement, requires_client, identity, trust, suites })
    }
}

impl Source {
    fn load(self) -> Result<Option<Identity>, Status> {
        // A file that is not there, too, is a credential that TLS cannot use.
        let unusable = |_| Status::TLS_ERROR;
        let identity = match self {
            Self::None => return Ok(None),
            Self::Files { chain, key, password: None } => Identity::from_files(chain, key).map_err(unusable)?,
            Self::Files { chain, key, password: Some(password) } => {
                let chain = std::fs::read(chain).map_err(|_| Status::TLS_ERROR)?;
                let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>();
                let key = std::fs::read_to_string(key).map_err(|_| Status::TLS_ERROR)?;
                let chain = chain.map_err(|_| Status::TLS_ERROR)?;
                Identity::new(chain, opened(&key, &password)?).map_err(unusable)?
            }
            Self::Pkcs12 { archive, password } => unpacked(&archive, password.as_deref().unwrap_or_default())?,
        };
        Ok(Some(identity))
    }
}

/// The key of a PEM file, encrypted by a password or not.
fn opened(pem: &str, password: &str) -> Result<PrivateKeyDer<'static>, Status> {
    if let Ok(key) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        return Ok(key);
    }
    let begin = pem.find("-----BEGIN").ok_or(Status::TLS_ERROR)?;
    let (label, document) = SecretDocument::from_pem(&pem[begin..]).map_err(|_| Status::TLS_ERROR)?;
    if label != "ENCRYPTED PRIVATE KEY" {
        return Err(Status::TLS_ERROR);
    }
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| Status::TLS_ERROR)?;
    let key = encrypted.decrypt(password).map_err(|_| Status::TLS_ERROR)?;
    PrivateKeyDer::try_from(key.as_bytes().to_vec()).map_err(|_| Status::TLS_ERROR)
}

/// The key of a PKCS #12 archive (RFC 7292), with its certificates.
fn unpacked(archive: &[u8], password: &str) -> Result<Identity, Status> {
    let store = KeyStore::from_pkcs12(archive, password, Pkcs12ImportPolicy::Relaxed).map_err(|_| Status::TLS_ERROR)?;
    let (_, chain) = store.private_key_chain().ok_or(Status::TLS_ERROR)?;
    let key = PrivateKeyDer::try_from(chain.key().as_der().to_vec()).map_err(|_| Status::TLS_ERROR)?;
    let certificates = chain.certs().iter().map(|certificate| CertificateDer::from(certificate.as_der().to_vec()));
    Identity::new(certificates.collect(), key).map_err(|_| Status::TLS_ERROR)
}

impl Loaded {
    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    pub(crate) const fn judgement(&self) -> Judgement {
        self.judgement
    }

    /// What it comes to together with protocols and settings.
    ///
    /// # Errors
    /// Something cannot be used.
    pub(crate) fn configuration(&self, alpn: &[Vec<u8>], settings: Settings) -> Result<Configuration, Error> {
        let configuration = match self.role {
            Role::Client => {
                let trust = self.trust.clone().map_or(Trust::application(), Trust::deferred);
                let credential = ClientCredential { trust, identity: self.identity.clone() };
                Configuration::client(alpn, settings, credential)?
            }
            Role::Server => {
                let identity = self.identity.clone().ok_or_else(|| Error::tls("a server needs a certificate"))?;
                let asks = self.judgement.asks_clients(self.requires_client);
                let clients = match (&self.trust, asks) {
                    (_, false) => ClientAuthentication::None,
                    (Some(Trust::Roots(roots)), true) => {
                        ClientAuthentication::Deferred { required: self.requires_client, advice: Some(roots.clone()) }
                    }
                    (_, true) => ClientAuthentication::Deferred { required: self.requires_client, advice: None },
                };
                Configuration::server(alpn, settings, ServerCredential { identity, clients })?
            }
        };
        match self.suites.is_empty() {
            true => Ok(configuration),
            false => configuration.with_cipher_suites(&self.suites),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_the_system_are_read_only_where_certificates_are_judged() {
        let there_are = Trust::system().is_ok();
        let reads = |role, requires_client, indicated, none| {
            let judgement = Judgement { none, indicated, deferred: false, portable: false };
            let (source, suites) = (Source::None, Vec::new());
            let described = Described { role, judgement, requires_client, source, authorities: None, suites };
            described.load().ok().and_then(|loaded| loaded.trust).is_some()
        };
        assert_eq!(reads(Role::Client, false, false, false), there_are);
        assert_eq!(reads(Role::Server, true, false, false), there_are);
        assert_eq!(reads(Role::Server, false, true, false), there_are);
        assert!(!reads(Role::Server, false, false, false), "no certificate is seen");
        assert!(!reads(Role::Client, false, false, true), "everybody is trusted");
    }
}
