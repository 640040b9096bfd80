# Two commands on a fresh machine: `make demo` and `make test`. Both make a virtual environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-slow check setup setup-dev clean

demo: setup
	$(VENV)/bin/python inference_customize.py --config configs/customize_infer.yaml \
	    --input_data_path examples/coffee --prompt "An espresso cup and a spoon slide apart." \
	    --width 128 --height 128 --output_dir outputs/demo
	@echo "Look at outputs/demo/strip.png (your boxes above, the video below) and outputs/demo/cus_pred.gif"

test: setup-dev check
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
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e ".[dev,metrics]"
	touch $@

clean:
	rm -rf $(VENV) outputs .pytest_cache .mypy_cache .ruff_cache
