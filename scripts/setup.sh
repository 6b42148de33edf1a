#!/usr/bin/env bash
# Installs what weir needs to be built, shown (demo) or tested (test), and only what is missing.
# It may be run again at any time.
#
#   scripts/setup.sh [build|demo|test]
#
# Where there is apt (Debian, Ubuntu) it installs packages; elsewhere it names the programs that are
# missing. Apache Kafka for the tests comes from Maven Central into
# ${WEIR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/weir}, moto and grpcio-tools from PyPI
# and kinesis-local from npm into the same folder, where RocksDB (scripts/rocksdb.sh) and a current
# Prometheus (from Go's modules) are built as well; mirrors and proxies of ~/.m2/settings.xml, of pip.conf,
# of .npmrc and of the environment are honoured.
set -euo pipefail

readonly target=${1:-demo}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repository
readonly pom=$repository/tests/it/support/kafka/pom.xml
readonly prometheus_module=$repository/tests/it/support/prometheus3
readonly cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:?neither HOME nor WEIR_CACHE is set}/.cache}/weir}
readonly policy=/usr/sbin/policy-rc.d

# Servers are here, and Go as it installs itself, which is not on every user's PATH.
PATH=$PATH:/usr/sbin:/usr/local/sbin:/usr/local/go/bin

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
list() { local IFS=';' && printf '%s' "${*/#/ }" | cut -c 2-; }
have() { command -v "$1" >/dev/null 2>&1; }

case $target in
build | demo | test) ;;
*) fail "unknown target \"$target\": use build, demo or test" ;;
esac

kafka_version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$pom")
[ -n "$kafka_version" ] || fail "$pom names no kafka.version"
readonly kafka_version
readonly kafka=$cache/kafka-$kafka_version

# The same version stands in tests/it/support/moto.rs.
readonly moto_version=5.2.5
readonly moto=$cache/moto-$moto_version
# The same version stands in tests/it/support/kinesis.rs.
readonly kinesis_local_version=0.6.2
readonly kinesis_local=$cache/kinesis-local-$kinesis_local_version

# Prometheus 3.14.0 is version 0.314.0 of its Go module. The same version stands in
# tests/it/support/prometheus.rs.
readonly prometheus3_version=3.14.0
readonly prometheus3=$cache/prometheus-$prometheus3_version

# protoc for Python, and what it generates for. The same version stands in tests/it/wire.rs.
readonly grpcio_tools_version=1.85.1
readonly grpcio_tools=$cache/grpcio-tools-$grpcio_tools_version

