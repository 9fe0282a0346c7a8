//! What is refused, by whom, and with which error.

use super::*;

const fn crypto(alert: u8) -> TransportErrorCode {
    TransportErrorCode::crypto(alert)
}

/// Who finds fault with a handshake, and which.
fn fault(mut client: End, mut server: End) -> (Role, TransportErrorCode) {
    let (role, violation) = run(&mut client, &mut server, ALL).unwrap_err();
    let end = if role == Role::Client { &client } else { &server };
    assert!(!end.tls.is_complete());
    (role, violation.code)
}

#[test]
fn certificates_that_do_not_do() {
    let (identity, other) = (Identity::new(), Identity::new());
    let server = || End::server(server_config(&identity));
    assert_eq!(fault(End::client(client_config(&other, None)), server()), (Role::Client, crypto(48)), "unknown_ca");
    let name = End::client_of("other.example", client_config(&identity, None), encoded(&parameters(1)));
    assert_eq!(fault(name, server()), (Role::Client, crypto(42)), "bad_certificate");
    let expired = Identity::valid_until(2000);
    let client = End::client(client_config(&expired, None));
    assert_eq!(fault(client, End::server(server_config(&expired))), (Role::Client, crypto(45)), "certificate_expired");
}

#[test]
fn clients_that_do_not_show_what_is_asked_for() {
    let (identity, known, unknown) = (Identity::new(), Identity::new(), Identity::new());
    let server = || End::server(mutual_server_config(&identity, &known));
    let none = End::client(client_config(&identity, None));
    assert_eq!(fault(none, server()), (Role::Server, crypto(116)), "certificate_required");
    let wrong = End::client(client_config(&identity, Some(&unknown)));
    assert_eq!(fault(wrong, server()), (Role::Server, crypto(48)), "unknown_ca");
}

#[test]
// RFC 9000 section 7#2.
// RFC 9001 section 8.1#1#2#5.
fn ends_without_a_protocol_in_common() {
    let identity = Identity::new();
    // RFC 9001 section 8.1: also if a client names none.
    for protocols in [vec![b"other".to_vec()], vec![]] {
        let mut config = client_config(&identity, None);
        config.alpn_protocols = protocols;
        let server = End::server(server_config(&identity));
        assert_eq!(fault(End::client(config), server), (Role::Server, crypto(120)), "no_application_protocol");
    }
    let mut config = server_config(&identity);
    config.alpn_protocols.clear();
    let client = End::client(client_config(&identity, None));
    assert_eq!(fault(client, End::server(config)).1, crypto(120));
}

