//! Retries by cause: exit codes, memory that ran out, and what modules say of a graphics card. Timeouts are in `nodes`, lost attempts in
//! `crash`.

use serde_json::json;

use crate::support::TestSpace;

#[test]
fn an_exit_code_is_tried_again_by_its_number() {
    let space = TestSpace::new();
    let python = "mark('tries', NODE)\nsys.exit(P['code']) if ATTEMPT == 1 else out(attempt=ATTEMPT)";
    space.module("ends", "params: {properties: {code: {type: integer}}}\nretry: {attempts: 3, on: [75, oom], backoff: 10ms}", python);
    space.write("p.yaml", "nodes:\n  busy: {module: ends, with: {code: 75}}\n  broken: {module: ends, with: {code: 1}}\n");
    space.prismq(&["run", "p.yaml"]).ends(1);
    assert_eq!(space.statuses("last"), ["busy=completed", "broken=failed"]);
    assert_eq!(space.node("last", "busy")["outputs"], json!({"attempt": 2}));
    let settings = space.prismq(&["modules", "show", "ends", "--json"]).ends(0).json()["settings"]["retry"].clone();
    assert_eq!((&settings["on"], &settings["exit_codes"]), (&json!(["oom"]), &json!([75])));
}

#[test]
fn codes_that_cannot_be_are_refused() {
    let space = TestSpace::new();
    space.module("ends", "retry: {on: [0, 75.5, -1, 4294967296, exti]}", "");
    let refused = space.prismq(&["validate"]).ends(3);
    assert_eq!(refused.stdout.matches("from 1 to 4294967295").count() + refused.stderr.matches("from 1 to 4294967295").count(), 4);
    refused.complains("did you mean `exit`?");
}

#[test]
fn a_full_graphics_card_is_told_by_what_the_module_says() {
    let space = TestSpace::new();
    let python = "print('loading', file=sys.stderr)\n\
                  if ATTEMPT == 1:\n    print('Traceback', file=sys.stderr)\n    print('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.', file=sys.stderr)\n    sys.exit(1)\n\
                  out(attempt=ATTEMPT)";
    space.module("render", "retry: {attempts: 2, on: [oom], backoff: 10ms, grow: {memory: 2}}\nresources: {memory: 256MiB}", python);
    space.module(
        "gives_up",
        "isolation: direct\nretry: {attempts: 3, on: [timeout], backoff: 10ms}",
        "print('CUDA_ERROR_OUT_OF_MEMORY', file=sys.stderr)\nsys.exit(4)",
    );
    space.module("recovers", "", "print('CUDA out of memory, trying a smaller batch', file=sys.stderr)");
    space.write("p.yaml", "nodes: {a: {module: render}, b: {module: gives_up}, c: {module: recovers}}\n");
    space.prismq(&["run", "p.yaml"]).ends(1);
    assert_eq!(space.statuses("last"), ["a=completed", "b=failed", "c=completed"]);
    let first = space.node("last", "a");
    // The card's memory is not what `grow: {memory: ...}` is about.
    assert_eq!((&first["attempts"], &first["granted_memory"], &first["raised"]), (&json!(2), &json!(256_u64 << 20), &json!(null)));
    let second = space.node("last", "b");
    assert_eq!(second["cause"], json!({"cause": "oom", "limit": null, "peak": null, "said": "CUDA_ERROR_OUT_OF_MEMORY"}));
    assert_eq!((&second["attempts"], &second["exit_code"]), (&json!(1), &json!(4)));
    space.prismq(&["show", "last"]).ends(0).says("out of memory on a graphics card: CUDA_ERROR_OUT_OF_MEMORY");
}

/// A script that was named on the command line ends with its own code, whatever it says.
#[test]
fn the_code_of_a_script_stays_its_own() {
    let space = TestSpace::new();
    space.write("alone.py", "import sys\nprint('CUDA out of memory', file=sys.stderr)\nsys.exit(9)\n");
    space.prismq(&["exec", "alone.py"]).ends(9);
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_ran_out_is_raised_up_to_what_there_is() {
    let space = TestSpace::new();
    space.write("prismq.yaml", "host: {capacity: {cpus: 4, memory: 160MiB}}\n");
    // It needs more than at first, and lives until somebody looks.
    let python = "x = bytearray(80 << 20)\nmark('tries', os.environ['PRISMQ_MEMORY_BYTES'])\nif int(os.environ['PRISMQ_MEMORY_BYTES']) < (80 << 20) or P['never']:\n    x += bytearray(120 << 20)\n    gate('never')\nout(ok=True)";
    space.module(
        "grows",
        "params: {properties: {never: {type: boolean, default: false}}}\nresources: {memory: 64MiB}\nretry: {attempts: 3, on: [oom], backoff: 10ms, grow: {memory: 2}}",
        python,
    );
    space.prismq(&["run", "grows"]).ends(0);
    let node = space.node("last", "grows");
    assert_eq!((&node["attempts"], &node["granted_memory"], &node["raised"]), (&json!(2), &json!(128_u64 << 20), &json!(1)), "{node}");
    space.prismq(&["show", "last/grows"]).ends(0).says("128 MiB of memory (raised once after it ran out)");
    // Never beyond the machine: 64, 128 and then 160 instead of 256.
    space.prismq(&["run", "grows", "-p", "never=true"]).ends(1);
    let node = space.node("last", "grows");
    assert_eq!(
        (&node["attempts"], &node["granted_memory"], &node["cause"]["cause"]),
        (&json!(3), &json!(160_u64 << 20), &json!("oom")),
        "{node}"
    );
}
