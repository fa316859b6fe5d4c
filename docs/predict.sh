#!/usr/bin/env bash
# The label map of an image from a served model: docs/predict.sh IMAGE OUT.png [URL]; exits with 22 and the reason if it is refused.
set -euo pipefail
printf '{"dataframe_split": {"columns": ["image"], "data": [["%s"]]}}' "$(base64 -w0 "$1")" |
  curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' --data-binary @- \
    "${3:-http://127.0.0.1:5001}/invocations" |
  sed -n 's/.*"labels": *"\([^"]*\)".*/\1/p; /error_code/w /dev/stderr' | base64 --decode > "$2"
