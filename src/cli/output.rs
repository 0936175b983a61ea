//! Writing to the terminal: results to standard output, everything else to standard error.
//!
//! Colours only on a terminal (or `--color always`), never with `NO_COLOR`. A closed pipe (`| head`) ends the program quietly.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;
use crate::host::render;
use crate::host::views::printable;

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where results and messages go.
pub(crate) struct Output {
    out: RefCell<BufWriter<io::Stdout>>,
    color_out: bool,
    color_err: bool,
}

/// A style of a word on the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Good,
    Bad,
    Warn,
    Busy,
    Dim,
    Bold,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Busy => "36",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

impl Output {
    pub(crate) fn new(choice: ColorChoice) -> Self {
        let allowed = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self {
            out: RefCell::new(BufWriter::with_capacity(1 << 16, io::stdout())),
            color_out: allowed(io::stdout().is_terminal()),
            color_err: allowed(io::stderr().is_terminal()),
        }
    }

    /// A line of the result, or several. Whatever is in it, it does no more to a terminal than to stand there.
    pub(crate) fn line(&self, text: impl Display) {
        let text = text.to_string();
        self.write(format_args!("{}\n", harmless(&text, self.color_out)));
    }

    /// Text of the result, as it is.
    pub(crate) fn text(&self, text: &str) {
        self.write(format_args!("{text}"));
    }

    fn write(&self, text: std::fmt::Arguments<'_>) {
        end_on_closed_pipe(self.out.borrow_mut().write_fmt(text));
    }

    /// The result as JSON, indented for people.
    pub(crate) fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.text(&(text + "\n")),
            Err(error) => self.note(&format!("the result cannot be written as JSON: {error}")),
        }
    }

    /// The result as JSON in one line.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.text(&(text + "\n")),
            Err(error) => self.note(&format!("the result cannot be written as JSON: {error}")),
        }
    }

    /// A message beside the result.
    pub(crate) fn note(&self, text: &str) {
        self.flush();
        // Nothing can be done when standard error is gone.
        let _ = writeln!(io::stderr(), "{}", harmless(text, self.color_err));
    }

    /// What went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        if !failure.diagnostics.is_empty() {
            self.note(&render::diagnostics(&failure.diagnostics, self.color_err));
        }
        if let Some(rendered) = &failure.rendered {
            self.note(rendered.trim_end());
        }
        if !failure.message.is_empty() {
            let head = paint("error", Style::Bad, self.color_err);
            self.note(&format!("{head}: {}", failure.message));
        }
        if let Some(help) = &failure.help {
            let head = paint("help", Style::Busy, self.color_err);
            self.note(&format!("{head}: {help}"));
        }
    }

    /// A word of the result in a style.
    pub(crate) fn styled(&self, text: &str, style: Style) -> String {
        paint(text, style, self.color_out)
    }

    /// Whether messages on standard error may be coloured.
    pub(crate) fn color_err(&self) -> bool {
        self.color_err
    }

    pub(crate) fn flush(&self) {
        end_on_closed_pipe(self.out.borrow_mut().flush());
    }
}

/// Names, words and messages come out of files that others may have written: what acts on a terminal is taken out of them. Only colours stay,
/// where there are any.
fn harmless(text: &str, color: bool) -> Cow<'_, str> {
    // Most texts; what acts on a terminal and is no control character is not ASCII.
    if text.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            shown.push('\n');
        }
        let mut rest = line;
        while let Some((before, code, after)) = next_color(rest).filter(|_| color) {
            shown.push_str(&printable(before));
            shown.push_str(code);
            rest = after;
        }
        shown.push_str(&printable(rest));
    }
    Cow::Owned(shown)
}

/// The next code that does nothing but colour what follows, with what stands before and after it.
fn next_color(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices("\u{1b}[").find_map(|(at, begin)| {
        let parameters = text[at + begin.len()..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
        let end = at + begin.len() + parameters + 1;
        text.get(at..end).filter(|code| code.ends_with('m')).map(|code| (&text[..at], code, &text[end..]))
    })
}

fn paint(text: &str, style: Style, color: bool) -> String {
    if color { format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()) } else { text.to_owned() }
}

/// Whoever reads us has seen enough: as a program killed by SIGPIPE would end, but without a message.
fn end_on_closed_pipe(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a28_only_colours_reach_the_terminal() {
        let red = paint("failed", Style::Bad, true);
        for (text, with, without) in [
            ("plain\tž\nmore", "plain\tž\nmore", "plain\tž\nmore"),
            (red.as_str(), red.as_str(), "failed"),
            ("a\u{1b}]0;title\u{7}b\u{1b}[2Jc\u{202e}d\u{9b}5me", "abcde", "abcde"),
            ("\u{1b}]0;open\u{1b}[31mred\u{7}", "0;open\u{1b}[31mred", ""),
            ("\u{1b}[1;31", "", ""),
            ("one\rtwo\nthree", "two\nthree", "two\nthree"),
            ("\u{1b}[é", "é", "é"),
        ] {
            assert_eq!((harmless(text, true).as_ref(), harmless(text, false).as_ref()), (with, without), "{text:?}");
        }
    }
}
