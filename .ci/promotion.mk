# What the workflows in .github/workflows run, and any other CI may: see docs/registry.md.
# From the environment: MLFLOW_TRACKING_URI, DVC_REMOTE_URL (s3://bucket/prefix), AWS_… for S3.
.PHONY: ci-restore ci-gate ci-verdict ci-register ci-promote ci-pin ci-nightly push promotion-test
CHAMPION := artifacts/champion

ci-restore: $(READY)  ## bring data, models and the cache of earlier runs from the team's S3
	@test -z "$$DVC_REMOTE_URL" || dvc remote add --quiet --force --local --default team "$$DVC_REMOTE_URL"
	@test -z "$$DVC_REMOTE_URL" || dvc pull --run-cache --allow-missing

ci-gate: $(READY)  ## the pipeline up to its gates; what has not changed does not run again
	@dvc repro --pull gate

ci-verdict: $(READY)  ## fail where register would refuse, and say why
	@python -m components.register --check

ci-register: $(READY)  ## the rest of the pipeline, and its results to the team's S3
	@dvc repro --pull
	@test -z "$$DVC_REMOTE_URL" || dvc push --run-cache

ci-promote: $(READY)  ## ACTION=promote VERSION=… or ACTION=rollback, with REASON=…
	@case "$$ACTION" in \
	  promote) dvc repro --pull drift && trackline registry promote "$$VERSION" --reason "$$REASON" ;; \
	  rollback) trackline registry rollback --reason "$$REASON" ;; \
	  *) echo "error: ACTION is '$$ACTION'; it must be promote or rollback" >&2; exit 64 ;; \
	esac

ci-pin: export GIT_COMMITTER_NAME := promotion
ci-pin: export GIT_COMMITTER_EMAIL := promotion@users.noreply.github.com
ci-pin:  ## commit champion.json to main, which may have moved on; nothing where it is there already
	@git diff --quiet HEAD -- champion.json || git commit --quiet --message "Champion: $$REASON" \
	  --author "$${GITHUB_ACTOR:-promotion} <$$GIT_COMMITTER_EMAIL>" -- champion.json
	@git pull --quiet --rebase --autostash origin main
	@git push --quiet origin HEAD:main

ci-nightly: $(READY)  ## the champion loads, has its sums, and passes today's gates on today's test data
	@if grep -q '"version": null' champion.json; then echo "no champion yet"; else $(MAKE) --silent judge-champion; fi

.PHONY: judge-champion
judge-champion:
	@dvc repro --pull drift
	@trackline registry verify champion
	@trackline registry fetch champion $(CHAMPION)
	@python -m components.evaluate --model $(CHAMPION)/model --metrics $(CHAMPION)/evaluate.json \
	  --predictions $(CHAMPION)/predictions.parquet --plots $(CHAMPION)/plots
	@python -m components.gate --model $(CHAMPION)/model --metrics $(CHAMPION)/evaluate.json \
	  --predictions $(CHAMPION)/predictions.parquet --verdict $(CHAMPION)/gate.json \
	  --curves $(CHAMPION)/plots/train.csv --success $(CHAMPION)/plots/success.csv \
	  --precision $(CHAMPION)/plots/precision.csv --report reports/nightly.html --summary reports/nightly.md
	@python -m components.register --check --model $(CHAMPION)/model --metrics $(CHAMPION)/evaluate.json \
	  --predictions $(CHAMPION)/predictions.parquet --verdict $(CHAMPION)/gate.json --report reports/nightly.html

promotion-test: $(READY)  ## the workflows' own commands against a bare git remote, MLflow and S3: minutes
	@python -m pytest -m promotion tests/services/test_workflows.py

.PHONY: services-test
services-test: $(READY)  ## the registry over PostgreSQL, MLflow and S3 with faults between them: minutes
	@python -m pytest -m services tests/services/test_faults.py
