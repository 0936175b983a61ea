//! The program `prismq`: parses its arguments, runs a verb, ends with the verb's code.

fn main() -> std::process::ExitCode {
    // Before anything else: the wrapper is a small process, whichever program it is made of.
    if std::env::args_os().nth(1).is_some_and(|word| word == prismq::wrapper::HIDDEN_VERB) {
        return prismq::wrapper::main(std::env::args_os());
    }
    prismq::cli::main()
}
