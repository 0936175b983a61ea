//! Patterns over paths of the workspace: `*` and `?` inside a name, `**` for any number of folders.

/// A pattern such as `pipelines/**/*.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// Why the text is none, as a fragment for a message.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("a pattern cannot be empty".into());
        }
        if text.contains('\\') || text.contains('\0') {
            return Err(format!("{text:?} is no pattern: folders are separated by `/`"));
        }
        if text.starts_with('/') || text.contains(':') {
            return Err(format!("the pattern `{text}` is absolute"));
        }
        for part in text.split('/') {
            if part.is_empty() || part == "." || part == ".." {
                return Err(format!("the pattern `{text}` holds the part {part:?}"));
            }
            if part.contains("**") && part != "**" {
                return Err(format!("in the pattern `{text}` the `**` does not stand alone between `/`"));
            }
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folder in which everything that matches lies, relative to the workspace; empty for the workspace itself.
    #[must_use]
    pub fn base(&self) -> &str {
        let wild = self.text.find(['*', '?']).unwrap_or(self.text.len());
        self.text[..wild].rfind('/').map_or("", |end| &self.text[..end])
    }

    /// How many folders below its [`base`](Self::base) a match can lie; none: any number.
    #[must_use]
    pub fn depth(&self) -> Option<usize> {
        let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).count();
        (!self.text.contains("**")).then(|| parts(&self.text) - parts(self.base()) - 1)
    }

    /// Whether a path, relative to the workspace and with `/` between its parts, matches. Hidden files and folders have to be named.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let pattern: Vec<&str> = self.text.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        matches_with(&pattern, &path, "**", &|part| !part.starts_with('.'), &|pattern, name| matches_name(pattern, name))
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    matches_with(&pattern, &name, '*', &|_| true, &|pattern, c| pattern == '?' || pattern == c)
}

/// Wildcard matching in steps of `T`: `star` stands for any number of steps that `may_skip`. Goes back to the last star only, so that its
/// cost is the product of the two lengths at most.
fn matches_with<T: Copy + PartialEq>(
    pattern: &[T],
    text: &[T],
    star: T,
    may_skip: &dyn Fn(T) -> bool,
    is_match: &dyn Fn(T, T) -> bool,
) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&star) {
            last_star = Some((at_pattern, at_text));
            at_pattern += 1;
        } else if pattern.get(at_pattern).is_some_and(|part| is_match(*part, text[at_text])) {
            at_pattern += 1;
            at_text += 1;
        } else if let Some((star_at, skipped)) = last_star.filter(|(_, skipped)| may_skip(text[*skipped])) {
            last_star = Some((star_at, skipped + 1));
            (at_pattern, at_text) = (star_at + 1, skipped + 1);
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|part| *part == star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders() {
        for (pattern, yes, no) in [
            ("pipelines/**/*.yaml", ["pipelines/a.yaml", "pipelines/b/c/a.yaml"], ["a.yaml", "pipelines/.git/a.yaml"]),
            (
                "examples/*/pipeline.yaml",
                ["examples/x/pipeline.yaml", "examples/a b/pipeline.yaml"],
                ["examples/pipeline.yaml", "examples/x/y/pipeline.yaml"],
            ),
            ("**/*.json", ["a.json", "x/y/z.json"], ["a.yaml", ".x/a.json"]),
            ("flow?.yaml", ["flow1.yaml", "flowä.yaml"], ["flow.yaml", "flow12.yaml"]),
            ("a*b*c", ["abc", "aXbbYc"], ["abcd", "ac"]),
        ] {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            for path in yes {
                assert!(pattern.matches(path), "{} does not match {path}", pattern.as_str());
            }
            for path in no {
                assert!(!pattern.matches(path), "{} matches {path}", pattern.as_str());
            }
        }
        assert_eq!(Pattern::parse("pipelines/**/*.yaml").map(|pattern| pattern.base().to_owned()), Ok("pipelines".to_owned()));
        assert_eq!(Pattern::parse("*.yaml").map(|pattern| pattern.base().to_owned()), Ok(String::new()));
        let evil = Pattern::parse(&"*a".repeat(50)).expect("a pattern");
        assert!(!evil.matches(&"a".repeat(2_000).replace("aa", "ab")));
    }

    #[test]
    fn patterns_that_leave_the_workspace() {
        for bad in ["", "/etc/*.yaml", "../*.yaml", "a//b", "a\\b", "C:/x", "a/**b/c", "./x"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
