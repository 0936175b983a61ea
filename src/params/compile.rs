//! A schema as its author wrote it: checked, completed, compiled.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jsonschema::{Draft, PatternOptions, ValidationOptions, Validator};
use serde_json::{Map, Value, json};

use super::complete::{complete, complete_default};
use super::cost::{STEPS_MAX, steps};
use super::messages::{describe, describe_at};
use super::walk::{self, Follow, Holds, KEYWORDS, each_schema, held, joined, reference_pointer};
use super::{Inner, ParamSchema};
use crate::diagnostics::{Diagnostic, Diagnostics, Place, suggest};
use crate::fields::Fields;
use crate::tree::{Kind, NodeRef};

/// Largest schema, as a manifest's own limit; a pipeline file may be larger than its schema may be.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;

/// Most schemas that may speak about one value, alternatives included: what one check can cost.
const APPLIED_MAX: u64 = 10_000;

/// Longest chain of references and alternatives that speak about one value.
const CHAIN_MAX: usize = 100;

/// Largest compiled pattern. The engine is linear in the text, and this bounds the factor.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// What most patterns fit in.
const PATTERN_BYTES_USUAL: usize = 64 * 1024;

/// Most that the patterns of one schema may take together.
const PATTERNS_BYTES_MAX: usize = 32 * PATTERN_BYTES_MAX;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Formats of our own: paths, made absolute before the module sees them. Whether they exist is asked when a run starts.
const PATH_FORMATS: [&str; 2] = ["file", "directory"];

/// What an object's undeclared keys are, where the schema does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Mistakes.
    Refused,
    /// Let through.
    Allowed,
}

fn options() -> ValidationOptions<'static> {
    PATH_FORMATS
        .iter()
        .fold(jsonschema::options().with_draft(Draft::Draft202012), |options, name| options.with_format(*name, |_| true))
        // A hint for forms and for what is saved: any text.
        .with_format("password", |_| true)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
}

pub(super) fn empty() -> ParamSchema {
    /// Every run of a single module has it, and to compile it takes as long as the rest of its graph.
    static EMPTY: LazyLock<ParamSchema> = LazyLock::new(|| {
        let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
        let validator = options().build(&schema).expect("a schema of three words compiles");
        ParamSchema(Arc::new(Inner { schema, validator, has_defaults: false }))
    });
    EMPTY.clone()
}

/// Compiles a schema; mistakes go to `diagnostics`.
pub(super) fn compile(node: NodeRef<'_>, others: Others, diagnostics: &mut Diagnostics) -> Option<ParamSchema> {
    let mut checker = Checker { node, found: Diagnostics::new(), patterns_bytes: 0 };
    let compiled = checker.compile(others);
    let compiled = compiled.filter(|_| !checker.found.has_errors());
    diagnostics.extend(checker.found);
    compiled
}

struct Checker<'t> {
    node: NodeRef<'t>,
    found: Diagnostics,
    /// What the patterns so far may take, compiled.
    patterns_bytes: usize,
}

