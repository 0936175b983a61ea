//! Reading what a module reported in `output.json`.
//!
//! The file comes from a program that may be wrong in any way, so that everything is bounded and refused with the reason: not an
//! object, too large, a key written twice (readers disagree which one counts), something that is no file. Used once, after the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::json;

/// Largest outputs in bytes. They travel through the journal and into expressions; large results belong into files of `artifacts/`.
pub const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Reads the outputs of an attempt after its end: `None` where nothing was written, or what is wrong with the file, as a fragment for people.
///
/// # Errors
/// When no descriptor is free to read it with: that is not the module's fault, and a later look may succeed.
pub fn read_outputs(path: &Path) -> io::Result<Result<Option<Value>, String>> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A named pipe in its place must not hold us up, and a link must not lead us elsewhere.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    match options.open(path) {
        Ok(file) => Ok(read(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
        Err(error) if is_short_of_descriptors(&error) => Err(error),
        Err(error) => Ok(Err(format!("output.json cannot be read: {error}"))),
    }
}

#[cfg(unix)]
fn is_short_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_short_of_descriptors(_: &io::Error) -> bool {
    false
}

fn read(file: File) -> Result<Option<Value>, String> {
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err("output.json is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("output.json cannot be read: {error}"))?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        let limit = crate::units::Bytes(OUTPUT_BYTES_MAX);
        return Err(format!(
            "output.json is larger than {limit}: write large results to files in $PRISMQ_ARTIFACTS and report their names"
        ));
    }
    parse(&bytes).map(Some)
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("output.json is not UTF-8 (byte {})", error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("output.json is empty: write a JSON object, or no file at all".to_owned());
    }
    let value = json::parse(text).map_err(|error| explain(&error, text))?;
    match &value {
        Value::Object(_) => Ok(value),
        other => Err(format!("output.json holds {}, not a JSON object: write {{\"name\": value}}", kind(other))),
    }
}

fn explain(error: &str, text: &str) -> String {
    let help = ["NaN", "Infinity"].into_iter().find(|word| text.contains(word));
    let help = help.map_or(String::new(), |word| format!(" ({word} is not JSON: write null)"));
    format!("output.json is not valid: {error}{help}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_and_everything_else_is_explained() {
        assert_eq!(
            parse(br#"{"files": ["a"], "n": 1.5, "deep": {"x": null}}"#),
            Ok(json!({"files": ["a"], "n": 1.5, "deep": {"x": null}}))
        );
        assert_eq!(parse("\u{feff}{}".as_bytes()), Ok(json!({})), "Windows editors put a mark in front");
        let deep = "[".repeat(100_000);
        let cases: [(&[u8], &str); 10] = [
            (b"", "empty"),
            (b"  \n", "empty"),
            (b"[1]", "a list"),
            (b"\"x\"", "a string"),
            (br#"{"a": NaN}"#, "NaN is not JSON"),
            (br#"{"a": 1e999}"#, "out of range"),
            (br#"{"a": {"b": 1, "b": 2}}"#, "\"b\" stands twice"),
            (br#"{"a": 1"#, "EOF"),
            (br#"{} {}"#, "trailing"),
            (deep.as_bytes(), "more than 64"),
        ];
        for (text, wanted) in cases {
            let refused = parse(text).expect_err(wanted);
            assert!(refused.contains(wanted), "{refused}");
        }
        assert!(parse(b"{\"a\": \"\xff\"}").is_err_and(|reason| reason.contains("UTF-8")));
    }

    #[test]
    fn files_of_the_wrong_kind_or_size_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read_outputs = |path: &Path| read_outputs(path).expect("descriptors are free");
        let path = folder.path().join("output.json");
        assert_eq!(read_outputs(&path), Ok(None));
        std::fs::write(&path, vec![b' '; usize::try_from(OUTPUT_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(read_outputs(&path).is_err_and(|reason| reason.contains("larger than 1 MiB")));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read_outputs(&path).is_err());
        #[cfg(unix)]
        {
            let link = folder.path().join("link.json");
            std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
            assert!(read_outputs(&link).is_err(), "a link is not followed");
        }
    }
}
