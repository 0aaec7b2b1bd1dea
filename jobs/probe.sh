#!/usr/bin/env bash
# Makes a probe of a model: the direction in which its refusals are lost, to compare adapters with.
#
#   jobs/probe.sh --model DIR --prompts FILE.jsonl --kind odds|gradient|red-team|half --output DIR [OPTION...]
#   jobs/probe.sh --help                              all options
#
# Prompts, and what counts as a refusal, are your own: jobs/probe/README.md documents the file. Needs the Python environment of
# `jobs/setup.sh --torch pip`, or one with torch, transformers and peft that PYTHON names. Exit code 3: input that cannot be used.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_python_package probe "$@"
