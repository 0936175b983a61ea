//! The program `prismq-attempt`: the wrapper of an attempt, see [`prismq::wrapper`].

fn main() -> std::process::ExitCode {
    prismq::wrapper::main(std::env::args_os())
}
