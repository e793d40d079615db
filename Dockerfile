# One image for every step, on CPUs and GPUs. `make image` builds it, docs/kubeflow.md says how to push it.
#
#   BASE         any image with Python 3.11 as python3, venv and pip
#   TORCH_INDEX  empty: PyTorch from the package index, which carries CUDA and runs on CPUs too;
#                the address of PyTorch's CPU wheels: an image of a third of the size, for CPUs alone
#   REVISION     the git revision, for the label and for the lineage of models
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv --without-pip /opt/trackline && python3 -m venv /opt/uv
WORKDIR /build
COPY requirements.lock pyproject.toml ./
RUN awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > uv.lock \
 && /opt/uv/bin/python -m pip install --quiet --require-hashes --no-deps -r uv.lock
# what the steps need, of the lock's own versions and hashes: no tools of developers
ARG TORCH_INDEX=
RUN /opt/uv/bin/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
      --extra pipeline --extra kubeflow --constraint requirements.lock pyproject.toml -o resolved \
 && sed 's/[= ;].*//' resolved > names \
 && if [ -n "$TORCH_INDEX" ]; then grep -vE '^(nvidia-|cuda-|triton|torch$|torchvision$)' names > less && mv less names; fi \
 && awk 'FNR == NR {wanted[$1] = 1; next} /^[^ ]/ {split($1, part, "=="); on = part[1] in wanted} on' \
      names requirements.lock > image.lock \
 && /opt/uv/bin/uv pip install --quiet --python /opt/trackline/bin/python --require-hashes --no-deps -r image.lock \
 && if [ -n "$TORCH_INDEX" ]; then \
      /opt/uv/bin/uv pip install --quiet --python /opt/trackline/bin/python --no-deps --index-url "$TORCH_INDEX" \
        $(grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock); \
    fi

FROM dependencies AS code
COPY README.md ./
COPY trackline trackline
COPY components components
COPY pipelines pipelines
RUN /opt/uv/bin/uv pip install --quiet --python /opt/trackline/bin/python --no-deps --target /opt/code .

FROM ${BASE}
COPY --from=dependencies /opt/trackline /opt/trackline
COPY --from=code /opt/code /opt/code
ARG REVISION=unknown
LABEL org.opencontainers.image.title=trackline \
      org.opencontainers.image.description="Every step of the pipeline, from footage to a registered tracker" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION}
# nothing calls home; nothing is written but below /tmp and what is mounted
ENV PATH=/opt/code/bin:/opt/trackline/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/code \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TRACKLINE_REVISION=${REVISION} \
    DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR=/tmp/dvc DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false GX_ANALYTICS_ENABLED=false AWS_EC2_METADATA_DISABLED=true \
    OMP_NUM_THREADS=1
USER 10001:10001
WORKDIR /tmp
CMD ["trackline", "--help"]
