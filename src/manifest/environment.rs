//! Environment variables that a file may name: well formed, and none that makes a program load somebody else's code.

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::Fields;
use crate::tree::NodeRef;

/// Variables by which code is loaded into a program, or another program is found in its stead. Compared without case: Windows has none.
const LOADER_VARIABLES: [&str; 39] = [
    "PATH",
    "PATHEXT",
    "COMSPEC",
    "SYSTEMROOT",
    "WINDIR",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONPLATLIBDIR",
    "PYTHONUSERBASE",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "PERL5DB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "CORECLR_PROFILER",
    "COR_PROFILER",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_EXEC_PATH",
    "R_PROFILE_USER",
    "LUA_INIT",
    "GLIBC_TUNABLES",
    "BASH_ENV",
    "ENV",
    "IFS",
    "SHELLOPTS",
    "GCONV_PATH",
    "PSMODULEPATH",
];

/// The same for whole families.
const LOADER_PREFIXES: [&str; 3] = ["LD_", "DYLD_", "BASH_FUNC_"];

/// Set by the host for each attempt.
const OWN: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"];

/// Reads `environment:`; a refused variable is left out.
pub(super) fn read<'t>(fields: &Fields<'t>, diagnostics: &mut Diagnostics) -> Vec<(&'t str, &'t str)> {
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for (key, value) in fields.text_map("environment", diagnostics).unwrap_or_default() {
        let name = key.as_str().unwrap_or_default();
        if let Some(refusal) = refuse_name(name, key).or_else(|| refuse_loader(name, key)) {
            diagnostics.push(refusal);
        } else if value.contains('\0') {
            diagnostics.push(Diagnostic::error(format!("`{name}` holds a NUL character")).at(key.place()));
        } else if let Some((other, _)) = kept.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            let refusal = Diagnostic::error(format!("`{name}` and `{other}` are the same variable on Windows")).at(key.place());
            diagnostics.push(refusal.with_help("keep one of the two"));
        } else {
            kept.push((name, value));
        }
    }
    kept
}

/// Reads `pass_env:`: the host's own values, so that only what nobody sets by accident is refused.
pub(super) fn read_passed(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::new();
    for (name, node) in fields.texts("pass_env", diagnostics)? {
        let injected = ["LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"].contains(&name.to_ascii_uppercase().as_str());
        match refuse_name(name, node).or_else(|| injected.then(|| loader_refusal(name).at(node.place()))) {
            Some(refusal) => diagnostics.push(refusal),
            None if kept.iter().any(|known| known == name) => {}
            None => kept.push(name.to_owned()),
        }
    }
    Some(kept)
}

/// The name of a secret, which is that of the variable by which a module gets it.
///
/// # Errors
/// Why it cannot be one.
pub fn secret_name(node: NodeRef<'_>) -> Result<&str, Box<Diagnostic>> {
    let name = node.scalar_text().unwrap_or_default();
    refuse_name(name, node).or_else(|| refuse_loader(name, node)).map_or(Ok(name), |refusal| Err(Box::new(refusal)))
}

/// The same for a name that stands in no file.
///
/// # Errors
/// Why it cannot be one, in words.
pub fn is_secret_name(name: &str) -> Result<(), String> {
    let refusal = bad_name(name).or_else(|| is_loader(name).then(|| loader_refusal(name)));
    refusal.map_or(Ok(()), |refusal| Err(refusal.message))
}

pub(super) fn refuse_name(name: &str, node: NodeRef<'_>) -> Option<Diagnostic> {
    bad_name(name).map(|refusal| refusal.at(node.place()))
}

fn bad_name(name: &str) -> Option<Diagnostic> {
    let fits = |(at, c): (usize, char)| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    if name.is_empty() || !name.char_indices().all(fits) {
        let refusal = Diagnostic::error(format!("{name:?} is not the name of an environment variable"));
        return Some(refusal.with_help("use letters, digits and `_`, not starting with a digit"));
    }
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("PRISMQ_") || OWN.contains(&upper.as_str()) {
        return Some(Diagnostic::error(format!("`{name}` is set by prismq for each attempt")).with_help("choose another name"));
    }
    None
}

pub(super) fn refuse_loader(name: &str, node: NodeRef<'_>) -> Option<Diagnostic> {
    is_loader(name).then(|| loader_refusal(name).at(node.place()))
}

fn is_loader(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    LOADER_VARIABLES.contains(&upper.as_str()) || LOADER_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

fn loader_refusal(name: &str) -> Diagnostic {
    let help = match name.to_ascii_uppercase().as_str() {
        "PATH" | "PATHEXT" => "name the program of a `command:` by its absolute path",
        "PYTHONPATH" | "PYTHONHOME" => "choose the interpreter with `python: venv:DIR`, or install the package there",
        _ => "set it inside the module, where its author can see it",
    };
    Diagnostic::error(format!("`{name}` is refused: it makes programs load other code")).with_help(help)
}