#[test]
// RFC 9000 sections 7.4#1, 18.2#10.
fn transport_parameters_that_cannot_be() {
    let identity = Identity::new();
    let config = Arc::new(client_config(&identity, None));
    // Cut short; and one that only servers may send: stateless_reset_token, 16 bytes.
    for bytes in [vec![0x04], [&[0x02, 16][..], &[0; 16]].concat()] {
        let client = End::client_of("localhost", config.clone(), bytes);
        let error = (Role::Server, TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
        assert_eq!(fault(client, End::server(server_config(&identity))), error);
    }
}

#[test]
fn messages_that_are_too_long_are_refused_by_their_header() {
    let identity = Identity::new();
    let feed = |bytes: &[u8]| {
        End::server(server_config(&identity)).tls.feed(EncryptionLevel::Initial, bytes).map_err(|fault| fault.code)
    };
    assert_eq!(feed(&[1, 0, 0xff, 0xff]), Ok(()));
    assert_eq!(feed(&[1, 1, 0]), Ok(()), "the length is not known yet");
    assert_eq!(feed(&[1, 1, 0, 0]), Err(crypto(alert::DECODE_ERROR)));
    assert_eq!(feed(&[1, 0xff, 0xff, 0xff]), Err(crypto(alert::DECODE_ERROR)));
    assert_eq!(feed(&[1, 0, 0, 1, 0]), Err(crypto(alert::DECODE_ERROR)), "no ClientHello is so short");
}

#[test]
// RFC 9001 section 4.1.3#1#2.
fn crypto_data_at_levels_that_are_not_read() {
    use EncryptionLevel::{Handshake, Initial, OneRtt, ZeroRtt};
    let identity = Identity::new();
    let (mut client, mut server) = (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let refused = |end: &mut End, levels: &[EncryptionLevel]| {
        levels.iter().all(|level| {
            let fault = end.tls.feed(*level, &[0]).unwrap_err();
            fault.code == TransportErrorCode::PROTOCOL_VIOLATION
        })
    };
    assert!(refused(&mut server, &[ZeroRtt, Handshake, OneRtt]));
    assert!(refused(&mut client, &[ZeroRtt, Handshake, OneRtt]));
    let hello = client.take();
    server.feed(&hello, ALL).unwrap();
    assert!(refused(&mut server, &[Initial, ZeroRtt, OneRtt]), "the ClientHello was all of Initial");
    complete(&mut client, &mut server);
    for end in [&mut client, &mut server] {
        assert!(refused(end, &[Initial, ZeroRtt, Handshake]));
    }
}

/// RFC 8446 section 5.1: a message that changes the keys is the last under the old ones.
#[test]
// RFC 9001 section 4.1.3#3.
fn data_behind_a_change_of_keys() {
    let identity = Identity::new();
    let (mut client, mut server) = (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let mut hello = client.take();
    let mut longer = hello.clone();
    longer[0].1.push(0);
    let mut strict = End::server(server_config(&identity));
    assert_eq!(strict.feed(&longer, ALL).unwrap_err().code, crypto(alert::UNEXPECTED_MESSAGE));
    server.feed(&std::mem::take(&mut hello), ALL).unwrap();
    let mut flight = server.take();
    assert_eq!(flight[0].0, EncryptionLevel::Initial);
    flight[0].1.push(0);
    assert_eq!(client.feed(&flight, ALL).unwrap_err().code, crypto(alert::UNEXPECTED_MESSAGE));
}

#[test]
fn messages_out_of_turn() {
    const END_OF_EARLY_DATA: [u8; 4] = [5, 0, 0, 0];
    const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
    let identity = Identity::new();
    let pair = || (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let code = |end: &mut End, level, message: &[u8]| end.tls.feed(level, message).unwrap_err().code;
    let unexpected = crypto(alert::UNEXPECTED_MESSAGE);
    let finished = [&[message::FINISHED, 0, 0, 32][..], &[0; 32]].concat();
    let (mut client, mut server) = pair();
    assert_eq!(code(&mut server, EncryptionLevel::Initial, &finished), unexpected);
    assert_eq!(code(&mut client, EncryptionLevel::Initial, &finished), unexpected);
    // RFC 9001 section 8.3#1.
    // RFC 9001 section 8.3: it is not used.
    let (mut client, mut server) = pair();
    let hello = client.take();
    server.feed(&hello, ALL).unwrap();
    assert_eq!(code(&mut server, EncryptionLevel::Handshake, &END_OF_EARLY_DATA), unexpected);
    // RFC 9001 section 6#2.
    // RFC 9001 section 6: keys are updated otherwise.
    let (mut client, mut server) = pair();
    complete(&mut client, &mut server);
    for end in [&mut client, &mut server] {
        assert_eq!(code(end, EncryptionLevel::OneRtt, &KEY_UPDATE), unexpected);
    }
    // The ClientHello of another client, when the handshake is over.
    let (mut other, _) = pair();
    let (mut client, mut server) = pair();
    complete(&mut client, &mut server);
    assert_eq!(code(&mut server, EncryptionLevel::OneRtt, &other.take()[0].1), unexpected);
}

/// Every message of both flights with one bit changed: somebody always notices, at the latest by a
/// Finished that does not fit, and whoever notices never completes.
#[test]
fn no_message_can_be_changed() {
    let (ours, theirs) = (Identity::new(), Identity::new());
    let trust = Arc::new(client_config(&theirs, Some(&ours)));
    let config = Arc::new(mutual_server_config(&theirs, &ours));
    let pair = || (End::client(trust.clone()), End::server(config.clone()));
    let changed = |data: &mut [u8], at: usize| data[at * 7919 % data.len()] ^= 1 << (at % 8);
    for at in 0..60 {
        let (mut client, mut server) = pair();
        let hello = client.take();
        server.feed(&hello, ALL).unwrap();
        let mut flight = server.take();
        let last = flight.len() - 1;
        assert_eq!(flight[last].0, EncryptionLevel::Handshake);
        changed(&mut flight[last].1, at);
        // A length may have become larger: then nothing more can come.
        assert!(client.feed(&flight, ALL).is_err() || !client.tls.is_complete(), "{at}");
        let (mut client, mut server) = pair();
        let hello = client.take();
        server.feed(&hello, ALL).unwrap();
        client.feed(&server.take(), ALL).unwrap();
        let mut flight = client.take();
        assert_eq!(flight[0].0, EncryptionLevel::Handshake);
        changed(&mut flight[0].1, at);
        assert!(server.feed(&flight, ALL).is_err() || !server.tls.is_complete(), "{at}");
    }
}

#[test]
fn proofs_that_do_not_hold() {
    let identity = Identity::new();
    for (ty, alert) in [(message::CERTIFICATE_VERIFY, 51), (message::FINISHED, 51)] {
        let (mut client, mut server) =
            (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
        let hello = client.take();
        server.feed(&hello, ALL).unwrap();
        let mut flight = server.take();
        let mut messages = messages(&flight[1].1);
        let message = messages.iter_mut().find(|message| message[0] == ty).unwrap();
        let last = message.len() - 1;
        message[last] ^= 1;
        flight[1].1 = messages.concat();
        assert_eq!(client.feed(&flight, ALL).unwrap_err().code, crypto(alert), "decrypt_error");
        assert!(!client.outputs.contains(&Kind::OneRttKeys));
    }
}

/// A TLS that completes upon whatever it reads, without having seen transport parameters; but it refuses what
/// begins with a given byte, for want of ECH.
struct Careless(bool, Option<u8>);

impl Session for Careless {
    fn read(&mut self, message: &[u8]) -> Result<(), Violation> {
        if message.first().copied() == self.1 {
            return Err(tls_error(alert::ECH_REQUIRED, "ECH"));
        }
        self.0 = self.1.is_none();
        Ok(())
    }

    fn write(&mut self, _: &mut Vec<u8>) -> Option<KeyChange> {
        None
    }

    fn peer_parameters(&self) -> Option<&[u8]> {
        None
    }

    fn early_keys(&self) -> Option<DirectionalKeys> {
        None
    }

    fn refuse_early_data(&mut self) {}

    fn negotiated(&self) -> Option<Negotiated> {
        None
    }

    fn is_handshaking(&self) -> bool {
        !self.0
    }

    fn early_data_accepted(&self) -> bool {
        false
    }

    fn is_resumed(&self) -> bool {
        false
    }

    fn alpn(&self) -> Option<&[u8]> {
        Some(b"test")
    }

    fn peer_certificates(&self) -> Option<Vec<Bytes>> {
        None
    }

    fn export_keying_material(&self, _: &mut [u8], _: &[u8], _: &[u8]) -> bool {
        false
    }
}

/// RFC 9001 section 8.2.
#[test]
// RFC 9001 section 8.2#1.
fn a_handshake_without_transport_parameters() {
    for role in [Role::Client, Role::Server] {
        let mut end = End::new(Handshake::new(role, Version::V1, Box::new(Careless(false, None))));
        let fault = end.tls.feed(EncryptionLevel::Initial, &[1, 0, 0, 0]).unwrap_err();
        assert_eq!(fault.code, crypto(alert::MISSING_EXTENSION));
        end.poll();
        assert!(!end.outputs.contains(&Kind::Complete));
    }
}

/// RFC 9001 section 8.4#2.
#[test]
fn a_client_that_asks_for_compatibility_mode() {
    let identity = Identity::new();
    let (mut client, mut server) = (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let mut hello = client.take();
    let message = &mut hello[0].1;
    // RFC 9001 section 8.4#1: ours does not.
    assert_eq!(message[38], 0);
    message[38] = 1;
    message.insert(39, 7);
    let len = (message.len() - 4) as u32;
    message[..4].copy_from_slice(&(1 << 24 | len).to_be_bytes());
    assert_eq!(server.feed(&hello, ALL).unwrap_err().code, TransportErrorCode::PROTOCOL_VIOLATION);
}

/// RFC 9001 sections 4.4#3, 4.6.1#2.
#[test]
fn what_a_server_may_not_say_after_the_handshake() {
    const CERTIFICATE_REQUEST: [u8; 7] = [13, 0, 0, 3, 0, 0, 0];
    let identity = Identity::new();
    let pair = || (End::client(client_config(&identity, None)), End::server(server_config(&identity)));
    let (mut client, mut server) = pair();
    complete(&mut client, &mut server);
    let fault = client.tls.feed(EncryptionLevel::OneRtt, &CERTIFICATE_REQUEST).unwrap_err();
    assert_eq!(fault.code, TransportErrorCode::PROTOCOL_VIOLATION);
    // A ticket with early data up to a limit.
    let ticket = |limit: u32| {
        let extension = [&[0, 42, 0, 4][..], &limit.to_be_bytes()].concat();
        let body = [&[0, 0, 0, 60, 1, 2, 3, 4, 1, 9, 0, 2, 7, 7, 0, 8][..], &extension].concat();
        [&[4, 0, 0, body.len() as u8][..], &body].concat()
    };
    for (limit, result) in [(u32::MAX, Ok(())), (1000, Err(TransportErrorCode::PROTOCOL_VIOLATION))] {
        let (mut client, mut server) = pair();
        complete(&mut client, &mut server);
        let read = client.tls.feed(EncryptionLevel::OneRtt, &ticket(limit)).map_err(|fault| fault.code);
        assert_eq!(read, result);
    }
}

/// Compresses nothing, and notes for how much it is asked to make room.
#[derive(Debug)]
struct Compression(std::sync::atomic::AtomicUsize);

impl rustls::compress::CertCompressor for Compression {
    fn compress(
        &self,
        input: Vec<u8>,
        _: rustls::compress::CompressionLevel,
    ) -> Result<Vec<u8>, rustls::compress::CompressionFailed> {
        Ok(input)
    }

    fn algorithm(&self) -> rustls::CertificateCompressionAlgorithm {
        rustls::CertificateCompressionAlgorithm::Zlib
    }
}

impl rustls::compress::CertDecompressor for Compression {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), rustls::compress::DecompressionFailed> {
        self.0.store(output.len(), std::sync::atomic::Ordering::Relaxed);
        if input.len() != output.len() {
            return Err(rustls::compress::DecompressionFailed);
        }
        output.copy_from_slice(input);
        Ok(())
    }

    fn algorithm(&self) -> rustls::CertificateCompressionAlgorithm {
        rustls::CertificateCompressionAlgorithm::Zlib
    }
}

/// RFC 8879 section 5: a few bytes must not become many.
#[test]
fn a_certificate_that_claims_to_be_huge_is_refused_unread() {
    const COMPRESSED_CERTIFICATE: u8 = 25;
    let identity = Identity::new();
    for (claim, room) in [(None, true), (Some(0x1_0000), true), (Some(0x1_0001), false), (Some(0xff_ffff), false)] {
        let compression: &'static Compression = Box::leak(Box::new(Compression(0.into())));
        let (mut trust, mut config) = (client_config(&identity, None), server_config(&identity));
        trust.cert_decompressors = vec![compression];
        config.cert_compressors = vec![compression];
        let (mut client, mut server) = (End::client(trust), End::server(config));
        server.feed(&client.take(), ALL).unwrap();
        let mut flight = server.take();
        let mut messages = messages(&flight[1].1);
        let compressed = messages.iter_mut().find(|message| message[0] == COMPRESSED_CERTIFICATE).unwrap();
        if let Some(claim) = claim {
            compressed[6..9].copy_from_slice(&u32::to_be_bytes(claim)[1..]);
        }
        flight[1].1 = messages.concat();
        assert_eq!(client.feed(&flight, ALL).is_ok(), claim.is_none());
        assert_eq!(compression.0.load(std::sync::atomic::Ordering::Relaxed) > 0, room, "{claim:?}");
    }
}

/// RFC 9849 section 6.1.6: the configurations of the server count once it has proved to be the public one, and not
/// before.
#[test]
fn configurations_to_try_again_with_count_from_the_refusal_on() {
    let extensions = [&[0xfe, 0x0d, 0, 3][..], b"new"].concat();
    let encrypted_extensions = [&[8, 0, 0, 9, 0, 7][..], &extensions].concat();
    let session = Careless(false, Some(message::FINISHED));
    let mut client = Handshake::new(Role::Client, Version::V1, Box::new(session));
    client.parameters_told = true;
    client.feed(EncryptionLevel::Initial, &encrypted_extensions).unwrap();
    assert_eq!(client.ech_rejection(), None);
    let fault = client.feed(EncryptionLevel::Initial, &[message::FINISHED, 0, 0, 0]).unwrap_err();
    assert_eq!(fault.code, crypto(121), "ech_required");
    assert_eq!(client.ech_rejection(), Some(&Bytes::from_static(b"new")));
}
