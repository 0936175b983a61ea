//! Attacks on the HTTP API over raw sockets; docs/attacks.md lists all rows. What is walked is the server's own table of routes, so that a
//! new route cannot be forgotten.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use prismq::api::{RouteInfo, Scope, Verb, route_list};
use serde_json::json;

use crate::support::TestSpace;
use crate::support::http::{Answer, Served, closes_within, read_answer};

/// Longer than a client may take for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    space.module("hello", "resources: {cpus: 0}\nparams: {properties: {n: {type: integer}, text: {type: string}}}", "mark('ran')");
    space.module("slow", "resources: {cpus: 1}", "mark('began')\ngate('go')");
    space
}

/// A path that fits a route.
fn path_of(route: &RouteInfo) -> String {
    let path = route.path.replace("{run}", "20260101-000000-00000").replace("{module}", "hello").replace("{node}", "hello");
    path.replace("{attempt}", "1").replace("{*path}", "report.html")
}

fn protected() -> impl Iterator<Item = RouteInfo> {
    route_list().filter(|route| route.scope != Scope::Public)
}

#[track_caller]
fn has(answer: Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}\n{}\n{}", answer.head, answer.body);
    assert_eq!(answer.json()["error_code"], code, "{what}\n{}", answer.body);
}

/// The walk over all routes: nobody without a token, no reader where something changes, no browser where only the owner may.
#[test]
fn a01_a37_no_route_is_without_its_scope() {
    let space = with_modules();
    let served = Served::start(&space);
    let cookie = served.cookie();
    let reader = format!("Bearer {}", served.reader);
    let json = ("Content-Type", "application/json");
    for route in protected() {
        let (verb, path) = (route.verb.as_str(), path_of(&route));
        let what = format!("{verb} {path}");
        let body = if route.verb == Verb::Post { "{}" } else { "" };
        has(served.bare(verb, &path, &[json], body), 401, "unauthorized", &what);
        has(served.bare(verb, &path, &[json, ("X-Prismq", "1"), ("X-Forwarded-For", "127.0.0.1")], body), 401, "unauthorized", &what);
        if route.scope > Scope::Read {
            has(served.bare(verb, &path, &[json, ("Authorization", &reader)], body), 403, "forbidden", &what);
        }
        let browser = served.bare(verb, &path, &[json, ("Cookie", &cookie), ("X-Prismq", "1")], body);
        match route.scope {
            Scope::Owner => has(browser, 403, "forbidden", &what),
            Scope::Public | Scope::Read | Scope::Write => assert!(![401, 403].contains(&browser.status), "{what}: {}", browser.body),
        }
    }
    // What there is not, and methods that a route does not know, are told to nobody either.
    for (method, path, status) in [("GET", "/api/nothing", 404), ("PUT", "/api/runs", 405), ("GET", "/index.php", 404)] {
        has(served.bare(method, path, &[], ""), 401, "unauthorized", path);
        assert_eq!(served.bare(method, path, &[("Authorization", &served.bearer())], "").status, status, "{path}");
    }
    let open: Vec<&str> = route_list().filter(|route| route.scope == Scope::Public).map(|route| route.path).collect();
    assert_eq!(open, ["/api/health", "/auth"], "these two alone need no token");
    served.stop().ends(0);
}

