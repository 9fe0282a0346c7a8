//! Logs of both shapes are read; what is none is refused with a reason.

use super::read::log;

#[test]
fn a_sequence_of_the_current_drafts() {
    let text = "\u{1e}{\"trace\":{\"vantage_point\":{\"type\":\"client\"}}}\n\
        \u{1e}{\"time\":5,\"name\":\"quic:packet_sent\",\"data\":{\"header\":{\"packet_type\":\"initial\",\
        \"packet_number\":7},\"frames\":[{\"frame_type\":\"stream\",\"stream_id\":4,\"offset\":9,\
        \"raw\":{\"payload_length\":11},\"fin\":true}]}}\n\u{1e}{\"time\":6,\"na";
    let end = log(text, "x").unwrap();
    assert_eq!(end["role"], "client");
    assert_eq!(end["events"].as_array().unwrap().len(), 1, "the record that is cut short is left out");
    assert_eq!(end["events"][0]["p"], 7);
    assert_eq!(end["events"][0]["f"][0], serde_json::json!(["stream", 4, 9, 11, true]));
}

#[test]
fn a_document_of_an_older_draft() {
    let text = r#"{"qlog_version":"0.3","traces":[{"vantage_point":{"type":"server","name":"aioquic"},
        "events":[{"time":1000000.0,"name":"transport:packet_received","data":{"header":{"packet_type":"1RTT",
        "packet_number":3},"raw":{"length":50},"frames":[{"frame_type":"ping"}]}},
        {"time":1000002.5,"name":"recovery:metrics_updated","data":{"congestion_window":14720}}]}]}"#;
    let end = log(text, "x").unwrap();
    assert_eq!((&end["role"], &end["title"]), (&"server".into(), &"aioquic".into()));
    assert_eq!(end["events"][1]["t"], 2.5);
    assert_eq!(end["events"][1]["w"], 14720.0);
}

#[test]
fn what_is_no_log() {
    for text in ["", "hello", "{}", "\u{1e}{}\n", "{\"traces\":[]}"] {
        assert!(log(text, "x").is_err(), "{text:?}");
    }
}

#[test]
fn a_log_of_aioquic() {
    let end = log(include_str!("samples/aioquic.qlog"), "aioquic.qlog").unwrap();
    let events = end["events"].as_array().unwrap();
    let packets = |kind: &str| events.iter().filter(|event| event["k"] == kind).count();
    assert!(packets("s") > 10 && packets("r") > 10 && packets("m") > 0, "{} {}", packets("s"), packets("r"));
    let data = |event: &serde_json::Value| {
        event["f"].as_array().is_some_and(|f| f.iter().any(|f| f[0] == "stream" && f[1] == 0))
    };
    assert!(events.iter().any(|event| event["k"] == "r" && data(event)));
}

/// A process that ends while it writes leaves a document without its end: what is whole of it is read.
#[test]
fn a_document_that_was_cut_short() {
    let whole = include_str!("samples/aioquic.qlog").trim_end();
    let events = |text: &str| log(text, "aioquic.qlog").map(|end| end["events"].as_array().unwrap().clone());
    let all = events(whole).unwrap();
    assert_eq!(events(&whole[..whole.len() - 1]).unwrap(), all);
    for tenths in 3..10 {
        let some = events(&whole[..whole.len() * tenths / 10]).unwrap();
        assert!(some.len() < all.len() && some.len() * 20 > all.len() * tenths, "{} at {tenths}", some.len());
        assert_eq!(some, all[..some.len()]);
    }
    assert!(events(&whole[..40]).is_err());
}

#[test]
fn nothing_in_a_log_ends_the_script() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "{\"trace\":{\"title\":\"</script>\"}}\n{\"time\":1,\"name\":\"x\",\"data\":{\"a\":\"</script><b>\"}}\n";
    std::fs::write(file.path(), text).unwrap();
    let page = super::page(&[file.path().to_owned()]).unwrap();
    assert_eq!(page.matches("</script>").count(), 1);
}
