# shellcheck shell=bash
# Sourced by tests that run the program as a user would: an empty folder, checks that are counted, a verdict.
failures=0

fail() { # DESCRIPTION: with what the last command wrote, where it was sent to the files out and err
  echo "FAILED: $1"
  local stream
  for stream in out err; do
    [[ ! -s $stream ]] || echo "  std$stream: $(head -c 1200 $stream)"
  done
  failures=$((failures + 1))
}

check() { # DESCRIPTION COMMAND...
  local description=$1
  shift
  "$@" || fail "$description"
}

nothing_half_written() { check "$1: a temporary file is left" test -z "$(find . -name '*.partial*')"; }

# Sets `work` to an empty folder and goes there; it is removed when the script ends, not when a subshell does.
enter_own_folder() { # NAME
  work=$(mktemp -d --tmpdir "winnow-$1.XXXXXX") && cd "$work" || exit
  trap '[[ $BASHPID != $$ ]] || rm -rf "$work"' EXIT
}

# Runs the function that is called like the part, and ends with the verdict.
run_part() { # PART KNOWN...
  [[ " ${*:2} " == *" $1 "* ]] || { echo "no part $1" && exit 2; }
  "$1"
  verdict
}
verdict() { ((failures == 0)) || { echo "$failures failures" && exit 1; }; }
