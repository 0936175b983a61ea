//! JSON of one level: an object of texts, whole numbers, booleans, nulls and lists of texts or numbers.
//!
//! All that the attempt folder's files need, so that the wrapper carries no JSON library. Stricter than JSON where it can be: no
//! fractions, no key twice, no deeper nesting. Any bytes may come in; what is not understood is an error and never a panic. Keys that a
//! reader does not ask for are skipped, so that later versions can add some.
//!
//! Texts of the system (paths, arguments) need not be Unicode. Such a text is written as U+0000 followed by the hexadecimal digits of
//! its bytes (on Windows of its 16-bit units): no text of the system holds U+0000 by itself, and one from elsewhere is written so too.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io;

/// Most keys of an object. Ours have some twenty; a bound keeps the search for a key cheap, whatever comes in.
const KEYS_MAX: usize = 64;

/// What an object is written with.
#[derive(Debug)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn new() -> Self {
        Self(String::with_capacity(512))
    }

    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        push_text(&mut self.0, key);
        self.0.push(':');
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        push_text(&mut self.0, value);
    }

    pub(super) fn optional_text(&mut self, key: &str, value: Option<&str>) {
        self.key(key);
        match value {
            Some(value) => push_text(&mut self.0, value),
            None => self.0.push_str("null"),
        }
    }

    pub(super) fn system(&mut self, key: &str, value: &OsStr) {
        self.text(key, &from_system(value));
    }

    pub(super) fn number(&mut self, key: &str, value: impl Into<i128>) {
        self.optional_number(key, Some(value));
    }

    pub(super) fn optional_number(&mut self, key: &str, value: Option<impl Into<i128>>) {
        self.key(key);
        match value {
            Some(value) => push_number(&mut self.0, value.into()),
            None => self.0.push_str("null"),
        }
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.0.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn texts<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) {
        self.list(key, values, push_text);
    }

    pub(super) fn systems(&mut self, key: &str, values: &[OsString]) {
        self.list(key, values, |text, value| push_text(text, &from_system(value)));
    }

    pub(super) fn numbers(&mut self, key: &str, values: &[u32]) {
        self.list(key, values, |text, value| push_number(text, i128::from(*value)));
    }

    fn list<T>(&mut self, key: &str, values: impl IntoIterator<Item = T>, push: impl Fn(&mut String, T)) {
        self.key(key);
        self.0.push('[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            push(&mut self.0, value);
        }
        self.0.push(']');
    }

    /// The object, one line with its end.
    pub(super) fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push_str("}\n");
        self.0
    }
}

fn push_number(text: &mut String, number: i128) {
    text.push_str(&number.to_string());
}

