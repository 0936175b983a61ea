//! The files of an attempt: the first line names one, the rest is what it holds. A module can write most of them, a crash can cut all.

use std::fs;
use std::path::Path;

use prismq::attempt::{
    AttemptSpec, ExitRecord, Hatch, ProgressReader, REPORT_BYTES, Report, StartRecord, StopRequest, read_outputs, standing,
};
use prismq::logs::{LogReader, Needle, Query};

use super::{Play, Target, way};

pub(crate) fn target() -> Target {
    Target {
        name: "attempt",
        words: &[
            "spec.json\n",
            "start.json\n",
            "exit.json\n",
            "stop.json\n",
            "output.json\n",
            "progress.jsonl\n",
            "index\n",
            "stdout.log\n",
            "hatch\n",
            "report\n",
            "{\"format\":1,",
            "\"format\":2,",
            "\"pid\":",
            "\"code\":",
            "\"signal\":",
            "\"how\":\"kill\"",
            "\"done\":",
            "\"total\":",
            "\\ud800",
            "\u{fffd}",
        ],
        begin,
    }
}

fn begin() -> Play {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Box::new(move |input| {
        let dir = folder.path().join("1");
        fs::create_dir(&dir).expect("a folder");
        let (name, content) =
            input.iter().position(|byte| *byte == b'\n').map_or((&input[..0], input), |at| (&input[..at], &input[at + 1..]));
        let went = look(&dir, name, content);
        fs::remove_dir_all(&dir).expect("a folder goes");
        went
    })
}

fn look(dir: &Path, name: &[u8], content: &[u8]) -> u64 {
    let put = |name: &str| fs::write(dir.join(name), content).expect("a file");
    let text = String::from_utf8_lossy(content);
    match name {
        b"spec.json" => decoded(AttemptSpec::decode(&text), |spec| AttemptSpec::decode(&spec.encode())),
        b"start.json" => {
            put("start.json");
            decoded(StartRecord::decode(&text), |record| StartRecord::decode(&record.encode())) ^ went(standing(dir).map(drop))
        }
        b"exit.json" => {
            put("exit.json");
            decoded(ExitRecord::decode(&text), |record| ExitRecord::decode(&record.encode())) ^ went(standing(dir).map(drop))
        }
        b"stop.json" => {
            put("stop.json");
            went(StopRequest::read(dir).map(drop))
        }
        b"output.json" => {
            put("output.json");
            read_outputs(&dir.join("output.json"))
                .expect("descriptors are free")
                .map_or_else(|error| way(&error), |outputs| u64::from(outputs.is_some()))
        }
        b"progress.jsonl" => {
            put("progress.jsonl");
            let progress = ProgressReader::new(dir.join("progress.jsonl")).latest();
            let percent = progress.as_ref().and_then(prismq::attempt::Progress::percent);
            assert!(percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)), "{percent:?} per cent");
            u64::from(progress.is_some()) + u64::from(percent.is_some())
        }
        b"hatch" => decoded(Hatch::read(&mut &content[..]), |hatch| match hatch {
            Some(hatch) => Hatch::read(&mut &hatch.encode(None)[..]),
            None => Ok(None),
        }),
        b"report" => {
            let mut bytes = [0; REPORT_BYTES];
            let length = content.len().min(REPORT_BYTES);
            bytes[..length].copy_from_slice(&content[..length]);
            let report = Report::decode(bytes);
            if let Some(report) = report {
                assert_eq!(Report::decode(report.encode()), Some(report), "a report is read as it was written");
            }
            u64::from(report.is_some())
        }
        b"index" => {
            put("index");
            fs::write(dir.join("stdout.log"), "one\ntwo\n\nfour").expect("a log");
            fs::write(dir.join("stderr.log"), "error\n").expect("a log");
            lines(dir)
        }
        _ => {
            put("stdout.log");
            lines(dir)
        }
    }
}

fn decoded<T: PartialEq + std::fmt::Debug>(first: std::io::Result<T>, again: impl Fn(&T) -> std::io::Result<T>) -> u64 {
    match first {
        Ok(value) => {
            assert_eq!(again(&value).expect("what was written can be read"), value, "it is read as it was written");
            7
        }
        Err(error) => way(&error.to_string()),
    }
}

fn went(result: std::io::Result<()>) -> u64 {
    result.map_or_else(|error| way(&error.to_string()), |()| 11)
}

/// All lines of the logs: the reader ends, and loses nothing of a log that no index speaks of.
fn lines(dir: &Path) -> u64 {
    let reader = LogReader::open(dir);
    let shown = match reader.lines(Query::default()) {
        Ok(lines) => lines.take(100_000).filter_map(Result::ok).count(),
        Err(error) => return way(&error.to_string()),
    };
    let found = Needle::new("o", false)
        .and_then(|needle| reader.search(needle, Query::default()).ok())
        .map_or(0, |matches| matches.take(1_000).count());
    (shown.min(9) * 16 + found.min(9)) as u64
}
