//! Servers that break the rules.

use bytes::{Buf as _, Bytes};
use h3::error::StreamError;
use http::Request;
use tercel::aio::Endpoint;
use tercel::{Configuration, Settings, Trust};
use tercel_h3::ALPN;

use super::Act::{Bi, BiEnds, BiEndsLater, BiReset, Uni, UniEnds};
use super::Then::{Answer, Close, Nothing, Stop};
use super::written::{control, frame, frame_of, headers, section, settings};
use super::*;

/// The rule, what the server does by itself, what it does with the stream of a request, and what comes of it:
/// `Answer` if the client has the response whole, `Nothing` if it has an error of the request alone.
type Row = (&'static str, Vec<Act>, Act, Then);

fn ok(more: &[u8]) -> Vec<u8> {
    [&headers(&[(":status", "200")])[..], more].concat()
}

fn alone(rule: &'static str, acts: Vec<Act>, then: Then) -> Row {
    (rule, acts, Bi(vec![]), then)
}

fn connections() -> Vec<Row> {
    let on_control = |frame: Vec<u8>| vec![Uni(control(&frame))];
    vec![
        alone(
            "9114 6.1: a bidirectional stream of a server",
            vec![Uni(control(&[])), Bi(vec![0])],
            Close(STREAM_CREATION_ERROR),
        ),
        alone(
            "9114 6.2.1: a second control stream",
            vec![Uni(control(&[])), Uni(control(&[]))],
            Close(STREAM_CREATION_ERROR),
        ),
        alone("9114 6.2.1: the control stream ends", vec![UniEnds(control(&[]))], Close(CLOSED_CRITICAL_STREAM)),
        alone("9114 6.2.1: no SETTINGS", vec![Uni([&[0][..], &frame(7, &[0])].concat())], Close(MISSING_SETTINGS)),
        alone("9114 6.2.2: a push that was not allowed", vec![Uni(vec![1, 0])], Close(ID_ERROR)),
        alone("9114 7.2.4: a setting of HTTP/2", vec![Uni(settings(&[(4, 1)]))], Close(SETTINGS_ERROR)),
        alone("9114 7.2.3: CANCEL_PUSH", on_control(frame(3, &[0])), Close(ID_ERROR)),
        alone("9114 7.2.7: MAX_PUSH_ID of a server", on_control(frame(13, &[0])), Close(FRAME_UNEXPECTED)),
        alone("9114 7.2.5: PUSH_PROMISE on control", on_control(frame(5, &[0, 0, 0])), Close(FRAME_UNEXPECTED)),
        alone("9114 7.2.6: GOAWAY with a server's stream", on_control(frame(7, &[1])), Close(ID_ERROR)),
        alone("9114 7.2.6: GOAWAY with a unidirectional stream", on_control(frame(7, &[2])), Close(ID_ERROR)),
        alone("9114 5.2: GOAWAY goes up", on_control([frame(7, &[4]), frame(7, &[8])].concat()), Close(ID_ERROR)),
        alone("9204 4.3: an insert", vec![Uni(vec![2, 0x41, b'x', 1, b'y'])], Close(ENCODER_STREAM_ERROR)),
        alone("9204 4.4: an acknowledgment", vec![Uni(vec![3, 0x80])], Close(DECODER_STREAM_ERROR)),
    ]
}

fn responses() -> Vec<Row> {
    let row = |rule, act, then| (rule, vec![Uni(control(&[]))], act, then);
    let body = || ok(&frame(0, b"an answer"));
    let status = |value| headers(&[(":status", value)]);
    vec![
        row("a response in order", BiEnds(body()), Answer),
        ("without SETTINGS before", vec![], BiEnds(body()), Answer),
        row(
            "unknown frames, DATA in pieces",
            BiEnds(
                [frame(0x21, b"x"), ok(&frame(0, b"an ")), frame(0, b""), frame(0x40, b"y"), frame(0, b"answer")]
                    .concat(),
            ),
            Answer,
        ),
        row(
            "9114 4.1: interim responses",
            BiEnds([status("100"), headers(&[(":status", "103"), ("link", "x")]), body()].concat()),
            Answer,
        ),
        row("9114 7.1: DATA cut off", BiEnds(ok(&frame_of(0, 100, b"an"))), Close(FRAME_ERROR)),
        row("9114 7.1: DATA cut off, later", BiEndsLater(ok(&frame_of(0, 100, b"an"))), Close(FRAME_ERROR)),
        row("9114 7.1: HEADERS cut off", BiEndsLater(body()[..5].to_vec()), Close(FRAME_ERROR)),
        row("9114 4.1.1: a reset in the body", BiReset(ok(&frame_of(0, 100, b"an"))), Nothing),
        row("9114 4.1: nothing", BiEnds(vec![]), Nothing),
        row("9114 4.1: DATA first", Bi(frame(0, b"x")), Close(FRAME_UNEXPECTED)),
        row(
            "9114 4.1: HEADERS after trailers",
            Bi([body(), headers(&[("x", "y")]), headers(&[("x", "y")])].concat()),
            Close(FRAME_UNEXPECTED),
        ),
        row("9114 7.2.5: PUSH_PROMISE", Bi(frame(5, &[0, 0, 0])), Close(ID_ERROR)),
        row("9114 7.2.4: SETTINGS", Bi(ok(&frame(4, &[]))), Close(FRAME_UNEXPECTED)),
        row("9114 7.2.8: PING of HTTP/2", Bi(ok(&frame(6, &[0; 8]))), Close(FRAME_UNEXPECTED)),
        row("9114 10.5: HEADERS, endless", Bi(frame_of(1, 1 << 60, &[])), Close(EXCESSIVE_LOAD)),
        row("9114 4.3.2: no :status", Bi(headers(&[("x", "y")])), Stop(MESSAGE_ERROR)),
        row("9114 4.3.2: :status twice", Bi(headers(&[(":status", "200"), (":status", "200")])), Stop(MESSAGE_ERROR)),
        row("9114 4.3: :status after others", Bi(headers(&[("x", "y"), (":status", "200")])), Stop(MESSAGE_ERROR)),
        row("9114 4.3: :path in a response", Bi(headers(&[(":status", "200"), (":path", "/")])), Stop(MESSAGE_ERROR)),
        row("9114 4.5: status 101", Bi(status("101")), Stop(MESSAGE_ERROR)),
        row("9114 4.2: connection", Bi(headers(&[(":status", "200"), ("connection", "close")])), Stop(MESSAGE_ERROR)),
        row("9114 4.3: a pseudo-header field in trailers", Bi([body(), status("200")].concat()), Stop(MESSAGE_ERROR)),
        // A stream error by the RFC. h3 gives the client's application an error, and stops nothing by itself;
        // the stream is stopped when the application drops it, with code 0.
        row("9114 4.2: an uppercase name", Bi(headers(&[(":status", "200"), ("X", "y")])), Nothing),
        row("9114 4.3.2: a status of letters", Bi(status("abc")), Nothing),
        row("9204 4.5: a dynamic index", Bi(section(&[0x80])), Close(DECOMPRESSION_FAILED)),
        row("9204 3.1: an index beyond the static table", Bi(section(&[0xff, 0xff, 1])), Close(DECOMPRESSION_FAILED)),
    ]
}

type Requests = h3::client::SendRequest<tercel_h3::Opener, Bytes>;

/// Asks, and gives the body.
async fn ask(requests: &mut Requests) -> Result<Vec<u8>, StreamError> {
    let request = Request::get("https://localhost/").body(()).unwrap();
    let mut stream = requests.send_request(request).await?;
    let _ = stream.finish().await;
    let response = stream.recv_response().await?;
    assert_eq!(response.status(), 200);
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    stream.recv_trailers().await?;
    Ok(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_break_rules_are_told_so() {
    let (identity, certificate) = identity();
    let configuration = Configuration::server(&[ALPN], Settings::default(), identity).unwrap();
    let server = Endpoint::server(&configuration, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.local_address().unwrap();
    // Streams of servers are the client's to forbid.
    let trust = Trust::roots([certificate]).unwrap();
    let settings = Settings { max_bidi_streams: 10, ..Settings::default() };
    let configuration = Configuration::client(&[ALPN], settings, trust).unwrap();
    let client = Endpoint::client().unwrap();
    for (rule, acts, on_request, then) in [connections(), responses()].concat() {
        println!("{rule}: {then:?}");
        let connecting = client.connect(&configuration, address, "localhost").unwrap();
        let asking = tokio::spawn(async move {
            let connection = tercel_h3::Connection::new(connecting.await.unwrap());
            let (mut driver, mut requests) = h3::client::new(connection).await.map_err(|error| error.to_string())?;
            tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
            let answer = ask(&mut requests).await.map_err(|error| error.to_string());
            // The connection goes on for as long as there is somebody to ask.
            Ok::<_, String>((answer, requests))
        });
        let peer = soon(rule, soon(rule, server.accept()).await.unwrap().accept().unwrap()).await.unwrap();
        let mut kept = Kept::default();
        for act in &acts {
            act.perform(&peer, &mut kept).await;
        }
        let mut request = None;
        if let Ok((mut send, recv)) = soon(rule, peer.accept_bi()).await
            && let Bi(bytes) | BiEnds(bytes) | BiEndsLater(bytes) | BiReset(bytes) = &on_request
        {
            on_request.converse(&mut send, bytes).await;
            request = Some((send, recv));
        }
        if let Close(code) = then {
            assert_eq!(soon(rule, closed(&peer)).await, code, "{rule}");
        }
        let (answer, requests) = match soon(rule, asking).await.unwrap() {
            Ok((answer, requests)) => (answer, Some(requests)),
            Err(error) => (Err(error), None),
        };
        match then {
            Answer => assert_eq!(answer.as_deref(), Ok(&b"an answer"[..]), "{rule}"),
            _ => assert!(answer.is_err(), "{rule}: {answer:?}"),
        }
        if let (Stop(code), Some((send, _))) = (then, &mut request) {
            let stopped = soon(rule, send.stopped()).await;
            assert_eq!(stopped.unwrap().map(tercel::ApplicationErrorCode::into_inner), Some(code), "{rule}");
        }
        if !matches!(then, Close(_)) {
            drop(requests);
            assert_eq!(soon(rule, closed(&peer)).await, NO_ERROR, "{rule}");
        }
    }
}
