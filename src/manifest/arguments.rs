//! From checked parameters to the command line of a module. No shell is involved: every element is one argument as it stands.

use serde_json::Value;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::params::Violation;
use crate::pipeline::expr::{Piece, Scope, Template};
use crate::request::ArgumentStyle;

/// Longest argument that Linux lets through, its final NUL not counted.
const ARGUMENT_BYTES_MAX: usize = 131_071;

/// Longest command line of Windows, with room for the program and quotes.
#[cfg(windows)]
const LINE_BYTES_MAX: usize = 30_000;

/// The arguments for `params` (an object). `order` gives the keys in the order of the schema; others follow. `params_file` is the path of
/// the JSON file, which every module can also find in `PRISMQ_PARAMS`.
///
/// # Errors
/// A value that cannot stand on a command line: with a NUL, too long, or taken for an option.
pub fn argv(style: ArgumentStyle, params: &Value, order: &[&str], params_file: &str) -> Result<Vec<String>, Violation> {
    let spaced = match style {
        ArgumentStyle::Flags => false,
        ArgumentStyle::FlagsSpaced => true,
        ArgumentStyle::JsonFile => return Ok(vec![params_file.to_owned()]),
        ArgumentStyle::JsonStdin | ArgumentStyle::Env => return Ok(Vec::new()),
    };
    let mut line = Line { spaced, arguments: Vec::new() };
    let Some(map) = params.as_object() else { return Ok(Vec::new()) };
    for key in order.iter().copied().filter(|key| map.contains_key(*key)) {
        line.parameter(key, &map[key])?;
    }
    for (key, value) in map.iter().filter(|(key, _)| !order.contains(&key.as_str())) {
        line.parameter(key, value)?;
    }
    line.finish()
}

struct Line {
    spaced: bool,
    arguments: Vec<String>,
}

impl Line {
    fn parameter(&mut self, key: &str, value: &Value) -> Result<(), Violation> {
        let is_name = !key.is_empty() && !key.starts_with('-') && !key.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control());
        if !is_name {
            return Err(refusal(key, format!("the parameter {key:?} cannot be the name of a flag"), "use `arguments: json-file` or `env`"));
        }
        match value {
            Value::Null => {}
            Value::Bool(true) => self.arguments.push(format!("--{key}")),
            Value::Bool(false) => self.arguments.push(format!("--no-{key}")),
            Value::Array(items) => {
                for item in items.iter().filter(|item| !item.is_null()) {
                    self.flag(key, item)?;
                }
            }
            Value::Number(_) | Value::String(_) | Value::Object(_) => self.flag(key, value)?,
        }
        Ok(())
    }

    fn flag(&mut self, key: &str, value: &Value) -> Result<(), Violation> {
        let text = plain(value);
        check_text(key, &text)?;
        if !self.spaced {
            self.arguments.push(format!("--{key}={text}"));
            return Ok(());
        }
        if value.is_string() && text.starts_with('-') {
            let message = format!("`{key}` begins with `-`, and as an argument of its own it would be taken for an option");
            return Err(refusal(key, message, "use `arguments: flags`, which writes `--name=value`"));
        }
        self.arguments.push(format!("--{key}"));
        self.arguments.push(text);
        Ok(())
    }

    #[cfg(not(windows))]
    fn finish(self) -> Result<Vec<String>, Violation> {
        Ok(self.arguments)
    }

    #[cfg(windows)]
    fn finish(self) -> Result<Vec<String>, Violation> {
        let length: usize = self.arguments.iter().map(|argument| argument.len() + 3).sum();
        if length <= LINE_BYTES_MAX {
            return Ok(self.arguments);
        }
        let message = format!("the parameters make a command line of {length} bytes, more than Windows can pass");
        Err(Violation { pointer: String::new(), message, help: Some("use `arguments: json-file` or `env`".into()) })
    }
}

/// A value as one argument: texts as they are, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn check_text(key: &str, text: &str) -> Result<(), Violation> {
    if text.contains('\0') {
        return Err(refusal(key, format!("`{key}` holds a NUL character, which no program can be given"), "remove the character"));
    }
    let length = key.len() + text.len() + 3;
    if length > ARGUMENT_BYTES_MAX {
        let message = format!("`{key}` makes an argument of {length} bytes, and {ARGUMENT_BYTES_MAX} is the most that can be passed");
        return Err(refusal(key, message, "use `arguments: json-file` or `env`: the parameters are then read from a file"));
    }
    Ok(())
}

fn refusal(key: &str, message: String, help: &str) -> Violation {
    let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
    Violation { pointer, message, help: Some(help.to_owned()) }
}

/// The program and arguments of a `command:` for checked parameters. A whole-value expression that gives a list becomes as many
/// arguments, one that gives null none.
///
/// # Errors
/// All mistakes: expressions that fail, and values that cannot stand where they would.
pub fn command(parts: &[Template], scope: &Scope<'_>) -> Result<Vec<String>, Diagnostics> {
    let mut mistakes = Diagnostics::new();
    let mut arguments: Vec<String> = Vec::with_capacity(parts.len());
    let mut options_ended = false;
    for part in parts {
        let value = match part.evaluate(scope) {
            Ok(value) => value,
            Err(found) => {
                mistakes.extend(found);
                continue;
            }
        };
        for text in spread(value) {
            if let Err(reason) = check_element(part, &text, options_ended) {
                mistakes.push(with_place(reason, part));
            }
            options_ended |= text == "--";
            arguments.push(text);
        }
    }
    if mistakes.has_errors() { Err(mistakes) } else { Ok(arguments) }
}

fn spread(value: Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(plain).collect(),
        other => vec![plain(&other)],
    }
}

/// The expression that decides how an element begins.
fn leading(part: &Template) -> Option<&crate::pipeline::expr::Expression> {
    match part {
        Template::Expression(expression) => Some(expression),
        Template::Text(pieces) => match pieces.first() {
            Some(Piece::Expression(expression)) => Some(expression),
            Some(Piece::Literal(_)) | None => None,
        },
        Template::Constant(_) | Template::List(_) | Template::Map(_) => None,
    }
}

fn check_element(part: &Template, text: &str, options_ended: bool) -> Result<(), Diagnostic> {
    if text.contains('\0') {
        return Err(Diagnostic::error("an argument of the command holds a NUL character"));
    }
    if text.len() > ARGUMENT_BYTES_MAX {
        let refusal =
            Diagnostic::error(format!("an argument of the command has {} bytes, at most {ARGUMENT_BYTES_MAX} can be passed", text.len()));
        return Err(refusal.with_help("let the program read the file named by PRISMQ_PARAMS"));
    }
    let is_number = text.parse::<f64>().is_ok() && text.ends_with(|c: char| c.is_ascii_digit());
    if leading(part).is_some() && text.starts_with('-') && !options_ended && !is_number {
        let refusal = Diagnostic::error(format!("the argument {text:?} comes from a parameter and would be taken for an option"));
        return Err(refusal.with_help("put `--` before it in the command if the program knows that, or write `--option=${{ ... }}`"));
    }
    Ok(())
}

fn with_place(diagnostic: Diagnostic, part: &Template) -> Diagnostic {
    match leading(part) {
        Some(expression) => diagnostic.at(expression.place().clone()),
        None => diagnostic,
    }
}
