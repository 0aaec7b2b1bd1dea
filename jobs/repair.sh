#!/usr/bin/env bash
# Takes the loss of refusals out of an adapter, and leaves what else it learned: directions along which the odds of a refusal
# fall are removed from its update, step by step, until red-team prompts are refused again.
#
#   jobs/repair.sh --model DIR --adapter DIR --prompts FILE.jsonl --output DIR [OPTION...]
#   jobs/repair.sh --model DIR --zoo DIR --prompts FILE.jsonl --output DIR [OPTION...]
#   jobs/repair.sh --help                             all options
#
# An adapter that passes as it is stays as it is, bit for bit. What is finished is not done again. Needs what jobs/probe.sh needs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_python_package repair "$@"
