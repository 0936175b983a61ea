//! A module that says itself that memory ran out: frameworks for graphics cards catch what the card refuses, print it and end with some
//! code. No system tells of it, so the end of standard error is read, of attempts that failed and only then.

use crate::attempt::AttemptFolder;
use crate::logs::{LogReader, Query, Stream};

/// Lines of standard error that are looked at: a traceback is shorter, and what stands before it was survived.
const LINES: usize = 60;

/// Longest part of such a line that is kept.
const SAID_MAX: usize = 200;

/// What the frameworks say, in lower case. Each is a whole phrase: a module that merely talks of memory has not run out of it.
const PHRASES: [&str; 12] = [
    "cuda out of memory",
    "cuda_error_out_of_memory",
    "cudaerrormemoryallocation",
    "cuda error: out of memory",
    "torch.cuda.outofmemoryerror",
    "torch.outofmemoryerror",
    "resource_exhausted: out of memory",
    "hip out of memory",
    "hiperroroutofmemory",
    "mps backend out of memory",
    "cublas_status_alloc_failed",
    "oom when allocating tensor",
];

/// The last line near the end of standard error that says so, shortened. A log that cannot be read says nothing.
pub(super) fn said_in(folder: &AttemptFolder) -> Option<String> {
    let query = Query { tail: Some(LINES), stream: Some(Stream::Stderr), ..Query::default() };
    let lines = LogReader::open(folder.path()).lines(query).ok()?;
    lines.flatten().filter(|line| says_so(&line.text)).last().map(|line| shortened(&line.text))
}

fn says_so(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    PHRASES.iter().any(|phrase| line.contains(phrase))
}

fn shortened(line: &str) -> String {
    line.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frameworks_say_is_known() {
        for line in [
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB",
            "torch.OutOfMemoryError: CUDA out of memory.",
            "RuntimeError: CUDA error: out of memory",
            "  cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
            "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes.",
            "ResourceExhaustedError: OOM when allocating tensor with shape[1]",
        ] {
            assert!(says_so(line), "{line}");
        }
        for line in ["loading model (out of memory is possible)", "MemoryError", "RESOURCE_EXHAUSTED: quota", ""] {
            assert!(!says_so(line), "{line}");
        }
    }

    #[test]
    fn what_is_kept_is_one_short_line() {
        let long = format!("\t CUDA out of memory\u{1b}[0m {}", "ü".repeat(1000));
        let kept = shortened(&long);
        assert!(kept.starts_with("CUDA out of memory [0m ü") && kept.chars().count() == SAID_MAX, "{kept}");
    }
}
