#!/usr/bin/env bash
# The label map of an image from a served model: docs/predict.sh IMAGE OUT.png [URL]; exits with 22 and the reason if it is refused.
set -euo pipefail
partial=$2.partial  # so that a request that fails leaves OUT as it is
trap 'rm -f "$partial"' EXIT
printf '{"dataframe_split": {"columns": ["image"], "data": [["%s"]]}}' "$(base64 -w0 "$1")" |
  curl --silent --show-error --fail-with-body --header 'Content-Type: application/json' --data-binary @- \
    "${3:-http://127.0.0.1:5001}/invocations" |
  sed -n 's/.*"labels": *"\([^"]*\)".*/\1/p; /error_code/w /dev/stderr' | base64 --decode > "$partial"
[[ -s $partial ]] || { echo "no label map in the answer" >&2; exit 1; }
mv "$partial" "$2"
