//! The qlog of every scenario is what an independent reader takes for one, record by record, and says
//! what the run's own figures say. A traced run is the same run.

use qlog::events::quic::PacketSent;
use qlog::events::{Event, EventData};
use tercel::qlog::Encoder;
use tercel_proto::time::Time;
use tercel_proto::trace::TraceEvent;
use tercel_sim::scenario::catalogue::{ALL, by_name};
use tercel_sim::scenario::{Setup, build, run};
use tercel_sim::world::START;

/// What the reader does not know: our own names, and one that the draft has changed.
const UNKNOWN: [&str; 4] =
    ["tercel:verdict_asked", "tercel:verdict_given", "tercel:events_missing", "quic:key_discarded"];

/// What a connection told, and how many packets it sent and lost by its own figures.
type Traced = (Vec<(Time, TraceEvent)>, u64, u64);

/// What all connections of a run told.
fn traces(setup: Setup, seed: u64) -> Vec<Traced> {
    let end = START + setup.limit;
    let mut world = build(setup, seed);
    world.hosts.iter_mut().for_each(|host| host.traced = true);
    // The client's connection began with the world.
    for session in &mut world.hosts[0].sessions {
        session.connection.as_mut().unwrap().start_trace(START);
    }
    while world.step(end) {
        let over = world.hosts.iter().all(tercel_sim::host::Endpoint::is_over);
        if over && !world.hosts[1].sessions.is_empty() {
            break;
        }
    }
    let sessions = world.hosts.iter().flat_map(|host| &host.sessions);
    sessions.map(|session| (session.trace.clone(), session.stats.packets_sent, session.stats.packets_lost)).collect()
}

fn text(events: &[(Time, TraceEvent)]) -> String {
    let (mut encoder, _) = Encoder::of(events.iter().cloned()).unwrap();
    let mut text = Vec::new();
    encoder.header(&mut text);
    for (time, event) in events {
        encoder.event(*time, event, &mut text);
    }
    String::from_utf8(text).unwrap()
}

/// Reads a log; returns how many packets were sent and lost by it.
fn read(text: &str) -> (u64, u64) {
    let mut records = text.split('\u{1e}').filter(|record| !record.is_empty());
    let header: qlog::QlogSeq = serde_json::from_str(records.next().unwrap()).unwrap();
    assert_eq!(header.file_schema, qlog::QLOGFILESEQ_URI);
    assert!(header.trace.event_schemas.contains(&qlog::events::QUIC_URI.to_string()));
    let (mut sent, mut lost, mut last) = (0, 0, 0.0);
    for record in records {
        assert!(record.ends_with('\n'), "{record}");
        let event = match serde_json::from_str::<Event>(record) {
            Ok(event) => event,
            Err(error) => {
                let json: serde_json::Value = serde_json::from_str(record).unwrap();
                assert!(UNKNOWN.contains(&json["name"].as_str().unwrap()), "{error}: {record}");
                continue;
            }
        };
        assert!(event.time >= last, "time goes back: {record}");
        last = event.time;
        // Whatever the reader does not know would be kept beside.
        assert!(event.ex_data.is_empty(), "{record}");
        match event.data {
            EventData::QuicPacketSent(PacketSent { frames, .. }) => {
                assert!(frames.is_some_and(|frames| !frames.is_empty()), "{record}");
                sent += 1;
            }
            EventData::QuicPacketLost(_) => lost += 1,
            _ => {}
        }
    }
    (sent, lost)
}

#[test]
fn every_scenario_is_accepted() {
    let mut bytes = 0;
    for scenario in ALL {
        for seed in 0..2 {
            let traces = traces(scenario.setup(seed), seed);
            assert!(!traces.is_empty());
            for (events, sent, lost) in traces {
                let text = text(&events);
                bytes += text.len();
                if let Ok(directory) = std::env::var("TERCEL_QLOGS") {
                    let (_, subject) = Encoder::of(events.iter().cloned()).unwrap();
                    let name = format!("{directory}/{}_{seed}_{:?}.sqlog", scenario.name, subject.role);
                    std::fs::write(name, &text).unwrap();
                }
                let (told_sent, told_lost) = read(&text);
                assert_eq!(told_sent, sent, "packets sent in {} with seed {seed}", scenario.name);
                assert!(told_lost >= lost, "{told_lost} of {lost} losses told");
            }
        }
    }
    println!("{bytes} bytes of qlog read");
}

#[test]
fn looking_changes_nothing() {
    let scenario = by_name("loss").unwrap();
    let sent: Vec<_> = traces(scenario.setup(3), 3).into_iter().map(|(_, sent, lost)| (sent, lost)).collect();
    let report = run(scenario.setup(3), 3);
    assert_eq!(sent[0], (report.client.packets_sent, report.client.packets_lost));
}
