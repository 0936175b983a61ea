#!/bin/bash
# Build, check, lint or test a Rust crate for Windows (x86_64-pc-windows-gnu) on Debian 12, without rustup.
#
#   windows-check.sh packages                        only fetch what compiler and Wine need; exit 3 where Debian's packages cannot be had
#   windows-check.sh setup                           only prepare the tools (compiler, std, linker, Wine)
#   windows-check.sh check|build|clippy|test DIR [cargo arguments...]
#   windows-check.sh exec FILE.exe [arguments...]    run a program under Wine
#
# Everything is unpacked under $WINCHECK_HOME (default ${XDG_CACHE_HOME:-$HOME/.cache}/prismq-windows); nothing is installed in the system.
# The compiler is Debian's rustc-web (bookworm-security), because rust-web-src of the same version carries the
# library sources, from which std for Windows is built once and laid into that compiler's sysroot.
set -euo pipefail
H=${WINCHECK_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/prismq-windows}
T=x86_64-pc-windows-gnu
R=$H/root/usr
DL=$H/debs
die() { echo "windows-check: $*" >&2; exit 2; }
unreachable() { echo "windows-check: $*" >&2; exit 3; }
say() { echo "windows-check: $*" >&2; }

# Unpack packages (and those dependencies that this system does not have) into $H/root.
unpack() {
  local stamp=$H/unpacked.$1; shift
  [ -e "$stamp" ] && return 0
  local all p
  if ! apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'; then apt-get -qq update || unreachable "apt-get update failed"; fi
  all=$({ printf '%s\n' "$@"
          apt-get install --print-uris -y --no-install-recommends "$@" 2>/dev/null | awk "/^'/{split(\$2,a,\"_\"); print a[1]}"
        } | sort -u)
  mkdir -p "$DL" "$H/root"
  ( cd "$DL" && apt-get -q -o APT::Sandbox::User=root download $all >/dev/null ) || unreachable "apt-get download failed"
  for p in "$DL"/*.deb; do
    case ${p##*/} in
      rust-web-src_*)   # 340 MB, of which the library folder is all we need
        dpkg-deb --fsys-tarfile "$p" | tar -x -C "$H/root" --wildcards './usr/src/rustc-*/library/*' './usr/lib/rustlib/src/*' ;;
      libwine_*)
        dpkg-deb --fsys-tarfile "$p" | tar -x -C "$H/root" --exclude './usr/lib/x86_64-linux-gnu/wine/i386-windows' ;;
      *) dpkg-deb -x "$p" "$H/root" ;;
    esac
  done
  rm -rf "$DL"
  touch "$stamp"
}

rust_env() {
  export PATH=$R/bin:$PATH LD_LIBRARY_PATH=$R/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export RUSTC=$R/bin/rustc RUSTDOC=$R/bin/rustdoc
  unset RUSTUP_TOOLCHAIN RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
  local gcc=$R/bin/x86_64-w64-mingw32-gcc-posix
  export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=$gcc
  export CC_x86_64_pc_windows_gnu=$gcc AR_x86_64_pc_windows_gnu=$R/bin/x86_64-w64-mingw32-ar
  # The same for both profiles: what differs is built twice.
  export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0} CARGO_PROFILE_TEST_DEBUG=${CARGO_PROFILE_TEST_DEBUG:-0}
  export CARGO_TARGET_DIR=${WINCHECK_TARGET:-$H/target}
}

rust_packages() { unpack rust rustc-web cargo-web libstd-rust-web-dev rust-web-src rust-web-clippy gcc-mingw-w64-x86-64-posix; }

setup_rust() {
  rust_packages
  rust_env
  local ver lib=$R/lib/rustlib/$T/lib f
  ver=$("$RUSTC" -V)
  [ "$(cat "$R/lib/rustlib/$T/version" 2>/dev/null || true)" = "$ver" ] && return 0
  say "building std for $T with $ver"
  local b=$H/std-build
  rm -rf "$b" "$R/lib/rustlib/$T"; mkdir -p "$b/src" "$lib"
  printf '[package]\nname = "zz_dummy"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[profile.release]\ndebug = 0\n' > "$b/Cargo.toml"
  : > "$b/src/lib.rs"
  ( cd "$b" && RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$b/target "$R/bin/cargo" build -q --release --target $T \
      -Zbuild-std=core,alloc,std,panic_abort,panic_unwind,proc_macro,test ) || die "std did not build"
  for f in "$b"/target/$T/release/deps/*.rlib; do case $f in */libzz_dummy*) ;; *) cp "$f" "$lib/" ;; esac; done
  rm -rf "$b"
  echo "$ver" > "$R/lib/rustlib/$T/version"
}