#[test]
fn a02_wrong_tokens() {
    let space = with_modules();
    let served = Served::start(&space);
    let (good, long) = (served.bearer(), "x".repeat(1 << 20));
    // Another last digit, whatever the last one is: a token that ends with 0 is not made wrong by a 0.
    let last = if served.token.ends_with('0') { '1' } else { '0' };
    let nearly = format!("Bearer {}{last}", &served.token[..63]);
    for wrong in ["Bearer wrong", "Bearer ", "Basic YTpi", &served.token, &nearly] {
        let answer = served.bare("GET", "/api/runs", &[("Authorization", wrong)], "");
        assert!([401, 429].contains(&answer.status), "{wrong}: {}", answer.body);
        assert!(answer.header("www-authenticate").is_some());
    }
    let twice = served.bare("GET", "/api/runs", &[("Authorization", &good), ("Authorization", "Bearer wrong")], "");
    assert!([401, 429].contains(&twice.status), "{}", twice.body);
    let huge = served.bare("GET", "/api/runs", &[("Authorization", &format!("Bearer {long}"))], "");
    assert!([0, 400, 401, 431].contains(&huge.status), "{}", huge.head);
    assert_eq!(served.bare("GET", &format!("/api/runs?token={}", served.token), &[], "").status, 401);
    // Many within a second are slowed down; whoever has the right one is not.
    let request =
        format!("GET /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer wrong\r\nConnection: close\r\n\r\n", served.port);
    let mut streams: Vec<_> = (0..60).map(|_| served.connect()).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).expect("sent"));
    served.get("/api/runs").is(200);
    let answers: Vec<u16> = streams.iter_mut().map(|stream| read_answer(stream).status).collect();
    assert!(answers.iter().all(|status| [401, 429].contains(status)) && answers.contains(&429), "{answers:?}");
    served.stop().ends(0);
}

#[test]
fn a03_hosts_that_are_not_ours() {
    let space = with_modules();
    let served = Served::start(&space);
    let port = served.port;
    let ask = |lines: &str| {
        served.raw(format!("GET /api/runs HTTP/1.1\r\n{lines}Authorization: {}\r\nConnection: close\r\n\r\n", served.bearer()).as_bytes())
    };
    for host in [
        "evil.com",
        &format!("127.0.0.1.nip.io:{port}"),
        "127.0.0.1",
        "localhost:1",
        &format!("localhost:{port}.evil.com"),
        "",
        &format!("evil@127.0.0.1:{port}"),
        &format!("10.0.0.1:{port}"),
    ] {
        let answer = ask(&format!("Host: {host}\r\n"));
        assert!([400, 421].contains(&answer.status), "{host}: {}", answer.head);
        if answer.status == 421 {
            answer.fails(421, "misdirected");
        }
    }
    ask("").fails(421, "misdirected");
    ask(&format!("Host: 127.0.0.1:{port}\r\nHost: evil.com\r\n")).fails(421, "misdirected");
    // Before it is looked who asks, and whether there is such a route.
    served.raw(b"GET /nothing HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n").fails(421, "misdirected");
    let absolute = format!(
        "GET http://evil.com/api/runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
        served.bearer()
    );
    served.raw(absolute.as_bytes()).fails(421, "misdirected");
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        ask(&format!("Host: {host}:{port}\r\n")).is(200);
    }
    served.stop().ends(0);
}

#[test]
fn a04_pages_of_other_origins() {
    let space = with_modules();
    let served = Served::start(&space);
    let cookie = served.cookie();
    let own = format!("http://127.0.0.1:{}", served.port);
    for route in route_list() {
        let (verb, path) = (route.verb.as_str(), path_of(&route));
        let json = [("Content-Type", "application/json"), ("X-Prismq", "1")];
        let foreign: [&[(&str, &str)]; 7] = [
            &[("Sec-Fetch-Mode", "no-cors")],
            &[("Origin", "http://127.0.0.1:1")],
            &[("Origin", "http://evil.com")],
            &[("Origin", "null")],
            &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", &own), ("Origin", "http://evil.com")],
        ];
        for headers in foreign {
            for who in [&[][..], &[("Cookie", cookie.as_str())], &[("Authorization", &served.bearer())]] {
                let all = [&json[..], headers, who].concat();
                has(served.bare(verb, &path, &all, ""), 403, "foreign_origin", &format!("{verb} {path} {headers:?}"));
            }
        }
    }
    let bearer = served.bearer();
    served.bare("GET", "/api/runs", &[("Authorization", &bearer), ("Origin", &own), ("Sec-Fetch-Site", "same-origin")], "").is(200);
    served.stop().ends(0);
}