fn push_text(text: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    text.push('"');
    let mut rest = value;
    // All that is escaped is one byte long, and no byte of a longer character looks like it.
    while let Some(plain) = rest.bytes().position(is_escaped) {
        let byte = rest.as_bytes()[plain];
        text.push_str(&rest[..plain]);
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            _ => {
                text.push_str("\\u00");
                text.push(HEX[usize::from(byte >> 4)].into());
                text.push(HEX[usize::from(byte & 15)].into());
            }
        }
        rest = &rest[plain + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

/// What ends a run of plain characters in a text.
fn is_escaped(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < b' '
}

/// A value. Texts without escapes, which are most of them, are not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value<'t> {
    Null,
    Flag(bool),
    Number(i128),
    Text(Cow<'t, str>),
    List(Vec<Value<'t>>),
}

/// An object that was read out of a text.
#[derive(Debug)]
pub(super) struct Object<'t>(Vec<(Cow<'t, str>, Value<'t>)>);

impl<'t> Object<'t> {
    /// Reads an object; nothing but white space may follow it.
    pub(super) fn parse(text: &'t str) -> io::Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let fields = reader.object().ok_or_else(|| invalid(&format!("no flat JSON object, at byte {}", reader.at)))?;
        Ok(Self(fields))
    }

    /// A key's value; null and absence are the same.
    fn get(&self, key: &str) -> Option<&Value<'t>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value).filter(|value| **value != Value::Null)
    }

    fn convert<'a, T>(&'a self, key: &str, convert: impl Fn(&'a Value<'t>) -> Option<T>) -> io::Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| invalid(&format!("`{key}` holds something unexpected")))
    }

    pub(super) fn optional_text(&self, key: &str) -> io::Result<Option<&str>> {
        self.convert(key, as_text)
    }

    pub(super) fn text(&self, key: &str) -> io::Result<&str> {
        needed(key, self.optional_text(key)?)
    }

    pub(super) fn optional_system(&self, key: &str) -> io::Result<Option<OsString>> {
        self.convert(key, |value| to_system(as_text(value)?))
    }

    pub(super) fn system(&self, key: &str) -> io::Result<OsString> {
        needed(key, self.optional_system(key)?)
    }

    pub(super) fn optional_number<T: TryFrom<i128>>(&self, key: &str) -> io::Result<Option<T>> {
        self.convert(key, as_number)
    }

    pub(super) fn number<T: TryFrom<i128>>(&self, key: &str) -> io::Result<T> {
        needed(key, self.optional_number(key)?)
    }

    /// A boolean; absence is `false`.
    pub(super) fn flag(&self, key: &str) -> io::Result<bool> {
        let flag = |value: &Value<'_>| if let Value::Flag(flag) = value { Some(*flag) } else { None };
        Ok(self.convert(key, flag)?.unwrap_or(false))
    }

    /// A list of texts; absence is an empty one.
    pub(super) fn texts(&self, key: &str) -> io::Result<Vec<String>> {
        self.list(key, |value| as_text(value).map(str::to_owned))
    }

    /// The same for texts of the system.
    pub(super) fn systems(&self, key: &str) -> io::Result<Vec<OsString>> {
        self.list(key, |value| to_system(as_text(value)?))
    }

    /// The same for numbers.
    pub(super) fn numbers(&self, key: &str) -> io::Result<Vec<u32>> {
        self.list(key, as_number)
    }

    fn list<T>(&self, key: &str, convert: impl Fn(&Value<'_>) -> Option<T>) -> io::Result<Vec<T>> {
        let all = |value: &Value<'_>| if let Value::List(values) = value { values.iter().map(&convert).collect() } else { None };
        Ok(self.convert(key, all)?.unwrap_or_default())
    }
}

fn as_text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn as_number<T: TryFrom<i128>>(value: &Value<'_>) -> Option<T> {
    if let Value::Number(number) = value { T::try_from(*number).ok() } else { None }
}

fn needed<T>(key: &str, value: Option<T>) -> io::Result<T> {
    value.ok_or_else(|| invalid(&format!("`{key}` is missing")))
}

