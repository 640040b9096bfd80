# Three commands on a fresh machine: `make demo`, `make edit`, `make test`. Each makes a virtual environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

.PHONY: demo edit sprites sprites-ablations test test-slow check setup setup-dev clean

demo: setup
	$(VENV)/bin/python inference_customize.py --input_data_path examples/bouncing --object "red circle" \
	    --prompt "A red circle that is bouncing." --output_dir outputs/demo/bouncing
	$(VENV)/bin/python inference_customize.py --input_data_path examples/crossing --output_dir outputs/demo/crossing \
	    --prompt "A blue star that is moving right and a white triangle that is moving left."
	@echo "Look at outputs/demo/*/strip.png (the image with your boxes above, the video below) and boxes_pred.gif"

# The box editor in your browser (docs/editor.md)
edit: $(VENV)/.installed-app
	$(VENV)/bin/smcd edit

# The built-in model from nothing, hours on a CPU (smcd/sprites/weights/README.md); started again, it goes on. One thread for
# each process: PROCESSES=2 uses two cores, and other work beside it does not keep them waiting for each other.
SPRITES = outputs/sprites
PROCESSES = 2
RUN = OMP_NUM_THREADS=1 $(VENV)/bin/python
SMCD = $(VENV)/bin/smcd
TRAIN = OMP_NUM_THREADS=1 $(VENV)/bin/torchrun --standalone --nproc_per_node $(PROCESSES) ms_main.py
sprites: setup-dev
	test -d $(SPRITES)/vae/vae || $(RUN) scripts/train_vae.py --config configs/sprites_vae.yaml
	test -d $(SPRITES)/untrained || $(RUN) scripts/new_model.py --config configs/sprites_model.yaml
	for part in base_frames:32 base:8 stage1:32 stage2:8; do $(TRAIN) --config configs/sprites_$${part%%:*}.yaml \
	    --train_batch_size $$(($${part#*:} / $(PROCESSES))) || exit; done
	rm -rf $(SPRITES)/model
	$(SMCD) export $(SPRITES)/stage2 $(SPRITES)/model --dtype float16
	$(RUN) scripts/evaluate_sprites.py --trained_ckpt_path $(SPRITES)/model --out $(SPRITES)/evaluation \
	    --stage1_ckpt_path $(SPRITES)/stage1/pipeline

# The paper's comparisons on sprites, from its base and stage 1: the image paths alone and together, one stage and two,
# three trainings of each. Hours; started again, it goes on.
sprites-ablations: setup-dev
	$(RUN) scripts/sprites_ablations.py --processes $(PROCESSES)

test: setup-dev check
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || \
	    echo "There is no Chromium: the tests of the editor's page are skipped. Install the package chromium to run them."
	$(VENV)/bin/python -m pytest -q -n 2 --dist worksteal

test-slow: setup-dev
	$(VENV)/bin/python -m pytest -q -m slow

check: setup-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy smcd

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(VENV)/bin/pip || $(PYTHON) -c "$(SUPPORTED)" || \
	    { echo "needs Python 3.11 or 3.12; name one: make PYTHON=python3.12 demo"; exit 1; }
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing torch, diffusers and what they need: the first time this takes minutes"
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-app: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e ".[app]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e ".[dev,metrics,app]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
