//! `Last-Event-ID` on the stream of a run that has ended: a place is gone on behind, a foreign one begins anew, and nonsense is refused.

use super::http::{ANSWER, Served, ask};
use super::{Play, Target, way};

pub(crate) fn target() -> Target {
    Target {
        name: "event-id",
        words: &[
            "0",
            "1",
            "2",
            "9",
            "-",
            "+",
            " ",
            "\t",
            "18446744073709551615",
            "18446744073709551616",
            "0x1",
            "1e3",
            "\u{ff11}",
            ",",
            "\0",
            "\u{7f}",
        ],
        begin,
    }
}

fn begin() -> Play {
    let served = Served::start("id: m\ncommand: [sh, -c, 'for n in 1 2 3 4 5; do echo line $n; done']\n");
    let run = served.finished_run();
    Box::new(move |input| {
        // What ends a header is the business of another target.
        let value: Vec<u8> = input.iter().copied().filter(|byte| !b"\r\n".contains(byte)).take(2_000).collect();
        let head = format!("GET /api/runs/{run}/logs/stream?end=close HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", served.address);
        let auth = format!("\r\nAuthorization: Bearer {}\r\n\r\n", served.token);
        let request = [head.as_bytes(), b"Last-Event-ID: ", &value, auth.as_bytes()].concat();
        let answer = String::from_utf8_lossy(&ask(&served.address, &request, ANSWER)).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        if status != "200" {
            assert!(status.starts_with('4') || status == "503", "{answer:.300}");
            return way(&status);
        }
        let ids: Vec<u64> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("id: ").or_else(|| line.strip_prefix("id:")))
            .filter_map(|id| id.trim().parse().ok())
            .collect();
        for pair in ids.windows(2) {
            assert_eq!(pair[1], pair[0] + 1, "no gap and no line twice: {answer:.600}");
        }
        let seen: Option<u64> = std::str::from_utf8(&value).ok().and_then(|text| text.trim().parse().ok());
        if let (Some(seen), Some(first)) = (seen.filter(|seen| *seen <= 5), ids.first()) {
            assert_eq!(*first, seen + 1, "it goes on behind what was seen: {answer:.600}");
        }
        way("200") ^ ids.len() as u64
    })
}
