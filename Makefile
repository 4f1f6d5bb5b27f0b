# make demo: the whole method on a simulated survey, in minutes.    make test: lint, and the tests.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# The best single model of 2014 and a network of today, so that there is something to compare and to blend.
OF_2014 := maxout2048_extradense
OF_TODAY := finetune_efficientnet_lite0
# A field that scikit-image ships.
HUBBLE := 'from pathlib import Path; import skimage; print(Path(skimage.__file__).parent / "data/hubble_deep_field.jpg")'
BLENDED := $(DEMO)/predictions/final/blended

.PHONY: demo test test-cuda ensemble test-workflow torture lint bench docs model clean

.venv/installed: requirements.txt requirements-dev.txt requirements-catalogue.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or later; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: .venv/installed
	$(BIN)/python simulate_galaxies.py --root $(DEMO) --num-train 1000 --num-test 50
	$(BIN)/python create_train_ids_file.py --root $(DEMO)
	$(BIN)/python create_test_ids_file.py --root $(DEMO)
	$(BIN)/python convert_training_labels_to_npy.py --root $(DEMO)
	$(BIN)/python check_label_constraints.py --root $(DEMO)
	@echo "The best model of 2014, in two minutes instead of days: from weights that preserve variance, 6 short chunks."
	$(BIN)/python try_convnet_cc_multirotflip_3x69r45_$(OF_2014).py --root $(DEMO) \
	    --num-chunks 6 --chunk-size 600 --initialisation variance-preserving
	$(BIN)/python predict_augmented_npy_$(OF_2014).py --root $(DEMO) --chunk-size 1200
	@echo "A network of today, from ImageNet's weights: six passes over the galaxies."
	$(BIN)/python try_$(OF_TODAY).py --root $(DEMO) --epochs 6 --chunk-size 900
	$(BIN)/python predict_augmented_npy_$(OF_TODAY).py --root $(DEMO) --chunk-size 1200
	$(BIN)/python ensemble_predictions_npy.py --root $(DEMO)
	@echo "The submission is the best blend by its cross-validated RMSE: $$(cat $(BLENDED)/best.txt)"
	$(BIN)/python create_submission_from_npy.py --root $(DEMO) "$(BLENDED)/$$(cut -d ' ' -f 1 $(BLENDED)/best.txt)"
	$(BIN)/python show_results.py --root $(DEMO) --report $(DEMO)/report.html
	@echo "The Hubble Deep Field, by the model that comes with the project."
	$(BIN)/python predict_galaxies.py "$$($(BIN)/python -c $(HUBBLE))" --detect \
	    --output $(DEMO)/hubble.parquet --report $(DEMO)/hubble.html
	@echo "Look at $(DEMO)/report.html, $(DEMO)/hubble.html and $(DEMO)/hubble.hubble_deep_field.jpg."

# The whole ensemble below ROOT, on a workflow engine in an environment of its own (doc/workflow.md). The same command
# resumes where one stopped. PROFILE is laptop, gpu-box or slurm; CONFIG names what differs from workflow/config.yaml.
ROOT ?= .
PROFILE ?= laptop
SNAKEMAKE = $(CURDIR)/workflow/.venv/bin/snakemake --snakefile $(CURDIR)/workflow/Snakefile \
    $(if $(CONFIG),--configfile $(abspath $(CONFIG)))

ensemble: .venv/installed workflow/.venv/installed
	@mkdir -p $(ROOT)
	cd $(ROOT) && $(SNAKEMAKE) --workflow-profile $(CURDIR)/workflow/profiles/$(PROFILE) $(FLAGS)

workflow/.venv/installed: workflow/requirements.txt
	$(PYTHON) -m venv workflow/.venv
	workflow/.venv/bin/pip install --quiet --disable-pip-version-check -r workflow/requirements.txt
	@touch $@

test-workflow: .venv/installed workflow/.venv/installed
	$(BIN)/python -m pytest tests/workflow

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# What only an accelerator shows; a test that hangs or crashes costs the others nothing. Writes cuda.xml and cuda.md.
test-cuda: .venv/installed
	$(BIN)/python -m pytest tests/cuda -m cuda --numprocesses 1 --max-worker-restart 1000 --timeout-method thread \
	    --junitxml cuda.xml

# The long form of the tests that try to break things: changed files and killed runs.
torture: .venv/installed
	TORTURE=1 $(BIN)/python -m pytest tests/promises/test_fuzz.py tests/promises/test_torture.py \
	    tests/promises/test_hostile.py tests/promises/test_pairs.py \
	    tests/promises/test_harness.py \
	    tests/engine/test_other_family.py tests/engine/test_finetuning.py tests/engine/test_starting_weights.py \
	    tests/engine/test_teaching.py tests/test_predict_galaxies.py \
	    tests/cuda/test_cuda_scripts.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Those that need nothing but this project; the others ask for real galaxies.
ALONE = augmentation convolutions finetuning source_extraction training
bench: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	for name in $(ALONE); do $(BIN)/python benchmarks/bench_$$name.py || exit 1; done
	$(BIN)/python benchmarks/bench_scale.py memory blending
	$(BIN)/python benchmarks/ensemble_results.py seeds

# doc/ as a site, in site/index.html; a warning is an error.
docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	rm -rf doc/api  # pages of modules that may be gone
	$(BIN)/sphinx-build --quiet --doctree-dir .venv/doctrees --fail-on-warning --keep-going -c doc/site doc site
	@echo "built site/index.html"

# The model in the box, made again (models/teach.py): make model CLASSES=DIR VOTES=DIR. Both are roots in Kaggle's layout.
# CLASSES has galaxies with class averages as labels. VOTES has galaxies with votes, and those of CLASSES as test images.
STUDENT := distilled_lite0
START = $(CLASSES)/analysis/final/try_$(OF_TODAY).pkl
model: .venv/installed
	$(BIN)/python prepare_data.py --root $(CLASSES)
	$(BIN)/python prepare_data.py --root $(VOTES)
	$(BIN)/python try_$(OF_TODAY).py --root $(CLASSES) --epochs 7
	for fold in 1 2 3 4 5; do \
	    $(BIN)/python try_$(OF_TODAY).py --root $(VOTES) --fold $$fold/5 --epochs 40 --start-from $(START) && \
	    $(BIN)/python predict_augmented_npy_$(OF_TODAY).py --root $(VOTES) --fold $$fold/5 || exit 1; done
	$(BIN)/python models/teach.py --root $(VOTES) --classes $(CLASSES)
	$(BIN)/python try_$(STUDENT).py --root $(VOTES) --all-galaxies --num-chunks 50 --start-from $(START) \
	    --teacher class_and_votes
	$(BIN)/python export_model.py try_$(STUDENT) --root $(VOTES) --all-galaxies --calibrate-with class_and_votes \
	    --views 2 --weights int8 --facts models/facts.json --output models/lite0.onnx --overwrite
	cd models && sha256sum lite0.onnx > SHA256SUMS
	$(BIN)/python export_model.py try_$(STUDENT) --root $(VOTES) --all-galaxies --facts models/facts.json \
	    --starting-weights models/lite0_start.npz --overwrite

clean:
	rm -rf .venv workflow/.venv site doc/api $(DEMO) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
