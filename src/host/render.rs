//! Diagnostics as people like them: place, source line with a caret, help.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::diagnostics::{Diagnostic, Diagnostics, Place, Severity};

/// Longest source line shown whole; a generated file may be one line of 70 MB.
const LINE_SHOWN_MAX: usize = 4096;

/// All of them, in the order of the file, an empty line between two.
#[must_use]
pub fn diagnostics(items: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let sorted = items.clone().sorted();
    let shown: Vec<String> = sorted.iter().map(|item| one(item, &renderer)).collect();
    shown.join("\n\n")
}

fn one(item: &Diagnostic, renderer: &Renderer) -> String {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(item.message.as_str());
    let mut group = match (item.place.as_ref(), item.place.as_ref().and_then(Shown::of)) {
        (_, Some(shown)) => group_at(title, shown),
        (Some(place), None) => group_without_line(title, place),
        (None, None) => {
            let mut group = Group::with_title(title);
            if let Some(pointer) = item.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
                group = group.element(Level::NOTE.message(format!("at {pointer}")));
            }
            group
        }
    };
    for (what, place) in &item.related {
        group = group.element(Level::NOTE.message(format!("{what}: {place}")));
    }
    if let Some(help) = &item.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

fn group_at<'a>(title: annotate_snippets::Title<'a>, shown: Shown<'a>) -> Group<'a> {
    let snippet = Snippet::source(shown.text)
        .path(shown.name)
        .line_start(shown.line)
        .annotation(AnnotationKind::Primary.span(shown.start..shown.end));
    Group::with_title(title).element(snippet)
}

/// Where the line itself would be of no use: its place alone.
fn group_without_line<'a>(title: annotate_snippets::Title<'a>, place: &'a Place) -> Group<'a> {
    let (line, column) = place.line_column();
    Group::with_title(title).element(Origin::path(place.source.name.as_str()).line(line).char_column(column))
}

/// The lines of a place, cut out of the source: the renderer would otherwise walk through the whole of a large file.
struct Shown<'a> {
    name: &'a str,
    text: &'a str,
    line: usize,
    start: usize,
    end: usize,
}

impl<'a> Shown<'a> {
    /// `None` where the line is too long to be of use.
    fn of(place: &'a Place) -> Option<Self> {
        let text = place.source.text.as_str();
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(place.span.start as usize);
        let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[start..].find('\n').map_or(text.len(), |at| start + at);
        if to - from > LINE_SHOWN_MAX {
            return None;
        }
        let line_text = text[from..to].trim_end_matches('\r');
        // A span over several lines is shown by its first.
        let end = floor(place.span.end as usize).clamp(start, from + line_text.len().max(start - from));
        let (line, _) = place.line_column();
        Some(Self { name: &place.source.name, text: line_text, line, start: start - from, end: end - from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{Source, Span};

    #[test]
    fn a_caret_under_the_place() {
        let source = Source::new("m.yaml", "id: x\nparms: {}\n");
        let item = Diagnostic::error("unknown field `parms`")
            .at(Place { source: source.clone(), span: Span::new(6, 11) })
            .with_help("did you mean `params`?")
            .with_related("first seen here", Place { source, span: Span::new(0, 2) });
        insta::assert_snapshot!(diagnostics(&item.into(), false), @r"
        error: unknown field `parms`
         --> m.yaml:2:1
          |
        2 | parms: {}
          | ^^^^^
          |
          = note: first seen here: m.yaml:1:1
          = help: did you mean `params`?
        ");
    }

    #[test]
    fn a_line_too_long_to_be_shown_still_has_its_place() {
        let source = Source::new("m.yaml", format!("a\n{}", "x".repeat(2 * LINE_SHOWN_MAX)));
        let item = Diagnostic::error("too long").at(Place { source, span: Span::new(7, 8) });
        assert_eq!(diagnostics(&item.into(), false), "error: too long\n--> m.yaml:2:6");
    }

    #[test]
    fn strange_spans_do_not_panic() {
        let source = Source::new("m.yaml", "ä\r\nö");
        for start in 0..8 {
            for end in 0..8 {
                let item = Diagnostic::error("x").at(Place { source: source.clone(), span: Span { start, end } });
                assert!(diagnostics(&item.into(), false).contains('x'));
            }
        }
    }
}
