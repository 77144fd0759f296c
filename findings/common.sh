# Sourced by each finding: an environment of its own in a temporary folder, and the comparison with what was seen.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
trap 'rm -rf "$work"' EXIT
export XDG_RUNTIME_DIR=$work
unset PYTHONPATH

# packages NAME==VERSION ...: into a virtual environment of the finding's own; none: the standard library alone.
packages() {
    "${PYTHON:-python3}" -m venv "$work/venv"
    if [ $# -gt 0 ]; then "$work/venv/bin/python" -m pip install -qq --disable-pip-version-check "$@"; fi
    echo "with: $("$work/venv/bin/python" -c 'import platform; print("Python", platform.python_version())')${*:+, $*}"
}

# needs PROGRAM: a program of the system; without it the finding cannot be shown (exit 77, as automake skips).
needs() {
    PATH=$PATH:/usr/sbin
    command -v "$1" >/dev/null || { echo "not shown: needs $1"; exit 77; }
}

# seen EXPECTED: runs the Python on stdin, prints what it prints, and fails where that is not as it was seen.
seen() {
    local now
    now=$("$work/venv/bin/python" -I -)
    printf '%s\n' "$now"
    if [ "$now" != "$1" ]; then
        printf 'CHANGED. Expected:\n%s\n' "$1" >&2
        exit 1
    fi
    echo "as it was seen"
}
