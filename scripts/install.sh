#!/bin/sh
# Installs fairlead for whoever runs it; root is not needed:
#
#     curl -fsSL https://github.com/fairlead/fairlead/releases/latest/download/install.sh | sh
#
# FAIRLEAD_VERSION      the version, as v0.1.0; the latest where nothing is said
# FAIRLEAD_INSTALL_DIR  where the program goes; ~/.local/bin where nothing is said
# FAIRLEAD_BASE_URL     the folder with the files of one release, for a mirror
#
# What is downloaded is checked by the release's SHA256SUMS before anything is replaced. The manual
# page goes where man(1) looks for it: into share/man beside a folder named bin.
#
# Everything is in functions that the last line calls: a script that was cut off does nothing.
set -eu

RELEASES=https://github.com/fairlead/fairlead/releases

main() {
  base=$(base_url)
  program=fairlead-$(target)
  dir=$(install_dir)
  [ ! -d "$dir/fairlead" ] || fail "$dir/fairlead is a folder: it is in the program's way"

  sums=$(fetch_text "$base/SHA256SUMS")
  sum=$(sum_in_list "$program")
  manual=
  case $dir in
  */bin) manual=$(sum_in_list fairlead.1 optional) ;;
  esac

  temp=
  topmost=$(first_missing "$dir")
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # In the destination's own file system, so that a rename replaces the program at once.
  if ! mkdir -p "$dir" 2>/dev/null || ! temp=$(mktemp -d "$dir/.fairlead.XXXXXX" 2>/dev/null); then
    fail "cannot write to $dir: say in FAIRLEAD_INSTALL_DIR where the program shall go"
  fi

  say "downloading $base/$program"
  fetch "$base/$program" "$temp/fairlead"
  check "$temp/fairlead" "$program" "$sum"
  if [ -n "$manual" ]; then
    fetch "$base/fairlead.1" "$temp/fairlead.1"
    check "$temp/fairlead.1" fairlead.1 "$manual"
  fi

  chmod 755 "$temp/fairlead"
  # One that does not run here must not replace one that does.
  version=$("$temp/fairlead" --version </dev/null 2>&1) ||
    fail "$program does not run on this machine: $(last_line "$version")"
  if [ -n "$manual" ]; then
    man=${dir%/bin}/share/man/man1
    { mkdir -p "$man" && chmod 644 "$temp/fairlead.1" && mv -f "$temp/fairlead.1" "$man/"; } \
      2>/dev/null || say "the manual page could not be written to $man; all else is well"
  fi
  mv -f "$temp/fairlead" "$dir/fairlead" || fail "cannot replace $dir/fairlead"
  topmost=

  say "installed as $dir/fairlead: $version"
  tell_path
}

# The folder that everything is downloaded from.
base_url() {
  version=${FAIRLEAD_VERSION:-}
  if [ -n "${FAIRLEAD_BASE_URL:-}" ]; then
    [ -z "$version" ] ||
      fail "FAIRLEAD_BASE_URL names the folder of one release: leave FAIRLEAD_VERSION out"
    case $FAIRLEAD_BASE_URL in
    http://* | https://*) printf '%s\n' "${FAIRLEAD_BASE_URL%/}" ;;
    *) fail "FAIRLEAD_BASE_URL is \"$FAIRLEAD_BASE_URL\": expected https://…" ;;
    esac
  elif [ -n "$version" ]; then
    case ${version#v} in
    *[!0-9A-Za-z.+-]* | [!0-9]* | '')
      fail "FAIRLEAD_VERSION is \"$version\": expected a version such as v0.1.0"
      ;;
    esac
    printf '%s\n' "$RELEASES/download/v${version#v}"
  else
    printf '%s\n' "$RELEASES/latest/download"
  fi
}

# The system and the processor, as the release's files name them.
target() {
  system=$(uname -s)
  processor=$(uname -m)
  elsewhere="there are \"npm install --global @fairlead/fairlead\" and $RELEASES/latest/download/fairlead.mjs for Deno, Bun and Node"

  case $system in
  Linux) os=linux ;;
  Darwin) os=macos ;;
  MINGW* | MSYS* | CYGWIN* | Windows*)
    fail "on Windows, download $base/fairlead-windows-x64.exe (or -arm64.exe) and check it by $base/SHA256SUMS"
    ;;
  *) fail "there is no binary for $system; $elsewhere" ;;
  esac
  case $processor in
  x86_64 | amd64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) fail "there is no binary for $system on $processor; $elsewhere" ;;
  esac

  # A shell under Rosetta sees an Intel processor.
  if [ "$os-$arch" = macos-x64 ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then
    arch=arm64
  fi
  if [ "$os" = linux ]; then
    # A system of 32 bits may run on a kernel of 64.
    [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 64 ] ||
      fail "there is no binary for a system of 32 bits; $elsewhere"
    case $(ldd --version 2>&1 || :) in
    *musl*) fail "this system has musl, and the binary needs glibc; $elsewhere" ;;
    esac
  fi
  printf '%s\n' "$os-$arch"
}

