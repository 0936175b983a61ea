//! Reads Rust source just far enough: which paths a file uses, where, and which of its lines are test code.

use std::collections::BTreeSet;

/// A file of the crate.
pub(crate) struct SourceFile {
    /// Relative to `src`, with slashes.
    pub(crate) path: String,
    /// Its module path: `journal/write.rs` is `[journal, write]`.
    pub(crate) module: Vec<String>,
    /// Paths that it uses outside test code.
    pub(crate) uses: Vec<Use>,
    /// Calls that reach the outside world without a path that says so: line and call.
    pub(crate) impure_calls: Vec<(usize, String)>,
    /// Lines that are no test code.
    pub(crate) lines: usize,
    test: bool,
}

impl SourceFile {
    /// Whether all of it is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.test
    }
}

/// A path as written, groups and `super` spelled out.
pub(crate) struct Use {
    /// From 1.
    pub(crate) line: usize,
    /// Begins with `crate` or the name of another crate.
    pub(crate) path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Methods of `Path` that ask the disk.
const DISK_METHODS: [&str; 9] =
    ["canonicalize", "exists", "is_dir", "is_file", "metadata", "read_dir", "read_link", "symlink_metadata", "try_exists"];

/// Macros that write to the terminal.
const PRINTING_MACROS: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// Reads `(path, text)` of every file.
pub(crate) fn parse(files: &[(String, String)]) -> Vec<SourceFile> {
    let mut test_modules = BTreeSet::new();
    let mut parsed: Vec<SourceFile> = files.iter().map(|(path, text)| parse_file(path, text, &mut test_modules)).collect();
    for file in &mut parsed {
        file.test |= (1..=file.module.len()).any(|length| test_modules.contains(&file.module[..length]));
    }
    parsed
}

fn parse_file(path: &str, text: &str, test_modules: &mut BTreeSet<Vec<String>>) -> SourceFile {
    let module = module_path(path);
    let tokens = tokens(&blanked(text));
    let test = starts_with(&tokens, &["#", "!", "[", "cfg", "(", "test", ")", "]"]);
    let (kept, test_lines) = without_test_items(&tokens, &module, test_modules);
    SourceFile {
        path: path.to_owned(),
        uses: uses(&kept, &module),
        impure_calls: impure_calls(&kept),
        lines: text.lines().count() - test_lines,
        module,
        test,
    }
}

fn module_path(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').map(str::to_owned).collect()
}

fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// The text with comments, strings and characters replaced by spaces, line breaks kept.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where a comment or literal that begins here ends; `at` itself if none begins here.
fn literal_or_comment_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next == Some('/') => chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        'r' | 'b' | 'c' if !after_word => prefixed_end(chars, at),
        '\'' => character_end(chars, at),
        _ => at,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"..."`, `r#"..."#`, `b"..."`, `br#"..."#`, `b'x'`, `c"..."`; the start itself for a word that merely begins so.
fn prefixed_end(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() && at < start + 2 && matches!(chars[at], 'r' | 'b' | 'c') {
        at += 1;
    }
    let raw = chars[start..at].contains(&'r');
    let hashes = if raw { chars[at..].iter().take_while(|c| **c == '#').count() } else { 0 };
    match chars.get(at + hashes) {
        Some('"') if raw => raw_end(chars, at + hashes + 1, hashes),
        Some('"') => string_end(chars, at),
        Some('\'') if !raw && at == start + 1 && chars[start] == 'b' => character_end(chars, at),
        _ => start,
    }
}

fn raw_end(chars: &[char], content: usize, hashes: usize) -> usize {
    let closes = |at: usize| chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (content..chars.len()).find(|at| closes(*at)).map_or(chars.len(), |at| at + 1 + hashes)
}

/// A character literal; a lifetime is none and is kept.
fn character_end(chars: &[char], quote: usize) -> usize {
    match (chars.get(quote + 1), chars.get(quote + 2)) {
        (Some('\\'), _) => chars[quote + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |length| quote + 4 + length),
        (Some(_), Some('\'')) => quote + 3,
        _ => quote,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::`, and every other sign by itself.
fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push(Token { text: rest[..length].to_owned(), line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// The tokens outside `#[cfg(test)]` items, and the number of lines inside them. Notes the names of test modules in other files.
fn without_test_items(tokens: &[Token], module: &[String], test_modules: &mut BTreeSet<Vec<String>>) -> (Vec<Token>, usize) {
    let (mut kept, mut lines, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            let end = item_end(tokens, at);
            lines += tokens[end - 1].line - tokens[at].line + 1;
            if let Some(name) = module_declared(&tokens[at..end]) {
                test_modules.insert(module.iter().cloned().chain([name]).collect());
            }
            at = end;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    (kept, lines)
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")", "]"]) || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test", ","])
}

/// One past the item whose first attribute stands at `start`: a `;` or `}` outside all brackets ends it.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let (mut depth, mut in_attribute, mut is_use) = (0_usize, false, false);
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "#" if depth == 0 => in_attribute = true,
            "use" if depth == 0 => is_use = true,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" && !in_attribute && !is_use {
                    return at + 1;
                }
                in_attribute &= depth > 0;
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// `NAME` of `mod NAME;`.
fn module_declared(item: &[Token]) -> Option<String> {
    let [.., keyword, name, end] = item else { return None };
    (keyword.text == "mod" && end.text == ";").then(|| name.text.clone())
}

/// All paths: those of `use` items, and in expressions and types those with a `::`. Each once for a line.
fn uses(tokens: &[Token], module: &[String]) -> Vec<Use> {
    let mut found: Vec<Use> = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new(); // modules in this file that are open here, with their depth
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(token) = tokens.get(at) {
        let mut paths = Vec::new();
        match token.text.as_str() {
            "{" => {
                depth += 1;
                inline.extend(module_opened(&tokens[..at]).map(|name| (depth, name)));
                at += 1;
            }
            "}" => {
                inline.retain(|(opened, _)| *opened < depth);
                depth = depth.saturating_sub(1);
                at += 1;
            }
            "use" => at = collect(tokens, at + 1, &[], &mut paths),
            _ if begins_path(tokens, at) => at = collect(tokens, at, &[], &mut paths),
            _ => at += 1,
        }
        let here: Vec<String> = module.iter().chain(inline.iter().map(|(_, name)| name)).cloned().collect();
        found.extend(paths.into_iter().filter_map(|used| resolved(used, &here)));
    }
    found
}

/// `NAME` of `mod NAME {`, whose brace comes next.
fn module_opened(before: &[Token]) -> Option<String> {
    let [.., keyword, name] = before else { return None };
    (keyword.text == "mod").then(|| name.text.clone())
}

fn begins_path(tokens: &[Token], at: usize) -> bool {
    let is_name = |token: &Token| token.text.chars().all(is_word);
    let follows = tokens.get(at + 1).is_some_and(|next| next.text == "::");
    let continues = at > 1 && tokens[at - 1].text == "::" && is_name(&tokens[at - 2]);
    is_name(&tokens[at]) && follows && !continues
}

/// Follows one path; returns where it ends.
fn collect(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<Use>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = start;
    let mut line = tokens.get(at).map_or(1, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" if at == start || tokens[at - 1].text == "::" => return collect_group(tokens, at + 1, &path, found),
            word if word == "*" || word.chars().all(is_word) => {
                line = token.line;
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                at += 1;
                if tokens.get(at).is_none_or(|next| next.text != "::") {
                    break;
                }
            }
            _ => break,
        }
    }
    found.push(Use { line, path });
    at
}

