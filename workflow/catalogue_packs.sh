#!/usr/bin/env bash
# Catalogue one pack of images of many, as a job of an array (doc/scale.md):
#
#     sbatch --array=0-9999%250 --cpus-per-task=2 workflow/catalogue_packs.sh PACKS TABLES [FLAGS]
#
# PACKS holds packs of JPEGs, *.tar, and TABLES takes a table for each; FLAGS go to predict_galaxies.py. Job N takes the
# Nth pack in the order of names, from 0. The images are unpacked on the node, and gone with the job. A table that is
# there is not made again, and a job that was killed goes on with its rows when it is submitted again. PYTHON names
# another interpreter than the project's own.
set -euo pipefail

fail() { echo "error: $*" >&2; exit 1; }

packs=$(realpath "${1:?expected PACKS and TABLES}")
tables=$(realpath -m "${2:?expected PACKS and TABLES}")
shift 2
number=${SLURM_ARRAY_TASK_ID:?expected a job of an array; run sbatch --array=0-N}
# Slurm runs a copy of this file, from the folder that sbatch was called in.
house=${HOUSE:-$(dirname "$(dirname "$(realpath "$0")")")}
[ -f "$house/predict_galaxies.py" ] || house=$PWD
[ -f "$house/predict_galaxies.py" ] || fail "predict_galaxies.py is not in $house; submit from there, or name HOUSE"
python=${PYTHON:-$house/.venv/bin/python}

all=("$packs"/*.tar)
[ -f "${all[0]}" ] || fail "expected packs *.tar in $packs, found none"
[ "$number" -lt ${#all[@]} ] || fail "expected a pack for job $number, but there are ${#all[@]}; run --array=0-$((${#all[@]} - 1))"
pack=${all[$number]}
table=$tables/$(basename "$pack" .tar).parquet
[ ! -e "$table" ] || { echo "$table is there"; exit 0; }

mkdir -p "$tables"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
tar xf "$pack" -C "$place"
cd "$place"
"$python" "$house/predict_galaxies.py" . --output "$table" "$@"
