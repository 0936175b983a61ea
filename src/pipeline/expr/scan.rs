//! Finds `${{ ... }}` in a text. Knows strings and brackets of expressions, nothing else of them.

/// What opens an expression.
pub(super) const OPEN: &str = "${{";
/// What closes it.
pub(super) const CLOSE: &str = "}}";

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text, with `$${{` already turned into `${{`.
    Literal(String),
    /// From the `$` to one past the last `}`.
    Code { start: usize, end: usize },
}

/// Why a text cannot be split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    /// Where the expression begins that is wrong.
    pub(super) start: usize,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// Splits a text into literals and expressions; neither is ever empty, and two literals never follow each other.
pub(super) fn split(text: &str) -> Result<Vec<Part>, ScanError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(OPEN) {
        let start = at + found;
        if text[at..start].ends_with('$') {
            literal.push_str(&text[at..start - 1]);
            literal.push_str(OPEN);
            at = start + OPEN.len();
            continue;
        }
        literal.push_str(&text[at..start]);
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        let end = find_end(text, start)?;
        parts.push(Part::Code { start, end });
        at = end;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// One past the `}}` that closes the expression opened at `start`: the first outside strings and brackets.
fn find_end(text: &str, start: usize) -> Result<usize, ScanError> {
    let bytes = text.as_bytes();
    let mut at = start + OPEN.len();
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => {
                let Some(end) = string_end(bytes, at) else {
                    return Err(ScanError {
                        start,
                        message: format!("a string in this expression is not closed with `{}`", char::from(*byte)),
                        help: "close the string before `}}`",
                    });
                };
                at = end;
                continue;
            }
            b'}' if depth == 0 && bytes.get(at + 1) == Some(&b'}') => return Ok(at + CLOSE.len()),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    let (message, help) = if text[start..].contains(CLOSE) {
        ("a bracket in this expression is not closed", "every `(`, `[` and `{` needs its counterpart before `}}`")
    } else {
        ("`${{` is not closed", "close it with `}}`, or write `$${{` for the characters themselves")
    };
    Err(ScanError { start, message: message.to_owned(), help })
}

/// One past the closing quote of the string that begins at `at`.
pub(super) fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let mut next = at + 1;
    loop {
        match *bytes.get(next)? {
            b'\\' => next += 2,
            byte if byte == quote => return Some(next + 1),
            _ => next += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        let show = |part| match part {
            Part::Literal(literal) => format!("={literal}"),
            Part::Code { start, end } => text[start..end].to_owned(),
        };
        split(text).expect("it can be split").into_iter().map(show).collect()
    }

    #[test]
    fn expressions_end_at_their_own_braces() {
        assert_eq!(parts("a${{ x }}b"), ["=a", "${{ x }}", "=b"]);
        assert_eq!(parts("${{ '}}' }}${{\"\\\"}}\"}}"), ["${{ '}}' }}", "${{\"\\\"}}\"}}"]);
        assert_eq!(parts("${{ {'a': {'b': 1}} }}"), ["${{ {'a': {'b': 1}} }}"]);
        assert_eq!(parts("${{{'a': {'b': 1}}}}"), ["${{{'a': {'b': 1}}}}"]);
        assert_eq!(parts("}} ${{ x }} }}"), ["=}} ", "${{ x }}", "= }}"]);
    }

    #[test]
    fn a_doubled_dollar_is_an_escape() {
        assert_eq!(parts("$${{ x }}"), ["=${{ x }}"]);
        assert_eq!(parts("a $${{ b $${{ ${{ c }}"), ["=a ${{ b ${{ ", "${{ c }}"]);
        assert_eq!(parts("$ $$ ${ {{ }}"), ["=$ $$ ${ {{ }}"]);
    }

    #[test]
    fn what_is_not_closed_is_named() {
        assert_eq!(split("ab ${{ x }").map_err(|error| (error.start, error.message)), Err((3, "`${{` is not closed".into())));
        assert!(split("${{ 'x }}").is_err_and(|error| error.message.contains("string")));
        assert!(split("${{ (1 }}").is_err_and(|error| error.message.contains("bracket")));
        assert!(split("${{ 'x\\").is_err());
        assert!(split("${{").is_err());
    }
}