wine_env() {
  export WINEPREFIX=$H/prefix WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all} WINEDLLOVERRIDES='mscoree,mshtml=;winemenubuilder.exe=d'
  unset DISPLAY WAYLAND_DISPLAY
  export WINE=$R/lib/wine/wine64 WINESERVER=$R/lib/wine/wineserver64
  export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="timeout ${WINCHECK_LIMIT:-300} $WINE"
}

wine_packages() { unpack wine wine64 libwine libz-mingw-w64; }

setup_wine() {
  wine_packages
  wine_env
  [ -e "$WINEPREFIX/.ready" ] && return 0
  local dll=$R/lib/x86_64-linux-gnu/wine/x86_64-windows z=$R/x86_64-w64-mingw32/lib/zlib1.dll
  ln -sf wineserver64 "$R/lib/wine/wineserver"          # Debian's wrapper has absolute paths
  { head -c 64 "$z"; printf 'Wine builtin DLL'; head -c 16 /dev/zero; tail -c +97 "$z"; } > "$dll/zlib1.dll"   # what libwine's postinst does
  say "creating the Wine prefix"
  WINE_STARTED=1
  rm -rf "$WINEPREFIX"
  timeout 300 "$WINE" wineboot -i >/dev/null 2>&1 || true
  timeout 60 "$WINE" reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null || die "Wine does not start"
  # Wine 8.0 lacks bcryptprimitives.dll, whose ProcessPrng Rust's std imports.
  printf '%s\n' '#include <windows.h>' 'BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);' \
    '__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) {' \
    '  while (n) { ULONG k = n > 1048576 ? 1048576 : (ULONG)n; if (!SystemFunction036(p, k)) return FALSE; p += k; n -= k; }' \
    '  return TRUE; }' > "$H/bcryptprimitives.c"
  "$R/bin/x86_64-w64-mingw32-gcc-posix" -O2 -s -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" "$H/bcryptprimitives.c" -ladvapi32
  touch "$WINEPREFIX/.ready"
}
# Wine's own services are started with the first program and would hold its output open for ever. One at a time: whoever leaves ends the
# server, and with it everybody's programs.
start_wine() {
  exec 8> "$H/wine.lock"
  flock -w 1800 8 || die "somebody else has used Wine for half an hour"
  WINE_STARTED=1
  end_server   # one that made the prefix, or that somebody left who was killed: beside it none is started that stays
  "$WINESERVER" -p >/dev/null 2>&1 8>&- && timeout 120 "$WINE" cmd /c exit </dev/null >/dev/null 2>&1 8>&- || die "Wine does not start"
}
# This prefix's server only. What it looked after ends with it.
end_server() {
  timeout 30 "$WINESERVER" -k >/dev/null 2>&1 8>&- || true
  timeout 30 "$WINESERVER" -w >/dev/null 2>&1 8>&- || true
}
stop_wine() {
  [ -n "$WINE_STARTED" ] || return 0
  end_server
  # Where a program hung, the server had to be killed, and the others still wait for it.
  local process
  for process in /proc/[0-9]*; do
    case $(readlink "$process/exe" 2>/dev/null) in "$R"/lib/wine/*) kill -9 "${process##*/}" 2>/dev/null || true ;; esac
  done
}
WINE_STARTED=
trap stop_wine EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

mkdir -p "$H"
cmd=${1:-}; shift || true
exec 9> "$H/lock"
need() { local f; flock 9; for f in "$@"; do "$f" 9>&-; done; exec 9>&-; }   # one setup at a time

case $cmd in
  packages) command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || unreachable "no apt-get here"; need rust_packages wine_packages ;;
  setup) need setup_rust setup_wine; "$RUSTC" -V ;;
  check|build|clippy) dir=${1:?crate folder}; shift; need setup_rust; cd "$dir"; "$R/bin/cargo" "$cmd" --target $T "$@" ;;
  test) dir=${1:?crate folder}; shift; need setup_rust setup_wine; start_wine; cd "$dir"; "$R/bin/cargo" test --target $T "$@" ;;
  exec) need setup_rust setup_wine; start_wine; timeout "${WINCHECK_LIMIT:-300}" "$WINE" "$@" ;;
  *) die "usage: windows-check.sh packages | setup | check|build|clippy|test DIR [cargo args] | exec FILE.exe [args]" ;;
esac
