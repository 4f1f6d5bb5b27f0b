# make demo: the whole method on a simulated survey, in minutes.    make test: everything that can be checked.
PYTHON ?= python3
BIN := .venv/bin
NAME := maxout2048_extradense
BEST := try_convnet_cc_multirotflip_3x69r45_$(NAME)
DEMO := demo

.PHONY: demo test lint bench clean
.DELETE_ON_ERROR:

.venv/installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or later; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: .venv/installed
	$(BIN)/python simulate_galaxies.py --root $(DEMO) --num-train 1000 --num-test 60
	$(BIN)/python create_train_ids_file.py --root $(DEMO)
	$(BIN)/python create_test_ids_file.py --root $(DEMO)
	$(BIN)/python convert_training_labels_to_npy.py --root $(DEMO)
	$(BIN)/python check_label_constraints.py --root $(DEMO)
	$(BIN)/python $(BEST).py --root $(DEMO) --num-chunks 8 --chunk-size 800 --initialisation variance-preserving
	$(BIN)/python predict_augmented_npy_$(NAME).py --root $(DEMO) --chunk-size 1200
	$(BIN)/python ensemble_predictions_npy.py --root $(DEMO)
	$(BIN)/python create_submission_from_npy.py --root $(DEMO) $(DEMO)/predictions/final/blended/blended_predictions_uniform.npy.gz
	$(BIN)/python show_results.py --root $(DEMO)

test: .venv/installed lint
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv $(DEMO) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
