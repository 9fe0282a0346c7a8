//! Sessions that go on (RFC 9001 sections 4.5 and 4.6).

use super::*;

/// A first connection, whose tickets reach the client.
fn remember(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) {
    let (mut client, mut server) = (End::client(client.clone()), End::server(server.clone()));
    complete(&mut client, &mut server);
    assert!(!client.tls.session().is_resumed());
}

/// The first flight of a client that remembers a session.
fn offer(config: &Arc<ClientConfig>) -> (End, DirectionalKeys) {
    let client = End::client(config.clone());
    let keys = client.tls.session().early_keys().expect("early data is offered");
    let remembered = TransportParameters::decode(client.tls.session().peer_parameters().unwrap(), Role::Server);
    assert_eq!(remembered.unwrap().initial_max_data, 2, "the limits of the last connection hold for it");
    (client, keys)
}

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let identity = Identity::new();
    (client_config(&identity, None).into(), server_config(&identity).into())
}

#[test]
// RFC 9001 section 4.6.1#1.
fn early_data_is_accepted() {
    for piece in [1, ALL] {
        let (trust, config) = configs();
        remember(&trust, &config);
        let (mut client, keys) = offer(&trust);
        let mut server = End::server(config);
        let hello = client.take();
        server.feed(&hello, piece).unwrap();
        // Right behind the parameters, so that early data can be read as soon as it comes.
        assert_eq!(server.outputs[..2], [Kind::Parameters, Kind::EarlyKeys]);
        assert!(fits(&keys.packet, &server.early.as_ref().unwrap().packet));
        run(&mut client, &mut server, piece).unwrap();
        for end in [&client, &server] {
            assert!(end.tls.is_complete());
            assert!(end.tls.session().is_resumed() && end.tls.session().early_data_accepted());
            assert!(!end.outputs.contains(&Kind::Certificate));
        }
    }
}

#[test]
fn a_session_goes_on_without_its_early_data() {
    let (trust, config) = configs();
    remember(&trust, &config);
    let mut config = ServerConfig::clone(&config);
    config.max_early_data_size = 0;
    let ((mut client, _), mut server) = (offer(&trust), End::server(config));
    complete(&mut client, &mut server);
    assert!(!server.outputs.contains(&Kind::EarlyKeys));
    for end in [&client, &server] {
        assert!(end.tls.session().is_resumed() && !end.tls.session().early_data_accepted());
    }
}

#[test]
fn a_server_that_has_forgotten_begins_anew() {
    let identity = Identity::new();
    let (trust, config) = (client_config(&identity, None).into(), server_config(&identity).into());
    remember(&trust, &config);
    let ((mut client, _), mut server) = (offer(&trust), End::server(server_config(&identity)));
    complete(&mut client, &mut server);
    assert!(!server.outputs.contains(&Kind::EarlyKeys));
    for end in [&client, &server] {
        assert!(!end.tls.session().is_resumed() && !end.tls.session().early_data_accepted());
    }
    // What holds are the limits of this connection, told once.
    assert_eq!(client.outputs.iter().filter(|kind| **kind == Kind::Parameters).count(), 1);
}

/// RFC 9001 section 4.6.1: early data belongs to a protocol; with another it cannot go on.
#[test]
fn early_data_is_refused_when_the_protocol_changes() {
    let identity = Identity::new();
    let mut config = server_config(&identity);
    config.alpn_protocols = vec![b"other".to_vec(), b"test".to_vec()];
    let (trust, config) = (Arc::new(client_config(&identity, None)), Arc::new(config));
    remember(&trust, &config);
    let mut both = ClientConfig::clone(&trust);
    both.alpn_protocols = vec![b"test".to_vec(), b"other".to_vec()];
    let ((mut client, _), mut server) = (offer(&both.into()), End::server(config));
    complete(&mut client, &mut server);
    assert_eq!(client.tls.session().alpn(), Some(&b"other"[..]));
    for end in [&client, &server] {
        assert!(!end.tls.session().early_data_accepted());
    }
}

#[test]
// RFC 9001 section 4.5#1.
fn a_ticket_is_good_for_one_offer_of_early_data() {
    let (trust, config) = configs();
    remember(&trust, &config);
    let (mut first, _) = offer(&trust);
    let hello = first.take();
    // The same ClientHello twice: whoever recorded it gains nothing (RFC 8446 section 8.1).
    let (mut server, mut again) = (End::server(config.clone()), End::server(config));
    server.feed(&hello, ALL).unwrap();
    again.feed(&hello, ALL).unwrap();
    assert!(server.outputs.contains(&Kind::EarlyKeys) && !again.outputs.contains(&Kind::EarlyKeys));
}