impl Checker<'_> {
    fn compile(&mut self, others: Others) -> Option<ParamSchema> {
        if self.node.kind() != Kind::Map {
            let refusal = Diagnostic::error(format!("a schema is a map, not {}", self.node.kind().described()));
            self.found.push(refusal.at(self.node.place()).with_help("write `properties:` with a key for each parameter"));
            return None;
        }
        let span = self.node.span();
        if (span.end - span.start) as usize > SCHEMA_BYTES_MAX {
            self.error("", format!("a schema has at most {SCHEMA_BYTES_MAX} bytes"), None);
            return None;
        }
        let mut schema = self.node.to_json();
        self.check_root_type(&schema);
        self.check_keywords(&schema);
        self.check_meta(&schema);
        if self.found.has_errors() {
            return None;
        }
        self.check_costs(&schema);
        if self.found.has_errors() {
            return None;
        }
        complete_root(&mut schema, others);
        let validator = self.build(&schema)?;
        let has_defaults = self.check_defaults(&schema);
        Some(ParamSchema(Arc::new(Inner { schema, validator, has_defaults })))
    }

    fn error(&mut self, pointer: &str, message: String, help: Option<String>) {
        let place = self.node.nearest_at(pointer).place();
        self.found.push(Diagnostic::error(message).at(place).with_help_of(help));
    }

    /// Where a keyword of the schema at `pointer` stands.
    fn keyword_place(&self, pointer: &str, keyword: &str) -> Place {
        let node = self.node.nearest_at(pointer);
        Fields::open_any(node, "a schema", &mut Diagnostics::new()).map_or_else(|| node.place(), |fields| fields.key_place(keyword))
    }

    fn check_root_type(&mut self, schema: &Value) {
        if let Some(found) = schema.get("type").filter(|found| *found != "object") {
            let help = Some("write `type: object`, or leave `type` out".to_owned());
            self.error("/type", format!("the schema must describe a map of parameters, not {found}"), help);
        }
    }

    /// What the meta-schema lets through and what would surprise: references that leave the file, words that mean nothing, patterns
    /// and formats that cannot be checked.
    fn check_keywords(&mut self, root: &Value) {
        let mut schemas: Vec<(String, Map<String, Value>)> = Vec::new();
        each_schema(root, "", &mut |pointer, schema| schemas.push((pointer.to_owned(), schema.clone())));
        for (pointer, schema) in &schemas {
            for (keyword, value) in schema {
                self.check_keyword(root, pointer, keyword, value);
            }
        }
    }

    fn check_keyword(&mut self, root: &Value, pointer: &str, keyword: &str, value: &Value) {
        let at = joined(pointer, keyword);
        match (keyword, value) {
            ("$ref", Value::String(reference)) => self.check_reference(root, &at, reference),
            ("$schema", Value::String(draft)) if draft.trim_end_matches('#') != DRAFT => {
                self.error(&at, format!("`{draft}` is not understood"), Some(format!("schemas are of draft 2020-12: {DRAFT}")));
            }
            ("$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$vocabulary", _) => {
                let place = self.keyword_place(pointer, keyword);
                let refusal = Diagnostic::error(format!("`{keyword}` is refused: a schema here stands for itself")).at(place);
                self.found.push(refusal.with_help("put what is shared under `$defs` and refer to it by `$ref: \"#/$defs/NAME\"`"));
            }
            ("pattern", Value::String(pattern)) => self.check_pattern(&at, pattern),
            ("patternProperties", Value::Object(patterns)) => {
                for pattern in patterns.keys() {
                    self.check_pattern(&joined(&at, pattern), pattern);
                }
            }
            ("format", Value::String(format)) if !options().is_known_format(Draft::Draft202012, format) => {
                const KNOWN: [&str; 9] = ["file", "directory", "password", "date-time", "date", "time", "email", "uri", "uuid"];
                self.error(&at, format!("unknown format `{format}`"), suggest(format, KNOWN));
            }
            ("type", Value::String(name)) => self.check_type(&at, name),
            ("type", Value::Array(names)) => {
                for (number, name) in names.iter().enumerate() {
                    self.check_type(&joined(&at, &number.to_string()), name.as_str().unwrap_or_default());
                }
            }
            (word, _) if word.starts_with("x-") || KEYWORDS.iter().any(|known| known.name == word) => {}
            (word, _) => {
                let warning = Diagnostic::warning(format!("`{word}` is not a keyword of JSON Schema and changes nothing"));
                let help = crate::diagnostics::nearest(word, KEYWORDS.iter().map(|known| known.name));
                let help = help.map_or("a parameter is declared under `properties`".into(), |name| format!("did you mean `{name}`?"));
                self.found.push(warning.at(self.keyword_place(pointer, keyword)).with_help(help));
            }
        }
    }

    fn check_type(&mut self, at: &str, name: &str) {
        const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "array", "object", "null"];
        if !TYPES.contains(&name) {
            self.error(at, format!("unknown type `{name}`"), suggest(name, TYPES));
        }
    }

    fn check_reference(&mut self, root: &Value, at: &str, reference: &str) {
        let is_local = reference == "#" || reference.starts_with("#/");
        if !is_local {
            let help = "copy what is needed under `$defs` and write `$ref: \"#/$defs/NAME\"`";
            self.error(
                at,
                format!("`$ref: {reference}` is refused: a schema refers to itself only, never to files or the network"),
                Some(help.into()),
            );
            return;
        }
        if !walk::resolve(root, reference).is_some_and(|target| target.is_object() || target.is_boolean()) {
            let names = root.get("$defs").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(|name| format!("#/$defs/{name}"));
            let names: Vec<String> = names.collect();
            self.error(at, format!("`{reference}` names no schema"), suggest(reference, names.iter().map(String::as_str)));
        }
    }

    /// Each pattern by itself, so that every bad one is named and at its place.
    fn check_pattern(&mut self, at: &str, pattern: &str) {
        if self.patterns_bytes > PATTERNS_BYTES_MAX {
            return;
        }
        let schema = json!({"pattern": pattern});
        let compiled = |most| options().with_pattern_options(PatternOptions::regex().size_limit(most)).build(&schema);
        // How large one is nobody tells, only whether it fits.
        let (bytes, result) = match compiled(PATTERN_BYTES_USUAL) {
            Ok(_) => (PATTERN_BYTES_USUAL, Ok(())),
            Err(_) => (PATTERN_BYTES_MAX, compiled(PATTERN_BYTES_MAX).map(drop)),
        };
        self.patterns_bytes += bytes;
        if self.patterns_bytes > PATTERNS_BYTES_MAX {
            let help = "many alternatives are an `enum:`, and long repetitions of large classes are what makes a pattern large";
            return self.error(at, "the patterns of this schema are too large together".into(), Some(help.into()));
        }
        if let Err(error) = result {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            let help = "look-around and back-references are not supported: patterns are matched in linear time";
            self.error(at, format!("the pattern cannot be used: {reason}"), Some(help.into()));
        }
    }

    fn check_meta(&mut self, schema: &Value) {
        let known: Vec<Place> = self.found.iter().filter_map(|found| found.place.clone()).collect();
        for error in jsonschema::draft202012::meta::validator().iter_errors(schema) {
            let place = self.node.nearest_at(error.instance_path().as_str()).place();
            if known.contains(&place) {
                continue; // Said above, and better.
            }
            for violation in describe(&error, &Value::Null) {
                let message = format!("this is not JSON Schema: {}", violation.message);
                self.found.push(Diagnostic::error(message).at(place.clone()));
            }
        }
    }

    /// References in a circle that never step into the value, and alternatives that multiply.
    fn check_costs(&mut self, root: &Value) {
        let mut pointers = Vec::new();
        each_schema(root, "", &mut |pointer, _| pointers.push(pointer.to_owned()));
        let mut costs = Costs { root, known: HashMap::new() };
        for pointer in pointers {
            let refusal = match costs.of(&pointer, 0) {
                Ok(cost) if cost <= APPLIED_MAX => continue,
                Ok(_) | Err(Endless::TooMany) => format!("more than {APPLIED_MAX} alternatives would have to be tried for one value"),
                Err(Endless::Circle) => "this schema refers to itself without a step into the value".to_owned(),
                Err(Endless::Chain) => format!("more than {CHAIN_MAX} schemas refer to each other in a chain"),
            };
            return self.error(&pointer, refusal, None);
        }
    }

    fn build(&mut self, schema: &Value) -> Option<Validator> {
        match options().build(schema) {
            Ok(validator) => Some(validator),
            Err(error) => {
                let at = error.instance_path().as_str().to_owned();
                self.error(&at, format!("the schema cannot be used: {error}"), None);
                None
            }
        }
    }

    /// Every default must fit the schema beside it, nested defaults filled in. Whether there are any.
    fn check_defaults(&mut self, root: &Value) -> bool {
        let mut defaults: Vec<(String, Value)> = Vec::new();
        each_schema(root, "", &mut |pointer, schema| {
            if let Some(default) = schema.get("default") {
                defaults.push((pointer.to_owned(), default.clone()));
            }
        });
        if defaults.is_empty() {
            return false;
        }
        if complete(root, true, Map::new()).is_err() {
            self.error("", "the defaults of this schema hold themselves and never end, or are too many".into(), None);
            return true;
        }
        self.check_each_default(root, defaults);
        true
    }

    /// All of them at once: the schema is compiled once for them, and not once for each.
    fn check_each_default(&mut self, root: &Value, defaults: Vec<(String, Value)>) {
        let (mut schemas, mut values) = (Map::new(), Map::new());
        let mut left = STEPS_MAX;
        for (number, (pointer, default)) in defaults.iter().enumerate() {
            let Some(schema) = root.pointer(pointer) else { continue };
            let completed = complete_default(root, schema, default.clone());
            let costed = completed.map(|value| (steps(root, schema, &value).and_then(|steps| left.checked_sub(steps)), value));
            let Ok((Some(rest), value)) = costed else {
                return self.error(&joined(pointer, "default"), "the defaults would take too long to check".into(), None);
            };
            left = rest;
            values.insert(number.to_string(), value);
            schemas.insert(number.to_string(), json!({"$ref": format!("urn:prismq:schema#{}", percent_encoded(pointer))}));
        }
        // Each schema under its own references: the root's definitions stay where they are, and its demands do not apply. A registered
        // resource keeps `#/...` inside of it pointing into it.
        let mut inner = root.clone();
        if let Some(map) = inner.as_object_mut() {
            map.insert("$id".into(), "urn:prismq:schema".into());
        }
        let wrapped = json!({"$id": "urn:prismq:defaults", "properties": schemas, "$defs": {"schema": inner}});
        let Ok(validator) = options().build(&wrapped) else { return };
        for error in validator.iter_errors(&Value::Object(values)) {
            let (number, inside) = first_step(error.instance_path().as_str());
            let Some((pointer, _)) = number.parse().ok().and_then(|number: usize| defaults.get(number)) else { continue };
            for violation in describe_at(inside, &error, root) {
                let place = self.node.nearest_at(&format!("{}{}", joined(pointer, "default"), violation.pointer)).place();
                let message = format!("the default does not fit its own schema: {}", violation.message);
                self.found.push(Diagnostic::error(message).at(place).with_help_of(violation.help));
            }
        }
    }
}

