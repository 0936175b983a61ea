//! A segment of the journal: what is read is a head of what is there, no line is skipped, and recovery settles it once and for all.

use std::path::Path;

use prismq::journal::{OpenError, Options, open, open_read_only, verify};

use super::{Play, Target, way};

pub(crate) fn target() -> Target {
    Target {
        name: "journal",
        words: &[
            "{\"c\":\"",
            "\",\"p\":\"",
            "\"s\":",
            "\"t\":",
            "\"k\":\"seg.open\"",
            "\"d\":{",
            "}\n",
            "\"k\":\"journal.trim\"",
            "\"blob\":",
        ],
        begin,
    }
}

fn begin() -> Play {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Box::new(move |input| {
        let dir = folder.path().join("journal");
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(dir.join("000001.jsonl"), input).expect("a segment");
        let went = look(&dir, input);
        std::fs::remove_dir_all(&dir).expect("a folder goes");
        went
    })
}

fn look(dir: &Path, input: &[u8]) -> u64 {
    let seen = match open_read_only(dir) {
        Ok(history) => {
            let records: Vec<_> =
                history.all_records().map_while(Result::ok).map(|record| (record.seq.0, record.kind.to_string())).collect();
            let lines = input.split(|byte| *byte == b'\n').count();
            assert!(records.len() <= lines, "{} records out of {lines} lines", records.len());
            for pair in records.windows(2) {
                assert_eq!(pair[1].0, pair[0].0 + 1, "the numbers have no gaps");
            }
            Some((records, history.damage().is_some()))
        }
        Err(_) => None,
    };
    let verified = verify(dir).map(|verified| format!("{verified:?}"));
    // To open it for writing syncs a dozen things: now and then,.
    if !crate::dice::hash(input).is_multiple_of(16) {
        return seen.map_or(5, |(records, damaged)| way(&format!("{} {damaged} {}", records.len().min(9), verified.is_ok())));
    }
    match open(dir, Options::new(|_| {})) {
        Ok(opened) => {
            let (records, damaged) = seen.expect("what can be opened can be looked at");
            assert!(!damaged, "a damaged journal was opened for writing");
            let kept: Vec<_> = opened.history.all_records().map_while(Result::ok).map(|record| record.seq.0).collect();
            assert_eq!(kept, records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), "recovery keeps what was seen");
            drop(opened.history);
            opened.writer.close().expect("it can be closed");
            let again = open_read_only(dir).expect("what was opened can be opened");
            assert!(again.damage().is_none() && again.trimmed().is_none(), "recovery settles it");
            way(&format!("opened {} {}", records.len().min(4), records.iter().map(|(_, kind)| kind.as_str()).collect::<String>()))
        }
        Err(OpenError::Damaged(damage)) => {
            assert_eq!(std::fs::read(dir.join("000001.jsonl")).expect("it is there"), input, "damage changes nothing");
            way(&format!("damaged {damage}"))
        }
        Err(error) => way(&format!("{error} {}", verified.is_ok())),
    }
}
