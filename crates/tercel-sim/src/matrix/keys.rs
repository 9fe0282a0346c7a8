//! Keys of packet protection, derived here from what TLS logs, apart from the product (RFC 9001
//! section 5).

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use tercel_wire::packet::protection::{HeaderKey, PacketKey};
use tercel_wire::{ConnectionId, EncryptionLevel, Role};

use super::tls::secret;

/// RFC 9001 section 5.2.
const INITIAL_SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f,
    0x0a,
];
pub(super) const TAG_LEN: usize = 16;

/// The keys of one direction of one level: AES-128-GCM, which all simulated ends prefer.
pub(super) struct Keys {
    header: HeaderProtectionKey,
    packet: LessSafeKey,
    iv: [u8; 12],
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label (RFC 8446 section 7.1).
fn expand<const N: usize>(secret: &Prk, label: &str) -> [u8; N] {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let info = [&(N as u16).to_be_bytes(), &[label.len() as u8][..], &label, &[0]].concat();
    let mut out = [0; N];
    let filled = secret.expand(&[&info], Len(N)).and_then(|okm| okm.fill(&mut out));
    assert!(filled.is_ok(), "HKDF");
    out
}

impl Keys {
    #[allow(clippy::expect_used)]
    fn new(secret: &Prk) -> Self {
        const FITS: &str = "keys of 16 bytes";
        let key: [u8; 16] = expand(secret, "quic key");
        let header: [u8; 16] = expand(secret, "quic hp");
        Self {
            header: HeaderProtectionKey::new(&AES_128, &header).expect(FITS),
            packet: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect(FITS)),
            iv: expand(secret, "quic iv"),
        }
    }

    /// Of Initial packets of a client that began with `id`.
    pub(super) fn initial(id: &ConnectionId, from: Role) -> Self {
        let secret = Salt::new(HKDF_SHA256, &INITIAL_SALT).extract(id);
        let label = if from == Role::Client { "client in" } else { "server in" };
        Self::new(&Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&secret, label)))
    }

    /// Of a level above, if any end has come to know them.
    pub(super) fn of(from: Role, level: EncryptionLevel) -> Option<Self> {
        let label = match (from, level) {
            (_, EncryptionLevel::Initial) => return None,
            (_, EncryptionLevel::ZeroRtt) => "CLIENT_EARLY_TRAFFIC_SECRET",
            (Role::Client, EncryptionLevel::Handshake) => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            (Role::Server, EncryptionLevel::Handshake) => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            (Role::Client, EncryptionLevel::OneRtt) => "CLIENT_TRAFFIC_SECRET_0",
            (Role::Server, EncryptionLevel::OneRtt) => "SERVER_TRAFFIC_SECRET_0",
        };
        let secret = secret(from, label).or_else(|| secret(from.peer(), label))?;
        assert_eq!(secret.len(), 32, "a secret of another cipher suite than was meant");
        Some(Self::new(&Prk::new_less_safe(HKDF_SHA256, &secret)))
    }

    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl HeaderKey for Keys {
    fn sample_len(&self) -> usize {
        16
    }

    fn protect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) {
        let mask = self.header.new_mask(sample).unwrap_or_else(|_| panic!("a sample of {} bytes", sample.len()));
        *first ^= mask[0] & if *first & 0x80 != 0 { 0x0f } else { 0x1f };
        for (byte, mask) in packet_number.iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
    }

    fn unprotect(&self, sample: &[u8], first: &mut u8, packet_number: &mut [u8]) {
        let mask = self.header.new_mask(sample).unwrap_or_else(|_| panic!("a sample of {} bytes", sample.len()));
        *first ^= mask[0] & if *first & 0x80 != 0 { 0x0f } else { 0x1f };
        let len = usize::from(*first & 3) + 1;
        for (byte, mask) in packet_number[..len].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
    }
}

impl PacketKey for Keys {
    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn seal(&self, packet_number: u64, header: &[u8], payload: &mut [u8], tag: &mut [u8]) {
        let made = self.packet.seal_in_place_separate_tag(self.nonce(packet_number), Aad::from(header), payload);
        tag.copy_from_slice(made.unwrap_or_else(|_| panic!("sealing failed")).as_ref());
    }

    fn open(&self, packet_number: u64, header: &[u8], payload: &mut [u8]) -> Option<usize> {
        let opened = self.packet.open_in_place(self.nonce(packet_number), Aad::from(header), payload).ok()?;
        Some(opened.len())
    }
}
