//! Certificates of all kinds, as files.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority and a certificate that it has signed, in files of a directory.
pub(crate) struct Signed {
    pub(crate) authority: PathBuf,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// `subject` is the common name of the leaf, `name` the host that it is for, `year` that in which it expires.
pub(crate) fn signed(directory: &Path, subject: &str, name: &str, year: i32) -> Signed {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.into()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, subject);
    (leaf.not_before, leaf.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(year, 1, 1));
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let file = |name: &str, text: &str| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    Signed {
        authority: file("authority.pem", &authority_pem),
        chain: file("chain.pem", &leaf.pem()),
        key: file("key.pem", &key.serialize_pem()),
    }
}

impl Signed {
    /// As arguments of `tercel serve`.
    pub(crate) fn arguments(&self) -> [&str; 4] {
        ["--cert", self.chain.to_str().unwrap(), "--key", self.key.to_str().unwrap()]
    }
}