/// Follows the alternatives of a group whose brace is open; returns where the group ends.
fn collect_group(tokens: &[Token], start: usize, prefix: &[String], found: &mut Vec<Use>) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            "as" => at += 2,
            _ => at = collect(tokens, at, prefix, found).max(at + 1),
        }
    }
    at
}

/// With `crate` in front instead of `super`, `self` or the crate's own name.
fn resolved(used: Use, here: &[String]) -> Option<Use> {
    let supers = used.path.iter().take_while(|segment| *segment == "super").count();
    let path = match used.path.first().map(String::as_str) {
        Some("crate" | "prismq") => used.path[1..].to_vec(),
        Some("super") => here[..here.len().saturating_sub(supers)].iter().chain(&used.path[supers..]).cloned().collect(),
        Some("self") => return None,
        _ => return Some(used),
    };
    if path.is_empty() {
        return None;
    }
    Some(Use { line: used.line, path: ["crate".to_owned()].into_iter().chain(path).collect() })
}

fn impure_calls(tokens: &[Token]) -> Vec<(usize, String)> {
    tokens
        .windows(3)
        .filter_map(|window| {
            let [before, word, after] = window else { return None };
            let call = match (before.text.as_str(), word.text.as_str(), after.text.as_str()) {
                (".", method, "(") if DISK_METHODS.contains(&method) => format!(".{method}()"),
                ("::", "now", "(") => "now()".to_owned(),
                (_, name, "!") if PRINTING_MACROS.contains(&name) => format!("{name}!"),
                _ => return None,
            };
            Some((word.line, call))
        })
        .collect()
}
