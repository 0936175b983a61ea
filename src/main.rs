//! The program `prismq`: parses its arguments, runs a verb, ends with the verb's code.

fn main() -> std::process::ExitCode {
    prismq::cli::main()
}