#[test]
fn a05_forms_that_other_pages_can_send() {
    let space = with_modules();
    let served = Served::start(&space);
    let (cookie, bearer) = (served.cookie(), served.bearer());
    for route in protected().filter(|route| route.verb == Verb::Post) {
        let path = path_of(&route);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json; charset=utf-16",
        ] {
            let answer = served.bare("POST", &path, &[("Authorization", &bearer), ("Content-Type", kind)], "{}");
            has(answer, 415, "not_json", &format!("{path} {kind}"));
        }
        has(served.bare("POST", &path, &[("Authorization", &bearer)], "{}"), 415, "not_json", &path);
        if route.scope == Scope::Write || route.scope == Scope::Read {
            let answer = served.bare("POST", &path, &[("Cookie", &cookie), ("Content-Type", "application/json")], "{}");
            has(answer, 403, "custom_header_missing", &path);
        }
    }
    let answer = served.bare("DELETE", "/api/runs/20260101-000000-00000", &[("Cookie", &cookie)], "");
    has(answer, 403, "custom_header_missing", "a cookie alone never ends a run");
    assert_eq!(space.marks("ran"), [""; 0]);
    served.stop().ends(0);
}

#[test]
fn a06_no_page_is_allowed_that_was_not_named() {
    let space = with_modules();
    let served = Served::start(&space);
    let preflight =
        [("Origin", "http://evil.com"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-prismq")];
    let answer = served.bare("OPTIONS", "/api/runs", &preflight, "");
    assert!(answer.status == 403 && !answer.head.to_ascii_lowercase().contains("access-control"), "{}", answer.head);
    served.stop().ends(0);
    // One that was named, and no other.
    let served = Served::with(&space, &["--no-auth", "--allow-origin", "http://localhost:5173"]);
    let named = ("Origin", "http://localhost:5173");
    let answer = served.bare("OPTIONS", "/api/modules/hello/run", &[named, ("Access-Control-Request-Method", "POST")], "").is(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    let cross = [named, ("Sec-Fetch-Site", "same-site"), ("Content-Type", "application/json")];
    let answer = served.bare("POST", "/api/modules/hello/run", &cross, "{}").is(202);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    let run = answer.json()["run_id"].as_str().expect("an id").to_owned();
    served.ended(&run);
    has(served.bare("GET", "/api/runs", &[("Origin", "http://localhost:5174")], ""), 403, "foreign_origin", "another port");
    // What only the owner may is not open even so.
    let answer = served.bare("POST", "/api/local/runs", &[("Content-Type", "application/json")], "{}");
    has(answer, 403, "forbidden", "the owner's own");
    served.stop().ends(0);
}

#[test]
fn a07_looking_changes_nothing() {
    let space = with_modules();
    let served = Served::start(&space);
    let bearer = served.bearer();
    for route in route_list() {
        for method in ["GET", "PUT", "PATCH", "TRACE", "CONNECT", "BREW"] {
            let known = route_list().any(|other| other.path == route.path && other.verb == Verb::Get);
            if method == "GET" && known || method == "CONNECT" {
                continue;
            }
            let answer = served.bare(method, &path_of(&route), &[("Authorization", &bearer), ("Content-Type", "application/json")], "");
            assert!(answer.header("allow").is_some_and(|allow| allow.contains(route.verb.as_str())), "{method} {}", answer.head);
            has(answer, 405, "method_not_allowed", &format!("{method} {}", route.path));
        }
    }
    for overriding in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"] {
        let path = "/api/modules/hello/config?_method=DELETE";
        served.bare("GET", path, &[("Authorization", &bearer), (overriding, "DELETE")], "").is(200);
    }
    served.stop().ends(0);
}

#[test]
fn a08_tricks_with_paths() {
    let space = with_modules();
    let served = Served::start(&space);
    let bearer = served.bearer();
    let run = served.post("/api/modules/hello/run", "{}").is(202).json()["run_id"].as_str().expect("an id").to_owned();
    served.ended(&run);
    let mut paths: Vec<String> = [
        "/api/runs/..%2f..%2fetc%2fpasswd",
        "/api/runs/%252e%252e",
        "/api/runs/..;/",
        "/api//runs",
        "/api/runs//",
        "/api/runs/..",
        "/api/modules/hello.",
        "/api/modules/hello%20",
        "/api/modules/hello%00",
        "/api/modules/..%5c..%5c",
        "/api/modules/HELLO",
        "/api/modules/hello:stream",
        "/api/modules/h%C3%A9llo",
        "/api/modules/%ff",
        "/api/config/configs",
        "/api/modules/hello/config/",
        "/api/modules/con",
        "/API/runs",
        "/api/runs/../health",
        "/api/local/../health",
        "/auth/",
        "/api/health/..",
    ]
    .map(str::to_owned)
    .into();
    paths.extend([
        format!("/api/runs/{run}%20"),
        format!("/api/runs/{run}."),
        format!("/api/runs/{run}/"),
        format!("/api/runs/{run}%00"),
        format!("/api/runs/{}", &run[..20]),
        format!("/api/runs/{}", run.to_uppercase()),
        format!("/api/runs/{run}/nodes/..%2f..%2fpinned.json"),
        format!("/api/runs/{run}/nodes/hello%00"),
    ]);
    for path in paths {
        let answer = served.bare("GET", &path, &[("Authorization", &bearer)], "");
        assert!(answer.status == 404 || answer.status == 400 && path.contains("%00"), "{path}: {} {}", answer.head, answer.body);
        assert!(!answer.body.contains("root:"), "{path}");
    }
    // Bytes that are no path at all.
    for bytes in [
        &b"GET /api/runs/\\..\\x HTTP/1.1\r\n"[..],
        b"GET /api/\x00 HTTP/1.1\r\n",
        b"GET /api/runs/\xff HTTP/1.1\r\n",
        b"GET * HTTP/1.1\r\n",
    ] {
        let rest = format!("Host: 127.0.0.1:{}\r\nAuthorization: {bearer}\r\nConnection: close\r\n\r\n", served.port);
        let answer = served.raw(&[bytes, rest.as_bytes()].concat());
        assert!([400, 404].contains(&answer.status), "{bytes:?}: {}", answer.head);
    }
    served.get("/api/health").is(200);
    served.stop().ends(0);
}

#[test]
fn a10_a11_ids_and_commands_come_from_nobody_else() {
    let space = with_modules();
    let served = Served::start(&space);
    for body in [
        json!({"run_id": ".."}),
        json!({"command": ["id"]}),
        json!({"manifest": "id: x\ncommand: [id]"}),
        json!({"script": "/bin/sh"}),
        json!({"parameters": {}, "spec": {"command": "id"}}),
        json!({"module_id": "slow"}),
    ] {
        served.post("/api/modules/hello/run", &body.to_string()).fails(422, "invalid");
    }
    let inline = json!({"pipeline": "nodes: {a: {module: hello}}", "parameters": {}}).to_string();
    served.post("/api/pipelines/run", &inline).fails(404, "not_found");
    served.post("/api/pipelines/run", r#"{"pipeline": {"nodes": {}}}"#).fails(422, "invalid");
    for key in ["..", "../../../../x", "a/b/c/d/e", &"x".repeat(65), "käse-0001"] {
        served.post_with("/api/modules/hello/run", &[("Idempotency-Key", key)], "{}").fails(400, "bad_key");
    }
    assert_eq!(served.get("/api/runs").json()["total"], 0);
    served.stop().ends(0);
}

#[test]
fn a16_bodies_that_readers_mend_or_choke_on() {
    let space = with_modules();
    let served = Served::start(&space);
    let path = "/api/modules/hello/run";
    let deep = format!(r#"{{"parameters": {{"text": {}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, pointer) in [
        (r#"{"parameters": {"n": 1, "n": 2}}"#, "/parameters/n"),
        (r#"{"parameters": {"n": 18446744073709551616}}"#, "/parameters/n"),
        (r#"{"parameters": {"n": 1e400}}"#, "/parameters/n"),
        (r#"{"parameters": {"n": NaN}}"#, "/parameters/n"),
        (r#"{"parameters": {"text": "\ud800"}}"#, "/parameters/text"),
        (r#"{"parameters": {"text": "a\u0000b"}}"#, "/parameters/text"),
        (r#"{"parameters": []}"#, "/parameters"),
        (r#"{"parameters": {}, "saved": "yes"}"#, "/saved"),
        ("[]", ""),
        ("", ""),
        ("{", ""),
    ] {
        let refused = served.post(path, body).fails(422, "invalid").json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{body}: {refused}");
    }
    let refused = served.post(path, &deep).fails(422, "invalid").json();
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("more than 64")), "{refused}");
    // Valid JSON, refused by the module's schema.
    for body in [r#"{"parameters": {"n": "1"}}"#, r#"{"parameters": {"n": true}}"#, r#"{"parameters": {"LD_PRELOAD": "x"}}"#] {
        served.post(path, body).fails(422, "invalid");
    }
    assert_eq!(served.get("/api/runs").json()["total"], 0);
    served.stop().ends(0);
}

#[test]
fn a26_floods_are_bounded() {
    let space = with_modules();
    space.write("prismq.yaml", "host: {max_queued: 3, capacity: {cpus: 1}}\n");
    let served = Served::start(&space);
    let bearer = served.bearer();
    // A body that is too large, announced or not.
    let head = format!(
        "POST /api/modules/hello/run HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\nConnection: close\r\n",
        served.port
    );
    served.raw(format!("{head}Content-Length: 1000000000\r\n\r\n").as_bytes()).fails(413, "too_large");
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&vec![b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = served.raw(&chunked);
    assert!([0, 413].contains(&answer.status), "{}", answer.head);
    // A queue that is full.
    let runs: Vec<String> =
        (0..3).map(|_| served.post("/api/modules/slow/run", "{}").is(202).json()["run_id"].as_str().expect("an id").to_owned()).collect();
    space.wait_for_marks("began", 1);
    let full = served.post("/api/modules/slow/run", "{}").fails(429, "queue_full");
    assert!(full.header("retry-after").is_some());
    assert_eq!(served.get("/api/queue").is(200).json()["count"], 2);
    served.get("/api/runs?limit=100000").fails(422, "invalid");
    // Heads that never come to their end hold nobody else up, and are given up.
    let mut slow: Vec<_> = (0..50).map(|_| served.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: ").expect("sent");
    }
    served.bare("GET", "/api/health", &[], "").is(200);
    assert!(slow.iter_mut().all(|stream| closes_within(stream, HEAD_PATIENCE)), "slow heads are given up");
    space.open("go");
    for run in &runs {
        served.ended(run);
    }
    served.stop().ends(0);
}

#[test]
fn a28_a45_every_answer_is_hardened() {
    let space = with_modules();
    let served = Served::start(&space);
    let bearer = served.bearer();
    let answers = [
        served.get("/api/modules"),
        served.get("/api/health"),
        served.get("/api/metrics"),
        served.get("/nothing"),
        served.bare("GET", "/api/runs", &[], ""),
        served.bare("PUT", "/api/runs", &[("Authorization", &bearer)], ""),
        served.raw(b"GET / HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n"),
        served.bare("POST", "/api/modules/hello/run", &[("Authorization", &bearer)], "x"),
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{part} is missing\n{}", answer.head);
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("x-frame-options")),
            (Some("nosniff"), Some("DENY")),
            "{}",
            answer.head
        );
        assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), (Some("no-referrer"), Some("no-store")));
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{}", answer.head);
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json") || kind.starts_with("text/plain")));
    }
    served.stop().ends(0);
}

/// Everything of the state is its owner's alone, whatever the umask is; what was opened to others is refused.
#[test]
fn a33_a35_the_state_is_private_and_tokens_are_nowhere_else() {
    let space = with_modules();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" serve --port 0", env!("CARGO_BIN_EXE_prismq")]).current_dir(space.root());
    command.env_remove("PRISMQ_WORKSPACE").env("PRISMQ_TEST_SPACE", space.root());
    let running = crate::support::Running::start(command, None);
    running.wait_for_note("Ctrl-C ends it");
    let run = space.prismq(&["run", "hello"]).ends(0);
    let link = space.prismq(&["token", "link"]).ends(0).stdout;
    running.signal(rustix::process::Signal::INT);
    let served = running.end().ends(0);
    let token = space.read(".prismq/token");
    let code = link.trim().split('=').nth(1).expect("a code").to_owned();
    let (mut files, mut open) = (0, Vec::new());
    walk(&space.at(".prismq"), &mut |path, is_folder| {
        files += 1;
        let mode = std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777;
        if mode & if is_folder { 0o077 } else { 0o177 } != 0 {
            open.push(format!("{} {mode:o}", path.display()));
        }
        let is_token = path.file_name().is_some_and(|name| name == "token");
        let text = if is_folder || is_token { Vec::new() } else { std::fs::read(path).expect("it can be read") };
        for secret in [&token, &code] {
            assert!(!text.windows(secret.len()).any(|part| part == secret.as_bytes()), "{} holds a secret", path.display());
        }
    });
    assert!(files > 5 && open.is_empty(), "{open:#?}");
    for text in [&run.stdout, &run.stderr, &served.stdout, &served.stderr] {
        assert!(!text.contains(&token));
    }
    for (path, mode) in [(".prismq/token", 0o644), (".prismq", 0o777)] {
        let before = std::fs::metadata(space.at(path)).expect("it is there").permissions();
        std::fs::set_permissions(space.at(path), std::fs::Permissions::from_mode(mode)).expect("changed");
        space.prismq(&["serve", "--port", "0"]).ends(2).complains("others may use").complains("chmod");
        std::fs::set_permissions(space.at(path), before).expect("changed");
    }
    // A copy that others can only look into is closed.
    std::fs::set_permissions(space.at(".prismq"), std::fs::Permissions::from_mode(0o755)).expect("changed");
    space.prismq(&["run", "hello"]).ends(0);
    assert_eq!(std::fs::metadata(space.at(".prismq")).expect("it is there").permissions().mode() & 0o777, 0o700);
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path, bool)) {
    see(folder, true);
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.metadata().expect("it is there").is_dir() {
            walk(&entry.path(), see);
        } else {
            see(&entry.path(), false);
        }
    }
}

#[test]
fn a36_rotation_locks_everybody_out_at_once() {
    let space = with_modules();
    let mut served = Served::start(&space);
    let (cookie, old) = (served.cookie(), served.bearer());
    served.bare("GET", "/api/runs", &[("Cookie", &cookie)], "").is(200);
    let run = served.post("/api/modules/slow/run", "{}").is(202).json()["run_id"].as_str().expect("an id").to_owned();
    let mut stream = served.connect();
    let follow = format!(
        "GET /api/local/runs/{run}/follow HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {old}\r\nConnection: close\r\n\r\n",
        served.port
    );
    stream.write_all(follow.as_bytes()).expect("sent");
    space.wait_for_marks("began", 1);
    // Everything that is still being answered, and one who has not said yet what it wants.
    let open = |path: &str| {
        let mut stream = served.connect();
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {old}\r\n\r\n", served.port);
        stream.write_all(head.as_bytes()).expect("sent");
        assert_eq!(read_answer(&mut stream).status, 200, "{path}");
        stream
    };
    let streams = [open(&format!("/api/runs/{run}/logs/stream")), open("/api/events")];
    let mut slow = served.connect();
    let head = format!(
        "POST /api/modules/slow/run HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {old}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{",
        served.port
    );
    slow.write_all(head.as_bytes()).expect("sent");
    let link = space.prismq(&["token", "link"]).ends(0).stdout;
    space.prismq(&["token", "rotate"]).ends(0).complains("locked out");
    let told = read_answer(&mut stream);
    assert_eq!(told.status, 200, "the stream was open, and ended: {}", told.head);
    for mut stream in streams {
        assert!(closes_after(&mut stream), "a stream outlived the token");
    }
    slow.write_all(b"}").expect("sent");
    assert_eq!(read_head(&mut slow), 401, "what was begun with the old token is not carried out");
    assert_eq!(served.bare("GET", "/api/runs", &[("Cookie", &cookie)], "").status, 401);
    assert_eq!(served.bare("GET", "/api/runs", &[("Authorization", &old)], "").status, 401);
    let path = link.trim().split_once(&format!(":{}", served.port)).expect("an address").1.to_owned();
    has(served.bare("GET", &path, &[], ""), 401, "link_used", "a link of before");
    served.read_tokens();
    served.get("/api/runs").is(200);
    // The program's own verbs read the new one.
    space.open("go");
    space.prismq(&["wait", &run]).ends(0);
    assert_eq!(space.prismq(&["token", "show", "--read-only"]).ends(0).stdout.trim(), served.reader);
    served.stop().ends(0);
}

/// Whether an answer in chunks comes to its end, or the connection to its.
fn closes_after(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
        if bytes.ends_with(b"0\r\n\r\n") {
            return true;
        }
    }
}

/// The status of an answer on a connection that stays open.
fn read_head(stream: &mut TcpStream) -> u16 {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).expect("an answer");
    String::from_utf8_lossy(&buffer[..count]).split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A link lets one browser in, once; what it gets is of no use to scripts of pages, to other sites, and to the owner's own routes.
#[test]
fn a34_a_link_works_once_and_gives_a_strict_cookie() {
    let space = with_modules();
    let served = Served::start(&space);
    let link = space.prismq(&["token", "link"]).ends(0).stdout;
    let path = link.trim().split_once(&format!(":{}", served.port)).expect("an address").1.to_owned();
    assert_eq!(served.bare("HEAD", &path, &[], "").status, 405, "who only looks where it leads does not use it up");
    let answer = served.bare("GET", &path, &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")], "").is(303);
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.starts_with(&format!("prismq-{}=", served.port)),
        "{cookie}"
    );
    assert!(!cookie.contains(&served.token) && answer.header("location") == Some("/"));
    has(served.bare("GET", &path, &[], ""), 401, "link_used", "a second time");
    has(served.bare("GET", "/auth?once=0", &[], ""), 401, "link_used", "a guess");
    let forged = format!("prismq-{}=0.0.{}", served.port, "0".repeat(64));
    let answer = served.bare("GET", "/api/runs", &[("Cookie", &forged)], "");
    assert_eq!(answer.status, 401, "{}", answer.body);
    served.stop().ends(0);
}

#[test]
fn a38_other_addresses_only_where_that_is_spelled_out() {
    let space = with_modules();
    for (args, word) in [
        (&["--bind", "0.0.0.0"][..], "--allow-plain-http"),
        (&["--bind", "192.0.2.1"], "--allow-plain-http"),
        (&["--bind", "::", "--no-auth"], "loopback only"),
        (&["--bind", "0.0.0.0", "--allow-plain-http", "--no-auth"], "loopback only"),
        (&["--bind", "0.0.0.0", "--allow-plain-http", "--allow-origin", "http://a"], "loopback only"),
        (&["--allow-plain-http"], "--bind"),
        (&["--allow-origin", "*"], "is no origin"),
        (&["--allow-origin", "null"], "is no origin"),
        (&["--allow-origin", "http://a/"], "is no origin"),
    ] {
        space.prismq(&[&["serve", "--port", "0"], args].concat()).ends(2).complains(word);
    }
    let served = Served::with(&space, &["--bind", "0.0.0.0", "--allow-plain-http"]);
    served.running().wait_for_note("warning: others on the network reach it");
    served.bare("GET", "/api/runs", &[], "").fails(401, "unauthorized");
    served.get("/api/runs").is(200);
    // An address cannot be rebound, a name can.
    let ask = |host: &str| {
        served.raw(
            format!(
                "GET /api/runs HTTP/1.1\r\nHost: {host}:{}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
                served.port,
                served.bearer()
            )
            .as_bytes(),
        )
    };
    ask("192.0.2.7").is(200);
    ask("evil.com").fails(421, "misdirected");
    served.stop().ends(0);
    let served = Served::with(&space, &["--no-auth"]);
    served.running().wait_for_note("warning: --no-auth");
    served.bare("GET", "/api/runs", &[], "").is(200);
    served.bare("POST", "/api/local/resources", &[("Content-Type", "application/json")], "").fails(403, "forbidden");
    served.stop().ends(0);
}
