//! The HTTP API against the real program: what is asked for comes to pass, in the documented words.

use serde_json::{Value, json};

use crate::support::TestSpace;
use crate::support::http::Served;

fn with_modules() -> TestSpace {
    let space = TestSpace::new();
    let keys = "name: Hello\nresources: {cpus: 0}\nparams: {required: [who], properties: {who: {type: string, minLength: 1}, times: {type: integer, minimum: 1, default: 2}, key: {type: string, format: password}}}";
    space.module("hello", keys, "mark('hello', P['who'])\nout(said='hello ' + P['who'])");
    space.module("slow", "resources: {cpus: 0}\ngrace: 20s", "mark('began', NODE)\ngate('go')");
    let deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nmark('began', NODE)\ngate('go')";
    space.module("deaf", "resources: {cpus: 0}\ngrace: 10m", deaf);
    space.module("fails", "resources: {cpus: 0}", "sys.exit(3)");
    let art = "folder = os.environ['PRISMQ_ARTIFACTS']\nos.makedirs(os.path.join(folder, 'a b'))\n\
        open(os.path.join(folder, 'report.html'), 'w').write('<script>alert(1)</script>')\n\
        open(os.path.join(folder, 'a b', 'ž.bin'), 'wb').write(b'\\0' * 200000)\nos.symlink('/etc/passwd', os.path.join(folder, 'link'))";
    space.module("art", "resources: {cpus: 0}", art);
    space.write("manifests/broken.yaml", "id: broken\nscript: ../modules/hello.py\nodd: 1\n");
    space.write(
        "pipelines/both.yaml",
        "name: both\nparams: {properties: {who: {type: string, default: you}}}\nnodes:\n  a: {module: hello, with: {who: \"${{ params.who }}\"}}\n  b: {module: hello, with: {who: again}, needs: a}\n",
    );
    space.write("pipelines/bad.yaml", "nodes: {a: {module: nowhere}}\n");
    space
}

