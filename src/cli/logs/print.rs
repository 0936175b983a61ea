//! A line of a log on the terminal, or as JSON.

use serde::Serialize;

use super::Arguments;
use crate::cli::Context;
use crate::cli::output::{Output, Style};
use crate::host::views::{Line, printable};
use crate::ids::AttemptNumber;
use crate::units::Timestamp;

/// Prints lines.
pub(super) struct Printer<'a> {
    output: &'a Output,
    arguments: &'a Arguments,
    /// With the node before each line.
    prefixed: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: Timestamp,
    node: &'a str,
    attempt: AttemptNumber,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    #[serde(skip_serializing_if = "is_zero")]
    missing_bytes: u64,
    message: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> Printer<'a> {
    pub(super) fn new(arguments: &'a Arguments, context: &'a Context, prefixed: bool) -> Self {
        Self { output: &context.output, arguments, prefixed }
    }

    pub(super) fn line(&self, node: &str, attempt: AttemptNumber, line: &Line) {
        let Self { output, arguments, prefixed } = self;
        if arguments.json {
            let Line { number, at, stream, text, partial, missing } = line;
            let (timestamp, stream, partial, missing_bytes) = (*at, stream.as_str(), *partial, *missing);
            return output.json_line(&JsonLine { timestamp, node, attempt, stream, line: *number, partial, missing_bytes, message: text });
        }
        let mut text = String::new();
        if arguments.timestamps {
            text.push_str(&output.styled(&format!("{} ", line.at.local()), Style::Dim));
        }
        if *prefixed {
            text.push_str(&output.styled(&format!("{node} | "), Style::Dim));
        }
        if arguments.numbers || arguments.search.is_some() {
            let number = line.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            text.push_str(&output.styled(&format!("{number:>6}: "), Style::Dim));
        }
        if line.missing > 0 {
            text.push_str(&output.styled(&line.text, Style::Warn));
        } else if arguments.raw {
            text.push_str(&line.text);
        } else {
            text.push_str(&printable(&line.text));
        }
        text.push('\n');
        output.text(&text);
    }

    /// A message beside the lines.
    pub(super) fn note(&self, text: &str) {
        self.output.note(text);
    }

    pub(super) fn flush(&self) {
        self.output.flush();
    }
}
