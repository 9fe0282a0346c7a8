//! The gate: what a certificate that is not judged yet withholds.

use super::*;

fn judging_client(identity: Option<&Identity>) -> End {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&VERSIONS).unwrap();
    let verifier = Arc::new(DeferredServerVerifier::new(None, provider()));
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"test".to_vec()];
    End::client(config)
}

fn judging_server(identity: &Identity, mandatory: bool) -> End {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&VERSIONS).unwrap();
    let verifier = Arc::new(DeferredClientVerifier::new(None, mandatory, provider()));
    let mut config =
        builder.with_client_cert_verifier(verifier).with_single_cert(identity.chain(), identity.key()).unwrap();
    config.alpn_protocols = vec![b"test".to_vec()];
    End::server(config)
}

fn accept(end: &mut End) {
    end.tls.accept_certificate().unwrap();
    end.poll();
}

#[test]
fn a_client_says_nothing_before_the_verdict() {
    for piece in [1, 17, ALL] {
        let (ours, theirs) = (Identity::new(), Identity::new());
        let (mut client, mut server) = (judging_client(Some(&ours)), judging_server(&theirs, true));
        run(&mut client, &mut server, piece).unwrap();
        // Neither its Finished, nor its own certificate, nor keys to send data with.
        assert_eq!(
            client.outputs,
            [Kind::Crypto(EncryptionLevel::Initial), Kind::HandshakeKeys, Kind::Parameters, Kind::Certificate]
        );
        assert!(client.tls.awaits_verdict() && !client.tls.is_complete() && !server.tls.is_complete());
        assert_eq!(client.presented.as_ref().unwrap().chain, [&theirs.certificate[..]]);
        // Whatever else is called or polled meanwhile.
        client.feed(&[(EncryptionLevel::Handshake, Vec::new())], 1).unwrap();
        assert_eq!(client.outputs.len(), 4);
        accept(&mut client);
        assert_eq!(client.outputs[4..], [Kind::Crypto(EncryptionLevel::Handshake), Kind::OneRttKeys, Kind::Complete]);
        assert!(!client.tls.awaits_verdict());
        run(&mut client, &mut server, piece).unwrap();
        assert!(server.tls.awaits_verdict());
        accept(&mut server);
        assert!(server.tls.is_complete());
    }
}

#[test]
fn a_server_does_not_complete_before_the_verdict() {
    for piece in [1, 17, ALL] {
        let (ours, theirs) = (Identity::new(), Identity::new());
        let mut client = End::client(client_config(&theirs, Some(&ours)));
        let mut server = judging_server(&theirs, true);
        run(&mut client, &mut server, piece).unwrap();
        assert!(client.tls.is_complete());
        assert!(server.tls.awaits_verdict() && !server.tls.is_complete());
        // It has keys, as every server has after its Finished, and is not to use them.
        assert!(server.one_rtt.is_some() && server.tls.withholds_one_rtt());
        assert_eq!(server.outputs.last(), Some(&Kind::Certificate));
        let ticket = Kind::Crypto(EncryptionLevel::OneRtt);
        assert!(!server.outputs.contains(&ticket), "no ticket for who is not known");
        assert_eq!(server.presented.as_ref().unwrap().chain, [&ours.certificate[..]]);
        accept(&mut server);
        assert!(server.tls.is_complete() && !server.tls.withholds_one_rtt());
        assert!(server.outputs.contains(&Kind::Complete) && server.outputs.contains(&ticket));
        assert!(keys_fit(&client.one_rtt.unwrap(), &server.one_rtt.unwrap()));
    }
}

#[test]
fn a_client_without_a_certificate_is_not_judged() {
    let identity = Identity::new();
    let client = || End::client(client_config(&identity, None));
    let (mut ours, mut server) = (client(), judging_server(&identity, false));
    complete(&mut ours, &mut server);
    assert!(server.presented.is_none() && !server.tls.awaits_verdict());
    let (role, fault) = run(&mut client(), &mut judging_server(&identity, true), ALL).unwrap_err();
    assert_eq!((role, fault.code), (Role::Server, TransportErrorCode::crypto(116)));
}

