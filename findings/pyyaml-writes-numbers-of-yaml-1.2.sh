#!/usr/bin/env bash
# PyYAML keeps to YAML 1.1: it writes the texts 1e3 and 0o17 without quotes, which a reader of YAML 1.2, such as npm's yaml,
# takes for numbers.
. "$(dirname "$0")/common.sh"
packages PyYAML==6.0.3
needs npm
npm install --prefix "$work" --no-audit --no-fund --no-package-lock --silent yaml@2.8.1 >/dev/null
echo "with: npm yaml $(node -p "require('$work/node_modules/yaml/package.json').version")"
seen 'PyYAML writes the texts: [1e3, 0o17]
npm yaml reads: [1000,15]' <<'PY'
import subprocess
import yaml
from pathlib import Path
import sys

written = yaml.safe_dump(["1e3", "0o17"], default_flow_style=True).strip()
print("PyYAML writes the texts:", written)
script = "console.log(JSON.stringify(require('yaml').parse(process.argv[1])))"
folder = Path(sys.prefix).parent
print("npm yaml reads:", subprocess.check_output(["node", "-e", script, written], cwd=folder, text=True).strip())
PY
