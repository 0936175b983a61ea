//! Logs as streams: replay and then live, exact resume, many nodes in one order, finished runs, restarts (F-48 to F-51, A-27 to A-29).
#![cfg(target_os = "linux")]

use serde_json::Value;

use crate::support::TestSpace;
use crate::support::sse::{Events, get, lines};

/// A module that prints three numbered lines for each gate that is opened.
const STEPS: &str = "\
for step in range(int(P['steps'])):
    for line in range(3):
        print(f'line {step * 3 + line}', flush=True)
    mark('step')
    gate(f'gate{step}')
print('last', end='', flush=True)";

fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    let params = "resources: {cpus: 0}\nparams: {properties: {steps: {type: integer, default: 2}}}";
    space.module("steps", params, STEPS);
    space.module(
        "many",
        "resources: {cpus: 0}\nparams: {properties: {count: {type: integer, default: 1000}}}",
        "for number in range(int(P['count'])):\n    print(number)",
    );
    space
}

fn detached(space: &TestSpace, args: &[&str]) -> String {
    space.prismq(&[&["run"], args, &["--detach"]].concat()).ends(0).stdout.trim().to_owned()
}

fn logs(run: &str, rest: &str) -> String {
    format!("/api/runs/{run}/logs{rest}")
}

/// That so many lines have the numbers 1, 2, 3, ... and no number twice.
#[track_caller]
fn numbered(lines: &[(u64, String)]) {
    let ids: Vec<u64> = lines.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_live_run_is_replayed_and_then_followed() {
    let space = with_modules();
    let serve = space.serve();
    let run = detached(&space, &["steps"]);
    space.wait_for_marks("step", 1);
    let stream = Events::open(&space, &logs(&run, "/stream"), &[]);
    let first = stream.wait("what was there", |events| lines(events).len() == 3);
    assert_eq!(first[0].data["message"], "line 0");
    assert_eq!(
        (&first[0].data["stream"], &first[0].data["level"], &first[0].data["node"]),
        (&"stdout".into(), &"INFO".into(), &"steps".into())
    );
    assert!(first[0].data["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{:?}", first[0]);
    space.open("gate0");
    stream.wait("what came", |events| lines(events).len() == 6);
    space.open("gate1");
    let all = stream.wait("the end", |events| events.iter().any(|event| event.name.as_deref() == Some("end")));
    let all_lines = lines(&all);
    numbered(&all_lines);
    assert_eq!(all_lines.last(), Some(&(7, "last".to_owned())), "the half line at the end comes too");
    assert_eq!(all.last().map(|event| event.data["status"].clone()), Some("completed".into()));
    serve.stop();
}

#[test]
fn f50_a_client_that_comes_back_goes_on_behind_what_it_has() {
    let space = with_modules();
    let serve = space.serve();
    let run = detached(&space, &["many"]);
    space.prismq(&["wait", &run]).ends(0);
    let all = lines(&Events::open(&space, &logs(&run, "/stream?end=close"), &[]).to_end());
    assert_eq!(all.len(), 1000);
    numbered(&all);
    for seen in [0, 1, 500, 999, 1000] {
        let rest = lines(&Events::open(&space, &logs(&run, "/stream?end=close"), &[("Last-Event-ID", &seen.to_string())]).to_end());
        assert_eq!(rest, all[seen..], "behind {seen}");
    }
    // A place that is not there yet, or was in another log.
    let future = Events::open(&space, &logs(&run, "/stream?end=close"), &[("Last-Event-ID", "1000000")]).to_end();
    assert_eq!(future[0].name.as_deref(), Some("reset"));
    assert_eq!(lines(&future), all);
    for bad in ["-1", "abc", "1.5", "99999999999999999999999", &"9".repeat(10_240)] {
        get(&space, &logs(&run, "/stream"), &[("Last-Event-ID", bad)]).refuses(400, "invalid_last_event_id");
    }
    // In arrays: the same lines, and the number of the last one.
    let batches = Events::open(&space, &logs(&run, "/stream?end=close&batch=1"), &[("Last-Event-ID", "10")]).to_end();
    let arrays: Vec<&Value> = batches.iter().filter(|event| event.name.is_none()).map(|event| &event.data).collect();
    let ids: Vec<u64> =
        arrays.iter().flat_map(|array| array.as_array().expect("an array")).filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!(ids, (11..=1000).collect::<Vec<_>>());
    serve.stop();
}

#[test]
fn lines_have_the_same_numbers_after_a_crash_of_the_host() {
    let space = with_modules();
    let first = space.serve();
    let run = detached(&space, &["steps", "-p", "steps=3"]);
    space.wait_for_marks("step", 1);
    let stream = Events::open(&space, &logs(&run, "/stream"), &[]);
    let before = lines(&stream.wait("the first lines", |events| lines(events).len() == 3));
    first.kill();
    // Written while there is no host.
    space.open("gate0");
    space.wait_for_marks("step", 2);
    let second = space.serve();
    let stream = Events::open(&space, &logs(&run, "/stream"), &[("Last-Event-ID", "3")]);
    stream.wait("what came meanwhile", |events| lines(events).len() == 3);
    space.open("gate1");
    space.open("gate2");
    let rest = stream.wait("the end", |events| events.iter().any(|event| event.name.as_deref() == Some("end")));
    let both = [before, lines(&rest)].concat();
    numbered(&both);
    let texts: Vec<&str> = both.iter().map(|(_, text)| text.as_str()).collect();
    let expected: Vec<String> = (0..9).map(|line| format!("line {line}")).chain(["last".to_owned()]).collect();
    assert_eq!(texts, expected);
    let again = lines(&Events::open(&space, &logs(&run, "/stream?end=close"), &[]).to_end());
    assert_eq!(again, both);
    second.stop();
    // A host that never saw the run go on tells the same.
    let third = space.serve();
    assert_eq!(lines(&Events::open(&space, &logs(&run, "/stream?end=close"), &[]).to_end()), both);
    third.stop();
}

#[test]
fn many_nodes_and_retries_have_one_order() {
    let space = TestSpace::new();
    let keys = "resources: {cpus: 0}\nretry: {attempts: 2, on: [exit], backoff: 10ms}";
    space.module("noisy", keys, "print(NODE, ATTEMPT)\nprint('err', NODE, file=sys.stderr)\nsys.exit(3 if ATTEMPT == 1 else 0)");
    space.write(
        "p.yaml",
        "name: p\nnodes:\n  a: {module: noisy}\n  b: {module: noisy}\n  each: {module: noisy, foreach: \"${{ [1, 2, 3] }}\"}\n",
    );
    let serve = space.serve();
    let run = space.prismq(&["run", "p.yaml", "--json"]).ends(0).json()["run"]["run_id"].as_str().map(str::to_owned);
    let run = run.unwrap_or_else(|| space.prismq(&["runs", "--json"]).ends(0).json()[0]["run_id"].as_str().expect("a run").to_owned());
    let all = Events::open(&space, &logs(&run, "/stream?end=close"), &[]).to_end();
    numbered(&lines(&all));
    let mut texts: Vec<String> = lines(&all).into_iter().map(|(_, text)| text).collect();
    texts.sort();
    let nodes = ["a", "b", "each[0]", "each[1]", "each[2]"];
    let mut expected: Vec<String> =
        nodes.iter().flat_map(|node| [format!("{node} 1"), format!("{node} 2"), format!("err {node}"), format!("err {node}")]).collect();
    expected.sort();
    assert_eq!(texts, expected);
    let of = |query: &str| lines(&Events::open(&space, &logs(&run, &format!("/stream?end=close&{query}")), &[]).to_end()).len();
    assert_eq!((of("node=a"), of("node=each"), of("node=each%5B1%5D"), of("stream=stderr"), of("node=none")), (4, 12, 4, 10, 0));
    serve.stop();
}

#[test]
fn a_page_is_had_from_the_end_and_from_any_number() {
    let space = with_modules();
    let serve = space.serve();
    let run = detached(&space, &["many", "-p", "count=20000"]);
    space.prismq(&["wait", &run]).ends(0);
    let tail = get(&space, &logs(&run, "?tail=3"), &[]).json();
    let texts = |reply: &Value| -> Vec<String> {
        reply["logs"].as_array().expect("lines").iter().map(|line| line["message"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(texts(&tail), ["19997", "19998", "19999"]);
    assert_eq!((&tail["total_lines"], &tail["truncated"], &tail["complete"]), (&20000.into(), &true.into(), &true.into()));
    let middle = get(&space, &logs(&run, "?from=12346&limit=2"), &[]).json();
    assert_eq!((texts(&middle), &middle["next"]), (vec!["12345".to_owned(), "12346".to_owned()], &12348.into()));
    assert_eq!(texts(&get(&space, &logs(&run, "?from=20001"), &[]).json()), Vec::<String>::new());
    let found = get(&space, &logs(&run, "/search?text=1999&limit=3"), &[]).json();
    let numbers: Vec<u64> = found["matches"].as_array().expect("lines").iter().filter_map(|line| line["id"].as_u64()).collect();
    assert_eq!(numbers, [2000, 12000, 19991]);
    assert_eq!((&found["total"], &found["complete"]), (&20000.into(), &false.into()));
    let next = found["next"].as_u64().expect("where to go on");
    let rest = get(&space, &logs(&run, &format!("/search?text=1999&from={next}&limit=100")), &[]).json();
    let more = rest["matches"].as_array().expect("lines").len();
    // 1999, 11999, 19990 to 19999.
    assert_eq!((numbers.len() + more, &rest["complete"], &rest["position"]), (12, &true.into(), &20000.into()));
    for bad in [
        "?tail=0",
        "?tail=10001",
        "?tail=x",
        "?since=now",
        "?stream=both",
        "?unknown=1",
        "/search",
        "/search?text=",
        "/search?text=a%0Ab",
        "/stream?end=never",
        "/stream?batch=2",
    ] {
        get(&space, &logs(&run, bad), &[]).refuses(422, "invalid");
    }
    serve.stop();
}

#[test]
fn a27_the_raw_log_is_had_whole_and_in_ranges() {
    let space = TestSpace::new();
    space.module(
        "raw",
        "resources: {cpus: 0}",
        "sys.stdout.buffer.write(bytes(range(256)) * 8192)\nsys.stdout.flush()\nprint('<script>', file=sys.stderr)",
    );
    let serve = space.serve();
    let run = detached(&space, &["raw"]);
    space.prismq(&["wait", &run]).ends(0);
    let written: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(8192);
    let out = get(&space, &logs(&run, "/download?stream=stdout"), &[]);
    assert_eq!(out.status, 200);
    assert!(out.body == written, "{} bytes of {}", out.body.len(), written.len());
    let head = out.head.to_lowercase();
    for part in
        ["content-type: text/plain", "content-disposition: attachment", "x-content-type-options: nosniff", "content-length: 2097152"]
    {
        assert!(head.contains(part), "{part} is not in {head}");
    }
    assert_eq!(get(&space, &logs(&run, "/download?stream=stderr"), &[]).body, b"<script>\n");
    assert_eq!(get(&space, &logs(&run, "/download"), &[]).body.len(), written.len() + 9);
    let part = get(&space, &logs(&run, "/download?stream=stdout"), &[("Range", "bytes=1000000-1000009")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &written[1_000_000..1_000_010]));
    assert!(part.head.to_lowercase().contains("content-range: bytes 1000000-1000009/2097152"), "{}", part.head);
    let much = get(&space, &logs(&run, "/download?stream=stdout"), &[("Range", "bytes=0-")]);
    assert_eq!((much.status, much.body.len()), (206, 1 << 20));
    for bad in ["bytes=9223372036854775808-", "bytes=-0", "bytes=5-4", "bytes=0-1,2-3", "lines=1-2", "bytes=9999999-"] {
        let refused = get(&space, &logs(&run, "/download?stream=stdout"), &[("Range", bad)]);
        refused.refuses(416, "range");
        assert!(refused.head.to_lowercase().contains("content-range: bytes */2097152"), "{}", refused.head);
    }
    serve.stop();
}

#[test]
fn a29_what_modules_write_stays_in_its_line() {
    let space = TestSpace::new();
    let body = "sys.stdout.buffer.write(b'a\\rid: 99\\r\\n\\n\\nevent: run_finished\\ndata: {}\\n\\n\\xff\\xfe\\x00\\x1b[2J\\xe2\\x80\\xa8</script>\\n' + b'x' * 150000)";
    space.module("forger", "resources: {cpus: 0}", body);
    let serve = space.serve();
    let run = detached(&space, &["forger"]);
    space.prismq(&["wait", &run]).ends(0);
    let events = Events::open(&space, &logs(&run, "/stream?end=close"), &[]).to_end();
    let all = lines(&events);
    numbered(&all);
    let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts[..7], ["a\rid: 99", "", "", "event: run_finished", "data: {}", "", "\u{fffd}\u{fffd}\0\u{1b}[2J\u{2028}</script>"]);
    assert_eq!(texts[7..].iter().map(|text| text.len()).collect::<Vec<_>>(), [65536, 65536, 150_000 - 131_072]);
    serve.stop();
}

#[test]
fn f49_only_so_many_clients_stay() {
    let space = with_modules();
    space.write("prismq.yaml", "host: {sse_clients: 2}\n");
    let serve = space.serve();
    let run = detached(&space, &["steps"]);
    let path = logs(&run, "/stream");
    let (one, two) = (Events::open(&space, &path, &[]), Events::open(&space, &path, &[]));
    one.wait("lines", |events| !events.is_empty());
    two.wait("lines", |events| !events.is_empty());
    get(&space, &path, &[]).refuses(503, "too_many_streams");
    assert_eq!(get(&space, "/api/health", &[]).status, 200);
    // More of them count as soon as the settings say so.
    space.write("prismq.yaml", "host: {sse_clients: 3}\n");
    space.wait_until("a third place", || get(&space, &logs(&run, "/download"), &[]).status == 200);
    space.write("prismq.yaml", "host: {sse_clients: 2}\n");
    space.wait_until("two again", || get(&space, &logs(&run, "/download"), &[]).status == 503);
    drop(one);
    // The server sees the closed connection when it next looks.
    space.open("gate0");
    space.wait_until("a place is free again", || get(&space, &logs(&run, "/download"), &[]).status == 200);
    space.open("gate1");
    two.wait("the end", |events| events.iter().any(|event| event.name.is_some()));
    serve.stop();
}

#[test]
fn a_run_that_is_not_there_or_was_pruned_says_so() {
    let space = with_modules();
    let serve = space.serve();
    let run = detached(&space, &["many"]);
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(get(&space, &logs(&run, "?tail=1"), &[]).status, 200);
    let gone = detached(&space, &["many"]);
    space.prismq(&["wait", &gone]).ends(0);
    std::fs::remove_dir_all(space.at(format!(".prismq/runs/{gone}"))).expect("it is there");
    get(&space, &logs(&gone, ""), &[]).refuses(410, "gone");
    space.prismq(&["prune", "--keep-days", "0"]).ends(0);
    space.wait_until("the log is gone", || get(&space, &logs(&run, ""), &[]).status == 410);
    for rest in ["", "/stream", "/search?text=x", "/download"] {
        get(&space, &logs("20200101-000000-aaaaa", rest), &[]).refuses(404, "not_found");
        get(&space, &logs("..%2f..%2fetc", rest), &[]).refuses(404, "not_found");
    }
    serve.stop();
}

#[test]
fn f48_a_client_that_never_reads_delays_nobody() {
    let space = with_modules();
    space.module(
        "flood",
        "resources: {cpus: 0}",
        "for number in range(50000):\n    print(number, 'x' * 60)\nmark('written')\ngate('go')\nprint('done')",
    );
    let serve = space.serve();
    let run = detached(&space, &["flood"]);
    space.wait_for_marks("written", 1);
    let whole = |path: &str| {
        let reading = Events::open(&space, &logs(&run, path), &[]);
        reading.wait("the last lines of the flood", |events| events.iter().any(|event| event.id == Some(50_000)));
        reading
    };
    // What one reader costs it costs at any rate.
    drop(whole("/stream?batch=1"));
    let before = serve.peak_memory();
    let stuck: Vec<_> = (0..50).map(|_| crate::support::sse::send(&space, &logs(&run, "/stream"), &[])).collect();
    let reading = whole("/stream?batch=1&from=49990");
    space.open("go");
    reading.wait("what came after it", |events| events.iter().any(|event| event.id == Some(50_001)));
    let grown = serve.peak_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for those that never read");
    drop(stuck);
    serve.stop();
}
