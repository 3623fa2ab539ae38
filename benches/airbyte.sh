#!/usr/bin/env bash
# One reading by `headgate airbyte read`, for the hook of ../shared/bench/run_peers.sh, beside the reference engine on the same work:
#
#   CASES="gateway airbyte-full" HEADGATE=target/release/headgate GATEWAY=benches/airbyte.sh ../shared/bench/run_peers.sh
#
# Question: how much CPU does a record cost from the socket to standard output? Sketch: 100,000 records of 1 KB are 100 MB to receive, to look
# through once (a bare parse is 0.36 s) and to write; 0.8 s in all is wanted, a thirtieth of the reference engine's 25 s.
#
# It is given MOCK_URL, TOTAL, PER and RUN_DIR; MANIFEST is the peers' own manifest, STREAM one of its streams, and the records go where
# the hook lets them go.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
HEADGATE=${HEADGATE:-$HERE/../target/release/headgate}
MANIFEST=${MANIFEST:-$HERE/../../shared/bench/peers/airbyte_manifest.yaml}
STREAM=${STREAM:-orders}
END=$(date -u -d "2026-01-01 UTC + $((10 * TOTAL)) seconds" +%Y-%m-%dT%H:%M:%SZ)
cat >"$RUN_DIR/config.json" <<JSON
{"base_url":"$MOCK_URL","api_key":"a key","total":"$TOTAL","per_page":$PER,"num_workers":2,"start_date":"2026-01-01T00:00:00Z","end_date":"$END"}
JSON
cat >"$RUN_DIR/catalog.json" <<JSON
{"streams":[{"stream":{"name":"$STREAM","json_schema":{},"supported_sync_modes":["full_refresh"]},"sync_mode":"full_refresh","destination_sync_mode":"append"}]}
JSON
exec "$HEADGATE" airbyte read --manifest-path "$MANIFEST" --config "$RUN_DIR/config.json" --catalog "$RUN_DIR/catalog.json" --allow-loopback
