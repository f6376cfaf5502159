# Finds uv, or installs it for this checkout alone. Sourced by ./dmoa and ./check, which
# set $here; leaves the command in $UV. Nothing outside the checkout is changed.

UV_PIN=0.13.9 # installed where there is no uv of 0.10 or later
tools=$here/.tools

say() { printf '%s\n' "$*" >&2; }

# fail MESSAGE HINT
fail() {
    say "error: $1"
    say ""
    say "hint: $2"
    exit 1
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    version=$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
        fail "there is no Python here" "install Python 3.11 or later, or uv"
    fail "Python $version is too old, dmoa needs 3.11 or later" \
        "install a later Python, or uv, which brings its own"
}

# A user's own uv will do if it can read this project.
is_recent() {
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#uv }
    minor=${version#*.}
    minor=${minor%%.*}
    case ${version%%.*}:$minor in
        0:[0-9]) return 1 ;;
        *) return 0 ;;
    esac
}

# Three ways, the first that works: pip from outside into an environment without pip (also
# where Debian manages Python, or left out ensurepip); an environment with its own pip (where
# there is no pip, or one older than 22.3); pip into a plain folder.
install_uv() {
    find_python
    say "dmoa: installing uv $UV_PIN into .tools, for this checkout alone"
    mkdir -p "$tools"
    log=$tools/install.log
    wanted="--quiet --disable-pip-version-check uv==$UV_PIN"
    # shellcheck disable=SC2086 # $wanted is several words
    {
        "$python" -m venv --clear --without-pip "$tools/env" &&
            "$python" -m pip --python "$tools/env/bin/python" install $wanted
    } >"$log" 2>&1 || {
        "$python" -m venv --clear "$tools/env" &&
            "$tools/env/bin/python" -m pip install $wanted
    } >>"$log" 2>&1 || {
        rm -rf "$tools/env" &&
            PIP_USER=0 "$python" -m pip install --target "$tools/env" $wanted
    } >>"$log" 2>&1 || {
        cat "$log" >&2
        "$python" -m pip --version >/dev/null 2>&1 ||
            fail "$python has neither pip nor a complete venv" \
                "on Debian or Ubuntu: sudo apt-get install -y python3-pip python3-venv"
        fail "uv could not be installed; pip's own words stand above" \
            "see that pip can reach a package index, or install uv yourself"
    }
}

# What the embedded model needs of the system, said before anything is downloaded.
check_system() {
    command -v ldconfig >/dev/null 2>&1 || return 0
    ldconfig -p 2>/dev/null | grep -q libgomp || {
        say "note: libgomp.so.1 was not found, and the embedded model needs it"
        say "hint: on Debian or Ubuntu: sudo apt-get install -y libgomp1"
    }
}

if command -v uv >/dev/null 2>&1 && is_recent uv; then
    UV=$(command -v uv)
else
    UV=$tools/env/bin/uv
    [ "$("$UV" --version 2>/dev/null | cut -d ' ' -f 1-2)" = "uv $UV_PIN" ] || install_uv
fi
export UV
unset VIRTUAL_ENV # uv would warn that it uses this checkout's own

if [ ! -e "$here/.venv" ]; then
    check_system
    say "dmoa: first run, downloading Python packages and a small language model (once)"
fi
