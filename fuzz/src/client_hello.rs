//! The peek into a ClientHello, beside rustls, which judges the same bytes later.

use rustls::server::Acceptor;
use tercel_wire::client_hello::{ClientHello, parse};

/// Whatever follows a ClientHello changes nothing, and what rustls takes for one says the same to
/// both.
pub fn client_hello(data: &[u8]) {
    let ours = parse(data);
    if let Some((&[_, a, b, c], rest)) = data.split_first_chunk() {
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        match &ours {
            Ok(Some(_)) => {
                let end = 4 + len;
                assert_eq!(parse(&data[..end]), ours);
                assert_eq!(parse(&data[..end - 1]), Ok(None), "the last byte is missing");
            }
            Ok(None) => assert!(rest.len() < len),
            Err(_) => {}
        }
        if rest.len() >= len
            && let Some(theirs) = rustls(&data[..4 + len])
        {
            let ours = ours.unwrap_or_else(|error| panic!("only rustls can read it: {error}"));
            let ours = ours.unwrap_or_else(|| panic!("it is whole"));
            assert_eq!(ours.alpn, theirs.alpn);
            if let Some(name) = theirs.server_name {
                assert_eq!(ours.server_name, Some(name));
            }
        }
    }
}

/// What rustls reads in a ClientHello, if it takes it.
fn rustls(hello: &[u8]) -> Option<ClientHello> {
    let mut acceptor = Acceptor::default();
    for fragment in hello.chunks(1 << 14) {
        let record = [&[0x16, 3, 1][..], &(fragment.len() as u16).to_be_bytes(), fragment].concat();
        let mut unread = &record[..];
        while !unread.is_empty() {
            acceptor.read_tls(&mut unread).ok()?;
        }
    }
    let accepted = acceptor.accept().ok()??;
    let hello = accepted.client_hello();
    Some(ClientHello {
        server_name: hello.server_name().map(str::to_ascii_lowercase),
        alpn: hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()).unwrap_or_default(),
        ..ClientHello::default()
    })
}
