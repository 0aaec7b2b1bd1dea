#!/usr/bin/env bash
# crash-host.sh DIR NUMBER: a compute host of the local cluster fails at once, with all that runs on it. Called inside.
set -euo pipefail
# The number of its process 1's parent as the cluster counts; the host goes with it.
kill -KILL "$(cat "$1/host/$2")"
