#!/usr/bin/env bash
# The demo: a real Prometheus on loopback in a scratch folder, a simulated fleet through
# pipelines/connected-cars.yaml into it, and a look at what came out. Leaves nothing running.
#
#   DEMO_SECONDS   how long to simulate; 0 is until Ctrl-C   [60]
#   DEMO_VEHICLES  how many vehicles                         [100000]
#   PROMETHEUS     the program, which has promtool beside it [that on the PATH]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${DEMO_SECONDS:-60}
vehicles=${DEMO_VEHICLES:-100000}
weir=${CARGO_TARGET_DIR:-target}/release/weir

# As scripts/setup.sh looks for it.
PATH=$PATH:/usr/sbin:/usr/local/sbin

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

prometheus=$(command -v "${PROMETHEUS:-prometheus}") ||
  fail "there is no ${PROMETHEUS:-prometheus}: run scripts/setup.sh demo, or set PROMETHEUS"
promtool=$(dirname "$prometheus")/promtool
[ -x "$promtool" ] || promtool=$(command -v promtool) ||
  fail "there is no promtool beside $prometheus nor on the PATH"

# A port of 127.0.0.1 that nobody listens on, from the given one upwards.
free_port() {
  local port
  for port in $(seq "$1" $(($1 + 99))); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
  fail "no free port from $1 on"
}

# An instant query; promtool comes with Prometheus.
query() { "$promtool" query instant "$url" "$1"; }
# The value of a query that has one series.
value() { query "$1" | sed -n 's/.*=> \([^ ]*\) @.*/\1/p' | head -n 1; }

scratch=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX")
prometheus_pid=''
clean_up() {
  trap '' INT TERM
  if [ -n "$prometheus_pid" ]; then
    kill "$prometheus_pid" 2>/dev/null || true
    wait "$prometheus_pid" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap clean_up EXIT

port=$(free_port 9090)
metrics_port=$(free_port 9464)
url="http://127.0.0.1:$port"
cat > "$scratch/prometheus.yml" <<YAML
global: { scrape_interval: 5s, evaluation_interval: 5s }
rule_files: ["$PWD/dashboards/alerts/*.yaml"]
scrape_configs:
  - job_name: weir
    static_configs: [{ targets: ["127.0.0.1:$metrics_port"] }]
YAML

say "Starting Prometheus at $url (data in $scratch)"
"$prometheus" --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/data" \
  --web.listen-address="127.0.0.1:$port" --web.enable-remote-write-receiver \
  --log.level=warn > "$scratch/prometheus.log" 2>&1 &
prometheus_pid=$!
ready=''
for _ in $(seq 600); do
  if "$promtool" check ready --url="$url" > /dev/null 2>&1 \
    || query 'vector(1)' > /dev/null 2>&1; then ready=1; break; fi
  kill -0 "$prometheus_pid" 2>/dev/null || { cat "$scratch/prometheus.log" >&2; fail "Prometheus has ended"; }
  sleep 0.1
done
[ -n "$ready" ] || { cat "$scratch/prometheus.log" >&2; fail "Prometheus does not answer at $url"; }

if [ "$seconds" = 0 ]; then
  say "Simulating $vehicles vehicles until Ctrl-C"
  echo "Look at $url/graph?g0.expr=sum%20by%20(model)%20(vehicles_in_motion)&g0.range_input=5m"
  echo "weir's own metrics: http://127.0.0.1:$metrics_port/metrics"
  # Ctrl-C goes to all; the demo ends by itself, and then this script.
  trap ':' INT
else
  say "Simulating $vehicles vehicles for $seconds s"
fi
"$weir" demo --vehicles "$vehicles" --seconds "$seconds" \
  --remote-write "$url/api/v1/write" --listen "127.0.0.1:$metrics_port" > "$scratch/summary"

say "What Prometheus has now"
series=$(value 'count({__name__=~"vehicles_in_motion|vehicles_reporting|warnings"})')
echo "series:              ${series:-none}"
echo "vehicles reporting:  $(value 'sum(vehicles_reporting)')"
echo "vehicles in motion:  $(value 'sum(vehicles_in_motion)')"
echo "warning lights on:   $(value 'sum(warnings)')"
echo "in motion, by model:"
query 'sort_desc(sum by (model) (vehicles_in_motion))' \
  | sed -n 's/^{model="\([^"]*\)"} => \([^ ]*\) @.*/\1 \2/p' \
  | while read -r model count; do printf '  %-12s %8s\n' "$model" "$count"; done
say "Events in, samples out"
cat "$scratch/summary"
[ -n "$series" ] || fail "there are no series in Prometheus"