/// `/12/a/b` in its first step and the rest.
fn first_step(pointer: &str) -> (&str, &str) {
    let steps = pointer.strip_prefix('/').unwrap_or(pointer);
    steps.find('/').map_or((steps, ""), |at| steps.split_at(at))
}

/// A pointer as the fragment of a URI.
fn percent_encoded(pointer: &str) -> String {
    let mut text = String::with_capacity(pointer.len());
    for byte in pointer.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Fills in what a schema of parameters means without saying it.
fn complete_root(schema: &mut Value, others: Others) {
    let closing = closing_keyword(schema);
    let Value::Object(map) = schema else { return };
    map.entry("type").or_insert_with(|| "object".into());
    // Without it the validator does not tell which key is one too many.
    map.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    let said = map.contains_key("additionalProperties") || map.contains_key("unevaluatedProperties");
    if others == Others::Refused && !said {
        map.insert(closing.into(), Value::Bool(false));
    }
}

/// `additionalProperties` sees only the `properties` beside it. Where a schema composes its keys from several parts, the same is said
/// by `unevaluatedProperties`.
fn closing_keyword(root: &Value) -> &'static str {
    let own = root.get("properties").and_then(Value::as_object);
    let declares_more = |schema: &Map<String, Value>| {
        let is_open = ["patternProperties", "dependentSchemas"].iter().any(|keyword| schema.contains_key(*keyword));
        let mut names = schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        is_open || names.any(|name| !own.is_some_and(|own| own.contains_key(name)))
    };
    let parts = walk::applied(root, root, Follow::Possible);
    let composed = parts.iter().skip(1).any(|schema| declares_more(schema)) || root.get("dependentSchemas").is_some();
    if composed { "unevaluatedProperties" } else { "additionalProperties" }
}

