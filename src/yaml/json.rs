//! JSON: one pass over the bytes, strict (RFC 8259), without recursion, with the place of every value.

use crate::diagnostics::{Diagnostic, Span};
use crate::tree::{Kind, ScalarText, check_number};

use super::BYTE_ORDER_MARK;
use super::assemble::{Assembler, Stop};

/// Reads JSON into `assembler`. An empty text has a null root, as in YAML.
pub(super) fn read(text: &str, assembler: &mut Assembler) -> Result<(), Stop> {
    let at = text.len() - text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).len();
    let mut reader = Reader { text, bytes: text.as_bytes(), at, assembler };
    reader.skip_space();
    if reader.peek().is_none() {
        return Ok(());
    }
    reader.document()
}

struct Reader<'t, 'a> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    assembler: &'a mut Assembler,
}

impl Reader<'_, '_> {
    fn document(&mut self) -> Result<(), Stop> {
        loop {
            if self.value()? {
                continue; // A list or map was opened and has something in it.
            }
            if self.close_finished()? {
                break;
            }
        }
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.refuse("something stands behind the end of the document")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a scalar, or opens a list or map. Whether a value inside it has to be read next.
    fn value(&mut self) -> Result<bool, Stop> {
        self.skip_space();
        let start = self.at;
        match self.peek() {
            Some(b'{') => {
                self.assembler.open(Kind::Map, start)?;
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(b'}') {
                    return self.close();
                }
                self.key()?;
                Ok(true)
            }
            Some(b'[') => {
                self.assembler.open(Kind::List, start)?;
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(b']') { self.close() } else { Ok(true) }
            }
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.word("true", Kind::Bool),
            Some(b'f') => self.word("false", Kind::Bool),
            Some(b'n') => self.word("null", Kind::Null),
            Some(_) | None => Err(self.refuse_value()),
        }
    }

    fn close(&mut self) -> Result<bool, Stop> {
        self.at += 1;
        self.assembler.close(self.at);
        Ok(false)
    }

    /// Behind a value: closes what ends here, or goes on to the next item or key. Whether the whole document has ended.
    fn close_finished(&mut self) -> Result<bool, Stop> {
        while let Some(in_map) = self.assembler.in_map() {
            self.skip_space();
            match (self.peek(), in_map) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.close()?;
                }
                (Some(b','), _) => {
                    self.at += 1;
                    self.skip_space();
                    if let Some(b'}' | b']') = self.peek() {
                        return Err(self.refuse_with("a comma stands before the closing bracket", "remove the comma"));
                    }
                    if in_map {
                        self.key()?;
                    }
                    return Ok(false);
                }
                (_, true) => return Err(self.refuse("`,` or `}` was expected")),
                (_, false) => return Err(self.refuse("`,` or `]` was expected")),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Result<(), Stop> {
        if self.peek() != Some(b'"') {
            return Err(self.refuse_with("a key in double quotes was expected", "JSON wants `\"key\": value`"));
        }
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.refuse("`:` was expected after the key"));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<bool, Stop> {
        let (start, end) = (self.at, self.at + word.len());
        let follows = self.bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if follows || self.bytes.get(start..end) != Some(word.as_bytes()) {
            return Err(self.refuse_value());
        }
        self.at = end;
        self.assembler.scalar(kind, Span::new(start, end), ScalarText::InSource { start, end })?;
        Ok(false)
    }

    fn number(&mut self) -> Result<(), Stop> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.peek();
        let whole = self.digits();
        let mut fits = whole == 1 || (whole > 1 && first != Some(b'0'));
        if self.peek() == Some(b'.') {
            self.at += 1;
            fits &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            fits &= self.digits() > 0;
        }
        let (end, text) = (self.at, &self.text[start..self.at]);
        if !fits {
            let refusal = Diagnostic::error(format!("`{text}` is not a number of JSON")).at(self.assembler.place(start, end));
            return Err(self.assembler.fatal(refusal.with_help("no leading zeros, and digits on both sides of the point")));
        }
        if let Err(reason) = check_number(text) {
            let refusal = Diagnostic::error(reason).at(self.assembler.place(start, end));
            self.assembler.mistake(refusal.with_help(format!("write it as a text: \"{text}\"")))?;
        }
        self.assembler.scalar(Kind::Number, Span::new(start, end), ScalarText::InSource { start, end })
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn string(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let plain_end = self.plain_part(start + 1);
        let text = if self.bytes.get(plain_end) == Some(&b'"') {
            self.at = plain_end + 1;
            ScalarText::InSource { start: start + 1, end: plain_end }
        } else {
            ScalarText::Owned(self.escaped(start, plain_end)?.into())
        };
        self.assembler.scalar(Kind::String, Span::new(start, self.at), text)
    }

    /// The first byte from `at` on that a string cannot hold as it is.
    fn plain_part(&self, at: usize) -> usize {
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        self.bytes[at..].iter().position(special).map_or(self.bytes.len(), |length| at + length)
    }

    /// A string with escapes, from the quote at `start`; nothing special stands before `at`.
    fn escaped(&mut self, start: usize, mut at: usize) -> Result<String, Stop> {
        let mut text = self.text[start + 1..at].to_owned();
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at = at;
                    text.push(self.escape()?);
                    at = self.plain_part(self.at);
                    text.push_str(&self.text[self.at..at]);
                }
                Some(byte) => {
                    self.at = at;
                    let help = "write it as an escape: `\\n` for a new line, `\\t` for a tab";
                    return Err(self.refuse_with(&format!("the control character {:?} stands in a text", char::from(*byte)), help));
                }
                None => {
                    let refusal = Diagnostic::error("a text does not end").at(self.assembler.place(start, start + 1));
                    return Err(self.assembler.fatal(refusal.with_help("is the file complete?")));
                }
            }
        }
    }

    /// The character of the escape at the backslash, past which it moves.
    fn escape(&mut self) -> Result<char, Stop> {
        let letter = self.bytes.get(self.at + 1).copied();
        let plain = match letter {
            Some(b'u') => return self.unicode_escape(),
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(_) | None => return Err(self.refuse_with("this escape is not one of JSON", "a backslash itself is written `\\\\`")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Stop> {
        let unit = self.code_unit(self.at);
        let (code, length) = match unit {
            Some(high @ 0xd800..0xdc00) => match self.code_unit(self.at + 6) {
                Some(low @ 0xdc00..0xe000) => (Some(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12),
                Some(_) | None => (None, 6),
            },
            other => (other, 6),
        };
        let Some(found) = code.and_then(char::from_u32) else {
            let reason = if unit.is_some() {
                "half of a surrogate pair is no character"
            } else {
                "four hexadecimal digits were expected after `\\u`"
            };
            return Err(self.refuse(reason));
        };
        self.at += length;
        Ok(found)
    }

    /// The four digits of `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
    }

    fn refuse_value(&mut self) -> Stop {
        let rest = &self.text[self.at..];
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').take(20).collect();
        match rest.chars().next() {
            None => self.refuse("a value was expected, and the text breaks off"),
            Some('\'') => self.refuse_with("a value was expected", "JSON wants double quotes"),
            Some('/') | Some('#') => self.refuse_with("a value was expected", "JSON has no comments"),
            Some(_) if matches!(word.as_str(), "NaN" | "Infinity") => {
                self.refuse_with(&format!("`{word}` is not a value of JSON"), "leave it out, or write null")
            }
            Some(_) if word.is_empty() => self.refuse("a value was expected"),
            Some(_) => self.refuse_with(&format!("`{word}` is not a value of JSON"), "a text stands in double quotes"),
        }
    }

    fn refuse(&mut self, reason: &str) -> Stop {
        let refusal = self.refusal(reason);
        self.assembler.fatal(refusal)
    }

    fn refuse_with(&mut self, reason: &str, help: &str) -> Stop {
        let refusal = self.refusal(reason).with_help(help);
        self.assembler.fatal(refusal)
    }

    /// A refusal at the current place; where the text breaks off it also shows what is still open.
    fn refusal(&self, reason: &str) -> Diagnostic {
        let end = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        let refusal = Diagnostic::error(format!("this is not valid JSON: {reason}")).at(self.assembler.place(self.at, end));
        match self.assembler.open_start() {
            Some(start) if end == self.at => {
                let help = "the text breaks off here: is the file complete?";
                refusal.with_related("opened here", self.assembler.place(start, start + 1)).with_help(help)
            }
            Some(_) | None => refusal,
        }
    }
}