#[test]
fn the_verdict_comes_once_and_not_before_it_is_asked_for() {
    let identity = Identity::new();
    let (mut client, mut server) = (judging_client(None), End::server(server_config(&identity)));
    accept(&mut client);
    run(&mut client, &mut server, ALL).unwrap();
    assert!(client.tls.awaits_verdict(), "an answer without a question opens nothing");
    accept(&mut client);
    accept(&mut client);
    assert_eq!(client.outputs.iter().filter(|kind| **kind == Kind::Complete).count(), 1);
    run(&mut client, &mut server, ALL).unwrap();
    assert!(server.tls.is_complete());
}

/// The flight of a server at the Handshake level, and a judging client that has read all before it.
fn before_the_flight(identity: &Identity) -> (End, Vec<Vec<u8>>) {
    let (mut client, mut server) = (judging_client(None), End::server(server_config(identity)));
    let hello = client.take();
    server.feed(&hello, ALL).unwrap();
    let flight = server.take();
    client.feed(&flight[..1], ALL).unwrap();
    (client, messages(&flight[1].1))
}

#[test]
fn a_certificate_is_judged_only_if_the_peer_owns_it() {
    let identity = Identity::new();
    let (mut client, mut messages) = before_the_flight(&identity);
    let proof = messages.iter_mut().find(|message| message[0] == message::CERTIFICATE_VERIFY).unwrap();
    *proof.last_mut().unwrap() ^= 1;
    let fault = client.feed(&[(EncryptionLevel::Handshake, messages.concat())], ALL).unwrap_err();
    client.poll();
    assert_eq!((fault.code, client.presented), (TransportErrorCode::crypto(51), None));
    // And without a proof at all.
    let (mut client, mut messages) = before_the_flight(&identity);
    messages.retain(|message| message[0] != message::CERTIFICATE_VERIFY);
    let fault = client.feed(&[(EncryptionLevel::Handshake, messages.concat())], ALL).unwrap_err();
    client.poll();
    assert_eq!((fault.code, client.presented), (TransportErrorCode::crypto(alert::UNEXPECTED_MESSAGE), None));
    // A client's certificate closes the gate before its proof comes.
    let mut client = End::client(client_config(&identity, Some(&identity)));
    let mut server = judging_server(&identity, true);
    let hello = client.take();
    server.feed(&hello, ALL).unwrap();
    client.feed(&server.take(), ALL).unwrap();
    let mut messages = super::messages(&client.take()[0].1);
    messages.retain(|message| message[0] != message::CERTIFICATE_VERIFY);
    let fault = server.feed(&[(EncryptionLevel::Handshake, messages.concat())], ALL).unwrap_err();
    server.poll();
    assert_eq!((fault.code, server.presented), (TransportErrorCode::crypto(alert::UNEXPECTED_MESSAGE), None));
}

/// What waits is one message: whoever waits for a verdict cannot be filled up meanwhile.
#[test]
fn nothing_may_follow_the_message_that_waits() {
    let identity = Identity::new();
    for piece in [1, ALL] {
        let (mut client, messages) = before_the_flight(&identity);
        client.feed(&[(EncryptionLevel::Handshake, messages.concat())], piece).unwrap();
        assert!(client.tls.awaits_verdict());
        let fault = client.feed(&[(EncryptionLevel::Handshake, vec![0; 100])], piece).unwrap_err();
        assert_eq!(fault.code, TransportErrorCode::crypto(alert::UNEXPECTED_MESSAGE));
        // Nor together with it.
        let (mut client, messages) = before_the_flight(&identity);
        let flight = [messages.concat(), vec![0]].concat();
        assert!(client.feed(&[(EncryptionLevel::Handshake, flight)], piece).is_err());
    }
}