/// Why the cost of a schema has no bound.
#[derive(Debug, Clone, Copy)]
enum Endless {
    Circle,
    Chain,
    TooMany,
}

/// How many schemas speak about a value when one is applied to it.
struct Costs<'s> {
    root: &'s Value,
    /// `None` while it is being counted.
    known: HashMap<String, Option<u64>>,
}

impl Costs<'_> {
    fn of(&mut self, pointer: &str, depth: usize) -> Result<u64, Endless> {
        match self.known.get(pointer) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(Endless::Circle),
            None if depth > CHAIN_MAX => return Err(Endless::Chain),
            None => {}
        }
        let Some(Value::Object(schema)) = self.root.pointer(pointer) else { return Ok(1) };
        self.known.insert(pointer.to_owned(), None);
        let mut cost: u64 = 1;
        for next in in_place(schema, pointer) {
            cost = cost.saturating_add(self.of(&next, depth + 1)?);
            if cost > APPLIED_MAX {
                return Err(Endless::TooMany);
            }
        }
        self.known.insert(pointer.to_owned(), Some(cost));
        Ok(cost)
    }
}

/// Pointers of the schemas that speak about the same value as this one.
fn in_place(schema: &Map<String, Value>, pointer: &str) -> Vec<String> {
    let mut next: Vec<String> = Vec::new();
    next.extend(schema.get("$ref").and_then(Value::as_str).and_then(reference_pointer));
    for keyword in KEYWORDS.iter().filter(|keyword| keyword.in_place && keyword.holds != Holds::Data) {
        if let Some(value) = schema.get(keyword.name) {
            next.extend(held(keyword.holds, value, &joined(pointer, keyword.name)).into_iter().map(|(pointer, _)| pointer));
        }
    }
    next
}
