//! Every input in `seeds`, without a fuzzer.

use std::fs;
use std::path::Path;

#[test]
fn no_seed_breaks_its_target() {
    for (name, target) in tercel_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no seeds for {name}");
        for file in files {
            eprintln!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

/// The seeds of tickets are tickets.
#[test]
fn seeds_of_tickets_are_read() {
    let read = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/tickets").join(name)).unwrap();
    assert!(tercel_proto::tls::ResumptionTicket::from_bytes(&read("resumption_ticket")).is_ok());
    for name in ["new_session_ticket", "without_early_data"] {
        assert!(tercel_wire::new_session_ticket::NewSessionTicket::decode(&read(name)).is_ok());
    }
}
