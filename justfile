# The stages of CI under short names: `just` lists them. Each is one stage of `.ci/run` or `.ci/full`, so the two cannot drift apart.

_list:
    @just --list --unsorted

# everything a change must pass
ci:
    .ci/run

# format the code
fmt:
    cargo fmt

# format and lints, as CI wants them
check:
    .ci/run format clippy

# all tests
test *arguments:
    cargo test {{arguments}}

# write the schemas anew from the types
schemas:
    cargo run --quiet -- schema module > schemas/module.schema.json
    cargo run --quiet -- schema pipeline > schemas/pipeline.schema.json
    cargo run --quiet -- schema settings > schemas/settings.schema.json

# documentation of the code, private items too
doc:
    .ci/run rustdoc

# licences, banned crates, sources, advisories
deny:
    .ci/run deny

# both examples, in a fresh copy of the repository
examples:
    .ci/run quickstart resilient

# lints for Windows, on Debian
windows:
    .ci/run windows

# crash cycles: hosts under injected faults, and a checker
crash cycles="200" *arguments:
    cargo test --test crash -- --cycles {{cycles}} {{arguments}}

# line coverage, at least 80 %
coverage:
    .ci/full coverage

# property tests with many cases
properties:
    .ci/full properties

# beside make, ninja and xargs
bench:
    .ci/full benchmarks
