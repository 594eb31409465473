# shellcheck shell=bash disable=SC2034,SC2154 # names are set here for those who read this file, and the other way round
# What scripts/check-manifests and scripts/check-alerts share: the tools that they install, all below target/check.
readonly TOOLS=$PWD/target/check

fail() { printf '%s: %s\n' "$NAME" "$*" >&2; exit 1; }

# check WHAT COMMAND...: one line; what the command says is shown only if it fails. `found` is 1 from then on.
found=0
check() {
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then printf 'ok      %s\n' "$what"
  else
    found=1
    tail -30 "$work/out" >&2
    printf 'FAILED  %s\n' "$what"
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "this needs root, and there is no sudo: run \`$*\` as root, then try again"
  fi
}

# apt_install PACKAGE...
apt_install() {
  command -v apt-get >/dev/null || fail "$* is missing: install it, then try again"
  as_root apt-get update -q >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

# Python with what the checks import, in a folder of its own. Sets `python`.
need_python() {
  # Debian's python3 has venv without what it installs.
  python3 -c 'import venv, ensurepip' 2>/dev/null || apt_install python3 python3-venv
  python=$TOOLS/python/bin/python
  local wanted="PyYAML==6.0.3 kubernetes-validate==1.37.0"
  [ "$(cat "$TOOLS/python/wanted" 2>/dev/null)" = "$wanted" ] && return
  python3 -m venv --clear "$TOOLS/python"
  # shellcheck disable=SC2086 # two words
  "$python" -m pip install --quiet --disable-pip-version-check $wanted
  echo "$wanted" >"$TOOLS/python/wanted"
}

# Sets `promtool`. Of Debian's package only this one program is taken: installing the package would start a server.
need_promtool() {
  if promtool=$(command -v promtool); then return; fi
  promtool=$TOOLS/promtool
  [ -x "$promtool" ] && return
  command -v apt-get >/dev/null || fail "there is no promtool: install Prometheus, then try again"
  mkdir -p "$work/deb"
  (
    cd "$work/deb" || exit
    apt-get download -q prometheus >"$work/out" 2>&1 || { as_root apt-get update -q && apt-get download -q prometheus; } >&2
    dpkg-deb --extract prometheus_*.deb .
  )
  install -D "$work/deb/usr/bin/promtool" "$promtool"
}

# kubectl with kustomize 4 or newer: components came with it. It is used offline.
need_kubectl() {
  command -v kubectl >/dev/null || apt_install kubernetes-client
  local version
  version=$(kubectl version --client --output json | sed -n 's/.*"minor": "\([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 21 ] || fail "kubectl 1.$version is too old: 1.21 or newer builds these overlays (Debian 13 has 1.32)"
}

# What knows the resources of the Prometheus Operator: their types, and TypeScript to hold ours to them. Sets `models`.
need_models() {
  command -v npm >/dev/null || apt_install nodejs npm
  models=$TOOLS/models
  [ -x "$models/node_modules/.bin/tsc" ] && return
  mkdir -p "$models"
  echo '{"private": true}' >"$models/package.json"
  npm install --prefix "$models" --no-audit --no-fund --ignore-scripts --silent \
    @kubernetes-models/prometheus-operator@6.0.0 typescript@5.9.3 >&2
}
