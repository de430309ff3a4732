#!/bin/sh
# Everything from nothing: installs the data and the Python packages, trains every stage, exports the model folder.
#
#   recipe/run.sh WORK [X2I]
#
# needs python3 (3.10 or 3.11), npm, espeak-ng, the x2i binary (X2I, or `x2i` of the path) and two cores; README.md tells how long it takes.
# Run again, it goes on where it was: a stage that has ended left WORK/done/STAGE, an interrupted one its checkpoint. What
# every stage printed is in WORK/logs. Budgets are optimizer steps, so the result does not depend on how busy the machine is.
set -eu
work=$(mkdir -p "${1:?usage: run.sh WORK}" && cd "$1" && pwd)
x2i=$(command -v "${2:-x2i}") && x2i=$(realpath "$x2i")
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1
mkdir -p "$work/done" "$work/logs"

# stage NAME COMMAND...: once
stage() {
  name=$1 && shift
  [ -e "$work/done/$name" ] && return
  date -u "+%F %T $name: $*" >>"$work/logs/run.log"
  "$@" >>"$work/logs/$name.log" 2>&1
  date -u "+%F %T $name has ended" >>"$work/logs/run.log"
  touch "$work/done/$name"
}

# train NAME SCRIPT ARGUMENTS...: a stage that goes on from its checkpoint
train() {
  name=$1 script=$2 && shift 2
  [ -e "$work/$name.checkpoint" ] && set -- "$@" --resume
  stage "$name" "$work/venv/bin/python" -u "$script" --work "$work" "$@"
}

packages() {
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet -r requirements.txt
  cp package.json package-lock.json "$work/"
  npm ci --prefix "$work" --no-audit --no-fund --ignore-scripts
}

align() {
  "$work/venv/bin/python" export.py --work "$work" --out "$work/emoji-hf" --begun
  "$x2i" convert "$work/emoji-hf" "$work/begun" --quantize q8_0 --force
  "$x2i" train align --config align.toml --model "$work/begun" --teacher "$work/flux" --out "$work/align/run" \
    --data "$work/align/train.jsonl" --validation-data "$work/align/held-out.jsonl"
}

stage packages packages
python="$work/venv/bin/python -u"
stage data $python data.py --packages "$work/node_modules" --work "$work"

# One core paints, the other one reads, sees and hears: the towers are taught the embeddings of stage 3.
{
  train mllm train_mllm.py
  stage speech $python speech.py --work "$work"
  train vision train_vision.py
  train hearing train_hearing.py
  train reader train_senses.py
  train senses train_senses.py --towers --steps 800
  train settled train_senses.py --settle --steps 200
} &
senses=$!
train vae train_vae.py
stage text $python train_text.py --work "$work"
train flux train_flux.py
train decoder train_decoder.py
wait $senses
stage shards $python shards.py --work "$work"
train begun begin_align.py
stage align align
stage export $python export.py --work "$work" --out "$work/emoji-hf"
