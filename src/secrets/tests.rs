//! Values from each source, and what is refused.

use super::*;

#[cfg(unix)]
fn none(_: &str) -> Option<OsString> {
    None
}

#[test]
fn a_value_loses_its_line_end_and_prints_as_stars() {
    let value = Value::new(b"s3cret-value\n".to_vec()).unwrap();
    assert_eq!(value.expose(), "s3cret-value");
    assert!(!format!("{value:?}").contains("s3cret"));
    assert_eq!(Value::new(b"two\nlines\r\n".to_vec()).unwrap().expose(), "two\nlines");
    let bad = |bytes: &[u8]| Value::new(bytes.to_vec()).unwrap_err();
    assert_eq!([bad(b""), bad(b"\n"), bad(b"a\0b"), bad(b"\xff")], [BadValue::Empty, BadValue::Empty, BadValue::Nul, BadValue::NotText]);
    assert_eq!(bad(&vec![b'x'; VALUE_BYTES_MAX + 1]), BadValue::TooLong);
}

#[test]
fn a_variable_is_looked_up_under_its_own_name() {
    let here = |name: &str| (name == "MINE").then(|| OsString::from("abc"));
    assert_eq!(read(&SecretSource::Variable("MINE".into()), &here).unwrap().expose(), "abc");
    let missing = read(&SecretSource::Variable("OTHER".into()), &here).unwrap_err();
    assert_eq!(missing.to_string(), "the host's environment has no variable `OTHER`");
}

#[cfg(unix)]
#[test]
fn a_file_must_be_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "abcdef\n").unwrap();
    let source = SecretSource::File(path.clone());
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for wide in [0o644, 0o640, 0o620, 0o604] {
        mode(wide);
        let refused = read(&source, &none).unwrap_err().to_string();
        assert!(refused.contains("is not private") && refused.contains("chmod 600"), "{refused}");
    }
    mode(0o600);
    assert_eq!(read(&source, &none).unwrap().expose(), "abcdef");
    let missing = read(&SecretSource::File(folder.path().join("none")), &none).unwrap_err();
    assert!(matches!(missing, SecretError::Unreadable { .. }));
    assert!(matches!(read(&SecretSource::File(folder.path().to_owned()), &none), Err(SecretError::Unreadable { .. })));
}

#[cfg(unix)]
#[test]
fn a_program_prints_the_value_or_says_why_not() {
    let sh = |script: &str| SecretSource::Command(["sh", "-c", script].map(str::to_owned).to_vec());
    assert_eq!(read(&sh("echo value-1"), &none).unwrap().expose(), "value-1");
    let failed = read(&sh("echo half-a-value; echo no such entry >&2; exit 3"), &none).unwrap_err().to_string();
    assert!(failed.contains("no such entry") && failed.contains('3') && !failed.contains("half-a-value"), "{failed}");
    assert!(matches!(read(&sh("exit 0"), &none), Err(SecretError::Bad(BadValue::Empty))));
    let long = read(&sh("head -c 100000 /dev/zero | tr '\\0' x"), &none);
    assert!(matches!(long, Err(SecretError::Bad(BadValue::TooLong))));
    let unknown = SecretSource::Command(vec!["no-such-program-at-all".into()]);
    assert!(matches!(read(&unknown, &none), Err(SecretError::NotStarted { .. })));
    assert!(matches!(look(&unknown, &none), Err(SecretError::NotStarted { .. })));
    assert!(look(&sh("exit 9"), &|_| std::env::var_os("PATH")).is_ok());
}

#[cfg(unix)]
#[test]
fn a_program_that_hangs_is_ended() {
    let words: Vec<String> = ["sh", "-c", "sleep 600 & sleep 600"].map(str::to_owned).to_vec();
    let hung = command::read_within(&words, 10, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(hung, SecretError::TimedOut { .. }), "{hung}");
}
