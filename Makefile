# `make explain` and `make test` need nothing before them but Python 3.11 with pip: each builds .venv where it is missing or outdated.
PYTHON ?= $(shell for python in python3.11 python3; do $$python -c "" 2>/dev/null && echo $$python && break; done)
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2
WANTED = error: Python 3.11 or newer is wanted, found "$(PYTHON)": try make PYTHON=/path/to/python3.11
MADE = .venv/made-from-requirements.lock

.DEFAULT_GOAL = help
.PHONY: help venv explain heads sound carriers test test-slow test-faults lint docs bench fuzz
size ?= small
times ?= 60
data ?= $(wildcard ../shared/data)
EXPERIMENT = $(if $(wildcard conf/experiment/table$*.yaml),table$*,$*)
DRAWINGS = task=shapes black_box=shapes $(if $(filter segmenters,$*),,segmenter=slic)
TABLE = outputs/$(EXPERIMENT)-$(size)$(if $(data),,-drawings)
CASES = $(if $(data),data=$(data),$(if $(filter bad_model 7 8 mixture,$*),,$(DRAWINGS)))

help: ## print this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

venv: $(MADE) ## build .venv from requirements.lock, where it is missing or older than the lock or pyproject.toml

explain: venv ## explain the default photograph, the whole of it: prints the paths of its picture and of its report
	.venv/bin/python train.py black_box.crop=squash

table-%: venv ## a table, as in make table-2 size=small data=DIR (table-segmenters, table-budget ... too; without data on drawings)
	.venv/bin/python train.py experiment=$(EXPERIMENT) size=$(size) $(CASES) hydra.sweep.dir=$(TABLE) hydra.run.dir=$(TABLE)

heads: venv ## train linear VOC heads on frozen backbones: black_box=lite0_voc, vit_tiny_voc; data=DIR as above
	.venv/bin/python scripts/train_voc_head.py --backbone lite0 --root $(data)/voc --exclude $(data)/voc/both_models_correct.txt --out outputs/heads/lite0.safetensors
	.venv/bin/python scripts/train_voc_head.py --backbone vit_tiny --weights $(data)/vit_tiny/vit_tiny_patch16_224.safetensors --root $(data)/voc --exclude $(data)/voc/both_models_correct.txt --out outputs/heads/vit_tiny.safetensors

sound: venv ## train ESC-10's classifier and that of coughs, minutes: black_box=esc10_resnet, cough_blstm; data=DIR as above, size=paper: ResNet-50
	.venv/bin/python scripts/train_sound.py esc10 --root $(data)/esc10 --size $(size) --out outputs/models/esc10_resnet.safetensors
	.venv/bin/python scripts/train_sound.py cough --root $(data)/cough_phases --out outputs/models/cough_blstm.safetensors

carriers: venv ## train a model of coughs for each of three carriers, minutes each, and let DAX-Mosaic find them; data=DIR as above
	for carrier in cough inhale compress; do .venv/bin/python scripts/train_sound.py cough --root $(data)/cough_phases \
		--carrier $$carrier --out outputs/models/cough_blstm_$$carrier.safetensors || exit 2; done
	.venv/bin/python train.py experiment=carriers data=$(data)

test: venv ## run all tests but the slow ones
	$(PYTEST) -m "not slow"

test-slow: venv ## run the tests that take minutes
	$(PYTEST) -m slow

test-faults: venv ## run the tests with faults, the long ones too, and print what they do to a run
	$(PYTEST) tests/faults
	.venv/bin/python -m benchmarks.faults

lint: venv ## check format, style and types
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/pyright

docs: venv ## build the pages under docs/_build, without a network; warnings are errors
	.venv/bin/sphinx-build -W -q docs docs/_build

fuzz: venv ## broken and hostile files at every door, others each time; times=60: about eight minutes
	DAX_FUZZ=$(times) OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 0 tests/test_fuzz.py --hypothesis-show-statistics

bench: venv ## measure, an hour and a half: explanations beside bare forwards and other libraries, and the black box on a CPU
	.venv/bin/python -m pip install --disable-pip-version-check -q --no-deps -r benchmarks/requirements.txt
	.venv/bin/python -m benchmarks.bench
	.venv/bin/python -m benchmarks.black_box

$(MADE): requirements.lock pyproject.toml
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || { echo '$(WANTED)' >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check --no-deps -r requirements.lock
	.venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
