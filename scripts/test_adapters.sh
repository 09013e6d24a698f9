#!/usr/bin/env bash
# Test the adapters with the libraries they adapt. Their versions exclude one another, so each has an environment of
# its own, kept in FOLDER for the next time.   scripts/test_adapters.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-adapters}

try() { # name, package, extras of ours, tests...
  local python="$folder/$1/bin/python" package=$2 extras=$3
  shift 3
  if [ ! -x "$python" ]; then
    python3 -m venv "$(dirname "$(dirname "$python")")"
    "$python" -m pip install -q torch==2.13.0
    "$python" -m pip install -q -e ".[$extras]" pytest hypothesis "$package"
  fi
  echo "== $package"
  OMP_NUM_THREADS=1 "$python" -m pytest -q -rs -p no:cacheprovider "$@"
}

try transformer_lens transformer_lens==4.3.0 local tests/interop/test_networks.py
try nnsight nnsight==0.8.1 local tests/interop/test_networks.py
try pyvene pyvene==0.1.8 local tests/interop/test_networks.py
try dowhy dowhy==0.14 dowhy tests/interop/test_dowhy.py
try inspect 'inspect_ai>=0.3.285' inspect,local tests/reasoning/test_models.py tests/reasoning/test_faults.py
