//! The table of layers, and the judgement of scanned files by it.

use crate::scan::{SourceFile, Use};

/// Longest file, test code not counted. Whoever comes near it has two things in one file.
pub(crate) const LINES_MAX: usize = 500;

/// A module and what it may use. It may always use itself.
pub(crate) struct Row {
    /// `journal`, or `pipeline::expr` for a part that is judged on its own.
    pub(crate) module: &'static str,
    layer: Layer,
    /// Modules above it in the table.
    pub(crate) may_use: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Words,
    Decisions,
    InputOutput,
    Host,
    Surfaces,
}

impl Layer {
    /// Pure: no clock, no files, no processes, no threads, no randomness. Time and ids come in as arguments.
    fn is_pure(self) -> bool {
        match self {
            Self::Words | Self::Decisions => true,
            Self::InputOutput | Self::Host | Self::Surfaces => false,
        }
    }
}

const fn row(layer: Layer, module: &'static str, may_use: &'static [&'static str]) -> Row {
    Row { module, layer, may_use }
}

/// Shorthand for everything of the first layer.
macro_rules! words_and {
    ($($module:literal),* $(,)?) => { &["units", "ids", "diagnostics", "tree", "json", "request", "event", $($module),*] };
}

/// Who may use whom. Dependencies point only upward: a row names modules that stand above it.
pub(crate) const TABLE: &[Row] = &[
    // Words: values and their notation.
    row(Layer::Words, "units", &[]),
    row(Layer::Words, "ids", &["units"]),
    row(Layer::Words, "diagnostics", &["units", "ids"]),
    row(Layer::Words, "tree", &["diagnostics"]),
    row(Layer::Words, "json", &["tree"]),
    row(Layer::Words, "request", &["units", "ids"]),
    row(Layer::Words, "event", &["units", "ids", "request"]),
    // Decisions.
    row(Layer::Decisions, "fields", words_and!()),
    row(Layer::Decisions, "params", words_and!("fields")),
    row(Layer::Decisions, "resources", words_and!("fields")),
    row(Layer::Decisions, "pipeline::expr", words_and!("fields")),
    row(Layer::Decisions, "manifest", words_and!("fields", "params", "resources", "pipeline::expr")),
    // Settings hold defaults for the keys of manifests, and read them with the same code.
    row(Layer::Decisions, "settings", words_and!("fields", "params", "resources", "manifest")),
    row(Layer::Decisions, "pipeline", words_and!("fields", "params", "resources", "pipeline::expr", "manifest")),
    row(Layer::Decisions, "schemas", words_and!("manifest", "settings", "pipeline")),
    row(Layer::Decisions, "run", words_and!("params", "resources", "pipeline::expr", "manifest", "pipeline")),
    row(Layer::Decisions, "scheduler", words_and!("resources", "manifest", "pipeline", "run")),
    row(Layer::Decisions, "simulate", words_and!("params", "resources", "pipeline::expr", "manifest", "pipeline", "run", "scheduler")),
    row(Layer::Decisions, "import", words_and!("fields", "pipeline")),
    // Input and output: words only, and not each other, but for the engine, which drives attempts and writes their logs.
    // `win32` is what Windows alone needs of its own calls.
    row(Layer::InputOutput, "win32", &[]),
    row(Layer::InputOutput, "probe", words_and!()),
    row(Layer::InputOutput, "yaml", words_and!()),
    row(Layer::InputOutput, "source", words_and!()),
    row(Layer::InputOutput, "secrets", words_and!("win32")),
    row(Layer::InputOutput, "watch", words_and!()),
    row(Layer::InputOutput, "journal", words_and!("win32")),
    row(Layer::InputOutput, "logs", words_and!()),
    row(Layer::InputOutput, "attempt", words_and!("win32")),
    row(Layer::InputOutput, "wrapper", words_and!("win32", "logs", "attempt")),
    // It starts the wrapper's program.
    row(Layer::InputOutput, "engine", words_and!("win32", "logs", "attempt", "wrapper")),
    // The host: where all meet.
    row(
        Layer::Host,
        "host",
        words_and!(
            "fields",
            "params",
            "resources",
            "settings",
            "pipeline::expr",
            "manifest",
            "pipeline",
            "schemas",
            "run",
            "scheduler",
            "simulate",
            "import",
            "probe",
            "yaml",
            "source",
            "secrets",
            "watch",
            "journal",
            "logs",
            "attempt",
            "engine",
        ),
    ),
    // Surfaces: the host's handle and views, never an engine, the journal or the scheduler. What they print of graphs, nodes and logs
    // is named through `host::views`: a wider row here would let a verb reach for `run::apply` or an engine without anybody noticing.
    row(Layer::Surfaces, "api", words_and!("host")),
    row(Layer::Surfaces, "cli", words_and!("host", "api")),
    row(Layer::Surfaces, "main", &["cli", "wrapper"]),
    row(Layer::Surfaces, "bin", &["wrapper"]),
];

/// Crates that reach the outside world.
const IMPURE_CRATES: [&str; 14] = [
    "axum",
    "ctrlc",
    "futures_util",
    "getrandom",
    "http_body_util",
    "hyper",
    "hyper_util",
    "notify",
    "rustix",
    "tempfile",
    "tokio",
    "tracing",
    "tracing_subscriber",
    "windows_sys",
];

/// Parts of the standard library that do. A use is impure if it starts with one of them.
const IMPURE_STD: [&str; 14] = [
    "std::collections::hash_map::RandomState",
    "std::env",
    "std::fs",
    "std::hash::RandomState",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// All violations, as `src/file.rs:line: what is wrong`.
pub(crate) fn check(files: &[SourceFile]) -> Vec<String> {
    files.iter().filter(|file| !file.is_test() && file.path != "lib.rs").flat_map(check_file).collect()
}

fn check_file(file: &SourceFile) -> Vec<String> {
    let Some(row) = row_of(&file.module) else {
        let module = file.module.first().map_or("", String::as_str);
        return vec![at(file, 1, &format!("`{module}` is not in the table of tests/layering/rules.rs: add it with what it may use"))];
    };
    let mut violations: Vec<String> = file.uses.iter().filter_map(|used| judge(file, row, used)).collect();
    if row.layer.is_pure() {
        violations.extend(file.impure_calls.iter().map(|(line, call)| at(file, *line, &impure(row, call))));
    }
    violations.dedup(); // a group may name a module more than once in a line
    if file.lines > LINES_MAX {
        violations.push(at(file, 1, &format!("{} lines without tests, at most {LINES_MAX}: split it by what it is about", file.lines)));
    }
    violations
}

fn judge(file: &SourceFile, row: &Row, used: &Use) -> Option<String> {
    if used.path.first().is_some_and(|root| root == "crate") {
        return judge_own(row, &used.path[1..]).map(|message| at(file, used.line, &message));
    }
    let path = used.path.join("::");
    let reaches_out = used.path.first().is_some_and(|root| IMPURE_CRATES.contains(&root.as_str()))
        || IMPURE_STD.iter().any(|part| path == *part || path.starts_with(&format!("{part}::")));
    (row.layer.is_pure() && reaches_out).then(|| at(file, used.line, &impure(row, &path)))
}

/// A path into the crate, without `crate`.
fn judge_own(row: &Row, path: &[String]) -> Option<String> {
    let Some(target) = row_of(path) else {
        let path = path.join("::");
        return Some(format!("`crate::{path}` is no module of the table: name the module where it is defined"));
    };
    let allowed = target.module == row.module || row.may_use.contains(&target.module);
    (!allowed).then(|| match row.may_use {
        [] => format!("`{}` may not use `{}`: it may use no other module", row.module, target.module),
        some => format!("`{}` may not use `{}`: it may use {}", row.module, target.module, some.join(", ")),
    })
}

fn impure(row: &Row, what: &str) -> String {
    format!("`{}` is pure and may not use `{what}`: let the host do it and bring the result as an argument", row.module)
}

fn at(file: &SourceFile, line: usize, message: &str) -> String {
    format!("src/{}:{line}: {message}", file.path)
}

/// The row of a module path: that of its part, where it has one, else that of its first segment.
fn row_of(path: &[String]) -> Option<&'static Row> {
    let first = path.first()?;
    let part = path.get(1).map(|second| format!("{first}::{second}"));
    let find = |name: &str| TABLE.iter().find(|row| row.module == name);
    part.and_then(|part| find(&part)).or_else(|| find(first))
}