/// What is wrong with a file's content.
pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads text from its beginning. Everything gives `None` where something else stands than expected, `at` being the place.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn object(&mut self) -> Option<Vec<(Cow<'t, str>, Value<'t>)>> {
        let mut fields: Vec<(Cow<'t, str>, Value<'t>)> = Vec::with_capacity(24);
        self.take(b'{')?;
        if self.take(b'}').is_none() {
            loop {
                self.skip_space();
                let key = self.string()?;
                if fields.len() == KEYS_MAX || fields.iter().any(|(name, _)| *name == key) {
                    return None;
                }
                self.take(b':')?;
                let value = self.value()?;
                fields.push((key, value));
                if self.take(b',').is_none() {
                    self.take(b'}')?;
                    break;
                }
            }
        }
        self.skip_space();
        (self.at == self.text.len()).then_some(fields)
    }

    fn value(&mut self) -> Option<Value<'t>> {
        if self.take(b'[').is_none() {
            return self.scalar();
        }
        let mut values = Vec::new();
        if self.take(b']').is_none() {
            loop {
                values.push(self.scalar()?);
                if self.take(b',').is_none() {
                    self.take(b']')?;
                    break;
                }
            }
        }
        Some(Value::List(values))
    }

    fn scalar(&mut self) -> Option<Value<'t>> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b't' => self.word("true", Value::Flag(true)),
            b'f' => self.word("false", Value::Flag(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Value<'t>> {
        let rest = &self.text[self.at..];
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        let end = rest.len() - digits.len() + count;
        if count > 1 && digits.starts_with('0') {
            return None;
        }
        // A fraction or an exponent stands where a comma or an end is expected, and is refused there.
        let number = rest[..end].parse().ok()?;
        self.at += end;
        Some(Value::Number(number))
    }

    fn string(&mut self) -> Option<Cow<'t, str>> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(is_escaped)?;
            // Into an empty one this is no copy.
            text += &rest[..plain];
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Some(text),
                b'\\' => text.to_mut().push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.at += 1;
        Some(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\x08',
            b'f' => '\x0c',
            b'u' => {
                let high = self.hex4()?;
                let low = if (0xd800..0xdc00).contains(&high) {
                    if !self.text[self.at..].starts_with("\\u") {
                        return None;
                    }
                    self.at += 2;
                    Some(self.hex4()?)
                } else {
                    None
                };
                char::decode_utf16([high].into_iter().chain(low)).next()?.ok()?
            }
            _ => return None,
        })
    }

    fn hex4(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        hex_u16(digits)
    }

    fn word(&mut self, word: &str, value: Value<'t>) -> Option<Value<'t>> {
        if !self.text[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(value)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.skip_space();
        if self.peek()? != wanted {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }
}

fn hex_u16(digits: &str) -> Option<u16> {
    // `from_str_radix` takes a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// A text of the system as text. Only one that is no Unicode (or holds U+0000 first) looks odd.
fn from_system(value: &OsStr) -> Cow<'_, str> {
    match value.to_str() {
        Some(text) if !text.starts_with('\0') => text.into(),
        Some(_) | None => {
            let mut text = String::from('\0');
            for unit in system::units(value) {
                text.push_str(&system::hex(unit));
            }
            text.into()
        }
    }
}

/// The reverse.
fn to_system(text: &str) -> Option<OsString> {
    let Some(hex) = text.strip_prefix('\0') else { return Some(text.into()) };
    if !hex.is_ascii() || hex.len() % system::DIGITS != 0 {
        return None;
    }
    let unit = |at| hex_u16(&hex[at..at + system::DIGITS]);
    let units: Option<Vec<u16>> = (0..hex.len()).step_by(system::DIGITS).map(unit).collect();
    Some(system::text(units?))
}

#[cfg(not(windows))]
mod system {
    use std::ffi::{OsStr, OsString};

    pub(super) const DIGITS: usize = 2;

    pub(super) fn units(value: &OsStr) -> impl Iterator<Item = u8> {
        value.as_encoded_bytes().iter().copied()
    }

    pub(super) fn hex(unit: u8) -> String {
        format!("{unit:02x}")
    }

    pub(super) fn text(units: Vec<u16>) -> OsString {
        use std::os::unix::ffi::OsStringExt;
        // Two digits are at most 255.
        OsString::from_vec(units.into_iter().map(|unit| unit.to_le_bytes()[0]).collect())
    }
}

#[cfg(windows)]
mod system {
    use std::ffi::{OsStr, OsString};
    use std::os::windows::ffi::{OsStrExt, OsStringExt};

    pub(super) const DIGITS: usize = 4;

    pub(super) fn units(value: &OsStr) -> impl Iterator<Item = u16> {
        value.encode_wide()
    }

    pub(super) fn hex(unit: u16) -> String {
        format!("{unit:04x}")
    }

    pub(super) fn text(units: Vec<u16>) -> OsString {
        OsString::from_wide(&units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &OsStr) -> String {
        let mut writer = Writer::new();
        writer.system("k", value);
        writer.finish()
    }

    #[test]
    fn what_json_allows_is_read() {
        let object =
            Object::parse(" {\"a\" : [ \"x\" , \"\\u00e4\\ud83d\\ude00\\/\\n\" ],\t\"b\":-17,\"c\":true , \"d\":null,\"e\":[]}\r\n")
                .unwrap();
        assert_eq!(object.texts("a").unwrap(), ["x", "ä😀/\n"]);
        assert_eq!(object.number::<i64>("b").unwrap(), -17);
        assert!(object.flag("c").unwrap() && !object.flag("absent").unwrap());
        assert_eq!((object.optional_text("d").unwrap(), object.optional_number::<u64>("absent").unwrap()), (None, None));
        assert!(object.numbers("e").unwrap().is_empty());
        assert!(Object::parse("{}").unwrap().text("a").is_err());
    }

    #[test]
    fn what_is_no_flat_json_is_refused() {
        let bad = [
            "",
            "{",
            "{}x",
            "[]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1.5}",
            "{\"a\":1e3}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":{}}",
            "{\"a\":[[]]}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\u+123\"}",
            "{\"a\":1,\"a\":2}",
            "{a:1}",
            "{\"a\":\"",
            "{\"a\":\"\\u12",
            "{\"a\":nul}",
            "{\"a\":1}}",
            "{\"a\":999999999999999999999999999999999999999999}",
        ];
        for text in bad {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        let many: Vec<String> = (0..1000).map(|at| format!("\"k{at}\":1")).collect();
        assert!(Object::parse(&format!("{{{}}}", many.join(","))).is_err());
    }

    #[test]
    fn a_value_of_another_kind_is_an_error_and_names_its_key() {
        let object = Object::parse("{\"a\":1,\"b\":\"x\",\"c\":[1,\"x\"],\"d\":-1,\"e\":\"\\u0000zz\"}").unwrap();
        let errors = [
            object.text("a").map(drop),
            object.number::<u64>("b").map(drop),
            object.texts("c").map(drop),
            object.number::<u64>("d").map(drop),
            object.system("e").map(drop),
            object.flag("a").map(drop),
        ];
        for (error, key) in errors.into_iter().zip(["a", "b", "c", "d", "e", "a"]) {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_unicode_is_written_in_digits() {
        use std::os::unix::ffi::OsStringExt;
        assert_eq!(written(&OsString::from_vec(vec![0xff, b'a'])), "{\"k\":\"\\u0000ff61\"}\n");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>(), numbers in any::<Vec<u32>>(), number in any::<i128>(), flag in any::<bool>()) {
            let mut writer = Writer::new();
            writer.text("text", &text);
            writer.numbers("numbers", &numbers);
            writer.number("number", number);
            writer.flag("flag", flag);
            writer.texts("texts", [text.as_str(), ""]);
            let line = writer.finish();
            let object = Object::parse(&line).unwrap();
            prop_assert_eq!(object.text("text").unwrap(), &text);
            prop_assert_eq!(object.numbers("numbers").unwrap(), numbers);
            prop_assert_eq!(object.number::<i128>("number").unwrap(), number);
            prop_assert_eq!(object.flag("flag").unwrap(), flag);
            prop_assert_eq!(object.texts("texts").unwrap(), [text.as_str(), ""]);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["text"].as_str(), Some(text.as_str()), "it is JSON for everybody else too");
        }

        #[cfg(unix)]
        #[test]
        fn any_bytes_of_the_system_come_back(bytes in any::<Vec<u8>>()) {
            use std::os::unix::ffi::OsStringExt;
            let value = OsString::from_vec(bytes);
            prop_assert_eq!(Object::parse(&written(&value)).unwrap().system("k").unwrap(), value);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in "[\\PC\\\\\"{}\\[\\]:,0-9\\-utrfn]{0,60}") {
            drop(Object::parse(&text));
            drop(Object::parse(&format!("{{\"k\":{text}")));
            drop(Object::parse(&format!("{{\"k\":\"{text}\"}}")));
        }

        #[test]
        fn no_cut_of_an_object_is_an_object(text in any::<String>(), share in 0.0..1.0_f64) {
            let line = written(OsStr::new(&text));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short text")]
            let mut cut = (line.len() as f64 * share) as usize;
            while !line.is_char_boundary(cut) { cut -= 1; }
            if cut < line.trim_end().len() {
                prop_assert!(Object::parse(&line[..cut]).is_err());
            }
        }
    }
}
