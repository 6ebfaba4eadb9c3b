# Sourced after debian_root.sh: the same pictures through the same model here and on another processor.
# shellcheck shell=bash
#
#   digit_pictures FOLDER                          ten pictures of the bundled digits
#   same_top1 NAME PROCESSOR ROOT MODEL PICTURES   says what was shown; MODEL and PICTURES are below ROOT/host

digit_pictures() {
  mkdir -p "$1"
  .venv/bin/python - "$1" <<'END'
import importlib.resources
import sys

import numpy as np
from PIL import Image

digits = np.load(importlib.resources.files("edge_runtime") / "demo/digits.npz")
for number, picture in enumerate(np.asarray(digits[digits.files[0]][:10])):
    picture = np.squeeze(picture).astype(float)
    picture = (255 * picture / max(1.0, picture.max())).astype("uint8")
    Image.fromarray(picture).convert("RGB").save(f"{sys.argv[1]}/{number}.png")
END
}

_top1() {
  .venv/bin/python -c 'import json, sys
for line in sys.stdin:
    said = json.loads(line)
    print(said["path"].rpartition("/")[2], said["result"][0]["class_id"])' | sort
}

same_top1() {
  local name=$1 processor=$2 root=$3 model=$4 pictures=$5
  .venv/bin/edge-infer batch --images "$root/host/$pictures" --model "$root/host/$model" 2>/dev/null | _top1 >"$root.here"
  on_processor "$processor" "$root" /usr/bin/edge-infer batch --images "/host/$pictures" --model "/host/$model" \
    2>"$root.said" | _top1 >"$root.there" || true
  if [[ -s $root.here ]] && cmp -s "$root.here" "$root.there"; then
    say "shown   $model: the same top-1 for $(wc -l <"$root.here") pictures on $name"
  else
    say "FAILED  $model on $name: $(diff "$root.here" "$root.there" | head -5 | tr '\n' ' ') $(tail -3 "$root.said")"
    return 1
  fi
}
