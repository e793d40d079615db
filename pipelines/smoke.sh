#!/usr/bin/env bash
# Tries a cluster in some minutes: bash pipelines/smoke.sh mine.yaml
# A training of seconds; its candidate is expected to be rejected, so that nothing reaches the registry.
set -euo pipefail
environment=${1:?usage: bash pipelines/smoke.sh ENVIRONMENT.yaml}
small=(-S train.epochs=1 -S train.samples_per_epoch=96 -S evaluate.csrt=false -S gate.min_ao=1.0)

say() { printf '\n== %s\n' "$1"; }
say "the environment compiles"
trackline pipeline compile -e "$environment" "${small[@]}" -o "$(mktemp -d)/pipeline.yaml"
say "the server answers, and a dry run changes nothing"
trackline pipeline status -e "$environment"
trackline pipeline run -e "$environment" "${small[@]}" --dry-run
say "a run starts"
run=$(trackline pipeline run -e "$environment" "${small[@]}" | tee /dev/stderr | awk '$1 == "run" {print $2}')
say "waiting for $run, at most 30 minutes"
for _ in $(seq 180); do
  state=$(trackline pipeline status -e "$environment" -n 50 | awk -v run="$run" '$1 == run {print $2}')
  case $state in SUCCEEDED | FAILED | CANCELED) break ;; esac
  sleep 10
done
say "it ended: $state; its journal"
journal=$(trackline pipeline logs -e "$environment" "$run")
printf '%s\n' "$journal"
grep -q '^reject  *succeeded' <<<"$journal" || {
  echo "error: the run did not reach its rejection; the failing step stands above" >&2
  exit 1
}
say "the cluster runs the graph"
