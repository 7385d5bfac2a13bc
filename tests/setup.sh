# Sourced by `./sportlake` and `./tests/run`: the packages, the build and the folder that both share.

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    if [ -n "${2:-}" ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 2
}

target_dir() { printf '%s' "${CARGO_TARGET_DIR:-$1/target}"; }

# Installs the packages of the arguments that dpkg does not know as installed. Says so, or does nothing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
            missing+=("$package")
        fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo=(sudo)
    fi
    say "installing system packages: ${missing[*]}"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || true
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >&2
}

# What the build needs; a machine without dpkg is asked to bring the tools itself.
install_build_packages() {
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    command -v cargo >/dev/null || fail "cargo is not installed" "Install Rust 1.95 or newer from https://rustup.rs."
    if command -v cc >/dev/null && command -v c++ >/dev/null && command -v cmake >/dev/null \
        && command -v make >/dev/null && command -v pkg-config >/dev/null \
        && pkg-config --exists libcurl openssl zlib; then
        return 0
    fi
    command -v dpkg-query >/dev/null || fail "a C compiler, cmake, make, pkg-config, libcurl, OpenSSL or zlib is missing" \
        "Install them with this system's package manager."
    install_packages gcc g++ libc6-dev make cmake pkg-config libcurl4-openssl-dev libssl-dev zlib1g-dev || fail \
        "the build's system packages could not be installed" \
        "Install gcc g++ make cmake pkg-config libcurl4-openssl-dev libssl-dev zlib1g-dev, then try again."
}

# One build of one feature set: always the whole workspace, whatever is asked for later.
# Silent when nothing changed; cargo's progress otherwise.
build() {
    local target stamp quiet=()
    target="$(target_dir "$1")/debug"
    stamp="$target/.sportlake-built"
    if [ ! -e "$stamp" ]; then
        say "building sportlake: the first time takes some minutes"
    elif [ -x "$target/sportlake" ] && [ -z "$(find "$1" -path "$1/target" -prune -o -path "$1/data" -prune -o \
        \( -name '*.rs' -o -name 'Cargo.*' \) -newer "$stamp" -print -quit)" ]; then
        quiet=(--quiet)
    fi
    cargo build "${quiet[@]}" --workspace --locked --manifest-path "$1/Cargo.toml"
    touch "$stamp"
}
