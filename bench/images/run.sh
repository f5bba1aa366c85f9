#!/usr/bin/env bash
# Measures the image steps beside sharp (pinned in package.json), libvips alone and, when IMGPROXY_BIN names it, imgproxy.
# Needs node and npm. What it fetches goes to .cache/images. Arguments go to compare.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/.cache/images
mkdir -p "$work/files" "$work/peers"
cp bench/images/package.json bench/images/*.mjs bench/images/compare.py "$work/peers/"
[ -d "$work/peers/node_modules/sharp" ] || (cd "$work/peers" && npm install --no-audit --no-fund >&2)
if [ ! -e "$work/files/alpha.png" ]; then
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download mate-backgrounds >&2 && dpkg-deb -x mate-backgrounds_*.deb pictures)
  node "$work/peers/files.mjs" "$work/pictures" "$work/files"
fi
./run build release >&2
build/release/millrace version >&2
exec python3 "$work/peers/compare.py" --files "$work/files" --cost build/release/image-cost --millrace build/release/millrace "$@"
