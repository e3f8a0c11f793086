# syntax=docker/dockerfile:1
# One image for every part of a production deployment; compose.yaml says which part a container is.

FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/ml4ep
COPY . .
# The bootstrap that `make run` uses, so that both install the same; the cache keeps what was downloaded before.
RUN --mount=type=cache,target=/cache UV_CACHE_DIR=/cache UV_LINK_MODE=copy python portal/bootstrap.py

FROM python:3.12-slim-bookworm
# g++ compiles generated C++ for its self-test, bubblewrap isolates that, libgomp runs the forests' libraries.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap g++ libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --uid 10001 ml4ep \
    && install --directory --owner=ml4ep --group=ml4ep --mode=0700 /data
WORKDIR /opt/ml4ep
COPY --from=build /opt/ml4ep .
ENV PATH=/opt/ml4ep/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=portal.settings \
    ML4EP_DATA_DIR=/data \
    ML4EP_HOST=0.0.0.0
USER ml4ep
VOLUME /data
EXPOSE 8000
# Alone, the image is the whole portal with its embedded parts, as `make run` starts it.
CMD ["ml4ep", "up"]