#[test]
fn a_run_of_low_priority_lets_others_pass() {
    let space = with_modules();
    space.write("prismq.yaml", "host: {max_concurrent: 1}\n");
    let served = Served::start(&space);
    served.post("/api/modules/slow/run", "{}").is(202);
    space.wait_for_marks("began", 1);
    let low = served.post("/api/modules/hello/run", r#"{"parameters": {"who": "low"}, "priority": "low"}"#).is(202).json();
    let usual = r#"{"pipeline": "both", "parameters": {"who": "usual"}}"#;
    served.post("/api/pipelines/run", usual).is(202);
    served.post("/api/pipelines/run", &usual.replace("usual\"}", "first\"}, \"priority\": \"high\"")).is(202);
    for body in [r#"{"parameters": {"who": "x"}, "priority": "urgent"}"#, r#"{"parameters": {"who": "x"}, "priority": 1}"#] {
        let refused = served.post("/api/modules/hello/run", body);
        assert!([400, 422].contains(&refused.status), "{body}: {}", refused.body);
    }
    space.open("go");
    served.ended(low["run_id"].as_str().expect("an id"));
    assert_eq!(space.marks("hello"), ["first", "again", "usual", "again", "low"]);
    served.stop().ends(0);
}

#[test]
fn a_module_is_started_and_followed_to_its_end() {
    let space = with_modules();
    let served = Served::start(&space);
    let modules = served.get("/api/modules").is(200).json();
    assert_eq!((&modules["total"], &modules["broken"][0]["id"]), (&json!(5), &json!("broken")), "{modules}");
    let module = served.get("/api/modules/hello").is(200).json();
    assert_eq!(
        (&module["name"], &module["module"]["name"], &module["parameters"][1]["min"]),
        (&json!("Hello"), &json!("Hello"), &json!(1))
    );
    let run = served.post("/api/modules/hello/run", r#"{"parameters": {"who": "world", "times": 3.0}}"#).is(202).json();
    assert!(["queued", "running", "completed"].contains(&run["status"].as_str().expect("a status")), "{run}");
    let id = run["run_id"].as_str().expect("an id");
    let ended = served.ended(id);
    assert_eq!((&ended["status"], &ended["exit_code"], &ended["outputs"]["said"]), (&json!("completed"), &json!(0), &json!("hello world")));
    assert_eq!(ended["parameters"], json!({"who": "world", "times": 3}), "canonical and complete");
    assert_eq!(ended["run"]["status"], "completed", "nested once more for clients of the original system");
    assert!(!served.get(&format!("/api/runs/{id}")).body.contains("null"), "what is not known is left out");
    assert_eq!(served.get(&format!("/api/runs/{id}/nodes/hello")).is(200).json()["status"], "completed");
    let graph = served.get(&format!("/api/runs/{id}/graph")).is(200).json();
    assert_eq!((&graph["graph"]["nodes"][0]["id"], &graph["nodes"][0]["status"]), (&json!("hello"), &json!("completed")), "{graph}");
    assert_eq!(served.get(&format!("/api/runs/{id}/why")).is(200).json()["count"], 0);
    served.get(&format!("/api/runs/{id}/nodes/nothing")).fails(404, "not_found");
    served.get("/api/runs/20260101-000000-00000").fails(404, "not_found");
    served.post("/api/modules/nothing/run", "{}").fails(404, "not_found");
    served.post("/api/modules/broken/run", "{}").fails(409, "broken");
    let refused = served.post("/api/modules/hello/run", r#"{"parameters": {"who": "", "x": 1}}"#).fails(422, "invalid").json();
    assert_eq!(refused["errors"].as_array().map(Vec::len), Some(2), "{refused}");
    assert_eq!(space.marks("hello"), ["world"], "nothing of what was refused ran");
    served.stop().ends(0);
}

#[test]
fn an_idempotency_key_makes_one_run_also_across_a_restart() {
    let space = with_modules();
    let served = Served::start(&space);
    let body = r#"{"parameters": {"who": "once"}}"#;
    let key = ("Idempotency-Key", "order-0001");
    let first = served.post_with("/api/modules/hello/run", &[key], body).is(202).json()["run_id"].clone();
    let again = served.post_with("/api/modules/hello/run", &[key], body).is(202).json()["run_id"].clone();
    assert_eq!(first, again);
    served.post_with("/api/modules/hello/run", &[key], r#"{"parameters": {"who": "other"}}"#).fails(422, "key_reused");
    served.post_with("/api/modules/hello/run", &[("Idempotency-Key", "short")], body).fails(400, "bad_key");
    served.ended(first.as_str().expect("an id"));
    served.stop().ends(0);
    let served = Served::start(&space);
    assert_eq!(served.post_with("/api/modules/hello/run", &[key], body).is(202).json()["run_id"], first);
    assert_eq!(space.marks("hello"), ["once"]);
    served.stop().ends(0);
}

#[test]
fn a_cancel_is_asked_for_once_or_often_and_changes_nothing_that_has_ended() {
    let space = with_modules();
    let served = Served::start(&space);
    let run = served.post("/api/modules/deaf/run", "{}").is(202).json()["run_id"].as_str().expect("an id").to_owned();
    space.wait_for_marks("began", 1);
    let path = format!("/api/runs/{run}");
    for _ in 0..2 {
        let ending = served.delete(&path).is(202).json();
        assert_eq!((&ending["stopping"], &ending["status"]), (&json!(true), &json!("running")), "{ending}");
    }
    space.open("go");
    assert_eq!(served.ended(&run)["status"], "cancelled");
    assert_eq!(served.delete(&path).is(200).json()["status"], "cancelled");
    served.stop().ends(0);
}

#[test]
fn lists_have_filters_that_combine_and_pages() {
    let space = with_modules();
    let served = Served::start(&space);
    let start = |module: &str, body: &str| {
        let run = served.post(&format!("/api/modules/{module}/run"), body).is(202).json()["run_id"].as_str().expect("an id").to_owned();
        served.ended(&run);
        run
    };
    let ids: Vec<String> = (0..3).map(|_| start("hello", r#"{"parameters": {"who": "x"}}"#)).collect();
    start("fails", "{}");
    let total = |query: &str| served.get(&format!("/api/runs?{query}")).is(200).json()["total"].clone();
    assert_eq!(total(""), 4);
    assert_eq!(total("status=failed&module_id=fails"), 1);
    assert_eq!(total("status=failed&module_id=hello"), 0);
    let page = served.get("/api/runs?module_id=hello&limit=1&offset=1").is(200).json();
    assert_eq!((&page["total"], &page["runs"][0]["run_id"]), (&json!(3), &json!(ids[1])), "{page}");
    for (query, pointer) in
        [("limit=501", "/limit"), ("limit=0", "/limit"), ("limit=x", "/limit"), ("offset=-1", "/offset"), ("status=odd", "/status")]
    {
        let refused = served.get(&format!("/api/runs?{query}")).fails(422, "invalid").json();
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    served.get("/api/runs?limit=1&limit=2").fails(422, "invalid");
    served.get("/api/runs?other=1").fails(422, "invalid");
    let stats = served.get("/api/system/stats").is(200).json();
    assert_eq!((&stats["runs"]["total"], &stats["runs"]["success_rate"]), (&json!(4), &json!(75.0)), "{stats}");
    let metrics = served.get("/api/metrics").is(200);
    assert!(metrics.body.contains("prismq_runs{status=\"failed\"} 1\n"), "{}", metrics.body);
    // Repeating.
    let failed = served.get("/api/runs?status=failed").json()["runs"][0]["run_id"].as_str().expect("an id").to_owned();
    let retry = served.post(&format!("/api/runs/{failed}/retry"), "{}").is(202).json();
    assert_eq!(retry["retry_of"], json!(failed));
    served.ended(retry["run_id"].as_str().expect("an id"));
    served.post(&format!("/api/runs/{failed}/retry"), r#"{"from": "a", "only": "b"}"#).fails(422, "invalid");
    served.post(&format!("/api/runs/{failed}/retry"), r#"{"only": "nothing"}"#).fails(404, "not_found");
    served.stop().ends(0);
}

#[test]
fn saved_parameters_are_checked_and_hold_no_secrets() {
    let space = with_modules();
    let served = Served::start(&space);
    let path = "/api/modules/hello/config";
    let empty = served.get(path).is(200).json();
    assert_eq!((&empty["parameters"], empty.get("updated_at")), (&json!({"times": 2}), None), "{empty}");
    served.post(path, r#"{"parameters": {"times": 0}}"#).fails(422, "invalid");
    served.post(path, r#"{"parameters": {"odd": 0}}"#).fails(422, "invalid");
    let saved = served.post(path, r#"{"parameters": {"who": "saved", "key": "hunter2"}}"#).is(200).json();
    assert_eq!((&saved["parameters"], &saved["not_saved"]), (&json!({"who": "saved", "times": 2}), &json!(["key"])), "{saved}");
    assert!(!space.read(".prismq/saved/hello.json").contains("hunter2"));
    served.post("/api/modules/hello/run", "{}").fails(422, "invalid");
    let run = served.post("/api/modules/hello/run", r#"{"saved": true}"#).is(202).json();
    served.ended(run["run_id"].as_str().expect("an id"));
    space.prismq(&["run", "hello", "--saved", "-p", "times=5"]).ends(0);
    assert_eq!(space.marks("hello"), ["saved", "saved"]);
    assert_eq!(served.delete(path).is(200).json()["removed"], true);
    assert_eq!(served.delete(path).is(200).json()["removed"], false);
    served.post("/api/modules/hello/run", r#"{"parameters": {"who": "kept"}, "save_config": true}"#).is(202);
    assert_eq!(served.get(path).json()["parameters"]["who"], "kept");
    space.wait_for_marks("hello", 3);
    space.wait_until("all is over", || served.get("/api/runs?status=running").json()["total"] == 0);
    served.stop().ends(0);
}

#[test]
fn pipelines_are_started_by_the_name_that_the_list_has() {
    let space = with_modules();
    let served = Served::start(&space);
    let list = served.get("/api/pipelines").is(200).json();
    let valid: Vec<(&Value, &Value)> =
        list["pipelines"].as_array().expect("a list").iter().map(|pipeline| (&pipeline["file"], &pipeline["valid"])).collect();
    assert_eq!(valid, [(&json!("pipelines/bad.yaml"), &json!(false)), (&json!("pipelines/both.yaml"), &json!(true))]);
    for name in ["both", "pipelines/both.yaml"] {
        let body = json!({"pipeline": name, "parameters": {"who": "we"}}).to_string();
        let run = served.post("/api/pipelines/run", &body).is(202).json();
        let ended = served.ended(run["run_id"].as_str().expect("an id"));
        assert_eq!((&ended["status"], &ended["pipeline"], &ended["items_total"]), (&json!("completed"), &json!("both"), &json!(2)));
    }
    for name in ["../both.yaml", "pipelines/../pipelines/both.yaml", "/etc/passwd", "manifests/hello.yaml", ""] {
        served.post("/api/pipelines/run", &json!({"pipeline": name}).to_string()).fails(404, "not_found");
    }
    served.post("/api/pipelines/run", r#"{"pipeline": "pipelines/bad.yaml"}"#).fails(422, "invalid");
    let found = served.post("/api/validate", "{}").is(200).json();
    assert_eq!(found["valid"], false, "{found}");
    let found = served.post("/api/validate", r#"{"module": "hello", "parameters": {"who": 1}}"#).is(200).json();
    assert_eq!((&found["valid"], &found["errors"][0]["pointer"]), (&json!(false), &json!("/who")), "{found}");
    let text = json!({"kind": "pipeline", "text": "nodes: {a: {pipeline: /etc/passwd}}\n"}).to_string();
    let found = served.post("/api/validate", &text).is(200).json();
    assert!(found["errors"][0]["message"].as_str().is_some_and(|message| message.contains("not read")), "{found}");
    let text = json!({"kind": "manifest", "text": "id: x\nscript: x.py\n"}).to_string();
    assert_eq!(served.post("/api/validate", &text).is(200).json()["valid"], true);
    served.post("/api/validate", r#"{"kind": "manifest"}"#).fails(422, "invalid");
    served.stop().ends(0);
}

/// A-30: what a module left is shown where it can do nothing, and only what the listing names.
#[test]
fn a30_artifacts_are_shown_in_a_sandbox() {
    let space = with_modules();
    let served = Served::start(&space);
    let run = served.post("/api/modules/art/run", "{}").is(202).json()["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(served.ended(&run)["status"], "completed");
    let list = served.get(&format!("/api/runs/{run}/artifacts")).is(200).json();
    let paths: Vec<&str> = list["artifacts"].as_array().expect("a list").iter().map(|one| one["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, ["a b/ž.bin", "report.html"], "links are not listed");
    let href = |at: usize| list["artifacts"][at]["href"].as_str().expect("an address").to_owned();
    let report = served.get(&href(1)).is(200);
    let policy = report.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("sandbox;") && !policy.contains("allow-") && policy.contains("default-src 'none'"), "{policy}");
    assert_eq!(
        (report.header("x-content-type-options"), report.header("content-type")),
        (Some("nosniff"), Some("text/html; charset=utf-8"))
    );
    let kept = served.get(&format!("{}?download=true", href(1))).is(200);
    assert!(kept.header("content-disposition").is_some_and(|value| value.starts_with("attachment")), "{}", kept.head);
    let binary = served.get(&href(0)).is(200);
    assert_eq!((binary.body.len(), binary.header("content-type")), (200_000, Some("application/octet-stream")));
    assert!(binary.header("content-disposition").is_some_and(|value| value.starts_with("attachment")));
    let base = format!("/api/runs/{run}/artifacts/art/1");
    for path in [
        "link",
        "..%2f..%2fpinned.json",
        "../../pinned.json",
        "a%20b",
        "a%20b/../report.html",
        "report.html/",
        "%2e%2e/stdout.log",
        "/etc/passwd",
    ] {
        let answer = served.get(&format!("{base}/{path}"));
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    // A link in the place of the folder itself.
    let folder = space.at(format!(".prismq/runs/{run}/art.1/artifacts"));
    std::fs::rename(&folder, space.at("aside")).expect("it is there");
    std::os::unix::fs::symlink("/etc", &folder).expect("a link");
    assert_eq!(served.get(&format!("/api/runs/{run}/artifacts")).is(200).json()["artifacts"], json!([]));
    served.get(&format!("{base}/passwd")).fails(404, "not_found");
    std::fs::remove_file(&folder).and_then(|()| std::fs::rename(space.at("aside"), &folder)).expect("as it was");
    for place in ["art/0", "art/2", "art/-1", "art/x", "nothing/1", "..%2fart/1"] {
        served.get(&format!("/api/runs/{run}/artifacts/{place}/report.html")).fails(404, "not_found");
    }
    served.stop().ends(0);
}

/// A `run` is a host too, and offers the same while it lasts.
#[test]
fn a_run_offers_the_same_api() {
    let space = with_modules();
    let running = space.start(&["run", "slow"]);
    space.wait_for_marks("began", 1);
    let address: Value = serde_json::from_str(&space.read(".prismq/host.json")).expect("JSON");
    let port = address["port"].as_u64().expect("a port");
    let (status, runs) = crate::support::faults::ask(&space, "GET", "/api/runs?status=running", "").expect("an answer");
    assert_eq!((status, &runs["runs"][0]["module_id"]), (200, &json!("slow")), "on port {port}: {runs}");
    space.open("go");
    running.end().ends(0);
}

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let space = with_modules();
    let served = Served::start(&space);
    let printed = space.prismq(&["schema", "openapi"]).ends(0).json();
    assert_eq!(served.get("/api/openapi.json").is(200).json(), printed);
    served.stop().ends(0);
}
