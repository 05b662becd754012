# Sourced by quickstart.sh, tests/run.sh and .ci/run: what they need from the system, and the project in .venv.
#
#   setup_system tmux [docker.io ...]   Debian packages whose programs are missing; installed when root
#   setup_venv [EXTRA]                  .venv with the project, editable, and its extra
#   prepare_tests                       all that the tests need, a Docker engine of their own included
#
# Afterwards .venv/bin is first in PATH. It asks nothing and reads nothing from standard input.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PIP_DISABLE_PIP_VERSION_CHECK=1
SETUP_APT_UPDATED=

setup_fail() {
  echo "setup: $*" >&2
  exit 1
}

# apt_install PACKAGE...: succeeds when all are installed afterwards.
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  if [ -z "$SETUP_APT_UPDATED" ]; then
    apt-get update -qq </dev/null >&2 || return 1
    SETUP_APT_UPDATED=1
  fi
  echo "setup: installing $*" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

# program_of PACKAGE: the program that tells whether it is there.
program_of() {
  case $1 in docker.io) echo dockerd ;; *) echo "$1" ;; esac
}

setup_system() {
  local package
  for package in "$@"; do
    command -v "$(program_of "$package")" >/dev/null && continue
    apt_install "$package" || setup_fail "$package is missing; install it (for example: sudo apt-get install $package)"
  done
}

python_is_new() {
  command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local name
  for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
    if python_is_new "$name"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# make_venv PYTHON: .venv with pip, installing what Debian keeps apart from Python when it is missing.
make_venv() {
  if ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    local version
    version=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt_install "$version" || apt_install python3-venv ||
      setup_fail "$1 has no venv module; install it (for example: sudo apt-get install $version)"
  fi
  "$1" -m venv --clear "$ROOT/.venv" || setup_fail "cannot make $ROOT/.venv"
}

setup_venv() {
  local extra=${1:-} python stamp wanted
  if ! "$ROOT/.venv/bin/python" -c 'import pip' 2>/dev/null; then
    python=$(find_python) || { apt_install python3 python3-venv && python=$(find_python); } ||
      setup_fail "Python 3.11 or newer is missing; install it (for example: sudo apt-get install python3.11)"
    make_venv "$python"
  fi
  stamp=$ROOT/.venv/.installed${extra:+-$extra}
  wanted=$(sha256sum <"$ROOT/pyproject.toml")
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing the project into .venv" >&2
    "$ROOT/.venv/bin/python" -m pip install -q -e "$ROOT${extra:+[$extra]}" </dev/null >&2 ||
      setup_fail "pip could not install the project"
    echo "$wanted" >"$stamp"
  fi
  export PATH="$ROOT/.venv/bin:$PATH"
}

# prepare_tests: tmux, .venv with the test extra, and TOWER_TEST_DOCKER_HOST, a private engine that ends with this
# shell. Without root there is no engine, which is a failure with CI set.
prepare_tests() {
  setup_system tmux
  [ "$(id -u)" != 0 ] || (setup_system busybox mksh) || [ -z "${CI:-}" ] || exit 1 # shells that a bench may have
  setup_venv test
  [ -z "${TOWER_TEST_DOCKER_HOST:-}" ] || return 0
  if [ "$(id -u)" = 0 ] && (setup_system docker.io); then
    TEST_ENGINE=$(mktemp -d /tmp/te.XXXXXX)
    trap 'python -m tests.engine stop "$TEST_ENGINE" >/dev/null' EXIT
    if TOWER_TEST_DOCKER_HOST=$(cd "$ROOT" && python -m tests.engine start "$TEST_ENGINE"); then
      export TOWER_TEST_DOCKER_HOST
      return 0
    fi
  fi
  [ -z "${CI:-}" ] || setup_fail "the tests' Docker engine does not start (it needs root and docker.io)"
  echo "tests: no Docker engine (it needs root and docker.io): the tests that need one are skipped" >&2
}
