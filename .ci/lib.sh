# shellcheck shell=bash
# What `run` and `full` share: stages with their times, tools, loud skips. Sourced, never run.

set -euo pipefail
exec </dev/null # nothing here asks anybody anything

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/prismq-ci
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}") # one folder for everything
export CARGO_TARGET_DIR
export CARGO_INCREMENTAL=0 CARGO_TERM_PROGRESS_WHEN=never
export PATH=$CACHE/bin:$PATH

SCRATCH=$(mktemp -d)
TIMES=()   # "seconds name" of each stage that ended
SKIPPED=() # what could not be done here, and why
STAGE=     # the one that runs

# Runs a function or command as a stage.
stage() {
  STAGE=$1
  local begin=$SECONDS
  printf '\n=== %s\n' "$STAGE"
  shift
  "$@"
  TIMES+=("$((SECONDS - begin)) $STAGE")
  printf -- '--- %s: %d s\n' "$STAGE" "$((SECONDS - begin))"
  STAGE=
}

# Says that something was not checked. The last lines of the output say it again.
skip() {
  SKIPPED+=("$*")
  printf '\n!!! SKIPPED: %s\n\n' "$*"
}

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# The closing lines: the time of each stage, what was skipped, and whether all is well.
summary() {
  local code=$? line
  rm -rf "$SCRATCH"
  printf '\n=== summary\n'
  for line in ${TIMES[@]+"${TIMES[@]}"}; do printf '%6d s  %s\n' "${line%% *}" "${line#* }"; done
  printf '%6d s  in all\n' "$SECONDS"
  for line in ${SKIPPED[@]+"${SKIPPED[@]}"}; do printf '!!! SKIPPED: %s\n' "$line"; done
  if [ "$code" -eq 0 ]; then
    echo "ok"
  else
    echo "FAILED${STAGE:+ in stage: $STAGE} (exit $code)"
  fi
  exit "$code"
}
trap summary EXIT

# Checks that a program is there, and installs its Debian package where we may.
need() {
  local program=$1 package=${2:-$1}
  command -v "$program" >/dev/null && return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "$program is needed: install it (Debian: apt-get install $package)"
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package"
}

# The crash harness injects faults by strace. Without it only `kill -9` at random moments is left.
strace_or_skip() {
  command -v strace >/dev/null && return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null && apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends strace; then
    return 0
  fi
  skip "faults by strace: it is not installed (Debian: apt-get install strace); the crash cycles only kill at random moments"
}

# Builds a cargo tool once, unoptimised: it runs for seconds, and building it is what takes time.
cargo_tool() {
  local crate=$1 version=$2
  "$crate" --version 2>/dev/null | grep -qF "$version" && return 0
  CARGO_TARGET_DIR=$SCRATCH/tool cargo install --quiet --locked "$crate" --version "$version" --root "$CACHE" --force \
    --config 'profile.release.opt-level=0' --config 'profile.release.lto=false' --config 'profile.release.debug=0'
  rm -rf "$SCRATCH/tool"
}