check_rust() {
    have cargo || fail "there is no cargo on the PATH: install Rust from https://rustup.rs"
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
    # In the repository, because its toolchain file counts.
    found=$(cd "$repository" && cargo --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "cargo is $found, weir needs $wanted or later: run rustup update stable"
}

# Go builds the current Prometheus of the tests. apt has none that is new enough, so this is known before
# anything is installed.
check_go() {
    local wanted found
    have go || fail "there is no go on the PATH, and the tests need a current Prometheus: install Go from https://go.dev/dl, or set PROMETHEUS3 to a Prometheus $prometheus3_version"
    wanted=$(sed -n 's/^go //p' "$prometheus_module/go.mod")
    found=$(cd / && go env GOVERSION | sed 's/^go//')
    if [ "$(go env GOTOOLCHAIN)" = local ] &&
        [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "go is $found, Prometheus $prometheus3_version needs $wanted or later"
    fi
}

# Debian's compilers come without the C library's headers unless libc6-dev is there as well.
have_c() { have gcc && have g++ && printf '#include <stdlib.h>\n' | gcc -E - >/dev/null 2>&1; }
have_library() {
    if have pkg-config; then pkg-config --exists "$1"; else return 1; fi
}
# The newest version of libclang on Debian, which is the one that bindgen loads. libclang-cpp, which LLVM's own
# tools need, is another library.
libclang_version() {
    local found
    found=$(compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || true)
    sed -nE 's|^/usr/lib/llvm-([0-9]+)/lib/libclang(-[0-9][0-9.]*)?\.so.*|\1|p' <<< "$found" |
        sort -n | tail -n 1
}
# bindgen reads RocksDB's headers with it. They include headers of clang's own, which are not with the library,
# but in a package of the same version, or with a clang, which bindgen asks for its folders.
have_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    local version found
    version=$(libclang_version)
    if [ -n "$version" ]; then
        have clang || compgen -G "/usr/lib/llvm-$version/lib/clang/*/include/stddef.h" >/dev/null
        return
    fi
    found=$(ldconfig -p 2>/dev/null || true)
    grep -Eq 'libclang(-[0-9][0-9.]*)?\.so' <<< "$found" || return 1
    have clang || compgen -G '/usr/lib*/clang/*/include/stddef.h' >/dev/null
}
libclang_packages() {
    local version
    version=$(libclang_version)
    echo "libclang-dev${version:+ libclang-common-$version-dev}"
}
have_prometheus() { [ -n "${PROMETHEUS:-}" ] || have prometheus; }
have_prometheus3() { [ -n "${PROMETHEUS3:-}" ] || [ -x "$prometheus3/prometheus" ]; }
have_victoria_metrics() { [ -n "${VICTORIA_METRICS:-}" ] || have victoria-metrics; }
have_mosquitto() { [ -n "${MOSQUITTO:-}" ] || have mosquitto; }
have_postgres() { [ -n "${POSTGRES:-}" ] || have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
have_kafka() { [ -f "$kafka/libs/kafka_2.13-$kafka_version.jar" ]; }
have_kinesis_local() { [ -f "$kinesis_local/node_modules/kinesis-local/main.js" ]; }
have_moto() { "$moto/bin/python" -c 'import moto.server' >/dev/null 2>&1; }
have_grpcio_tools() { "$grpcio_tools/bin/python" -c 'import grpc_tools.protoc' >/dev/null 2>&1; }
have_venv() { { have_moto && have_grpcio_tools; } || python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }
have_java() {
    local java=java major
    if [ -n "${JAVA_HOME:-}" ]; then java=$JAVA_HOME/bin/java; fi
    have "$java" || return 1
    major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge 17 ]
}

# Each thing that is missing: what it is, and its packages.
missing=()
packages=()
need() { # need <what> <packages> <check...>
    local what=$1 names=$2
    shift 2
    if "$@"; then return; fi
    missing+=("$what")
    # shellcheck disable=SC2206
    packages+=($names)
}

# Debian 12 has 17; later releases only have a later one, which is their default.
java_package() {
    if [ -n "$(apt-cache madison openjdk-17-jre-headless 2>/dev/null)" ]; then
        echo openjdk-17-jre-headless
    else
        echo default-jre-headless
    fi
}

look() {
    missing=()
    packages=()
    need "a C and C++ compiler (gcc and g++)" "gcc g++ libc6-dev" have_c
    need "make" make have make
    need "pkg-config" pkg-config have pkg-config
    need "the zstd library with headers" libzstd-dev have_library libzstd
    need "the zlib library with headers" zlib1g-dev have_library zlib
    need "OpenSSL with headers" libssl-dev have_library openssl
    need "libclang with clang's headers, for RocksDB" "$(libclang_packages)" have_libclang
    [ "$target" != build ] || return 0
    need "prometheus" prometheus have_prometheus
    [ "$target" = test ] || return 0
    need "VictoriaMetrics" victoria-metrics have_victoria_metrics
    need "mosquitto" mosquitto have_mosquitto
    need "PostgreSQL" postgresql have_postgres
    need "Java 17 or later" java have_java
    have_kafka || need "maven (mvn)" maven have mvn
    need "Node.js" nodejs have node
    have_kinesis_local || need "npm" npm have npm
    need "Python 3 with venv" "python3 python3-venv" have_venv
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Another apt may be at work, as it is after a machine's start.
apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}
# For the lock of its lists apt does not wait.
update_lists() {
    local attempt
    for attempt in 1 2 3 4 5; do
        if apt update; then return; fi
        say "apt could not update its lists, attempt $attempt of 5"
        [ "$attempt" = 5 ] || sleep 10
    done
    fail "apt could not update its lists: run apt-get update and see why"
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Debian starts a server when its package is installed, unless this file forbids it. A file that is
# there already is the system's own and stays.
forbid_services() {
    [ ! -e "$policy" ] || return 0
    trap allow_services EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}
allow_services() {
    trap - EXIT
    as_root rm -f "$policy"
}

install() {
    local package index services=()
    if [ "$(id -u)" -ne 0 ] && ! have sudo; then
        fail "neither root nor sudo: as root, install the packages ${packages[*]}, then run this again"
    fi
    for package in prometheus victoria-metrics mosquitto postgresql; do
        case " ${packages[*]} " in
        *" $package "*) is_installed "$package" || services+=("$package") ;;
        esac
    done
    update_lists
    # Which Java there is, only the lists know, and they may have been empty until now.
    for index in "${!packages[@]}"; do
        if [ "${packages[index]}" = java ]; then packages[index]=$(java_package); fi
    done
    say "installing ${packages[*]}"
    forbid_services
    apt install -y --no-install-recommends "${packages[@]}"
    # weir's demo and tests start their own; nothing is to start with the machine, either.
    for package in "${services[@]+"${services[@]}"}"; do
        as_root update-rc.d "$package" disable >/dev/null 2>&1 ||
            say "could not disable the service $package: it may start with the machine"
        if [ -d /run/systemd/system ]; then as_root systemctl stop "$package"; fi
    done
    if [ -n "$(trap -p EXIT)" ]; then allow_services; fi
}

# Into a temporary folder first: an interrupted download is not taken for a whole one.
fetch_kafka() {
    local new
    say "fetching Apache Kafka $kafka_version into $kafka"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/kafka-$kafka_version.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf -- '$new'" EXIT
    mvn -B -q -f "$pom" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$new/libs" >"$new/maven.log" 2>&1 || {
        cat "$new/maven.log" >&2
        fail "Maven could not fetch Kafka: behind a proxy or a mirror, name it in ~/.m2/settings.xml"
    }
    rm "$new/maven.log"
    chmod 755 "$new"
    if ! have_kafka; then
        rm -rf -- "$kafka"
        mv -- "$new" "$kafka"
    fi
    rm -rf -- "$new"
    trap - EXIT
    have_kafka || fail "Maven fetched no kafka_2.13-$kafka_version.jar into $kafka/libs"
}

