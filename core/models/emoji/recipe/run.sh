#!/bin/sh
# Everything from nothing: installs the data and the Python packages, trains every stage, exports the model folder.
#
#   recipe/run.sh WORK [X2I]
#
# needs python3 (3.10 or 3.11), npm, espeak-ng, the x2i binary (X2I, or `x2i` of the path) and two cores; see README.md for how long it takes. Budgets are optimizer
# steps, so the result does not depend on how busy the machine is. A stage that is interrupted goes on with
# `python train_X.py --work WORK --resume`.
set -eu
work=$(mkdir -p "${1:?usage: run.sh WORK}" && cd "$1" && pwd)
x2i=$(command -v "${2:-x2i}") && x2i=$(realpath "$x2i")
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet -r requirements.txt
cp package.json package-lock.json "$work/"
npm ci --prefix "$work" --no-audit --no-fund --ignore-scripts
python="$work/venv/bin/python -u"

$python data.py --packages "$work/node_modules" --work "$work" --concepts 160

$python train_mllm.py --work "$work" >"$work/mllm.log" 2>&1 & # needs no pictures: runs beside the others
mllm=$!
$python train_vae.py --work "$work"
$python train_flux.py --work "$work"
wait $mllm
$python train_decoder.py --work "$work" >"$work/decoder.log" 2>&1 &
decoder=$!
wait $decoder
$python restore.py --work "$work"
$python speech.py --work "$work"
{ $python train_senses.py --work "$work" && $python train_vision.py --work "$work"; } >"$work/reader-vision.log" 2>&1 & # needs no ears
others=$!
$python train_hearing.py --work "$work"
wait $others
$python train_senses.py --work "$work" --towers --steps 1200
$python shards.py --work "$work"
$python export.py --work "$work" --out "$work/emoji-hf" --untrained
"$x2i" convert "$work/emoji-hf" "$work/untrained" --force
"$x2i" train align --config align.toml --model "$work/untrained" --teacher "$work/flux" --out "$work/align/run" \
  --data "$work/align/train.jsonl" --validation-data "$work/align/held-out.jsonl"
$python export.py --work "$work" --out "$work/emoji-hf"
