# One image for every step, on CPUs and GPUs. `make image` builds it, docs/kubeflow.md says how to push it.
#
#   BASE         any image with Python 3.11 or newer as python3, and pip
#   TORCH_INDEX  empty: PyTorch from the package index, which carries CUDA and runs on CPUs too;
#                the address of PyTorch's CPU wheels: an image of a third of the size, for CPUs alone
#   REVISION     the git revision, for the label and for the lineage of models
#
# Three layers, by how seldom they change: PyTorch with CUDA, all other packages, the project's code. A
# release is the last of them, a megabyte to push; a bumped dependency leaves the gigabytes of the first.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
WORKDIR /build
COPY requirements.lock ./
RUN awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > uv.lock \
 && python3 -m pip install --quiet --no-compile --require-hashes --no-deps --target /opt/uv -r uv.lock
COPY pyproject.toml ./
# what the steps need, of the lock's own versions and hashes: no tools of developers
RUN /opt/uv/bin/uv pip compile --quiet --universal --no-header --no-annotate --python-version 3.11 \
      --extra pipeline --extra kubeflow --constraint requirements.lock pyproject.toml -o resolved \
 && sed 's/[= ;].*//' resolved > names \
 && grep -E '^(torch|torchvision|triton|nvidia-.*|cuda-.*)$' names > torch.names \
 && grep -vxFf torch.names names > packages.names \
 && for part in torch packages; do \
      awk 'FNR == NR {wanted[$1] = 1; next} /^[^ ]/ {split($1, part, "=="); on = part[1] in wanted} on' \
        $part.names requirements.lock > $part.lock; \
    done

FROM ${BASE} AS torch
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
COPY --from=tools /opt/uv /opt/uv
COPY --from=tools /build/torch.lock ./
ARG TORCH_INDEX=
RUN if [ -z "$TORCH_INDEX" ]; then set -- --require-hashes -r torch.lock; \
    else set -- --index-url "$TORCH_INDEX" $(grep -oE '^(torch|torchvision)==[0-9.]+' torch.lock); fi \
 && /opt/uv/bin/uv pip install --quiet --python "$(command -v python3)" --no-deps --target /opt/torch "$@"

FROM ${BASE} AS packages
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_SYSTEM_CERTS=1
COPY --from=tools /opt/uv /opt/uv
COPY --from=tools /build/packages.lock ./
RUN /opt/uv/bin/uv pip install --quiet --python "$(command -v python3)" --no-deps --require-hashes \
      --target /opt/packages -r packages.lock

FROM packages AS code
WORKDIR /build
COPY pyproject.toml README.md ./
COPY trackline trackline
COPY components components
COPY pipelines pipelines
RUN /opt/uv/bin/uv pip install --quiet --python "$(command -v python3)" --no-deps --target /opt/code .

FROM ${BASE}
ARG BASE
COPY --from=torch /opt/torch /opt/torch
COPY --from=packages /opt/packages /opt/packages
COPY --from=code /opt/code /opt/code
# nothing calls home; nothing is written but below /tmp and what is mounted; a step's own cpu setting says
# how many threads it may use, because a pod sees the cores of its whole node
ENV PATH=/opt/code/bin:/opt/packages/bin:/opt/torch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/code:/opt/packages:/opt/torch \
    HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 \
    DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR=/tmp/dvc DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false GX_ANALYTICS_ENABLED=false AWS_EC2_METADATA_DISABLED=true
USER 10001:10001
WORKDIR /tmp
CMD ["trackline", "--help"]
ARG REVISION=unknown
ENV TRACKLINE_REVISION=${REVISION}
LABEL org.opencontainers.image.title=trackline \
      org.opencontainers.image.description="Every step of the pipeline, from footage to a registered tracker" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.base.name=${BASE}
