# syntax=docker/dockerfile:1.17

# Built as docs/kubernetes.md says, the same sources and base images give the same image: packages have exact
# versions, the lock file is obeyed, paths are the same everywhere and times are the commit's.
#
# Base images, and the syntax above, are named by tags, which move. Who wants the same image months later names them
# by digest, with these arguments and `BUILDKIT_SYNTAX`. The first is the workspace's `rust-version`; both are
# Debian 13.
ARG RUST_IMAGE=rust:1.95.0-slim-trixie
ARG BASE_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${RUST_IMAGE} AS build
# A C compiler and cmake are for zlib-ng and aws-lc. Debian's mirrors have one version of each: when it is
# replaced, the build fails here, instead of making another image without a word.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake=3.31.6-2 g++=4:14.2.0-1 make=4.4.1-2 \
    && rm -rf /var/lib/apt/lists/*
# Writes the list of dependencies into the program, where scanners find it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked --version 0.7.7 cargo-auditable
WORKDIR /src
COPY . .
# The time of the commit, for what would otherwise write down that of the build.
ARG SOURCE_DATE_EPOCH=0
ENV CARGO_INCREMENTAL=0
# The caches outlive a build on the same machine; what is built must therefore leave them here.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo auditable build --release --locked --bin sluicegate \
    && cp target/release/sluicegate /sluicegate \
    && touch --date="@${SOURCE_DATE_EPOCH}" /sluicegate

# For the development stack alone: a provider that is not one.
FROM build AS build-simulator
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package sluicegate-simulator \
    && cp target/release/sluicegate-simulator /sluicegate-simulator \
    && touch --date="@${SOURCE_DATE_EPOCH}" /sluicegate-simulator

FROM ${BASE_IMAGE} AS simulator
COPY --from=build-simulator /sluicegate-simulator /usr/local/bin/sluicegate-simulator
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/sluicegate-simulator"]
CMD ["--listen", "0.0.0.0:9090"]

# glibc, its C++ and unwinding libraries, authorities' certificates; no shell.
FROM ${BASE_IMAGE} AS sluicegate
# For the label alone: the recipe can't know what a tag leads to.
ARG BASE_IMAGE
ARG BASE_DIGEST=unknown
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Sluicegate" \
      org.opencontainers.image.description="An AI gateway on Cloudflare's Pingora" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}" \
      io.sluicegate.sbom="cargo-auditable: section .dep-v0 of /usr/local/bin/sluicegate"
COPY --from=build /sluicegate /usr/local/bin/sluicegate
# `nonroot`, by number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Nothing is written but the socket of an upgrade: give a read-only container a /tmp for it.
WORKDIR /tmp
# Callers, the administrator, Prometheus.
EXPOSE 8080 8081 9464
# The default, said aloud: SIGTERM drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sluicegate"]
CMD ["serve", "--config", "/etc/sluicegate/sluicegate.yaml"]