# A package of Python into a folder of its own, which cannot be moved once it is made, so what is half-made
# goes.
fetch_python() { # fetch_python <package> <folder>
    local package=$1 folder=$2
    say "fetching $package into $folder"
    mkdir -p "$cache"
    rm -rf -- "$folder"
    python3 -m venv "$folder" || fail "python3 makes no virtual environment in $folder"
    "$folder/bin/pip" install -q --disable-pip-version-check "$package" || {
        rm -rf -- "$folder"
        fail "pip could not fetch $package: behind a proxy or a mirror, name it in pip.conf"
    }
}

# A server that speaks S3.
fetch_moto() {
    fetch_python "moto[server]==$moto_version" "$moto"
    have_moto || fail "pip has fetched moto, but it does not run"
}

# A server that speaks Kinesis. It would listen on all addresses; here it is for this machine alone.
fetch_kinesis_local() {
    local new main
    say "fetching kinesis-local $kinesis_local_version into $kinesis_local"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/kinesis-local-$kinesis_local_version.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf -- '$new'" EXIT
    npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$new" \
        "kinesis-local@$kinesis_local_version" ||
        fail "npm could not fetch kinesis-local: behind a proxy or a mirror, name it in .npmrc"
    main=$new/node_modules/kinesis-local/main.js
    [ "$(grep -o '"0\.0\.0\.0"' "$main" | wc -l)" = 1 ] ||
        fail "kinesis-local $kinesis_local_version does not name the address that it listens on"
    sed -i 's/"0\.0\.0\.0"/"127.0.0.1"/' "$main"
    chmod 755 "$new"
    if ! have_kinesis_local; then
        rm -rf -- "$kinesis_local"
        mv -- "$new" "$kinesis_local"
    fi
    rm -rf -- "$new"
    trap - EXIT
}

# Without the user interface and the ways to discover targets, whose clients are most of its code.
build_prometheus3() {
    local new
    say "building Prometheus $prometheus3_version into $prometheus3 (some minutes)"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/prometheus-$prometheus3_version.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf -- '$new'" EXIT
    (cd "$prometheus_module" && CGO_ENABLED=0 go build -trimpath -tags netgo,remove_all_sd \
        -ldflags "-s -w -X github.com/prometheus/common/version.Version=$prometheus3_version" \
        -o "$new/prometheus" github.com/prometheus/prometheus/cmd/prometheus) >"$new/build.log" 2>&1 || {
        cat "$new/build.log" >&2
        fail "Go could not build Prometheus: behind a proxy or a mirror, name it in GOPROXY"
    }
    rm "$new/build.log"
    chmod 755 "$new"
    if ! have_prometheus3; then
        rm -rf -- "$prometheus3"
        mv -- "$new" "$prometheus3"
    fi
    rm -rf -- "$new"
    trap - EXIT
}

# Reads what is sent with the published schemas.
fetch_grpcio_tools() {
    fetch_python "grpcio-tools==$grpcio_tools_version" "$grpcio_tools"
    have_grpcio_tools || fail "pip has fetched grpcio-tools, but it does not run"
}

check_rust
if [ "$target" = test ] && ! have_prometheus3; then check_go; fi
look
if [ ${#missing[@]} -gt 0 ]; then
    say "missing: $(list "${missing[@]}")"
    have apt-get || fail "there is no apt-get here: install them by other means, then run this again"
    install
    look
    [ ${#missing[@]} -eq 0 ] || fail "still missing: $(list "${missing[@]}")"
fi
"$repository/scripts/rocksdb.sh" build
if [ "$target" = test ] && ! have_kafka; then fetch_kafka; fi
if [ "$target" = test ] && ! have_moto; then fetch_moto; fi
if [ "$target" = test ] && ! have_kinesis_local; then fetch_kinesis_local; fi
if [ "$target" = test ] && ! have_prometheus3; then build_prometheus3; fi
if [ "$target" = test ] && ! have_grpcio_tools; then fetch_grpcio_tools; fi
say "all that '$target' needs is here"
