# syntax=docker/dockerfile:1

# The workspace's `rust-version`. A C compiler and cmake are for zlib-ng and aws-lc.
FROM rust:1.95.0-slim-trixie AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches outlive a build on the same machine; what is built must therefore leave them here.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin sluicegate \
    && cp target/release/sluicegate /sluicegate

# glibc, its C++ and unwinding libraries, authorities' certificates; no shell. Debian 13, as above.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sluicegate" \
      org.opencontainers.image.description="An AI gateway on Cloudflare's Pingora" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
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
