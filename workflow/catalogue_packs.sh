#!/usr/bin/env bash
# Catalogue one pack of images of many, as a job of an array (doc/scale.md):
#
#     sbatch --array=0-9999%250 --cpus-per-task=2 workflow/catalogue_packs.sh PACKS TABLES [FLAGS]
#
# PACKS is a folder of packs of JPEGs, *.tar; each job writes a table to TABLES; FLAGS go to predict_galaxies.py. Job N
# takes the Nth pack in the order of names, from 0. It unpacks the images on its node and removes them at the end. A
# table that exists is not made again, and a killed job resumes when it is submitted again. PYTHON names another
# interpreter than the project's.
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
[ ! -e "$table" ] || { echo "$table exists"; exit 0; }

mkdir -p "$tables"
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT
tar xf "$pack" -C "$images"
cd "$images"
"$python" "$house/predict_galaxies.py" . --output "$table" "$@"
