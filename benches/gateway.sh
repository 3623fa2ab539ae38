#!/usr/bin/env bash
# One pull by the real binary, for the hook of ../shared/bench/run_peers.sh:
#
#   HEADGATE=target/release/headgate GATEWAY=benches/gateway.sh ../shared/bench/run_peers.sh
#
# It is given MOCK_URL, TOTAL, PER and RUN_DIR; MANIFEST is the peers' own manifest, STREAM one of its streams.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
HEADGATE=${HEADGATE:-$HERE/../target/release/headgate}
MANIFEST=${MANIFEST:-$HERE/../../shared/bench/peers/airbyte_manifest.yaml}
STREAM=${STREAM:-orders}
DATA=$RUN_DIR/data
mkdir -p "$DATA"
printf '[egress]\nallow = ["%s"]\n' "${MOCK_URL#*://}" >"$DATA/headgate.toml"
END=$(date -u -d "2026-01-01 UTC + $((10 * TOTAL)) seconds" +%Y-%m-%dT%H:%M:%SZ)
CONNECTION=$(
  "$HEADGATE" --data "$DATA" --json connect "$MANIFEST" --tenant bench --streams "$STREAM" --accept-policy --person P --organisation O --config - <<JSON |
{"base_url":"$MOCK_URL","api_key":"a key","total":"$TOTAL","per_page":$PER,"num_workers":2,"start_date":"2026-01-01T00:00:00Z","end_date":"$END"}
JSON
    tail -1 | cut -d'"' -f4
)
"$HEADGATE" --data "$DATA" --json run "$CONNECTION" --stream "$STREAM" | tail -1