# Where the program goes, as a full path.
install_dir() {
  chosen=${FAIRLEAD_INSTALL_DIR:-${HOME:+$HOME/.local/bin}}
  case $chosen in
  '') fail "HOME is not set: say in FAIRLEAD_INSTALL_DIR where the program shall go" ;;
  /) printf '/\n' ;;
  /*) printf '%s\n' "${chosen%/}" ;;
  *) printf '%s\n' "$PWD/${chosen%/}" ;;
  esac
}

# first_missing FOLDER: the topmost folder on the way to it that is not there; none if it is.
first_missing() {
  path=$1 missing=
  while [ ! -d "$path" ]; do
    missing=$path
    path=$(dirname "$path")
  done
  printf '%s\n' "$missing"
}

# sum_in_list NAME [optional]: the sum of a file, from what was read of SHA256SUMS.
sum_in_list() {
  found=$(printf '%s\n' "$sums" | awk -v name="$1" '$2 == name || $2 == "*" name { print $1; exit }')
  case $found in
  *[!0-9a-f]*) found= ;;
  esac
  if [ ${#found} = 64 ]; then
    printf '%s\n' "$found"
  elif [ $# = 1 ]; then
    fail "$base/SHA256SUMS has no sum for $1: nothing was installed"
  fi
}

# check FILE NAME SUM: ends it all where the file's sum is another.
check() {
  if has sha256sum; then
    actual=$(sha256sum <"$1")
  elif has shasum; then
    actual=$(shasum -a 256 <"$1")
  elif has openssl; then
    actual=$(openssl dgst -sha256 -r <"$1")
  else
    fail "none of sha256sum, shasum and openssl is here to check the download: nothing was installed"
  fi
  [ "${actual%% *}" = "$3" ] ||
    fail "$2 is not what SHA256SUMS says (${actual%% *} instead of $3): nothing was installed"
}

# fetch URL FILE: downloads, into $said where FILE is "-"; from https nothing leads to plain http.
fetch() {
  status=0
  if has curl; then
    tool=curl
    case $1 in
    https://*) protocols='=https' ;;
    *) protocols='=http,https' ;;
    esac
    said=$(curl -fsSL --proto "$protocols" --proto-redir "$protocols" --tlsv1.2 \
      --connect-timeout 30 --retry 2 -o "$2" "$1" 2>&1) || status=$?
  elif has wget; then
    tool=wget
    # It has no option for it: plain http goes to a proxy that is none.
    case $1 in
    https://*) said=$(http_proxy=http://127.0.0.1:9/ wget -q -O "$2" "$1" 2>&1) || status=$? ;;
    *) said=$(wget -q -O "$2" "$1" 2>&1) || status=$? ;;
    esac
  else
    fail "neither curl nor wget is here to download with"
  fi
  [ "$status" = 0 ] || fail "cannot download $1: $(last_line "${said:-$tool ended with status $status}")"
}

# fetch_text URL: what a small file says.
fetch_text() {
  fetch "$1" -
  printf '%s\n' "$said"
}

# Says how the program is found, where the shell would not find it, or finds another.
tell_path() {
  first=$(command -v fairlead 2>/dev/null || :)
  case ":$PATH:" in
  *":$dir:"*)
    case $first in
    "$dir/fairlead" | '') ;;
    *) say "another fairlead comes first on PATH: $first" ;;
    esac
    ;;
  *)
    case ${SHELL:-} in
    */fish) say "$dir is not on PATH; fish adds it with: fish_add_path $dir" ;;
    */zsh) say "$dir is not on PATH; add this line to ~/.zshrc: export PATH=\"$dir:\$PATH\"" ;;
    *) say "$dir is not on PATH; add this line to ~/.profile: export PATH=\"$dir:\$PATH\"" ;;
    esac
    ;;
  esac
}

# Takes away what was not finished, the folders that were made for it too.
clean_up() {
  [ -z "$temp" ] || rm -rf "$temp"
  [ -n "$topmost" ] || return 0
  path=$dir
  while rmdir "$path" 2>/dev/null && [ "$path" != "$topmost" ]; do
    path=$(dirname "$path")
  done
}

last_line() {
  printf '%s\n' "$1" | tail -n 1
}

has() {
  command -v "$1" >/dev/null 2>&1
}

say() {
  printf 'fairlead: %s\n' "$1"
}

fail() {
  printf 'fairlead: %s\n' "$1" >&2
  exit 1
}

main "$@"
