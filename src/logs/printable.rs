//! Text of modules on terminals (A-28): nothing in it may move the cursor, set a title, make a link or reorder what stands around it.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

/// The text without what acts on a terminal: escape sequences with their content, control characters other than the tab, line and
/// paragraph separators, and marks that change the direction of writing. Of a line that was overwritten by carriage returns (a
/// progress bar) the last state is kept, which is what a terminal would show.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut returned = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\u{1b}' => skip_escape(&text[at + 1..], at + 1, &mut characters),
            '\u{9b}' => skip_to(after_csi(&text[at + 2..]), at + 2, &mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_to(after_string(&text[at + 2..]), at + 2, &mut characters),
            '\r' => returned = true,
            _ if acts(c) => {}
            _ => {
                if std::mem::take(&mut returned) {
                    shown.clear();
                }
                shown.push(c);
            }
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does anything but stand there.
fn acts(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_control(),
    }
}

/// Passes over an escape sequence; `rest` stands behind the escape character.
fn skip_escape(rest: &str, at: usize, characters: &mut Peekable<CharIndices<'_>>) {
    let length = match rest.as_bytes().first() {
        Some(b'[') => 1 + after_csi(&rest[1..]),
        Some(b']' | b'P' | b'X' | b'^' | b'_') => 1 + after_string(&rest[1..]),
        // Intermediate bytes, then a final one.
        Some(b' '..=b'/') => {
            let middle = rest.bytes().take_while(|byte| (b' '..=b'/').contains(byte)).count();
            middle + usize::from(rest.as_bytes().get(middle).is_some_and(|byte| (b'0'..=b'~').contains(byte)))
        }
        Some(b'0'..=b'~') => 1,
        Some(_) | None => 0,
    };
    skip_to(length, at, characters);
}

fn skip_to(length: usize, at: usize, characters: &mut Peekable<CharIndices<'_>>) {
    while characters.next_if(|(position, _)| *position < at + length).is_some() {}
}

/// Length of the parameters and the final byte of a control sequence.
fn after_csi(rest: &str) -> usize {
    let parameters = rest.bytes().take_while(|byte| (b' '..=b'?').contains(byte)).count();
    parameters + usize::from(rest.as_bytes().get(parameters).is_some_and(|byte| (b'@'..=b'~').contains(byte)))
}

/// Length of a string with its end (BEL, or ST in either form). A string that does not end would swallow the line: then only its
/// introducer goes, and its text is shown.
fn after_string(rest: &str) -> usize {
    let ends = [("\u{7}", 1), ("\u{1b}\\", 2), ("\u{9c}", 2)];
    ends.iter().filter_map(|(end, length)| rest.find(end).map(|at| at + length)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a28_what_acts_on_a_terminal_is_gone() {
        for (text, shown) in [
            ("plain\ttext ž 日本 👩‍🔬", "plain\ttext ž 日本 👩‍🔬"),
            ("\u{1b}[31mred\u{1b}[0m \u{1b}[2J\u{1b}[10;20Hx", "red x"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;javascript:x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "alink"),
            ("\u{9b}31mred\u{9d}0;t\u{9c}x", "redx"),
            ("\u{1b}]0;without an end", "0;without an end"),
            ("\u{1b}Pdevice\u{1b}\\\u{1b}(Bx\u{1b}cy\u{1b}", "xy"),
            ("user\u{202e}txt.exe\u{2066}\u{200f}\u{61c}", "usertxt.exe"),
            ("a\0b\u{8}c\u{7f}d\u{2028}e", "abcde"),
            (" 10%\r 20%\r100%\r", "100%"),
            ("<script>", "<script>"),
            ("\u{1b}[31é", "é"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_ever_left(text in "(\\PC|[\\x00-\\x1f]|\u{1b}[\\[\\]P( ][0-9;m\\x07]*|\u{202e}|\u{9b}|\u{9d})*") {
            let shown = printable(&text).into_owned();
            prop_assert!(!shown.chars().any(acts), "{shown:?}");
            prop_assert_eq!(printable(&shown), shown.as_str());
        }
    }
}
