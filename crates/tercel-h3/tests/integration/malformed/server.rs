//! Clients that break the rules.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tercel::aio::{Connection, Endpoint, ReadError};
use tercel::{Configuration, Settings, Trust};
use tercel_h3::{ALPN, Server, service_fn};

use super::Act::{Bi, BiEnds, BiEndsLater, BiReset, Datagram, Uni, UniEnds, UniReset};
use super::Then::{Answer, Close, Nothing, Reset, Stop};
use super::written::{control, frame, frame_of, headers, post, post_but, prefixed, section, settings};
use super::*;

/// The rule, what breaks it, and what comes of it.
type Row = (&'static str, Vec<Act>, Then);

fn data(bytes: &[u8]) -> Vec<u8> {
    frame(0, bytes)
}

fn streams() -> Vec<Row> {
    let start = || Uni(control(&[]));
    let on_control = |frame: Vec<u8>| vec![Uni(control(&frame))];
    vec![
        ("9114 6.2.1: a second control stream", vec![start(), start()], Close(STREAM_CREATION_ERROR)),
        ("9204 4.2: a second encoder stream", vec![start(), Uni(vec![2]), Uni(vec![2])], Close(STREAM_CREATION_ERROR)),
        ("9204 4.2: a second decoder stream", vec![start(), Uni(vec![3]), Uni(vec![3])], Close(STREAM_CREATION_ERROR)),
        ("9114 6.2.2: a push stream of a client", vec![start(), Uni(vec![1, 0])], Close(STREAM_CREATION_ERROR)),
        ("9114 6.2.1: the control stream ends", vec![UniEnds(control(&[]))], Close(CLOSED_CRITICAL_STREAM)),
        ("9114 6.2.1: the control stream is reset", vec![UniReset(control(&[]))], Close(CLOSED_CRITICAL_STREAM)),
        ("9204 4.2: the encoder stream ends", vec![start(), UniEnds(vec![2])], Close(CLOSED_CRITICAL_STREAM)),
        ("9204 4.2: the decoder stream ends", vec![start(), UniEnds(vec![3])], Close(CLOSED_CRITICAL_STREAM)),
        ("9114 6.2: a stream that ends without a type", vec![start(), UniEnds(vec![])], Nothing),
        ("9114 6.2: a stream that ends within its type", vec![start(), UniEnds(vec![0x80, 0])], Nothing),
        (
            "9114 6.2.3: streams of unknown types",
            vec![start(), Uni(vec![0x21, 9, 9]), UniEnds(vec![0x40, 0x80])],
            Nothing,
        ),
        ("9114 6.2.1: DATA first", vec![Uni([&[0][..], &data(b"x")].concat())], Close(MISSING_SETTINGS)),
        ("9114 6.2.1: GOAWAY first", vec![Uni([&[0][..], &frame(7, &[0])].concat())], Close(MISSING_SETTINGS)),
        (
            "9114 6.2.1: an unknown frame first",
            vec![Uni([&[0][..], &frame(0x21, &[0])].concat())],
            Close(MISSING_SETTINGS),
        ),
        ("9114 7.2.4: SETTINGS twice", on_control(frame(4, &[])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.1: DATA on control", on_control(data(b"x")), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.2: HEADERS on control", on_control(post(&[])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.5: PUSH_PROMISE on control", on_control(frame(5, &[0, 0, 0])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: PRIORITY of HTTP/2", on_control(frame(2, &[0; 5])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: PING of HTTP/2", on_control(frame(6, &[0; 8])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: WINDOW_UPDATE of HTTP/2", on_control(frame(8, &[0; 4])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: CONTINUATION of HTTP/2, endless", on_control(frame_of(9, 1 << 60, &[])), Close(FRAME_UNEXPECTED)),
        (
            "9114 7.2.8: unknown frames",
            on_control([frame(0x21, b"x"), frame(0xf0700, b"y"), frame(0x40, b"")].concat()),
            Nothing,
        ),
        ("9114 7.2.8: an unknown frame, endless", on_control(frame_of(0x21, 1 << 60, &[0; 5000])), Nothing),
        ("9114 7.2.3: CANCEL_PUSH of no push", on_control(frame(3, &[0])), Close(ID_ERROR)),
        ("9114 7.2.7: MAX_PUSH_ID goes up", on_control([frame(13, &[3]), frame(13, &[9])].concat()), Nothing),
        ("9114 7.2.7: MAX_PUSH_ID goes down", on_control([frame(13, &[9]), frame(13, &[3])].concat()), Close(ID_ERROR)),
        // Who asks for the end has it once nothing is under way.
        ("9114 5.2: GOAWAY, goes down", on_control([frame(7, &[9]), frame(7, &[3])].concat()), Close(NO_ERROR)),
        ("9114 5.2: GOAWAY goes up", on_control([frame(7, &[3]), frame(7, &[9])].concat()), Close(ID_ERROR)),
        ("9114 7.1: GOAWAY without ID", on_control(frame(7, &[])), Close(FRAME_ERROR)),
        ("9114 7.1: GOAWAY cut off in its ID", on_control(frame(7, &[0x80, 0])), Close(FRAME_ERROR)),
        ("9114 7.1: GOAWAY with more than its ID", on_control(frame(7, &[0, 0])), Close(FRAME_ERROR)),
        ("9114 7.1: GOAWAY, endless", on_control(frame_of(7, 1 << 60, &[])), Close(FRAME_ERROR)),
        ("9114 7.1: MAX_PUSH_ID with more than its ID", on_control(frame(13, &[0, 0])), Close(FRAME_ERROR)),
    ]
}

fn settings_rows() -> Vec<Row> {
    let with = |pairs: &[(u64, u64)]| vec![Uni(settings(pairs))];
    vec![
        ("9114 7.2.4.1: unknown settings", with(&[(0x21, 7), (0x4021, 1 << 61), (6, 1 << 61)]), Nothing),
        (
            "9114 7.2.4.1: more settings than anybody knows",
            with(&(0x100..0x200).map(|id| (id, 0)).collect::<Vec<_>>()),
            Nothing,
        ),
        ("9204 5: a huge table, many blocked streams", with(&[(1, (1 << 62) - 1), (7, (1 << 62) - 1)]), Nothing),
        ("9114 7.2.4: a setting twice", with(&[(6, 100_000), (6, 100_000)]), Close(SETTINGS_ERROR)),
        ("9114 7.2.4: an unknown setting twice", with(&[(0x21, 1), (0x21, 2)]), Close(SETTINGS_ERROR)),
        ("9114 7.2.4.1: HTTP/2's ENABLE_PUSH", with(&[(2, 0)]), Close(SETTINGS_ERROR)),
        ("9114 7.2.4.1: HTTP/2's MAX_CONCURRENT_STREAMS", with(&[(3, 0)]), Close(SETTINGS_ERROR)),
        ("9114 7.2.4.1: HTTP/2's INITIAL_WINDOW_SIZE", with(&[(4, 0)]), Close(SETTINGS_ERROR)),
        ("9114 7.2.4.1: HTTP/2's MAX_FRAME_SIZE", with(&[(5, 0)]), Close(SETTINGS_ERROR)),
        ("9220 3: ENABLE_CONNECT_PROTOCOL is 2", with(&[(8, 2)]), Close(SETTINGS_ERROR)),
        ("9297 2.1.1: H3_DATAGRAM is 2", with(&[(0x33, 2)]), Close(SETTINGS_ERROR)),
        (
            "9114 7.1: SETTINGS end within a setting",
            vec![Uni([&[0][..], &frame(4, &[6])].concat())],
            Close(FRAME_ERROR),
        ),
        (
            "9114 7.1: SETTINGS end within a value",
            vec![Uni([&[0][..], &frame(4, &[6, 0x80, 0])].concat())],
            Close(FRAME_ERROR),
        ),
        (
            "9114 10.5: SETTINGS, endless",
            vec![Uni([&[0][..], &frame_of(4, 1 << 60, &[])].concat())],
            Close(EXCESSIVE_LOAD),
        ),
    ]
}

fn requests() -> Vec<Row> {
    let request = |bytes: Vec<u8>| vec![Uni(control(&[])), BiEnds(bytes)];
    let open = |bytes: Vec<u8>| vec![Uni(control(&[])), Bi(bytes)];
    let later = |bytes: Vec<u8>| vec![Uni(control(&[])), BiEndsLater(bytes)];
    let behind = |more: Vec<u8>| [post(&[]), more].concat();
    vec![
        (
            "a request in order",
            request([post(&[]), data(b"12"), data(b""), data(b"3"), headers(&[("x-y", "z")])].concat()),
            Answer,
        ),
        ("without SETTINGS before", vec![BiEnds(post(&[]))], Answer),
        ("9114 4.1: nothing", request(vec![]), Reset(REQUEST_INCOMPLETE)),
        ("9114 4.1: unknown frames alone", request(frame(0x21, b"x")), Reset(REQUEST_INCOMPLETE)),
        ("9114 4.1: DATA before HEADERS", open(data(b"x")), Close(FRAME_UNEXPECTED)),
        (
            "9114 4.1: DATA after trailers",
            open(behind([post_trailers(), data(b"x")].concat())),
            Close(FRAME_UNEXPECTED),
        ),
        (
            "9114 4.1: HEADERS after trailers",
            open(behind([post_trailers(), post_trailers()].concat())),
            Close(FRAME_UNEXPECTED),
        ),
        (
            "9114 9: unknown frames between all",
            request([frame(0x21, b"x"), post(&[]), frame(0x40, &[1; 99]), data(b"x"), frame(0x21, b"")].concat()),
            Answer,
        ),
        ("9114 9: an unknown frame, endless", open(behind(frame_of(0x21, 1 << 60, &[7; 9000]))), Nothing),
        ("9114 7.2.3: CANCEL_PUSH", open(frame(3, &[0])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.4: SETTINGS", open(frame(4, &[])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.4: SETTINGS in the body", open(behind(frame(4, &[]))), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.5: PUSH_PROMISE", open(frame(5, &[0, 0, 0])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.6: GOAWAY", open(behind(frame(7, &[0]))), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.7: MAX_PUSH_ID", open(behind(frame(13, &[0]))), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: PRIORITY of HTTP/2", open(frame(2, &[0; 5])), Close(FRAME_UNEXPECTED)),
        ("9114 7.2.8: PING of HTTP/2 in the body", open(behind(frame(6, &[0; 8]))), Close(FRAME_UNEXPECTED)),
        ("9114 7.1: HEADERS cut off", request(post(&[])[..9].to_vec()), Close(FRAME_ERROR)),
        ("9114 7.1: HEADERS cut off, later", later(post(&[])[..9].to_vec()), Close(FRAME_ERROR)),
        ("9114 7.1: a length cut off", request(vec![1, 0x80, 0]), Close(FRAME_ERROR)),
        ("9114 7.1: a type cut off", later(behind(vec![0xc0, 0])), Close(FRAME_ERROR)),
        ("9114 7.1: DATA cut off", request(behind(frame_of(0, 100, &[0; 50]))), Close(FRAME_ERROR)),
        // Where h3 by itself takes the body for whole, and then panics.
        ("9114 7.1: DATA cut off, later", later(behind(frame_of(0, 100, &[0; 50]))), Close(FRAME_ERROR)),
        ("9114 7.1: DATA cut off at its first byte", later(behind(frame_of(0, 100, &[]))), Close(FRAME_ERROR)),
        ("9114 7.1: an unknown frame cut off", later(behind(frame_of(0x21, 100, &[0; 50]))), Close(FRAME_ERROR)),
        (
            "9114 7.1: a reset within a frame is no fault",
            vec![Uni(control(&[])), BiReset(behind(frame_of(0, 100, &[0; 50])))],
            Nothing,
        ),
        ("9114 10.5: HEADERS, endless", open(frame_of(1, 1 << 60, &[])), Close(EXCESSIVE_LOAD)),
        ("9114 4.2.2: a field section too large", request(post(&[("x-large", &"y".repeat(70_000))])), Answer),
        ("9114 4.2.2: trailers too large", request(behind(headers(&[("x-large", &"y".repeat(70_000))]))), Answer),
        (
            "9297 2.1: a datagram of a stream there is not",
            vec![Uni(settings(&[(0x33, 1)])), Datagram(vec![0x40, 0x99, 1])],
            Nothing,
        ),
        ("9297 2.1: a datagram without an ID", vec![Uni(settings(&[(0x33, 1)])), Datagram(vec![])], Nothing),
    ]
}

fn post_trailers() -> Vec<u8> {
    headers(&[("x-trailer", "1")])
}

fn fields() -> Vec<Row> {
    let request = |bytes: Vec<u8>| vec![Uni(control(&[])), BiEnds(bytes)];
    let bad = |rule, bytes| (rule, request(bytes), Reset(MESSAGE_ERROR));
    let get = (":method", "GET");
    let rest = [(":scheme", "https"), (":authority", "localhost"), (":path", "/")];
    let all = |more: &[(&'static str, &'static str)]| headers(&[&[get][..], &rest, more].concat());
    let authority = (":authority", "localhost:1");
    let capsules = (":protocol", "webtransport");
    vec![
        bad("9114 4.2: an uppercase name", post(&[("X-Y", "z")])),
        bad("9114 4.2: an empty name", post(&[("", "z")])),
        bad("9114 10.3: a name with a space", post(&[("x y", "z")])),
        bad("9114 10.3: a value with a line end", post(&[("x", "a\r\nb: c")])),
        bad("9114 10.3: a value with a NUL", post(&[("x", "a\0b")])),
        bad("9114 4.2: connection", post(&[("connection", "close")])),
        bad("9114 4.2: keep-alive", post(&[("keep-alive", "5")])),
        bad("9114 4.2: proxy-connection", post(&[("proxy-connection", "close")])),
        bad("9114 4.2: transfer-encoding", post(&[("transfer-encoding", "chunked")])),
        bad("9114 4.2: upgrade", post(&[("upgrade", "h2c")])),
        bad("9114 4.2: te", post(&[("te", "gzip")])),
        ("9114 4.2: te with trailers", request(post(&[("te", "trailers")])), Answer),
        // The same as Huffman codes.
        bad(
            "9114 4.2: upgrade, packed",
            section(&[&line_of_begin()[..], &[0x2d], &[0xb6, 0xb9, 0xac, 0x1c, 0x85], &[1, b'x']].concat()),
        ),
        bad("9114 4.3.1: no :method", post_but(":method", None)),
        bad("9114 4.3.1: no :scheme", post_but(":scheme", None)),
        bad("9114 4.3.1: no :path", post_but(":path", None)),
        bad("9114 4.3.1: no :authority and no host", post_but(":authority", None)),
        bad("9114 4.3.1: an empty :path", post_but(":path", Some(""))),
        bad("9114 4.3.1: an empty :authority", post_but(":authority", Some(""))),
        bad("9114 4.3.1: a user in :authority", post_but(":authority", Some("me@localhost"))),
        bad("9114 4.3.1: :authority and another host", post(&[("host", "elsewhere")])),
        ("9114 4.3.1: :authority and the same host", request(post(&[("host", "localhost")])), Answer),
        bad("9114 4.3.1: :path with a space", post_but(":path", Some("/a b"))),
        bad("9114 4.3.1: a method with a space", post_but(":method", Some("G T"))),
        bad("9114 4.3: :method twice", headers(&[&[get, get][..], &rest].concat())),
        bad("9114 4.3: :path twice", all(&[(":path", "/x")])),
        bad("9114 4.3: a pseudo-header field after others", headers(&[&[get, ("x", "y")][..], &rest].concat())),
        bad("9114 4.3: an unknown pseudo-header field", all(&[(":x", "y")])),
        bad("9114 4.3: :status in a request", all(&[(":status", "200")])),
        bad("9114 4.3: a pseudo-header field in trailers, alone", headers(&[(":path", "/")])),
        bad(
            "9114 4.4: CONNECT with :path",
            headers(&[(":method", "CONNECT"), authority, (":scheme", "https"), (":path", "/")]),
        ),
        bad("9114 4.4: CONNECT without :authority", headers(&[(":method", "CONNECT")])),
        bad(
            "9220 3: extended CONNECT that was not allowed",
            headers(&[&[(":method", "CONNECT"), capsules][..], &rest].concat()),
        ),
        bad("9220 3: :protocol without CONNECT", all(&[capsules])),
        bad("9114 4.1.2: content-length is no number", post(&[("content-length", "x")])),
        bad("9114 4.1.2: content-length with a sign", post(&[("content-length", "+1")])),
        bad("9114 4.1.2: two content-lengths", post(&[("content-length", "1"), ("content-length", "2")])),
        (
            "9114 4.1.2: a body shorter than content-length",
            request([post(&[("content-length", "3")]), data(b"12")].concat()),
            Answer,
        ),
        (
            "9114 4.1.2: a body longer than content-length",
            vec![Uni(control(&[])), Bi([post(&[("content-length", "1")]), data(b"12")].concat())],
            Stop(MESSAGE_ERROR),
        ),
        (
            "9114 4.3: a pseudo-header field in trailers",
            vec![Uni(control(&[])), Bi([post(&[]), headers(&[(":path", "/")])].concat())],
            Stop(MESSAGE_ERROR),
        ),
    ]
}

/// The lines of a request in order.
fn line_of_begin() -> Vec<u8> {
    written::BEGIN.iter().flat_map(|(name, value)| written::line(name, value)).collect()
}

fn qpack() -> Vec<Row> {
    let lines = |lines: &[u8]| vec![Uni(control(&[])), Bi(section(lines))];
    let whole = |payload: &[u8]| vec![Uni(control(&[])), Bi(frame(1, payload))];
    let encoder = |bytes: &[u8]| vec![Uni(control(&[])), Uni([&[2], bytes].concat())];
    let decoder = |bytes: &[u8]| vec![Uni(control(&[])), Uni([&[3], bytes].concat())];
    let failed = Close(DECOMPRESSION_FAILED);
    let (encoder_error, decoder_error) = (Close(ENCODER_STREAM_ERROR), Close(DECODER_STREAM_ERROR));
    vec![
        ("9204 4.5.1: no prefix", whole(&[]), failed),
        ("9204 4.5.1: half a prefix", whole(&[0]), failed),
        ("9204 4.5.1.1: a required insert count", whole(&[5, 0, 0xd1]), failed),
        ("9204 4.5.1.2: a base below zero", whole(&[0, 0x80, 0xd1]), failed),
        ("9204 3.1: a static index beyond the table", lines(&prefixed(0xc0, 6, 99)), failed),
        ("9204 3.1: a huge static index", lines(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), failed),
        ("9204 4.1.1: an integer without an end", lines(&[0xff; 40]), failed),
        ("9204 3.1: a static name beyond the table", lines(&[&prefixed(0x50, 4, 99)[..], &[0]].concat()), failed),
        ("9204 4.5.2: a dynamic index", lines(&[0x80]), failed),
        ("9204 4.5.3: a post-base index", lines(&[0x10]), failed),
        ("9204 4.5.4: a dynamic name", lines(&[0x40, 0]), failed),
        ("9204 4.5.5: a post-base name", lines(&[0, 0]), failed),
        ("9204 4.5.6: a name longer than the section", lines(&[0x27, 0x7f, b'x']), failed),
        ("9204 4.5.6: a value longer than the section", lines(&[0x21, b'x', 0x7f, 0xff, 0xff, 0x7f]), failed),
        ("9204 4.5.6: no value", lines(&[0x21, b'x']), failed),
        // A connection error by the RFC. h3's decoder takes it for padding, so the value is empty.
        (
            "7541 5.2: Huffman codes of the end",
            lines(&[&line_of_begin()[..], &[0x21, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]].concat()),
            Nothing,
        ),
        ("9204 4.3.1: capacity 0", encoder(&[0x20, 0x20]), Nothing),
        ("9204 4.3.1: capacity 1", encoder(&[0x21]), encoder_error),
        ("9204 4.3.1: a huge capacity", encoder(&[0x3f, 0xff, 0xff, 0xff, 0xff, 0x7f]), encoder_error),
        ("9204 4.3.2: an insert with a static name", encoder(&[0xc1, 1, b'x']), encoder_error),
        ("9204 4.3.3: an insert with a literal name", encoder(&[0x41, b'x', 1, b'y']), encoder_error),
        ("9204 4.3.4: a duplicate", encoder(&[0]), encoder_error),
        ("9204 4.4.1: an acknowledgment of a section", decoder(&[0x80]), decoder_error),
        ("9204 4.4.2: stream cancellations", decoder(&[0x40, 0x7f, 0xff, 0x01]), Nothing),
        (
            "9204 4.4.2: a stream cancellation without an end",
            decoder(&[[0x7f].as_slice(), &[0xff; 20]].concat()),
            decoder_error,
        ),
        ("9204 4.4.3: an increment of 0", decoder(&[0]), decoder_error),
        ("9204 4.4.3: an increment beyond what was sent", decoder(&[1]), decoder_error),
    ]
}

async fn good(connection: &Connection) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&post(&[])).await.unwrap();
    send.finish().unwrap();
    let answer = soon("an answer", recv.read_to_end(10_000)).await.unwrap();
    assert_eq!(answer.first(), Some(&1), "{answer:?}");
}

async fn judge(connection: &Connection, mut kept: Kept, then: Then) {
    if let Close(code) = then {
        assert_eq!(soon("a close", closed(connection)).await, code);
        return;
    }
    match (then, kept.bi.last_mut()) {
        (Reset(code), Some((_, recv))) => loop {
            match soon("a reset", recv.read_chunk(usize::MAX)).await {
                Ok(Some(_)) => {}
                other => {
                    break assert_eq!(
                        other,
                        Err(ReadError::Reset(tercel::ApplicationErrorCode::try_from(code).unwrap()))
                    );
                }
            }
        },
        (Stop(code), Some((send, _))) => {
            assert_eq!(
                soon("a stop", send.stopped()).await.unwrap().map(tercel::ApplicationErrorCode::into_inner),
                Some(code)
            );
        }
        (Answer, Some((_, recv))) => {
            let answer = soon("an answer", recv.read_to_end(10_000)).await.unwrap();
            assert_eq!(answer.first(), Some(&1), "{answer:?}");
        }
        _ => {}
    }
    good(connection).await;
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_break_rules_are_told_so() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let (identity, certificate) = identity();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap();
    let (address, handle) = (server.local_address(), server.handle());
    let service = service_fn(|request: http::Request<tercel_h3::RequestBody>| async {
        let mut response = Response::new(Full::from("an answer"));
        if request.into_body().collect().await.is_err() {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let serving = tokio::spawn(async move { server.serve(service).await.unwrap() });
    let settings = Settings { max_datagram_size: 65_535, ..Settings::default() };
    let configuration = Configuration::client(&[ALPN], settings, Trust::roots([certificate]).unwrap()).unwrap();
    let endpoint = Endpoint::client().unwrap();
    for (rule, acts, then) in [streams(), settings_rows(), requests(), fields(), qpack()].concat() {
        let connection = soon(rule, endpoint.connect(&configuration, address, "localhost").unwrap()).await.unwrap();
        let mut kept = Kept::default();
        for act in &acts {
            act.perform(&connection, &mut kept).await;
        }
        println!("{rule}: {then:?}");
        judge(&connection, kept, then).await;
        let next = soon(rule, endpoint.connect(&configuration, address, "localhost").unwrap()).await.unwrap();
        good(&next).await;
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{rule}");
    }
    handle.stop(Duration::from_millis(100));
    soon("the end of the server", serving).await.unwrap();
}
